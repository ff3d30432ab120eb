"""One simulated night with everything going wrong: the real processes on the real broker.

People override by three ways, somebody forges verdicts, the optimizer is dead for more than an
hour, the broker is killed. The assertions below read the log that this left behind.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiomqtt
import pytest

from chassis.signing import Signer, Verifier, new_seed
from contracts.envelope import Event, decode
from contracts.events import command, override
from contracts.events.measurement import BaselineSampled, HouseSampled
from contracts.events.plan import PlanComputed
from contracts.events.safety import ModeChanged
from contracts.site import SiteConfig
from pems.broker import Ports, free_ports
from pems.home import Poison, bus_of, load_log
from pems.replay import Outcome, replay
from pems.run import RunningHouse
from pems.why import Log, explain

PRAGUE = ZoneInfo("Europe/Prague")
START = datetime(2026, 1, 12, tzinfo=PRAGUE)
HOURS = 9
"""At five simulated minutes a second: a service that starts again takes part of an hour."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_500)]


def at(hour: float) -> datetime:
    """An instant of the night."""
    return START + timedelta(hours=hour)


@dataclass
class Night:
    """What happened, and when things were done to the house."""

    events: list[Event] = field(default_factory=list)
    poison: list[Poison] = field(default_factory=list)
    marks: dict[str, Any] = field(default_factory=dict)
    home: Path = Path()

    def of(self, kind: type) -> list[Event]:
        return [event for event in self.events if isinstance(event.data, kind)]


class Director:
    """Follows the log and does things to the house when its clock says so."""

    def __init__(self, house: RunningHouse, night: Night) -> None:
        self.house, self.night = house, night
        self.script: list[tuple[datetime, Callable[[], Any]]] = [
            (at(1.0), self.people),
            (at(2.0), self.forger),
            (at(3.0), lambda: house.supervisor.kill("optimizer")),
            (at(4.4), lambda: house.supervisor.release("optimizer")),
            (at(7.5), self.power_cut),
        ]

    async def run(self) -> None:
        first = 1
        while True:
            self.house.supervisor.tend(lambda name, code: name == "twin")
            ended = self.house.supervisor.code("twin") is not None
            try:
                async with bus_of(self.house.settings) as bus:
                    while not ended:
                        async for entry in bus.read(first):
                            first = entry.sequence + 1
                            await self._react(entry)
                        self.house.supervisor.tend(lambda name, code: name == "twin")
                        ended = self.house.supervisor.code("twin") is not None
                        await asyncio.sleep(0.02)
            except (OSError, TimeoutError):
                await asyncio.sleep(0.2)
            if ended:
                return

    async def _react(self, entry: Any) -> None:
        if not entry.subject.endswith("clock.site.ticked"):
            return
        now = decode(entry.subject, entry.headers, entry.body, entry.sequence).time
        while self.script and now is not None and now >= self.script[0][0]:
            _, action = self.script.pop(0)
            result = action()
            if asyncio.iscoroutine(result):
                await result

    async def people(self) -> None:
        """The same wish over NATS, MQTT and the command line."""
        settings = self.house.settings
        body = {"quantity": "temperature_c", "value": 23, "minutes": 120, "actor": "a person"}
        async with bus_of(settings, "client") as bus:
            text = json.dumps({**body, "target": "room-study", "source": "nats"})
            await bus.client.publish("pems.home.override.room-study.requested", text.encode())
            await bus.client.flush()
        async with aiomqtt.Client(
            "127.0.0.1", self.house.ports.mqtt, username="client",
            password=settings.password("client"),
        ) as mqtt:  # fmt: skip
            text = json.dumps({**body, "target": "room-guest", "source": "mqtt"})
            await mqtt.publish("pems/home/override/room-guest/requested", text.encode(), qos=1)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pems", "override", "set", "room-living", "temperature_c", "23",
            "--for", "120", "--actor", "a person", "--home", str(self.house.home),
            "--root", str(self.house.home.parent), stdout=subprocess.PIPE,
        )  # fmt: skip
        self.night.marks["cli"] = asyncio.create_task(process.communicate())

    async def forger(self) -> None:
        """Verdicts that the gate never gave, by whoever may reach the subject."""
        settings = self.house.settings
        now = at(2.0)
        subject = "pems.home.command.relay-garage.approved"
        plain = command.Approved(
            proposal="none", device="relay-garage", kind="relay", value=1, asked=1,
            expires=now + timedelta(hours=1), until=now + timedelta(hours=1), mode="normal",
        )  # fmt: skip
        stranger = Signer(new_seed()).sign(subject, plain)
        for user in ("safety", "dispatcher", "client"):
            async with bus_of(settings, user) as bus:
                for name, verdict in (("unsigned", plain), ("stranger", stranger)):
                    headers = {
                        "ce-specversion": "1.0", "ce-id": f"forged-{user}-{name}",
                        "ce-type": "command.approved", "ce-source": "pems/home/safety",
                        "ce-subject": "relay-garage", "ce-pemsmode": "simulated",
                        "ce-dataschema": "urn:pems:event:command.approved:v1",
                        "Nats-Msg-Id": f"forged-{user}-{name}",
                    }  # fmt: skip
                    await bus.client.publish(
                        subject, verdict.model_dump_json().encode(), headers=headers
                    )
                await bus.client.flush()

    async def power_cut(self) -> None:
        """kill -9 of the broker, and its start a moment later."""
        async with bus_of(self.house.settings) as bus:
            self.night.marks["acknowledged"] = await bus.last_sequence()
        self.house.broker.kill()
        await asyncio.sleep(1.5)
        self.house.broker.start()


