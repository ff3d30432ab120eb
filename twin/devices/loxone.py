"""A Loxone Miniserver: publishes states and its clock, obeys commands to relays with leases.

It speaks the topics of ``services/gateway/devices/loxone.py``. Each relay (of a room's heating or
of a load) is decided by the first of: a person at the switch (``press``), the live lease of a command,
its own rule (thermostat or timer).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import aiomqtt

from twin.devices.base import Observation, cancelled, known, stop, write_time

TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Lease:
    """A relay state that holds until ``until``; without an id a person set it."""

    on: bool
    until: datetime
    id: str | None


class LoxoneTwin:
    """The Miniserver of the simulated house."""

    def __init__(
        self,
        site: str,
        rooms: Iterable[str],
        host: str,
        port: int,
        *,
        loads: Iterable[str] = (),
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self._root = f"loxone/{site}"
        self._rooms = {room: f"relay-{room}" for room in rooms}
        self._loads = {load: f"load-{load}" for load in loads}
        self._broker = {"hostname": host, "port": port, "username": username, "password": password}
        self._commands: dict[str, Lease] = {}
        self._pressed: dict[str, Lease] = {}
        self._now = datetime.min.replace(tzinfo=UTC)  # until the first update
        self._last: Observation | None = None
        self._client: aiomqtt.Client | None = None
        self._up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.refused = 0  # malformed commands so far

    async def connect(self) -> None:
        """Connect to the broker; TimeoutError after 2 s (attempts go on)."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="loxone twin")
        async with asyncio.timeout(TIMEOUT_S):
            await self._up.wait()

    async def close(self) -> None:
        """Disconnect."""
        if self._task is not None:
            await stop(self._task)
            self._task = None

    async def publish(self, observation: Observation) -> bool:
        """Send all states and then the clock; False when the broker is away (states are lost)."""
        self._now = observation.time
        self._last = observation
        return await self._report(observation)

    async def _report(self, observation: Observation) -> bool:
        rooms = {
            room: {
                "temperature_c": known(round(state.temperature_c, 3)),
                **self._relay(f"relay-{room}", state.relay_on, observation.time),
            }
            for room, state in observation.rooms.items()
        }
        loads = {
            load: {
                "power_w": known(round(state.power_w, 1)),
                **self._relay(f"load-{load}", state.relay_on, observation.time),
            }
            for load, state in observation.loads.items()
        }
        document = {
            "time": write_time(observation.time),
            "outdoor_c": known(round(observation.outdoor_c, 3)),
            "ghi_w_m2": known(round(observation.ghi_w_m2, 1)),
            "rooms": rooms,
            "loads": loads,
        }
        sent = await self._send(f"{self._root}/state", json.dumps(document))
        return sent and await self._send(f"{self._root}/clock", write_time(observation.time))

    def _relay(self, device: str, on: bool, at: datetime) -> dict[str, object]:
        """A relay's part of a report."""
        lease, origin = self._deciding(device, at)
        report: dict[str, object] = {"on": bool(on), "origin": origin}
        if origin == "command" and lease is not None:
            report["id"] = lease.id
        return report

    def actuation(self, at: datetime) -> dict[str, bool | None]:
        """Relay states wanted from ``at`` on; None leaves a room to its thermostat."""
        return self._wanted(self._rooms, at)

    def supplies(self, at: datetime) -> dict[str, bool | None]:
        """The same of loads; None leaves one to its timer."""
        return self._wanted(self._loads, at)

    def _wanted(self, names: dict[str, str], at: datetime) -> dict[str, bool | None]:
        leases = {name: self._deciding(device, at)[0] for name, device in names.items()}
        return {name: None if lease is None else lease.on for name, lease in leases.items()}

    async def press(self, device: str, on: bool, until: datetime) -> None:
        """A person switches a relay at the wall; it holds until ``until`` against any command."""
        self._pressed[device] = Lease(on, until, None)
        await self._echo(device, {"on": on, "origin": "local"})

    def _deciding(self, device: str, at: datetime) -> tuple[Lease | None, str]:
        pressed = self._pressed.get(device)
        if pressed is not None and at < pressed.until:
            return pressed, "local"
        command = self._commands.get(device)
        if command is not None and at < command.until:
            return command, "command"
        return None, "timer" if device in self._loads.values() else "thermostat"

    async def _run(self) -> None:
        while not cancelled():
            with suppress(aiomqtt.MqttError):
                async with aiomqtt.Client(**self._broker, timeout=TIMEOUT_S) as client:
                    client.pending_calls_threshold = 1_000
                    await client.subscribe(f"{self._root}/room/+/relay/command")
                    await client.subscribe(f"{self._root}/load/+/command")
                    await client.subscribe(f"{self._root}/request")
                    self._client = client
                    self._up.set()
                    async for message in client.messages:
                        await self._obey(message.topic.value, message.payload)
                        if cancelled():
                            return
            self._client = None
            self._up.clear()
            await asyncio.sleep(0.2)

    async def _obey(self, topic: str, payload: object) -> None:
        if topic == f"{self._root}/request":
            if self._last is not None:
                await self._report(self._last)
            return
        place, name = topic.split("/")[2:4]
        device = (self._rooms if place == "room" else self._loads).get(name)
        try:
            command = json.loads(payload)  # type: ignore[arg-type]
            on, command_id = command["on"], command["id"]
            until = datetime.fromisoformat(command["until"]).astimezone(UTC)
            if device is None or not (on is None or isinstance(on, bool)):
                raise ValueError(topic)
        except (ValueError, KeyError, TypeError):
            self.refused += 1
            return
        if on is None:
            self._commands.pop(device, None)
        elif self._now < until:  # a lease that is over already is not taken up
            self._commands[device] = Lease(on, until, str(command_id))
        lease, origin = self._deciding(device, self._now)
        own = None
        if self._last is not None:
            seen = self._last.rooms.get(name) if place == "room" else self._last.loads.get(name)
            own = None if seen is None else bool(seen.relay_on)
        await self._echo(
            device, {"on": own if lease is None else lease.on, "origin": origin, "id": command_id}
        )

    async def _echo(self, device: str, report: dict[str, object]) -> None:
        kind, name = device.split("-", 1)
        topic = f"room/{name}/relay/state" if kind == "relay" else f"load/{name}/state"
        await self._send(f"{self._root}/{topic}", json.dumps(report))

    async def _send(self, topic: str, text: str) -> bool:
        if self._client is None:
            return False
        try:
            await self._client.publish(topic, text.encode(), timeout=TIMEOUT_S)
        except aiomqtt.MqttError:
            return False
        return True
