"""What the optimizer remembers of the house between two plans, and what is news in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel

from contracts import grid
from contracts.events.forecast import ForecastIssued
from contracts.events.measurement import EvSampled, HouseSampled, LoadSampled, RoomSampled
from contracts.events.price import PricesPublished
from contracts.planning import Plan
from contracts.site import SiteConfig
from contracts.uncontrolled import uncontrolled_load_w, waiting_load_w

ERROR_MEMORY_S = 900
"""Over about this long the load's present error is averaged: a kettle is no news."""
LONGEST_GAP_S = 900
PRICE_MEMORY_S = 86_400


class RelaySeen(BaseModel):
    """A relay's state and since which quarter hour it has been in it."""

    on: bool
    since: datetime


class Watch(BaseModel):
    """Between plans: relays, how far the load is off its forecast, prices, peak, waiting loads."""

    relays: dict[str, RelaySeen] = {}
    load_error_w: float = 0.0
    """Measured less forecast uncontrolled load, the last quarter hour or so, W."""
    load_off_wh: float = 0.0
    """The same, summed since the last plan, Wh."""
    house_at: datetime | None = None
    published: dict[int, float] = {}
    """Day-ahead prices, EUR/MWh, by the quarter hour's start in epoch seconds."""
    month: str = ""
    peak_w: float = 0.0
    """Highest quarter-hour mean of this local month's import, W."""
    quarter: int = 0
    quarter_import_wh: float | None = None
    loads: dict[str, LoadSampled] = {}
    """Newest sample of each load that may wait."""
    ran_s: dict[str, int] = {}
    """How long each was on, by window."""


def see_room(watch: Watch, data: RoomSampled) -> None:
    """A relay counts from the start of the quarter hour in which it was first seen like this.

    Plans switch on quarter hours and the dispatcher acts a minute later; counted from the moment
    of the sample, every relay would seem to be held over one more step.
    """
    if data.relay_on is None:
        return
    before = watch.relays.get(data.room)
    if before is None or before.on != data.relay_on:
        since = grid.floor(data.time, grid.QUARTER_S)
        watch.relays[data.room] = RelaySeen(on=data.relay_on, since=since)


def see_house(
    watch: Watch,
    data: HouseSampled,
    site: SiteConfig,
    evs: Mapping[str, EvSampled],
    forecast: ForecastIssued | None,
) -> None:
    """Follow the uncontrolled load against its forecast, and the month's peak import."""
    _follow_peak(watch, data, site)
    before, watch.house_at = watch.house_at, data.time
    if before is None or forecast is None:
        return
    seconds = (data.time - before).total_seconds()
    expected = value_at(forecast, data.time)
    if expected is None or not 0 < seconds <= LONGEST_GAP_S:
        return
    load_w = uncontrolled_load_w(
        site, data.load_w, {room: relay.on for room, relay in watch.relays.items()},
        {name: 0.0 if car.plugged is False else car.power_w for name, car in evs.items()},
        {name: waiting_load_w(site, load) for name, load in watch.loads.items()},
    )  # fmt: skip
    if load_w is None:
        return
    error = load_w - expected
    share = min(1.0, seconds / ERROR_MEMORY_S)
    watch.load_error_w += share * (error - watch.load_error_w)
    watch.load_off_wh += error * seconds / 3_600


def _follow_peak(watch: Watch, data: HouseSampled, site: SiteConfig) -> None:
    month = f"{data.time.astimezone(site.location.zone):%Y-%m}"
    if month != watch.month:
        watch.month, watch.peak_w = month, 0.0
    if data.import_wh is None:
        return
    quarter = int(data.time.timestamp()) // grid.QUARTER_S
    if quarter == watch.quarter:
        return
    last, watch.quarter_import_wh = watch.quarter_import_wh, data.import_wh
    if last is not None and quarter == watch.quarter + 1:
        mean_w = (data.import_wh - last) * 3_600 / grid.QUARTER_S
        watch.peak_w = max(watch.peak_w, mean_w)
    watch.quarter = quarter


def see_prices(watch: Watch, data: PricesPublished, now: datetime | None) -> int:
    """Keep published prices; how many coming quarter hours got a price they did not have before."""
    start, news = int(data.start.timestamp()), 0
    for i, value in enumerate(data.eur_per_mwh):
        for quarter in range(0, data.step_s, grid.QUARTER_S):
            slot = start + i * data.step_s + quarter
            if now is None or slot >= now.timestamp():
                news += int(watch.published.get(slot) != value)
            watch.published[slot] = value
    newest = max(watch.published)
    for old in [slot for slot in watch.published if slot < newest - 3 * PRICE_MEMORY_S]:
        del watch.published[old]
    return news


def step_at(plan: Plan, instant: datetime) -> int | None:
    """Index of the step that holds an instant; None outside the plan."""
    left = (instant - plan.start).total_seconds()
    if left < 0:
        return None
    for step, seconds in enumerate(plan.step_s):
        if left < seconds:
            return step
        left -= seconds
    return None


def value_at(forecast: ForecastIssued, instant: datetime) -> float | None:
    """The median at an instant; None outside the forecast."""
    index = int((instant - forecast.start).total_seconds() // forecast.step_s)
    return forecast.p50[index] if 0 <= index < len(forecast.p50) else None
