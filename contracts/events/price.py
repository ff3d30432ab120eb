"""Day-ahead prices as the market published them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from contracts.base import Record
from contracts.units import EurPerMwh, StepSeconds, UtcTime


class PricesPublished(Record):
    """Prices of consecutive intervals from ``start``; a later event replaces what it overlaps."""

    market: str
    published: UtcTime
    start: UtcTime
    step_s: StepSeconds
    eur_per_mwh: Annotated[tuple[EurPerMwh, ...], Field(min_length=1)]
