"""The containers, built and run for real: first verified command, restarts, one whole trace.

Needs a container engine and the images that docker-compose.yml names; skipped with the reason
where there is none. Every container, network and volume belongs to a project of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import urlopen

import pytest

from pems.broker import free_ports

PROJECT = "pems-test"
SERVICES = ("gateway", "forecast", "thermal", "optimizer", "dispatcher", "safety", "historian")
WHOLE_TRACE = (
    "gateway measurement.room.sampled", "forecast forecast.issued",
    "thermal thermal.state-estimated", "optimizer plan.computed", "dispatcher command.proposed",
    "safety command.approved", "gateway command.executed", "gateway command.verified",
)  # fmt: skip

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1_500)]


def engine_problem() -> str | None:
    """Why containers cannot run here, None when they can."""
    if shutil.which("docker") is None:
        return "no docker client"
    if subprocess.run(["docker", "info"], capture_output=True).returncode:
        return "no container engine answers"
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        return "the docker compose plug-in is not installed"
    return None


if why := engine_problem():
    pytest.skip(why, allow_module_level=True)


class House:
    """The compose project under test."""

    def __init__(self) -> None:
        nats, mqtt, jaeger = free_ports()
        self.jaeger = f"http://127.0.0.1:{jaeger}"
        self.environment = {
            **os.environ,
            "DOCKER_BUILDKIT": "0",
            "COMPOSE_PROJECT_NAME": PROJECT,
            "COMPOSE_PROFILES": "observe",
            "PEMS_SPEED": "120",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger:4318",
            "NATS_PORT": str(nats),
            "MQTT_PORT": str(mqtt),
            "JAEGER_PORT": str(jaeger),
        }

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Run docker compose; its output."""
        done = subprocess.run(
            ["docker", "compose", *arguments], env=self.environment, capture_output=True, text=True
        )
        if check and done.returncode:
            pytest.fail(f"docker compose {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def log(self, script: str) -> Any:
        """Run a few lines in a container that may read the log; the JSON they print."""
        text = self.compose(
            "run", "--rm", "-T", "--no-deps",
            "-v", f"{PROJECT}_secrets-reader:/pems/secrets/reader:ro",
            "-v", f"{PROJECT}_config:/pems:ro",
            "forecast", "python", "-c", READ + script,
        )  # fmt: skip
        return json.loads(text.strip().splitlines()[-1])


READ = """
import asyncio, json, collections
from chassis.settings import Settings
from pems.home import bus_of, read_events
async def events():
    async with bus_of(Settings.from_environment()) as bus:
        return [e async for e in read_events(bus)]
log = asyncio.run(events())
"""
COUNTS = """
types = collections.Counter(getattr(e, 'type', 'poison') for e in log)
sequences = [e.sequence for e in log]
ids = [e.id for e in log if hasattr(e, 'id')]
planned = {e.id for e in log if getattr(e, 'type', '') == 'command.proposed'
           and e.data.origin == 'optimizer'}
done = [e for e in log if getattr(e, 'type', '') == 'command.verified'
        and e.data.proposal in planned]
beats = {e.source: e.time.isoformat() for e in log if getattr(e, 'type', '') == 'system.heartbeat'}
whole = sequences == list(range(1, len(sequences) + 1))
print(json.dumps(dict(types=types, whole=whole, doubles=len(ids) - len(set(ids)), beats=beats,
                      planned=len(done))))
"""
TRACE = f"""
types = collections.defaultdict(set)
for e in log:
    if getattr(e, 'traceparent', None):
        types[e.traceparent.split('-')[1]].add(e.type)
wanted = set({[operation.split()[1] for operation in WHOLE_TRACE]!r})
print(json.dumps([trace for trace, found in types.items() if found >= wanted]))
"""


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    project = House()
    project.compose("down", "-v", "--remove-orphans", check=False)
    project.compose("build")
    project.compose("up", "-d")
    yield project
    logs = project.compose("logs", "--no-color", "--tail", "40", check=False)
    print(logs)
    project.compose("down", "-v", "--remove-orphans", check=False)


def until(check: Callable[[], Any], seconds: float) -> Any:
    """Poll until something true; its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not true within {seconds:.0f} s; last value {value!r}")
        time.sleep(3)


def test_the_first_verified_command_arrives(house: House) -> None:
    def verified() -> Any:
        counts = house.log(COUNTS)
        return counts if counts["planned"] else None  # one that implements a plan

    counts = until(verified, 420)
    assert counts["whole"]
    assert counts["types"]["plan.computed"]


def test_everybody_runs_as_nobody_special_and_is_healthy(house: House) -> None:
    for service in (*SERVICES, "twin", "trainer"):
        identity = house.compose("exec", "-T", service, "id", "-u").strip()
        assert identity == "10001", service
    secrets = house.compose("exec", "-T", "forecast", "ls", "/pems/secrets").split()
    readable = house.compose(
        "exec", "-T", "forecast", "sh", "-c", "cat /pems/secrets/safety/* 2>/dev/null || true"
    )
    assert "forecast" in secrets
    assert readable.strip() == "", "no service reads another one's secrets"

    def healthy() -> bool:
        rows = house.compose("ps", "--format", "json")
        states = [json.loads(line) for line in rows.splitlines() if line.startswith("{")]
        wanted = {*SERVICES, "twin", "trainer", "nats"}
        return {row["Service"] for row in states if row.get("Health") == "healthy"} >= wanted

    until(healthy, 180)


@pytest.mark.parametrize("service", [*SERVICES, "nats"])
def test_restarting_any_service_loses_nothing(house: House, service: str) -> None:
    before = house.log(COUNTS)
    house.compose("restart", service)

    def went_on() -> Any:
        with contextlib.suppress(Exception):
            now = house.log(COUNTS)
            names = [service] if service != "nats" else list(SERVICES)
            later = all(now["beats"].get(n, "") > before["beats"].get(n, "") for n in names)
            return now if later else None
        return None

    after = until(went_on, 180)
    assert after["whole"], "sequences without a gap"
    assert after["doubles"] == 0, "no event twice"
    for kind, count in before["types"].items():
        assert after["types"].get(kind, 0) >= count, f"{kind} disappeared"


def test_one_trace_shows_a_command_from_measurement_to_read_back(house: House) -> None:
    def whole() -> Any:
        """The traces that are whole on the log are whole in Jaeger, once their spans are there."""
        for trace in house.log(TRACE):
            with contextlib.suppress(OSError), urlopen(
                f"{house.jaeger}/api/traces/{trace}", timeout=10
            ) as answer:
                found = json.load(answer)["data"][0]
                services = {p["serviceName"] for p in found["processes"].values()}
                operations = {span["operationName"] for span in found["spans"]}
                if operations.issuperset(WHOLE_TRACE):
                    return services
        return None

    assert until(whole, 240) >= {f"pems-{name.split()[0]}" for name in WHOLE_TRACE}
