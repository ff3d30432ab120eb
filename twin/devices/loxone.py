"""A Loxone Miniserver: publishes states and its clock, obeys relay commands with leases.

It speaks the topics of ``services/gateway/devices/loxone.py``. Each room's relay is decided by
the first of: a person at the switch (``press``), the live lease of a command, the thermostat.
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
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self._root = f"loxone/{site}"
        self._rooms = tuple(rooms)
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
        rooms = {}
        for room, state in observation.rooms.items():
            lease, origin = self._deciding(room, observation.time)
            report: dict[str, object] = {
                "temperature_c": known(round(state.temperature_c, 3)),
                "on": bool(state.relay_on),
                "origin": origin,
            }
            if origin == "command" and lease is not None:
                report["id"] = lease.id
            rooms[room] = report
        document = {
            "time": write_time(observation.time),
            "outdoor_c": known(round(observation.outdoor_c, 3)),
            "ghi_w_m2": known(round(observation.ghi_w_m2, 1)),
            "rooms": rooms,
        }
        sent = await self._send(f"{self._root}/state", json.dumps(document))
        return sent and await self._send(f"{self._root}/clock", write_time(observation.time))

    def actuation(self, at: datetime) -> dict[str, bool | None]:
        """Relay states wanted from ``at`` on; None leaves a room to its thermostat."""
        wanted = {}
        for room in self._rooms:
            lease, _ = self._deciding(room, at)
            wanted[room] = None if lease is None else lease.on
        return wanted

    async def press(self, room: str, on: bool, until: datetime) -> None:
        """A person switches a relay at the wall; it holds until ``until`` against any command."""
        self._pressed[room] = Lease(on, until, None)
        await self._echo(room, {"on": on, "origin": "local"})

    def _deciding(self, room: str, at: datetime) -> tuple[Lease | None, str]:
        pressed = self._pressed.get(room)
        if pressed is not None and at < pressed.until:
            return pressed, "local"
        command = self._commands.get(room)
        if command is not None and at < command.until:
            return command, "command"
        return None, "thermostat"

    async def _run(self) -> None:
        while not cancelled():
            with suppress(aiomqtt.MqttError):
                async with aiomqtt.Client(**self._broker, timeout=TIMEOUT_S) as client:
                    client.pending_calls_threshold = 1_000
                    await client.subscribe(f"{self._root}/room/+/relay/command")
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
        room = topic.split("/")[3]
        try:
            command = json.loads(payload)  # type: ignore[arg-type]
            on, command_id = command["on"], command["id"]
            until = datetime.fromisoformat(command["until"]).astimezone(UTC)
            if room not in self._rooms or not (on is None or isinstance(on, bool)):
                raise ValueError(topic)
        except (ValueError, KeyError, TypeError):
            self.refused += 1
            return
        if on is None:
            self._commands.pop(room, None)
        elif self._now < until:  # a lease that is over already is not taken up
            self._commands[room] = Lease(on, until, str(command_id))
        lease, origin = self._deciding(room, self._now)
        state = None if self._last is None else self._last.rooms.get(room)
        own = None if state is None else bool(state.relay_on)
        await self._echo(
            room, {"on": own if lease is None else lease.on, "origin": origin, "id": command_id}
        )

    async def _echo(self, room: str, report: dict[str, object]) -> None:
        await self._send(f"{self._root}/room/{room}/relay/state", json.dumps(report))

    async def _send(self, topic: str, text: str) -> bool:
        if self._client is None:
            return False
        try:
            await self._client.publish(topic, text.encode(), timeout=TIMEOUT_S)
        except aiomqtt.MqttError:
            return False
        return True
