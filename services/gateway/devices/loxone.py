"""Loxone Miniserver over MQTT: room temperatures, heating relays, the weather station.

The Miniserver (Gen 2 with its MQTT plug-in, or any through LoxBerry's MQTT gateway) and PEMS meet
at the broker. All payloads are UTF-8 JSON except the clock, QoS 0, nothing is retained.

=========================================  =====  ==========================================
topic                                      sends  payload
=========================================  =====  ==========================================
``loxone/{site}/state``                    Mini   all states, or any part of them, see below
``loxone/{site}/clock``                    Mini   device time, plain text, LAST in every update
``loxone/{site}/room/{id}/relay/state``    Mini   echo of a command, see below
``loxone/{site}/room/{id}/relay/command``  PEMS   ``{"on": true, "until": "...Z", "id": "..."}``
``loxone/{site}/request``                  PEMS   empty: please send state and clock now
=========================================  =====  ==========================================

State, one document a minute and on change (missing keys keep their last value, null = unknown)::

    {"time": "2026-01-15T06:00:00Z", "outdoor_c": -3.2, "ghi_w_m2": 0, "wind_m_s": 2.1,
     "rooms": {"living": {"temperature_c": 20.9, "on": true, "origin": "command", "id": "c-17"}}}

Echo: ``{"on": true, "origin": "command", "id": "c-17"}``. ``origin`` says who decides the relay:
``command`` (the lease of command ``id``), ``thermostat`` (the Miniserver's own rule) or ``local``
(a person at the switch). ``until`` is the lease: after it the Miniserver's own logic returns to
its thermostat, whatever has become of PEMS. ``"on": null`` gives the relay back at once.

Time-outs: connecting 2 s, a command's echo 2 s, ``wait_for_clock`` as asked.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from services.gateway.devices.base import ReadBack, parse_number, parse_time, write_time
from services.gateway.devices.mqtt import MqttLink

ECHO_TIMEOUT_S = 2.0
Origin = Literal["command", "thermostat", "local"]
ORIGINS: dict[str, Origin] = {
    "command": "command",
    "thermostat": "thermostat",
    "local": "local",
}
# 85 °C is what a 1-wire sensor says before its first conversion; a room never is that warm.
ROOM_C = (-40.0, 80.0)
OUTDOOR_C = (-60.0, 60.0)
GHI_W_M2 = (0.0, 2_000.0)
WIND_M_S = (0.0, 120.0)


@dataclass(frozen=True, slots=True)
class RoomReading:
    """Last report of one room; None is not known."""

    time: datetime | None = None  # device time of the report
    temperature_c: float | None = None
    relay_on: bool | None = None
    origin: Origin | None = None  # who decides the relay
    command_id: str | None = None  # when origin is command


@dataclass(frozen=True, slots=True)
class LoxoneReading:
    """Last report of the Miniserver; ``time`` is its clock, from which the age follows."""

    time: datetime | None
    rooms: dict[str, RoomReading]
    outdoor_c: float | None  # °C
    ghi_w_m2: float | None  # W/m2, global horizontal
    wind_m_s: float | None  # m/s


@dataclass(frozen=True, slots=True)
class LocalChange:
    """A relay changed and no command of ours did it."""

    room: str
    relay_on: bool
    time: datetime | None


@dataclass(frozen=True, slots=True)
class _Wish:
    room: str
    on: bool | None
    until: datetime
    obeyed: asyncio.Future[bool]


class LoxoneMiniserver:
    """The Miniserver's side of the house as PEMS sees it."""

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
        self._rooms = {room: RoomReading() for room in rooms}
        self._weather: dict[str, float | None] = dict.fromkeys(
            ("outdoor_c", "ghi_w_m2", "wind_m_s")
        )
        self._clock: datetime | None = None
        self._heard_state = False  # on this connection
        self._waiting: list[tuple[datetime, asyncio.Future[None]]] = []
        self._wishes: dict[str, _Wish] = {}  # by command id, while the echo is awaited
        self._leases: dict[str, _Wish] = {}  # by room, the last command that was obeyed
        self._sent = {room: deque[str](maxlen=8) for room in self._rooms}
        self._changes: list[LocalChange] = []
        self._faults: Counter[str] = Counter()
        self._link = MqttLink(
            "loxone",
            host,
            port,
            (f"{self._root}/state", f"{self._root}/room/+/relay/state", f"{self._root}/clock"),
            self._on_message,
            greeting=f"{self._root}/request",
            on_up=self._on_up,
            username=username,
            password=password,
        )

    async def connect(self) -> None:
        """Connect; DeviceUnavailable after 2 s without a broker (attempts go on)."""
        await self._link.connect()

    async def close(self) -> None:
        """Disconnect."""
        await self._link.close()

    async def read(self) -> LoxoneReading:
        """The last reported states; DeviceUnavailable while the broker is away."""
        if not self._link.connected:
            raise self._link.unavailable()
        return LoxoneReading(time=self._clock, rooms=dict(self._rooms), **self._weather)

    async def wait_for_clock(self, at: datetime, timeout_s: float) -> None:
        """Return when the Miniserver's clock has reached ``at``: every state up to it is in.

        One connection keeps the order of messages, and the clock comes last in every update.
        Raises DeviceUnavailable after ``timeout_s``.
        """
        if self._clock is not None and self._clock >= at:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (at, future)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            seen = "never" if self._clock is None else write_time(self._clock)
            raise self._link.unavailable(
                f"no clock {write_time(at)} within {timeout_s:g} s, last {seen}"
            ) from None
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    def relay(self, room: str) -> Relay:
        """The actuator of one room; KeyError for an unknown room."""
        if room not in self._rooms:
            raise KeyError(f"loxone: no room {room!r}")
        return Relay(self, room)

    def take_local_changes(self) -> list[LocalChange]:
        """Changes that no command of ours made since the last call, for ``override.detected``."""
        changes, self._changes = self._changes, []
        return changes

    def faults(self) -> dict[str, int]:
        """Refused payloads so far, by what was wrong."""
        return dict(self._faults)

    async def command(self, room: str, on: bool | None, until: datetime, command_id: str) -> bool:
        """Switch a relay until the lease ends; True when the Miniserver echoes that it did."""
        body = json.dumps({"on": on, "until": write_time(until), "id": command_id})
        wish = _Wish(room, on, until, asyncio.get_running_loop().create_future())
        self._wishes[command_id] = wish
        self._sent[room].append(command_id)
        try:
            await self._link.publish(f"{self._root}/room/{room}/relay/command", body.encode())
            async with asyncio.timeout(ECHO_TIMEOUT_S):
                obeyed = await wish.obeyed
        except TimeoutError:
            raise self._link.unavailable(
                f"room {room}: no echo of command {command_id} within {ECHO_TIMEOUT_S:g} s; "
                "does the Miniserver listen on the command topic?"
            ) from None
        finally:
            self._wishes.pop(command_id, None)
        return obeyed

    def room_reading(self, room: str) -> RoomReading:
        """Last report of one room; DeviceUnavailable while the broker is away."""
        if not self._link.connected:
            raise self._link.unavailable()
        return self._rooms[room]

    def _on_message(self, topic: str, payload: bytes) -> None:
        kind = topic.removeprefix(self._root)
        try:
            if kind == "/clock":
                self._on_clock(parse_time(payload.decode(), "clock"))
                return
            document = json.loads(payload.decode())
            if not isinstance(document, dict):
                raise ValueError(f"{topic}: not a JSON object")
            if kind == "/state":
                self._on_state(document)
            else:
                self._on_echo(kind.split("/")[2], document)
        except (ValueError, RecursionError) as error:
            self._faults[str(error).split(":")[0]] += 1

    def _on_up(self) -> None:
        self._heard_state = False

    def _on_clock(self, at: datetime) -> None:
        if not self._heard_state:
            return  # this update began before we subscribed: its states are not in
        self._clock = at
        for wanted, future in self._waiting:
            if at >= wanted and not future.done():
                future.set_result(None)

    def _on_state(self, document: dict[str, object]) -> None:
        at = parse_time(document.get("time"), "state.time")
        self._heard_state = True
        bounds = {"outdoor_c": OUTDOOR_C, "ghi_w_m2": GHI_W_M2, "wind_m_s": WIND_M_S}
        for field, (low, high) in bounds.items():
            if field in document:
                self._weather[field] = self._number(document[field], low, high, field)
        rooms = document.get("rooms", {})
        if not isinstance(rooms, dict):
            raise ValueError("state.rooms: not a JSON object")
        for room, report in rooms.items():
            if room not in self._rooms or not isinstance(report, dict):
                self._faults[f"state.rooms.{room}"] += 1
                continue
            reading = replace(self._rooms[room], time=at)
            if "temperature_c" in report:
                celsius = self._number(report["temperature_c"], *ROOM_C, f"{room}.temperature_c")
                reading = replace(reading, temperature_c=celsius)
            self._update(room, reading, report)

    def _on_echo(self, room: str, report: dict[str, object]) -> None:
        if room not in self._rooms:
            raise ValueError(f"echo.{room}: unknown room")
        wish = self._wishes.get(str(report.get("id")))
        if wish is None or wish.room != room or wish.obeyed.done():
            self._update(room, self._rooms[room], report)
            return
        if wish.on is None:
            obeyed = report.get("origin") == "thermostat"
        else:
            obeyed = report.get("on") is wish.on and report.get("origin") in ("command", None)
        if obeyed:
            self._leases[room] = wish
        self._update(room, self._rooms[room], report)
        wish.obeyed.set_result(obeyed)

    def _update(self, room: str, reading: RoomReading, report: dict[str, object]) -> None:
        if "on" in report:
            on, said, command_id = report["on"], report.get("origin"), report.get("id")
            origin = ORIGINS.get(str(said))
            if not (on is None or isinstance(on, bool)) or (origin is None and said is not None):
                self._faults[f"{room}.relay"] += 1
                on, origin = None, None
            elif origin is None and on is not None:
                origin, command_id = self._infer(room, on, reading.time)
            before = self._rooms[room]
            reading = replace(
                reading,
                relay_on=on,
                origin=origin,
                command_id=str(command_id) if origin == "command" else None,
            )
            self._notice(room, before, reading)
        self._rooms[room] = reading

    def _infer(self, room: str, on: bool, at: datetime | None) -> tuple[Origin, str | None]:
        """Who decides the relay, for a Miniserver that does not say."""
        lease = self._leases.get(room)
        if lease is None or lease.on is None or (at is not None and at >= lease.until):
            return "thermostat", None
        return ("command", self._sent[room][-1]) if on is lease.on else ("local", None)

    def _notice(self, room: str, before: RoomReading, now: RoomReading) -> None:
        """Keep a change that a person, or a command that is not ours, has made."""
        who = (now.relay_on, now.origin, now.command_id)
        if now.relay_on is None or who == (before.relay_on, before.origin, before.command_id):
            return
        # What stands at the first report was there before us: nobody is blamed for it.
        foreign = (
            now.origin == "command"
            and before.relay_on is not None
            and now.command_id not in self._sent[room]
        )
        if now.origin == "local" or foreign:
            self._changes.append(LocalChange(room, now.relay_on, now.time or self._clock))

    def _number(self, value: object, low: float, high: float, field: str) -> float | None:
        try:
            return parse_number(value, low, high, field)
        except ValueError:
            self._faults[field] += 1
            return None


class Relay:
    """A room's heating relay: 1 on, 0 off, None the Miniserver's thermostat."""

    tolerance = 0

    def __init__(self, miniserver: LoxoneMiniserver, room: str) -> None:
        self._miniserver = miniserver
        self._room = room
        self.device = f"relay-{room}"

    async def apply(self, value: int | None, until: datetime, command_id: str) -> bool:
        """See ``Actuator.apply``; anything but 0, 1 and None is refused."""
        if value not in (0, 1, None):
            return False
        on = None if value is None else bool(value)
        return await self._miniserver.command(self._room, on, until, command_id)

    async def read_back(self) -> ReadBack:
        """The reported state of the relay."""
        reading = self._miniserver.room_reading(self._room)
        if reading.relay_on is None:
            return ReadBack(None)
        value = int(reading.relay_on)
        return ReadBack(value, float(value), reading.command_id)
