"""Loxone Miniserver over MQTT: room temperatures, relays of heating and of loads, the weather station.

The Miniserver (Gen 2 with its MQTT plug-in, or any through LoxBerry's MQTT gateway) and PEMS meet
at the broker. All payloads are UTF-8 JSON except the clock, QoS 0, nothing is retained.

=========================================  =====  ==========================================
topic                                      sends  payload
=========================================  =====  ==========================================
``loxone/{site}/state``                    Mini   all states, or any part of them, see below
``loxone/{site}/clock``                    Mini   device time, plain text, LAST in every update
``loxone/{site}/room/{id}/relay/state``    Mini   echo of a command, see below
``loxone/{site}/room/{id}/relay/command``  PEMS   ``{"on": true, "until": "...Z", "id": "..."}``
``loxone/{site}/load/{id}/state``          Mini   the same of a load that may wait
``loxone/{site}/load/{id}/command``        PEMS   the same to it
``loxone/{site}/request``                  PEMS   empty: please send state and clock now
=========================================  =====  ==========================================

State, one document a minute and on change (missing keys keep their last value, null = unknown)::

    {"time": "2026-01-15T06:00:00Z", "outdoor_c": -3.2, "ghi_w_m2": 0, "wind_m_s": 2.1,
     "rooms": {"living": {"temperature_c": 20.9, "on": true, "origin": "command", "id": "c-17"}},
     "loads": {"boiler": {"on": false, "origin": "timer", "power_w": 0}}}

Echo: ``{"on": true, "origin": "command", "id": "c-17"}``. ``origin`` says who decides the relay:
``command`` (the lease of command ``id``), ``thermostat`` or for a load ``timer`` (the Miniserver's own
rule) or ``local`` (a person at the switch). ``until`` is the lease: after it the Miniserver's own logic
returns to its own rule, whatever has become of PEMS. ``"on": null`` gives the relay back at once.
``power_w`` of a load may be missing: not everything is metered.

Time-outs: connecting 2 s, a command's echo 2 s, ``wait_for_clock`` as asked.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, TypeVar, get_args

from services.gateway.devices.base import ReadBack, parse_number, parse_time, write_time
from services.gateway.devices.mqtt import MqttLink

ECHO_TIMEOUT_S = 2.0
Origin = Literal["command", "thermostat", "timer", "local"]
ORIGINS: dict[str, Origin] = {name: name for name in get_args(Origin)}
OWN_RULES = ("thermostat", "timer")
# 85 °C is what a 1-wire sensor says before its first conversion; a room never is that warm.
ROOM_C = (-40.0, 80.0)
OUTDOOR_C = (-60.0, 60.0)
GHI_W_M2 = (0.0, 2_000.0)
WIND_M_S = (0.0, 120.0)
LOAD_W = (0.0, 50_000.0)


@dataclass(frozen=True)
class SwitchReading:
    """Last report of one relay; None is not known."""

    time: datetime | None = None  # device time of the report
    relay_on: bool | None = None
    origin: Origin | None = None  # who decides the relay
    command_id: str | None = None  # when origin is command


@dataclass(frozen=True)
class RoomReading(SwitchReading):
    """Last report of one room."""

    temperature_c: float | None = None


@dataclass(frozen=True)
class LoadReading(SwitchReading):
    """Last report of one load that may wait."""

    power_w: float | None = None


Reading = TypeVar("Reading", bound=SwitchReading)


@dataclass(frozen=True, slots=True)
class LoxoneReading:
    """Last report of the Miniserver; ``time`` is its clock, from which the age follows."""

    time: datetime | None
    rooms: dict[str, RoomReading]
    loads: dict[str, LoadReading]
    outdoor_c: float | None  # °C
    ghi_w_m2: float | None  # W/m2, global horizontal
    wind_m_s: float | None  # m/s


@dataclass(frozen=True, slots=True)
class LocalChange:
    """A relay changed and no command of ours did it."""

    device: str
    relay_on: bool
    time: datetime | None


@dataclass(frozen=True, slots=True)
class _Wish:
    device: str
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
        loads: Iterable[str] = (),
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self._root = f"loxone/{site}"
        self._rooms = {room: f"relay-{room}" for room in rooms}
        self._loads = {load: f"load-{load}" for load in loads}
        self._seen: dict[str, SwitchReading] = {device: RoomReading() for device in self._rooms.values()}
        self._seen |= {device: LoadReading() for device in self._loads.values()}
        self._command_topic = {
            **{device: f"{self._root}/room/{room}/relay/command" for room, device in self._rooms.items()},
            **{device: f"{self._root}/load/{load}/command" for load, device in self._loads.items()},
        }
        self._weather: dict[str, float | None] = dict.fromkeys(
            ("outdoor_c", "ghi_w_m2", "wind_m_s")
        )
        self._clock: datetime | None = None
        self._heard_state = False  # on this connection
        self._waiting: list[tuple[datetime, asyncio.Future[None]]] = []
        self._wishes: dict[str, _Wish] = {}  # by command id, while the echo is awaited
        self._leases: dict[str, _Wish] = {}  # by device, the last command that was obeyed
        self._sent = {device: deque[str](maxlen=8) for device in self._seen}
        self._changes: list[LocalChange] = []
        self._faults: Counter[str] = Counter()
        self._link = MqttLink(
            "loxone",
            host,
            port,
            (
                f"{self._root}/state", f"{self._root}/room/+/relay/state",
                f"{self._root}/load/+/state", f"{self._root}/clock",
            ),
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
        return LoxoneReading(
            time=self._clock,
            rooms=self._of(self._rooms, RoomReading),
            loads=self._of(self._loads, LoadReading),
            **self._weather,
        )

    def _of(self, names: dict[str, str], kind: type[Reading]) -> dict[str, Reading]:
        found = {name: self._seen[device] for name, device in names.items()}
        return {name: reading for name, reading in found.items() if isinstance(reading, kind)}

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

    def relay(self, room: str) -> Switch:
        """The actuator of one room; KeyError for an unknown room."""
        if room not in self._rooms:
            raise KeyError(f"loxone: no room {room!r}")
        return Switch(self, self._rooms[room])

    def load(self, load: str) -> Switch:
        """The actuator of one load that may wait; KeyError for an unknown one."""
        if load not in self._loads:
            raise KeyError(f"loxone: no load {load!r}")
        return Switch(self, self._loads[load])

    def take_local_changes(self) -> list[LocalChange]:
        """Changes that no command of ours made since the last call, for ``override.detected``."""
        changes, self._changes = self._changes, []
        return changes

    def faults(self) -> dict[str, int]:
        """Refused payloads so far, by what was wrong."""
        return dict(self._faults)

    async def command(self, device: str, on: bool | None, until: datetime, command_id: str) -> bool:
        """Switch a relay until the lease ends; True when the Miniserver echoes that it did."""
        body = json.dumps({"on": on, "until": write_time(until), "id": command_id})
        wish = _Wish(device, on, until, asyncio.get_running_loop().create_future())
        self._wishes[command_id] = wish
        self._sent[device].append(command_id)
        try:
            await self._link.publish(self._command_topic[device], body.encode())
            async with asyncio.timeout(ECHO_TIMEOUT_S):
                obeyed = await wish.obeyed
        except TimeoutError:
            raise self._link.unavailable(
                f"{device}: no echo of command {command_id} within {ECHO_TIMEOUT_S:g} s; "
                "does the Miniserver listen on the command topic?"
            ) from None
        finally:
            self._wishes.pop(command_id, None)
        return obeyed

    def switch_reading(self, device: str) -> SwitchReading:
        """Last report of one relay; DeviceUnavailable while the broker is away."""
        if not self._link.connected:
            raise self._link.unavailable()
        return self._seen[device]

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
                _, place, name, *_ = kind.split("/")
                known = self._rooms if place == "room" else self._loads
                if name not in known:
                    raise ValueError(f"echo.{name}: unknown {place}")
                self._on_echo(known[name], document)
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
        self._on_states("rooms", self._rooms, document, at, "temperature_c", ROOM_C)
        self._on_states("loads", self._loads, document, at, "power_w", LOAD_W)

    def _on_states(
        self,
        place: str,
        known: dict[str, str],
        document: dict[str, object],
        at: datetime,
        field: str,
        bounds: tuple[float, float],
    ) -> None:
        """Take the relays of rooms or loads, and the one number that each of them reports."""
        reports = document.get(place, {})
        if not isinstance(reports, dict):
            raise ValueError(f"state.{place}: not a JSON object")
        for name, report in reports.items():
            if name not in known or not isinstance(report, dict):
                self._faults[f"state.{place}.{name}"] += 1
                continue
            changes: dict[str, object] = {"time": at}
            if field in report:
                changes[field] = self._number(report[field], *bounds, f"{name}.{field}")
            reading = replace(self._seen[known[name]], **changes)  # type: ignore[arg-type]
            self._update(known[name], reading, report)

    def _on_echo(self, device: str, report: dict[str, object]) -> None:
        wish = self._wishes.get(str(report.get("id")))
        if wish is None or wish.device != device or wish.obeyed.done():
            self._update(device, self._seen[device], report)
            return
        if wish.on is None:
            obeyed = report.get("origin") in OWN_RULES
        else:
            obeyed = report.get("on") is wish.on and report.get("origin") in ("command", None)
        if obeyed:
            self._leases[device] = wish
        self._update(device, self._seen[device], report)
        wish.obeyed.set_result(obeyed)

    def _update(self, device: str, reading: SwitchReading, report: dict[str, object]) -> None:
        if "on" in report:
            on, said, command_id = report["on"], report.get("origin"), report.get("id")
            origin = ORIGINS.get(str(said))
            if not (on is None or isinstance(on, bool)) or (origin is None and said is not None):
                self._faults[f"{device}.on"] += 1
                on, origin = None, None
            elif origin is None and on is not None:
                origin, command_id = self._infer(device, on, reading.time)
            before = self._seen[device]
            reading = replace(
                reading,
                relay_on=on,
                origin=origin,
                command_id=str(command_id) if origin == "command" else None,
            )
            self._notice(device, before, reading)
        self._seen[device] = reading

    def _infer(self, device: str, on: bool, at: datetime | None) -> tuple[Origin, str | None]:
        """Who decides the relay, for a Miniserver that does not say."""
        lease = self._leases.get(device)
        if lease is None or lease.on is None or (at is not None and at >= lease.until):
            return ("timer" if device in self._loads.values() else "thermostat"), None
        return ("command", self._sent[device][-1]) if on is lease.on else ("local", None)

    def _notice(self, device: str, before: SwitchReading, now: SwitchReading) -> None:
        """Keep a change that a person, or a command that is not ours, has made."""
        who = (now.relay_on, now.origin, now.command_id)
        if now.relay_on is None or who == (before.relay_on, before.origin, before.command_id):
            return
        # What stands at the first report was there before us: nobody is blamed for it.
        foreign = (
            now.origin == "command"
            and before.relay_on is not None
            and now.command_id not in self._sent[device]
        )
        if now.origin == "local" or foreign:
            self._changes.append(LocalChange(device, now.relay_on, now.time or self._clock))

    def _number(self, value: object, low: float, high: float, field: str) -> float | None:
        try:
            return parse_number(value, low, high, field)
        except ValueError:
            self._faults[field] += 1
            return None


class Switch:
    """A relay of the Miniserver: 1 on, 0 off, None its own rule (thermostat or timer)."""

    tolerance = 0

    def __init__(self, miniserver: LoxoneMiniserver, device: str) -> None:
        self._miniserver = miniserver
        self.device = device

    async def apply(self, value: int | None, until: datetime, command_id: str) -> bool:
        """See ``Actuator.apply``; anything but 0, 1 and None is refused."""
        if value not in (0, 1, None):
            return False
        on = None if value is None else bool(value)
        return await self._miniserver.command(self.device, on, until, command_id)

    async def read_back(self) -> ReadBack:
        """The reported state of the relay."""
        reading = self._miniserver.switch_reading(self.device)
        if reading.relay_on is None:
            return ReadBack(None)
        value = int(reading.relay_on)
        return ReadBack(value, float(value), reading.command_id)
