"""Tariffs: from the day-ahead price to what a kWh costs and earns."""

from __future__ import annotations

from datetime import datetime, time
from typing import Annotated, Self

from pydantic import Field, model_validator

from contracts.base import Record
from contracts.local_time import DAYS, Days, LocalTime
from contracts.units import EurPerKwh, Fraction


class LowTariffHours(Record):
    """A span of local wall-clock time with the cheap distribution rate (Czech HDO)."""

    start: LocalTime
    end: Annotated[LocalTime, Field(description="exclusive; 00:00 means midnight at the end")]
    days: Days = DAYS

    @model_validator(mode="after")
    def _spans(self) -> Self:
        if self.start == self.end != time(0, 0):
            raise ValueError("end equals start; write 00:00 to 00:00 for the whole day")
        return self


class Tariff(Record):
    """From the day-ahead price to what a kWh costs and earns. All fees without VAT."""

    market: str = "CZ"
    supplier_fee_eur_per_kwh: EurPerKwh = 0.0
    distribution_high_eur_per_kwh: EurPerKwh = 0.0
    distribution_low_eur_per_kwh: EurPerKwh = 0.0
    low_hours: tuple[LowTariffHours, ...] = ()
    system_fees_eur_per_kwh: EurPerKwh = 0.0
    vat: Annotated[Fraction, Field(description="0.21 in the Czech Republic")] = 0.21
    sell_fee_eur_per_kwh: EurPerKwh = 0.0
    monthly_fee_eur: Annotated[float, Field(ge=0, le=1_000)] = 0.0
    peak_eur_per_kw: Annotated[
        float, Field(ge=0, le=100, description="per kW of the month's highest quarter-hour import")
    ] = 0.0
    """Capacity charge, without VAT; 0 where the tariff has none."""

    def buy_eur_per_kwh(self, spot_eur_per_mwh: float, local: datetime) -> float:
        """Price of one imported kWh.

        Parameters
        ----------
        spot_eur_per_mwh : day-ahead price of the interval, EUR/MWh
        local : aware local time inside the interval
        """
        low = any(_inside(span, local) for span in self.low_hours)
        distribution = (
            self.distribution_low_eur_per_kwh if low else self.distribution_high_eur_per_kwh
        )
        net = (
            spot_eur_per_mwh / 1_000
            + self.supplier_fee_eur_per_kwh
            + distribution
            + self.system_fees_eur_per_kwh
        )
        return net * (1 + self.vat)

    def sell_eur_per_kwh(self, spot_eur_per_mwh: float) -> float:
        """What one exported kWh earns: the day-ahead price less the fee; households add no VAT."""
        return spot_eur_per_mwh / 1_000 - self.sell_fee_eur_per_kwh


def _inside(span: LowTariffHours, local: datetime) -> bool:
    now, start, end = local.time(), span.start, span.end
    today = DAYS[local.weekday()] in span.days
    yesterday = DAYS[local.weekday() - 1] in span.days
    if end == time(0, 0):
        return today and now >= start
    if start < end:
        return today and start <= now < end
    return (today and now >= start) or (yesterday and now < end)