@pytest.fixture(scope="module")
def night(
    tmp_path_factory: pytest.TempPathFactory, site: SiteConfig, safety_limits: dict[str, Any]
) -> Night:
    root = tmp_path_factory.mktemp("night")
    found = Night(home=root / "house")
    house = RunningHouse(root, found.home, Ports(*free_ports()), site, safety_limits)
    house.start(["--days", str(HOURS / 24), "--seed", "7", "--speed", "300"])
    try:
        asyncio.run(Director(house, found).run())
        assert house.supervisor.code("twin") == 0, (found.home / "logs/twin.log").read_text()
        # killed once; the power cut ends it again when it finds it waiting for an acknowledgement
        assert 1 <= house.supervisor.running["optimizer"].restarts <= 2
    finally:
        house.stop()
    found.events, found.poison = load_log(found.home)
    return found


def test_the_night_came_to_its_end(night: Night) -> None:
    last = max(event.time for event in night.events if event.type == "clock.ticked" and event.time)
    assert last == at(HOURS)
    assert len(night.of(command.Verified)) > 100


def test_nats_mqtt_and_command_line_give_the_same_override(night: Night) -> None:
    granted = {e.data.target: e for e in night.of(override.Granted)}
    assert granted.keys() == {"room-study", "room-guest", "room-living"}
    sources = {event.data.source for event in granted.values()}
    assert sources == {"nats", "mqtt", "cli"}
    for event in granted.values():
        assert (event.data.quantity, event.data.value) == ("temperature_c", 23)
        assert event.data.until - event.data.since == timedelta(minutes=120)


def test_overrides_change_the_next_plan_and_end_when_they_say(night: Night) -> None:
    ended = {e.data.override: e for e in night.of(override.Ended)}
    warmer: dict[str, float] = {}
    for event in night.of(override.Granted):
        wish = event.data
        later = [p for p in night.of(PlanComputed) if p.as_of > event.sequence]
        assert wish.override in later[0].data.overrides
        name = wish.target.removeprefix("room-")
        peak = max(next(r for r in later[0].data.plan.rooms if r.name == name).air_c[:9])
        before = [p for p in night.of(PlanComputed) if p.as_of < event.sequence][-1]
        was = max(next(r for r in before.data.plan.rooms if r.name == name).air_c[:9])
        warmer[name] = peak - was
        over = ended[wish.override]
        assert over.data.reason == "time is up"
        assert abs(over.data.time - wish.until) <= timedelta(minutes=5)
        after = [p for p in night.of(PlanComputed) if p.as_of > over.sequence]
        assert wish.override not in after[0].data.overrides
    # a room that the old plan heated with cheap energy anyway has little left to gain
    assert min(warmer.values()) > -0.05, warmer
    assert max(warmer.values()) > 0.3, warmer


