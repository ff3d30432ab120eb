"""From events to the `Dataset` that predictors learn from and forecast with: one code for both.

The service keeps a `Record` in its state, bounded; the trainer folds a whole log into one without
bounds. Values are means by quarter hour; a quarter without a usable sample stays empty.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from pydantic import BaseModel, ConfigDict

from contracts import grid
from contracts.base import Record as Payload
from contracts.events.command import Executed
from contracts.events.measurement import EvSampled, HouseSampled, LoadSampled, RoomSampled
from contracts.events.price import PricesPublished
from contracts.events.weather import WeatherForecastIssued
from contracts.site import SiteConfig
from contracts.uncontrolled import uncontrolled_load_w, waiting_load_w
from services.forecast.core.bands import FloatArray
from services.forecast.core.calendar import DAY_S
from services.forecast.core.place import Place
from services.forecast.core.pv_physics import PvArray
from services.forecast.core.series import Dataset, Series, WeatherRuns, weather_runs

STEP_S = grid.QUARTER_S
KEEP_S = {"pv": 60 * DAY_S, "load": 70 * DAY_S, "price": 400 * DAY_S}
"""What the predictors look back at most (`history_days`; prices: the shape of a year ago), rounded up."""
KEEP_RUNS = 13
"""Weather runs kept: the newest speaks, the one before says how much it changed its mind, and hourly ones
of half a day hold the weather of the hours just past, which the predictors' features look back on."""
EXPORT_MARGIN_W = 150.0
"""Export this near its limit, or above, may have cost PV power: the limit holds to the meter's accuracy."""
HEARD = {
    "temp_air": "temperature_c", "ghi": "ghi_w_m2", "dni": "dni_w_m2", "dhi": "dhi_w_m2",
    "wind_speed": "wind_m_s", "cloud_cover": "cloud_cover_percent",
}  # fmt: skip
"""What a weather forecast on the log may tell, by pvlib's names."""
DIGITS = {"pv": 1, "load": 1, "price": 3}


class Track(BaseModel):
    """A series by quarter hour: value i belongs to the step that begins at ``start_s + i * 900``."""

    model_config = ConfigDict(extra="forbid")

    start_s: int = 0
    values: list[float | None] = []
    own_s: int | None = None
    """Where the house's own log begins; before it stands what a model brought along."""

    def put(self, slot_s: int, value: float, keep_s: int | None = None) -> None:
        """Set the value of a step; steps in between stay empty, what is older than ``keep_s`` goes."""
        if not self.values:
            self.start_s = slot_s
        index = (slot_s - self.start_s) // STEP_S
        if index < 0:
            return  # older than everything that is kept
        self.own_s = slot_s if self.own_s is None else min(self.own_s, slot_s)
        self.values.extend([None] * (index + 1 - len(self.values)))
        self.values[index] = value
        if keep_s is not None and len(self.values) > keep_s // STEP_S:
            drop = len(self.values) - keep_s // STEP_S
            del self.values[:drop]
            self.start_s += drop * STEP_S

    def fill(self, past: Series) -> None:
        """Take in quarter hours of the time before the house's own log; what is known already stays.

        What the log has left empty since it began stays empty: it had its reasons.
        """
        past = past if self.own_s is None else past.between(past.start_s, self.own_s)
        known = past.times_s[~np.isnan(past.values)]
        if not known.size:
            return
        own, first, end = self.series(), int(known[0]), int(known[-1]) + STEP_S
        if self.values:
            first, end = min(first, own.start_s), max(end, own.end_s)
        steps = np.arange(first, end, STEP_S, dtype=np.int64)
        values = own.at(steps)
        values = np.where(np.isnan(values), past.at(steps), values)
        self.start_s = first
        self.values = [None if np.isnan(v) else v for v in values.tolist()]

    def series(self) -> Series:
        """The same as arrays, NaN where empty."""
        values = np.array([np.nan if v is None else v for v in self.values], dtype=np.float64)
        return Series(self.start_s, STEP_S, values)

    def known_days(self) -> float:
        """How many days' worth of steps are known."""
        return sum(v is not None for v in self.values) * STEP_S / DAY_S


class Open(BaseModel):
    """The quarter hour that is not over yet."""

    slot_s: int = 0
    total: float = 0.0
    count: int = 0


