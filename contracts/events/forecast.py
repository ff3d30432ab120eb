"""What the house expects: PV, load that is not controlled, price."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contracts.base import Record
from contracts.units import StepSeconds, UtcTime

Quantity = Literal["pv", "load", "price"]


class ForecastIssued(Record):
    """Quantiles for consecutive steps from ``start``.

    Units: ``pv`` and ``load`` in W (mean over the step), ``price`` in EUR/MWh.
    """

    quantity: Quantity
    issued: UtcTime
    start: UtcTime
    step_s: StepSeconds
    p10: tuple[float, ...]
    p50: tuple[float, ...]
    p90: tuple[float, ...]
    known_steps: int = 0
    """How many leading steps are published fact, not forecast (price only)."""
    correlation_h: Annotated[float | None, Field(gt=0, le=1_000)] = None
    """Hours after which the correlation of the errors of two steps has fallen to 1/e, if known."""
    method: str
    flags: tuple[str, ...] = ()
    because: tuple[str, ...] = ()
    """Ids of the events it rests on."""
    model_hash: str = ""
    """Content hash of the learnt model, empty for a method that needs none."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not len(self.p10) == len(self.p50) == len(self.p90):
            raise ValueError("p10, p50 and p90 must have the same length")
        for i, (low, middle, high) in enumerate(zip(self.p10, self.p50, self.p90, strict=True)):
            if not low <= middle <= high:
                raise ValueError(f"step {i}: p10 <= p50 <= p90 is broken: {low}, {middle}, {high}")
        return self


class LeadScores(Record):
    """How forecasts of one range of lead times did, in the unit of the quantity."""

    n: Annotated[int, Field(ge=1, description="steps compared")]
    rmse: Annotated[float, Field(ge=0, description="of the median")]
    mae: Annotated[float, Field(ge=0, description="of the median")]
    bias: Annotated[float, Field(description="median less truth, mean")]
    pinball: Annotated[float, Field(ge=0, description="mean over P10, P50, P90")]
    coverage_80: Annotated[
        float | None, Field(ge=0, le=1, description="share of truths from P10 to P90")
    ] = None


class AccuracyScored(Record):
    """What the forecasts issued from ``since`` to ``until`` turned out to be worth.

    Steps that the market had published and PV steps with the sun down do not count. Keys of
    ``by_lead`` are bounds in hours, as in ``0-6h``.
    """

    quantity: Quantity
    time: UtcTime
    since: UtcTime
    until: UtcTime
    issues: Annotated[int, Field(ge=1)]
    by_lead: dict[str, LeadScores]
    model_hash: str = ""
    """The learnt model behind them, empty when none or several were in force."""