def test_forged_verdicts_move_no_device(night: Night) -> None:
    forged = [e for e in night.events if e.id.startswith("forged-")]
    assert {e.id for e in forged} == {"forged-safety-unsigned", "forged-safety-stranger"}, (
        "the broker keeps every other user off the subject"
    )
    touched = {e.data.verdict for e in night.of(command.Executed)}
    assert not touched & {e.id for e in forged}
    refused = [e for e in night.of(command.Failed) if e.data.verdict.startswith("forged-")]
    assert len(refused) == 2
    assert all("refused" in e.data.reason for e in refused)


def test_without_the_optimizer_the_fallback_runs_the_house(
    night: Night, site: SiteConfig
) -> None:
    changes = [e for e in night.of(ModeChanged) if at(3) <= e.data.time <= at(7.5)]
    down = next(e for e in changes if e.data.after == "degraded")
    assert "heartbeat:optimizer" in down.data.reasons
    assert down.data.time - at(3) <= timedelta(minutes=40)
    up = next(e for e in changes if e.data.after == "normal")
    assert at(4.4) <= up.data.time <= at(7.5)
    alone = [
        e for e in night.of(command.Proposed)
        if down.sequence < e.sequence < up.sequence and e.data.origin == "fallback"
    ]  # fmt: skip
    assert alone, "the fallback controller gave commands"
    assert all(e.source == "safety" for e in alone)
    comfort = [e.data for e in night.of(BaselineSampled)]
    dark = [c.house_comfort_deficit_kh for c in comfort if at(3) <= c.time <= at(5)]
    assert dark[-1] - dark[0] < 1.0, "K·h below the band over 16 rooms in two hours"
    meters = [e.data for e in night.of(HouseSampled)]
    assert max(m.grid_w for m in meters if m.grid_w is not None) <= site.grid.import_limit_w


def test_after_the_power_cut_nothing_acknowledged_is_missing(night: Night) -> None:
    sequences = [e.sequence for e in night.events] + [p.sequence for p in night.poison]
    assert sorted(sequences) == list(range(1, len(sequences) + 1))
    assert len(sequences) > night.marks["acknowledged"] > 1_000
    ids = [event.id for event in night.events]
    assert len(ids) == len(set(ids))
    after = [e for e in night.of(PlanComputed) if e.time and e.time > at(7.6)]
    assert after, "the loop went on by itself"


@pytest.fixture(scope="module")
def outcome(night: Night) -> Outcome:
    return replay(night.events, Verifier.from_file(night.home / "verify-key"))


def test_every_decision_of_the_night_replays_identically(night: Night, outcome: Outcome) -> None:
    assert outcome.difference is None, outcome.difference
    assert outcome.compared > 1_500
    assert set(outcome.decisions) >= {"forecast", "thermal", "optimizer", "dispatcher", "safety"}
    assert set(outcome.forged) == {"forged-safety-unsigned", "forged-safety-stranger"}
    genuine = [e for e in night.of(command.Approved) if not e.id.startswith("forged-")]
    assert outcome.signatures == len(genuine)


def test_every_kind_of_command_can_be_explained(night: Night) -> None:
    log = Log(night.events)
    for device in ("battery", "relay-living"):
        planned = [
            e for e in night.of(command.Proposed)
            if e.entity == device and e.data.origin == "optimizer"
        ]  # fmt: skip
        said = explain(log, planned[-1])
        assert "EUR/kWh" in said.sentence
        kinds = {line.event.type for line in said.lines}
        assert {"plan.computed", "forecast.issued", "thermal.state-estimated"} <= kinds
    fallback = next(e for e in night.of(command.Proposed) if e.data.origin == "fallback")
    assert "fallback controller" in explain(log, fallback).sentence
