"""An OCPP 1.6J wallbox: connects to the central system, reports its car, obeys charging profiles.

The limit in force is that of the TxProfile if a transaction runs and the profile is within its
duration, else that of the TxDefaultProfile within its duration, else the wallbox's own default:
full current. Everything is judged in simulated time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

from ocpp.routing import on
from ocpp.v16 import ChargePoint, call, call_result
from ocpp.v16.enums import Action
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from twin.devices.base import EvState, Observation, cancelled, known, stop, write_time

TIMEOUT_S = 2.0
F = TypeVar("F", bound=Callable[..., Any])
LOST = (ConnectionClosed, TimeoutError, OSError)


class ChargerTwin:
    """The wallbox of one car of the simulated house.

    Parameters
    ----------
    ev : id of the car in the observation
    url : the central system's address of this charge point, ``ws://host:port/ocpp/{id}``
    current_max_a, voltage_v, phases : of the wallbox
    """

    def __init__(
        self,
        ev: str,
        url: str,
        *,
        current_max_a: float = 16.0,
        voltage_v: float = 230.0,
        phases: int = 3,
        password: str | None = None,
    ) -> None:
        self._ev = ev
        self._url = url
        self._point_id = url.rsplit("/", 1)[-1]
        self._max_a = current_max_a
        self._watts_per_a = voltage_v * phases
        self._password = password
        self.profiles: dict[str, dict[str, Any]] = {}  # by purpose
        self._now = datetime.min.replace(tzinfo=UTC)
        self._state: EvState | None = None
        self._finished_wh = 0.0  # of past sessions, the register's base
        self._session_wh = 0.0
        self._transaction: int | None = None
        self._said: tuple[object, ...] = ()  # what the central system was told last
        self._link: _Link | None = None
        self._reporting = asyncio.Lock()  # a report is a sequence of calls that must not mix
        self._up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Connect to the central system; TimeoutError after 2 s (attempts go on)."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"charger {self._ev}")
        async with asyncio.timeout(TIMEOUT_S):
            await self._up.wait()

    async def close(self) -> None:
        """Disconnect."""
        if self._task is not None:
            await stop(self._task)
            self._task = None

    async def publish(self, observation: Observation) -> bool:
        """Report the car; returns when the central system has answered, False when it is away."""
        state = observation.evs[self._ev]
        self._now = observation.time
        was_plugged = self._state is not None and self._state.plugged
        if not state.plugged or not was_plugged or state.session_energy_wh < self._session_wh:
            self._finished_wh += self._session_wh
            self._session_wh = 0.0
        ended = was_plugged and not state.plugged
        self._state = state
        if state.plugged:
            self._session_wh = state.session_energy_wh
        if ended:
            self.profiles.pop("TxProfile", None)
        link = self._link
        if link is None:
            return False
        try:
            async with self._reporting:
                await self._report(link, state)
        except LOST:
            return False
        return True

    def current_a(self, at: datetime) -> float | None:
        """Current that the profiles allow from ``at`` on, A per phase; None: no profile."""
        purposes = ["TxDefaultProfile"]
        if self._transaction is not None:
            purposes.insert(0, "TxProfile")
        for purpose in purposes:
            profile = self.profiles.get(purpose)
            if profile is not None:
                limit = self._limit_a(profile["charging_schedule"], at)
                if limit is not None:
                    return min(limit, self._max_a)
        return None

    def _limit_a(self, schedule: dict[str, Any], at: datetime) -> float | None:
        elapsed = (at - datetime.fromisoformat(schedule["start_schedule"])).total_seconds()
        duration = schedule.get("duration")
        if elapsed < 0 or (duration is not None and elapsed >= duration):
            return None
        limit = None
        for period in schedule["charging_schedule_period"]:
            if elapsed >= period["start_period"]:
                limit = float(period["limit"])
        if limit is not None and schedule["charging_rate_unit"] == "W":
            limit /= self._watts_per_a
        return limit

    async def _report(self, link: _Link, state: EvState) -> None:
        register = round(self._finished_wh + self._session_wh)
        at = write_time(self._now)
        if self._transaction is not None and not state.plugged:
            await link.call(
                call.StopTransaction(
                    meter_stop=register, timestamp=at, transaction_id=self._transaction
                )
            )
            self._transaction = None
        status = self._status(state)
        if ("status", status) not in self._said:
            await link.call(
                call.StatusNotification(
                    connector_id=1, error_code="NoError", status=status, timestamp=at
                )
            )
        if state.plugged and self._transaction is None:
            start = round(self._finished_wh)
            answer = await link.call(
                call.StartTransaction(connector_id=1, id_tag="car", meter_start=start, timestamp=at)
            )
            self._transaction = answer.transaction_id
        departure = None if state.departure is None else write_time(state.departure)
        session = {
            "target_wh": known(state.target_energy_wh),
            "departure": departure,
            "meter_start_wh": round(self._finished_wh),
        }
        wishes = tuple(session.items())
        if state.plugged and wishes not in self._said:
            await link.call(
                call.DataTransfer(vendor_id="pems", message_id="session", data=json.dumps(session))
            )
        self._said = (("status", status), wishes if state.plugged else ())
        await link.call(self._meter_values(state, register, at), skip_schema_validation=True)

    def _meter_values(self, state: EvState, register: int, at: str) -> call.MeterValues:
        offered = getattr(state, "offered_a", None)
        if offered is None:
            limit = self.current_a(self._now)
            offered = (self._max_a if limit is None else limit) if state.plugged else 0.0
        samples = [
            {"value": str(register), "measurand": "Energy.Active.Import.Register", "unit": "Wh"},
            {"value": f"{state.power_w:.1f}", "measurand": "Power.Active.Import", "unit": "W"},
            {"value": f"{offered:.1f}", "measurand": "Current.Offered", "unit": "A"},
        ]
        return call.MeterValues(
            connector_id=1,
            transaction_id=self._transaction,
            meter_value=[{"timestamp": at, "sampled_value": samples}],
        )

    def _status(self, state: EvState) -> str:
        if not state.plugged:
            return "Available"
        if state.power_w > 0:
            return "Charging"
        limit = self.current_a(self._now)
        return "SuspendedEVSE" if limit is not None and limit < 6 else "SuspendedEV"

    async def _run(self) -> None:
        url = self._url
        if self._password is not None:
            scheme, rest = url.split("://", 1)
            url = f"{scheme}://{self._point_id}:{self._password}@{rest}"
        while not cancelled():
            with suppress(*LOST, InvalidHandshake):
                async with connect(
                    url,
                    subprotocols=["ocpp1.6"],
                    compression=None,
                    open_timeout=TIMEOUT_S,
                ) as socket:
                    await self._talk(socket)
            self._link = None
            self._up.clear()
            await asyncio.sleep(0.2)

    async def _talk(self, socket: ClientConnection) -> None:
        link = _Link(self, self._point_id, socket)
        listening = asyncio.create_task(link.start())
        try:
            await link.call(
                call.BootNotification(charge_point_model="twin", charge_point_vendor="pems")
            )
            self._said = ()
            self._link = link
            self._up.set()
            await listening
        finally:
            await stop(listening)

    async def triggered(self) -> None:
        """The central system asks: send everything."""
        link, state = self._link, self._state
        if link is not None and state is not None:
            with suppress(*LOST):
                async with self._reporting:
                    self._said = ()
                    await self._report(link, state)


def _hears(action: Action) -> Callable[[F], F]:
    """``ocpp.routing.on`` with the type of what it decorates."""
    decorator: Callable[[F], F] = on(action)
    return decorator


class _Link(ChargePoint):  # type: ignore[misc]
    """OCPP's messages on one websocket."""

    def __init__(self, twin: ChargerTwin, point: str, socket: ClientConnection) -> None:
        super().__init__(point, socket, response_timeout=TIMEOUT_S)
        self._twin = twin

    @_hears(Action.set_charging_profile)
    def on_set(self, connector_id: int, cs_charging_profiles: dict[str, Any], **_: Any) -> Any:
        twin, profile = self._twin, cs_charging_profiles
        purpose = profile["charging_profile_purpose"]
        schedule = profile["charging_schedule"]
        known_kind = profile["charging_profile_kind"] == "Absolute" and "start_schedule" in schedule
        running = twin._transaction
        mine = purpose == "TxDefaultProfile" or (
            purpose == "TxProfile" and running == profile.get("transaction_id") is not None
        )
        if connector_id != 1 or not known_kind or not mine:
            return call_result.SetChargingProfile(status="Rejected")
        twin.profiles[purpose] = profile
        return call_result.SetChargingProfile(status="Accepted")

    @_hears(Action.clear_charging_profile)
    def on_clear(self, **wanted: Any) -> Any:
        profiles = self._twin.profiles
        gone = [
            purpose
            for purpose, profile in profiles.items()
            if wanted.get("id") in (None, profile["charging_profile_id"])
        ]
        for purpose in gone:
            del profiles[purpose]
        return call_result.ClearChargingProfile(status="Accepted" if gone else "Unknown")

    @_hears(Action.get_composite_schedule)
    def on_composite(self, connector_id: int, duration: int, **_: Any) -> Any:
        twin = self._twin
        limit = twin.current_a(twin._now)
        schedule = {
            "duration": duration,
            "start_schedule": write_time(twin._now),
            "charging_rate_unit": "A",
            "charging_schedule_period": [
                {"start_period": 0, "limit": round(twin._max_a if limit is None else limit, 1)}
            ],
        }
        return call_result.GetCompositeSchedule(
            status="Accepted",
            connector_id=connector_id,
            schedule_start=write_time(twin._now),
            charging_schedule=schedule,
        )

    @_hears(Action.trigger_message)
    def on_trigger(self, requested_message: str, **_: Any) -> Any:
        wanted = requested_message in ("StatusNotification", "MeterValues")
        if wanted:
            self._task = asyncio.create_task(self._twin.triggered())
        return call_result.TriggerMessage(status="Accepted" if wanted else "NotImplemented")
