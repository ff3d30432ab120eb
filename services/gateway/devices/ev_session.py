"""What a charger has said so far, read strictly: OCPP's messages in, one reading out. No I/O."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.gateway.devices.base import parse_number, parse_time

PLUGGED = {
    "Available": False,
    "Preparing": True,
    "Charging": True,
    "SuspendedEV": True,
    "SuspendedEVSE": True,
    "Finishing": True,
    "Reserved": False,
    # Unavailable and Faulted say nothing about the plug.
}
POWER_W = (0.0, 200_000.0)
ENERGY_WH = (0.0, 1e12)
CURRENT_A = (0.0, 250.0)
SESSION_WH = (0.0, 200_000.0)


@dataclass(frozen=True, slots=True)
class EvReading:
    """A charger and the car at it; None is not known."""

    time: datetime | None  # of the last meter values
    plugged: bool | None
    power_w: float | None  # W
    offered_a: float | None  # A per phase that the car is allowed
    session_wh: float | None  # Wh delivered in this session
    target_wh: float | None  # Wh wanted in this session
    departure: datetime | None


class Session:
    """The state of one connector, folded from the charger's messages."""

    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()
        self.transaction: int | None = None
        self.offered_a: float | None = None
        self._plugged: bool | None = None
        self._time: datetime | None = None
        self._power_w: float | None = None
        self._register_wh: float | None = None
        self._meter_start_wh: float | None = None
        self._target_wh: float | None = None
        self._departure: datetime | None = None

    def reading(self) -> EvReading:
        """What is known now."""
        session_wh = None
        if self._plugged and self._register_wh is not None and self._meter_start_wh is not None:
            session_wh = max(0.0, self._register_wh - self._meter_start_wh)
        return EvReading(
            time=self._time,
            plugged=self._plugged,
            power_w=self._power_w,
            offered_a=self.offered_a,
            session_wh=session_wh,
            target_wh=self._target_wh,
            departure=self._departure,
        )

    def on_status(self, message: Mapping[str, Any]) -> None:
        """StatusNotification.req; connector 0 is the charger itself."""
        if message.get("connector_id") == 0:
            return
        self._plugged = PLUGGED.get(str(message.get("status")))
        if self._plugged is False:
            self.transaction = self._meter_start_wh = None
            self._target_wh = self._departure = None

    def on_start(self, message: Mapping[str, Any]) -> int:
        """StartTransaction.req; the id to give it: its second, so ids grow across restarts."""
        at = self._read_time(message.get("timestamp"), "start.timestamp")
        register = self._number(message.get("meter_start"), ENERGY_WH, "start.meter_start")
        self._plugged, self._meter_start_wh, self._register_wh = True, register, register
        proposal = 0 if at is None else int(at.timestamp())
        self.transaction = (
            proposal if self.transaction is None else max(proposal, self.transaction + 1)
        )
        return self.transaction

    def on_stop(self, message: Mapping[str, Any]) -> None:
        """StopTransaction.req."""
        register = self._number(message.get("meter_stop"), ENERGY_WH, "stop.meter_stop")
        if register is not None:
            self._register_wh = register
        self.transaction = None

    def on_session(self, data: object) -> bool:
        """The vendor message about the session; False when it cannot be read."""
        try:
            body = json.loads(data) if isinstance(data, str) else None
            if not isinstance(body, dict):
                raise ValueError("session: not a JSON object")
            target = parse_number(body.get("target_wh"), *SESSION_WH, "session.target_wh")
            start = parse_number(body.get("meter_start_wh"), *ENERGY_WH, "session.meter_start_wh")
            leaves = body.get("departure")
            departure = None if leaves is None else parse_time(leaves, "session.departure")
        except ValueError as error:
            self.faults[str(error).split(":")[0]] += 1
            return False
        self._target_wh, self._departure = target, departure
        if start is not None:
            self._meter_start_wh = start
        return True

    def on_meter(self, message: Mapping[str, Any]) -> None:
        """MeterValues.req: power, register and offered current; what is not sent is not known."""
        entries = message.get("meter_value")
        if not isinstance(entries, list) or not entries or not isinstance(entries[-1], Mapping):
            self.faults["meter.meter_value"] += 1
            return
        transaction = message.get("transaction_id")
        if isinstance(transaction, int) and not isinstance(transaction, bool):
            self.transaction = transaction  # one that began before we were here
        entry = entries[-1]
        at = self._read_time(entry.get("timestamp"), "meter.timestamp")
        samples = entry.get("sampled_value")
        if at is None or not isinstance(samples, list):
            self.faults["meter.sampled_value"] += at is not None
            return
        self._time = at
        power = self._quantity(samples, "Power.Active.Import", POWER_W, {"W": 1, "kW": 1e3}, sum)
        self._power_w = power
        register = self._quantity(
            samples, "Energy.Active.Import.Register", ENERGY_WH, {"Wh": 1, "kWh": 1e3}, sum
        )
        if register is not None:
            self._register_wh = register
        self.offered_a = self._quantity(samples, "Current.Offered", CURRENT_A, {"A": 1}, max)

    def _quantity(
        self,
        samples: list[Any],
        measurand: str,
        bounds: tuple[float, float],
        units: Mapping[str, float],
        join: Any,
    ) -> float | None:
        """One quantity: the total if it is sent, else its phases joined; None when not known."""
        phases: list[float] = []
        for sample in samples:
            if not isinstance(sample, Mapping):
                self.faults[f"meter.{measurand}"] += 1
                return None
            if sample.get("measurand", "Energy.Active.Import.Register") != measurand:
                continue
            scale = units.get(sample.get("unit", next(iter(units))))
            try:
                if scale is None:
                    raise ValueError(measurand)
                value = parse_number(float(sample["value"]) * scale, *bounds, measurand)
            except (KeyError, TypeError, ValueError):
                self.faults[f"meter.{measurand}"] += 1
                return None
            if value is None:
                return None
            if sample.get("phase") is None:
                return value
            phases.append(value)
        return float(join(phases)) if phases else None

    def _number(self, value: object, bounds: tuple[float, float], field: str) -> float | None:
        try:
            return parse_number(value, *bounds, field)
        except ValueError:
            self.faults[field] += 1
            return None

    def _read_time(self, value: object, field: str) -> datetime | None:
        try:
            return parse_time(value, field)
        except ValueError:
            self.faults[field] += 1
            return None