class Record(BaseModel):
    """Load, price and PV by quarter hour, weather runs with their issue times."""

    model_config = ConfigDict(extra="forbid")

    tracks: dict[str, Track] = {"pv": Track(), "load": Track(), "price": Track()}
    open: dict[str, Open] = {"pv": Open(), "load": Open()}
    runs: list[WeatherForecastIssued] = []
    relay_on: dict[str, bool | None] = {}
    ev_w: dict[str, float | None] = {}
    waiting_w: dict[str, float | None] = {}
    export_limit: Executed | None = None
    """Newest export limit that the inverter took from us."""

    def take(self, data: Payload, site: SiteConfig | None, bounded: bool = True) -> None:
        """Fold one payload of the log; others than those it knows are ignored."""
        if isinstance(data, RoomSampled):
            self.relay_on[data.room] = data.relay_on
        elif isinstance(data, EvSampled):
            self.ev_w[data.ev] = 0.0 if data.plugged is False else data.power_w
        elif isinstance(data, LoadSampled):
            if site is not None:
                self.waiting_w[data.load] = waiting_load_w(site, data)
        elif isinstance(data, HouseSampled):
            slot = int(grid.floor(data.time, STEP_S).timestamp())
            if site is not None:
                load_w = uncontrolled_load_w(
                    site, data.load_w, self.relay_on, self.ev_w, self.waiting_w
                )
                self._sample("load", slot, load_w, bounded)
            pv_w = None if self._held_back(data, site) else data.pv_w
            self._sample("pv", slot, pv_w, bounded)
        elif isinstance(data, Executed):
            if data.device == "inverter-export":
                self.export_limit = data
        elif isinstance(data, PricesPublished):
            start = int(data.start.timestamp())
            for i, value in enumerate(data.eur_per_mwh):
                for quarter in range(0, data.step_s, STEP_S):
                    slot = (start + i * data.step_s + quarter) // STEP_S * STEP_S
                    self._put("price", slot, value, bounded)
        elif isinstance(data, WeatherForecastIssued):
            self.runs.append(data)
            self.runs.sort(key=lambda run: run.issued)
            if bounded:
                del self.runs[:-KEEP_RUNS]

    def _held_back(self, data: HouseSampled, site: SiteConfig | None) -> bool:
        """Whether the sun may have offered more than the inverter took: such a sample teaches nobody."""
        limit = self.export_limit
        if limit is None or site is None or data.time >= limit.until:
            return False
        if limit.value >= site.grid.export_limit_w - EXPORT_MARGIN_W:
            return False
        return data.grid_w is None or -data.grid_w > limit.value - EXPORT_MARGIN_W

    def _sample(self, kind: str, slot: int, value: float | None, bounded: bool) -> None:
        if value is None:
            return
        now = self.open[kind]
        if slot != now.slot_s:
            if now.count:
                self._put(kind, now.slot_s, now.total / now.count, bounded)
            now.slot_s, now.total, now.count = slot, 0.0, 0
        now.total += value
        now.count += 1

    def _put(self, kind: str, slot: int, value: float, bounded: bool) -> None:
        self.tracks[kind].put(slot, round(value, DIGITS[kind]), KEEP_S[kind] if bounded else None)

    def recall(self, kind: str, past: Series, now_s: int) -> None:
        """Fill the time before the house's own log with what a model brought (`remembered`).

        Nothing that is too old to be kept, and nothing of the future: a model may have been learnt in another
        house, or in a later run of a simulated one.
        """
        kept = past.between(now_s - KEEP_S[kind], now_s)
        self.tracks[kind].fill(replace(kept, values=np.round(kept.values, DIGITS[kind])))

    def dataset(self, kind: str, issue_s: int | None = None) -> Dataset:
        """The series of a kind with the weather. With an issue, every run heard of counts as known by then."""
        return Dataset(self.tracks[kind].series(), runs_as_columns(self.runs, issue_s))


def remembered(kind: str, series: Series) -> Series:
    """The last stretch of a series, as long as a `Record` keeps it, in quarter hours as one holds them.

    A step that is longer is the mean of all its quarters; a quarter of which less than half is known is NaN.
    """
    part_s = math.gcd(STEP_S, series.step_s, series.start_s)
    first = max(series.start_s, series.end_s - KEEP_S[kind]) // STEP_S * STEP_S
    parts = np.arange(first, -(-series.end_s // STEP_S) * STEP_S, part_s, dtype=np.int64)
    values = series.at(parts).reshape(-1, STEP_S // part_s)
    known = (~np.isnan(values)).sum(axis=1)
    means = np.nansum(values, axis=1) / np.maximum(known, 1)
    return Series(first, STEP_S, np.where(2 * known >= values.shape[1], means, np.nan))


def runs_as_columns(
    runs: list[WeatherForecastIssued], issue_s: int | None = None
) -> WeatherRuns | None:
    """Weather runs with pvlib's column names; None without a run.

    `issue_s`: runs stamped later (a clock that is ahead) count as issued then.
    """
    if not runs:
        return None
    valid, issued = [], []
    columns: dict[str, list[FloatArray]] = {name: [] for name in HEARD}
    for run in runs:
        n, at = len(run.temperature_c), int(run.issued.timestamp())
        valid.append(int(run.start.timestamp()) + run.step_s * np.arange(n, dtype=np.int64))
        issued.append(np.full(n, at if issue_s is None else min(at, issue_s), dtype=np.int64))
        for name, source in HEARD.items():
            values = getattr(run, source) or (None,) * n
            columns[name].append(np.array([np.nan if v is None else v for v in values], dtype=float))
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    seen = {name: values for name, values in joined.items() if np.isfinite(values).any()}
    return weather_runs(np.concatenate(valid), seen, np.concatenate(issued))


def place_of(site: SiteConfig) -> Place:
    """What a forecast needs of the site file."""
    at = site.location
    return Place(
        latitude=at.latitude, longitude=at.longitude, altitude_m=at.altitude_m,
        time_zone=at.timezone, country=at.country, capacity_w=site.pv_peak_w or None,
        inverter_limit_w=site.inverter.ac_limit_w,
        arrays=tuple(PvArray(row.tilt_deg, row.azimuth_deg, row.peak_w) for row in site.pv),
    )  # fmt: skip
