"""Time is an event: services act on ticks, never on a wall clock."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from contracts.base import Record
from contracts.units import Seconds, UtcTime


class Ticked(Record):
    """The clock reached ``time``. One producer a site: the gateway when live, else the twin."""

    time: UtcTime
    interval_s: Annotated[Seconds, Field(gt=0, description="s since the tick before")]
    number: Annotated[int, Field(ge=0, description="ticks since the clock was first started")]
