"""People's wishes. Any client may request; the dispatcher grants or refuses and ends them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contracts.base import Record
from contracts.units import Name, UtcTime

Quantity = Literal["temperature_c", "relay", "power_w", "current_a", "away"]
EndReason = Literal["time is up", "cancelled", "replaced"]


class Requested(Record):
    """Somebody asks for something until a mandatory end.

    ======================  ================  =====================================
    target                  quantity          value
    ======================  ================  =====================================
    ``room-<id>``, house    ``temperature_c``  lowest temperature wanted, °C
    ``relay-<id>``          ``relay``          1 on, 0 off
    ``load-<id>``           ``relay``          1 on, 0 off
    ``battery``             ``power_w``        + charge, - discharge, W
    ``ev-<id>``             ``current_a``      A per phase, 0 pauses
    ``house``               ``away``           1: comfort bands drop to frost-safe
    ======================  ================  =====================================
    """

    target: Name
    quantity: Quantity
    value: Annotated[float, Field(ge=-100_000, le=100_000)]
    until: UtcTime | None = None
    minutes: Annotated[int | None, Field(gt=0, le=14 * 24 * 60)] = None
    actor: Annotated[str, Field(min_length=1, max_length=80)]
    source: Literal["app", "cli", "mqtt", "nats", "page", "device", "price-signal"] = "app"
    reason: Annotated[str, Field(max_length=200)] = ""

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if (self.until is None) == (self.minutes is None):
            raise ValueError("give exactly one of until (UTC instant) and minutes: an end is a must")
        return self


class Granted(Record):
    """The wish is in force until ``until``."""

    override: str
    target: Name
    quantity: Quantity
    value: float
    since: UtcTime
    until: UtcTime
    actor: str
    source: str


class Refused(Record):
    """The wish cannot be met; the reason says why."""

    override: str
    target: Name
    reason: str


class Ended(Record):
    """The wish is over: its time is up, it was cancelled, or another took its place."""

    override: str
    target: Name
    time: UtcTime
    reason: EndReason


class CancelRequested(Record):
    """Somebody asks to end a granted override now."""

    override: str
    actor: str


class Detected(Record):
    """A person changed a device at the device itself."""

    target: Name
    quantity: Quantity
    value: float
    time: UtcTime
