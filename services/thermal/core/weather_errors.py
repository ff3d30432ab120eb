"""How wrong the weather forecasts have been here, by lead, how long an error lasts, and what it is now.

Means over blocks of three hours: what passes sooner no room feels. Of the run in force every six hours
its next 48 h wait for what is measured. Errors of temperature count in kelvin, those of irradiance in
shares of the clear sky's. Each lead's variance is drawn to the prior's shape, and that to the level of all
leads: errors of one day come together, so a few weeks say little about a single lead.

An error is a bias of the forecasts at this house (a valley, a sensor on a wall), drawn to zero, and what
varies around it, an AR(1) of the learnt variance from block to block. What the forecasts in force were
wrong by in the blocks just passed is that AR(1) seen through noise, since the next run is another: the
errors to come are the Gaussian given those (`given`), in mean and in covariance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from contracts.events.measurement import OutdoorSampled
from contracts.events.weather import WeatherForecastIssued
from services.thermal.core.intake import series
from services.thermal.core.solar import clear_sky_ghi, sun_path

Array = NDArray[np.float64]

BLOCK_S = 3 * 3_600
BLOCKS = 16
DAY = 8
PAST = DAY
"""Blocks just passed that are looked at."""
APART = 2
"""Blocks from one run that is kept to the next: weather services compute a run every six hours."""
BLOCK_DAYS = BLOCK_S / 86_400
DAYS_EACH = APART * BLOCK_DAYS
HALF_LIFE_DAYS = 20.0
LEVEL_DAYS, LEAD_DAYS = 4.0, 12.0
"""Worth of the prior's level, and of the level found for a single lead."""
DOUBT = 2.0
"""A bias is none unless its square is so many times what it would be by chance."""
PART_S = 1_800
PARTS = BLOCK_S // PART_S
FEWEST_PARTS = 5
"""Half hours of a block in which something was measured, for its mean to count."""
DARK_W_M2 = 30.0
CLIP = 4.0
"""Standard deviations of the prior that an error counts at most: beyond, a sensor is at fault."""

_LEAD_H = (np.arange(BLOCKS) + 0.5) * BLOCK_S / 3_600
PRIOR_SD = {
    "temperature": 1.2 + 0.6 * _LEAD_H / 48.0,
    "sun": 0.13 + 0.05 * _LEAD_H / 48.0,
}
"""Before anything has come due. A convention: root mean square errors of 1.2 to 1.8 K, as are usual at
European stations over the first two days and grow little from one to the other (of this order in
Z. Ben Bouallegue et al., Monthly Weather Review 151(4), 2023), and 0.13 to 0.18 of clear sky, of the order of
the errors day ahead in R. Perez et al., Solar Energy 94, 2013, less what averages out in three hours."""
PRIOR_CORRELATION = {"temperature": 0.75, "sun": 0.5}
"""From one block to the next; a convention, too: errors of temperature last half a day, those of clouds
some hours."""
PRIOR_CARRIED = 0.6
"""From the block just passed to the first that a run tells of; less, since another run may have come."""


@dataclass(frozen=True)
class Coming:
    """The errors to come of a forecast from `start_s` on, normally distributed.

    `bias` (DAY,) is that of the forecasts by the block of the UTC day, `mean` (1 + BLOCKS,) what is expected
    around it in the block before the start and those after it. `factor` (BLOCKS, BLOCKS) is lower
    triangular: factor @ z with independent standard normal z is what errors differ from that by.
    """

    start_s: float
    bias: Array
    mean: Array
    factor: Array

    def at(self, at_s: Array) -> Array:
        """Expected errors at epoch seconds: linear between the middles of the blocks, held at the end."""
        middles = self.start_s + (np.arange(BLOCKS + 1) - 0.5) * BLOCK_S
        return np.asarray(by_day(at_s, self.bias) + np.interp(at_s, middles, self.mean))


def by_day(at_s: Array, values: Array) -> Array:
    """Values (DAY,) by the block of the UTC day, linear between the middles of blocks, at epoch seconds."""
    return np.interp(at_s, (np.arange(DAY) + 0.5) * BLOCK_S, values, period=DAY * BLOCK_S)


def given(past: Array, correlation: float, carried: float) -> tuple[Array, Array]:
    """Mean (1 + BLOCKS,) and factor (BLOCKS, BLOCKS), as in `Coming`, of an AR(1) of unit variance.

    `past` (PAST,) is what was seen in the blocks before the start, newest last, NaN where nothing was:
    of unit variance, too, and correlated by `carried` with the AR(1) of the next block.
    """
    seen = np.isfinite(past)
    at = np.arange(-PAST, BLOCKS)
    whole = correlation ** np.abs(np.subtract.outer(at, at))
    share = min(1.0, carried / correlation) if correlation > 0.0 else 0.0
    with_all = share * whole[:PAST][seen]
    among = share * with_all[:, :PAST][:, seen] + (1.0 - share**2) * np.eye(len(with_all))
    gain = np.linalg.solve(among, with_all).T
    left = (whole - gain @ with_all)[PAST:, PAST:]
    return np.asarray(gain @ past[seen])[PAST - 1 :], np.asarray(np.linalg.cholesky(left))


class Common(BaseModel):
    """Of pairs of errors: sums of their mean squares and of their products, times days."""

    squares: float = 0.0
    products: float = 0.0

    def keep(self, share: float) -> None:
        """Of what is known, forget the rest."""
        self.squares, self.products = round(self.squares * share, 6), round(self.products * share, 6)

    def add(self, one: float, other: float, days: float) -> None:
        """One more pair."""
        self.squares += days * 0.5 * (one**2 + other**2)
        self.products += days * one * other

    def correlation(self, prior: float, worth: float) -> float:
        """Drawn to the prior, which is worth as much as so large a sum of squares."""
        return float(np.clip((worth * prior + self.products) / (worth + self.squares), 0.0, 0.98))


class Run(BaseModel):
    """What a run told of the blocks from the one on in which it was in force, and the last error in standard
    deviations of the prior: before its first block that of the forecasts before it."""

    told: tuple[float, ...]
    before: float | None = None


class Half(BaseModel):
    """Mean of a half hour as measured, what was told of it, and how much more runs since then would have
    (`pass_by`)."""

    measured: float
    told: float | None
    since: float = 0.0


class Errors(BaseModel):
    """One quantity: runs that wait, by block, and sums over the errors that have come due, by lead.

    Errors count from the bias that was known when they came due.
    """

    waiting: dict[int, Run] = {}
    days: tuple[float, ...] = (0.0,) * BLOCKS
    squares: tuple[float, ...] = (0.0,) * BLOCKS
    """Of errors in standard deviations of the prior, times the days each stands for."""
    neighbours: Common = Common()
    """Errors of one run in neighbouring blocks."""
    carried: Common = Common()
    """The error of the forecasts in force in a block, and that of the run kept after it in the next."""
    bias_days: tuple[float, ...] = (0.0,) * DAY
    bias_sums: tuple[float, ...] = (0.0,) * DAY
    """Errors of the forecasts in force by the block of the UTC day, in standard deviations of the prior's
    first lead, times days."""
    recent: dict[int, Half] = {}
    """By half hour, the last PAST blocks."""
    ahead: tuple[float | None, ...] = ()
    """What was told of the open half hour, when it began, and those after it."""
    total: float = 0.0
    count: int = 0
    """Sum and number of samples in the open half hour."""

    def sample(self, value: float) -> None:
        """Count a measurement into the open half hour."""
        self.total, self.count = self.total + value, self.count + 1

    def pass_by(self, part: int, later: int, ahead: tuple[float | None, ...]) -> None:
        """Half hour `part` is over; half hour `later` begins, and of it and those after it `ahead` is told.

        If that is another run, which tells otherwise of the same hours, it is taken to have differed in the
        same way of those just passed: the error now is the one measured and what it has changed by.
        """
        if self.count:
            told = self.ahead[0] if self.ahead else None
            self.recent[part] = Half(measured=round(self.total / self.count, 3), told=told)
        both = zip(self.ahead[later - part :], ahead, strict=False)
        changes = [new - old for old, new in both if old is not None and new is not None]
        if any(changes):
            for at, half in self.recent.items():
                fading = PRIOR_CORRELATION["temperature"] ** ((later - at) / PARTS)
                half.since = round(half.since + fading * fmean(changes), 3)
        self.ahead, self.total, self.count = ahead, 0.0, 0
        self.recent = {at: half for at, half in self.recent.items() if at > part - PAST * PARTS}

    def close(self, block: int, sd: Array, unit: float) -> None:
        """A block is over: hold against its mean what was told of it. An error of `unit` is one
        of which the prior's standard deviation by lead is `sd`; nothing is learnt from a block without."""
        halves = self._halves(block * PARTS)
        bias, seen = self.bias, self.off(block * PARTS, sd, since=False)
        enough = bool(halves) and unit > 0.0
        kept = 0.5 ** (BLOCK_DAYS / HALF_LIFE_DAYS)
        days, squares = kept * np.array(self.days), kept * np.array(self.squares)
        self.neighbours.keep(kept)
        self.carried.keep(kept)
        self.waiting = {first: run for first, run in self.waiting.items() if first > block - BLOCKS}
        for first, run in self.waiting.items():
            if first > block:
                continue
            lead, now = block - first, None
            if enough:
                wrong = run.told[lead] - fmean(half.measured for half in halves)
                off = (wrong / unit - bias[block % DAY] * sd[0]) / sd[lead]
                now = float(np.clip(off, -CLIP, CLIP))
                days[lead] += DAYS_EACH
                squares[lead] += DAYS_EACH * now**2
                if run.before is not None and lead:
                    self.neighbours.add(now, run.before, DAYS_EACH / BLOCKS)
                elif run.before is not None:
                    self.carried.add(now, run.before, DAYS_EACH)
            run.before = None if now is None else round(now, 4)
        self.days, self.squares = _listed(days), _listed(squares)
        told = seen + bias[block % DAY]
        bias_days, bias_sums = kept * np.array(self.bias_days), kept * np.array(self.bias_sums)
        if math.isfinite(seen):
            bias_days[block % DAY] += BLOCK_DAYS
            bias_sums[block % DAY] += BLOCK_DAYS * told
        self.bias_days, self.bias_sums = _listed(bias_days), _listed(bias_sums)

    def wait(
        self, block: int, run: WeatherForecastIssued, values: Sequence[float | None], sd: Array
    ) -> None:
        """Keep what a run says, at the beginning of a block, of this one and the next."""
        if any(value is not None for value in values):
            means = series(run, values, _parts(block, BLOCKS)).reshape(BLOCKS, -1).mean(axis=1)
            off = self.off((block - 1) * PARTS, sd)
            before = round(off, 4) if math.isfinite(off) else None
            self.waiting[block] = Run(told=_listed(means, 2), before=before)

    @property
    def bias(self) -> Array:
        """(DAY,) of the forecasts in standard deviations of the prior's first lead: that of all day and what
        the time of day adds, each drawn to none by what chance would make of errors of this size that last
        as long (positive-part shrinkage, W. James and C. Stein, Berkeley Symposium 1, 1961)."""
        days, sums = np.array(self.bias_days), np.array(self.bias_sums)
        total = days.sum()
        if total == 0.0:
            return np.zeros(DAY)
        of_all = sums.sum() / total
        by_block = np.divide(sums, days, out=np.full(DAY, of_all), where=days > 0.0) - of_all
        by_lead, worth = self._level()
        correlation = self.neighbours.correlation(PRIOR_CORRELATION["temperature"], worth)
        lasting_days = BLOCK_DAYS * (1.0 + correlation) / (1.0 - correlation)
        chance = by_lead[0] ** 2 / total
        steady = of_all * _share(of_all**2, chance * lasting_days)
        daily = by_block * _share(float((by_block**2).mean()), chance)
        return np.asarray(np.clip(steady + daily, -CLIP, CLIP))

    def _level(self) -> tuple[Array, float]:
        """(BLOCKS,) standard deviations over the prior's, and what the prior's correlations are worth."""
        days, squares = np.array(self.days), np.array(self.squares)
        level = (LEVEL_DAYS + squares.mean()) / (LEVEL_DAYS + days.mean())
        return np.sqrt((LEAD_DAYS * level + squares) / (LEAD_DAYS + days)), LEVEL_DAYS * float(level)

    def off(self, first: int, sd: Array, since: bool = True) -> float:
        """By what the forecasts in force were wrong in the block from half hour `first` on, counted from the
        bias in standard deviations of the prior's first lead; NaN if not known, or beyond CLIP. The median
        of its half hours: a spike is no error of the forecast. With what runs `since` then have changed, or
        as told."""
        found = [
            half.told + since * half.since - half.measured
            for half in self._halves(first)
            if half.told is not None
        ]
        if len(found) < FEWEST_PARTS:
            return math.nan
        middles = np.array([(first + at + 0.5) * PART_S for at in range(PARTS)])
        off = median(found) / float(sd[0]) - float(by_day(middles, self.bias).mean())
        return off if abs(off) <= CLIP else math.nan

    def _halves(self, first: int) -> list[Half]:
        """What was measured in a block; nothing if too little, or if the sensor did not move."""
        found = [self.recent[at] for at in range(first, first + PARTS) if at in self.recent]
        moved = len({half.measured for half in found}) > 1
        return found if moved and len(found) >= FEWEST_PARTS else []

    def coming(self, start_s: float, sd: Array, correlation: float) -> Coming:
        """Errors to come from `start_s` on, in the units of `sd`, given those of the blocks before; the
        prior's correlation is that of neighbouring blocks in one run."""
        by_lead, worth = self._level()
        carried = self.carried.correlation(PRIOR_CARRIED, worth)
        first = int(start_s) // PART_S - PAST * PARTS
        past = np.array([self.off(first + k * PARTS, sd) for k in range(PAST)])
        within = self.neighbours.correlation(correlation, worth)
        mean, factor = given(past / by_lead[0], within, carried)
        spread = sd * by_lead
        around = np.append(spread[0], spread) * mean
        return Coming(start_s, self.bias * float(sd[0]), around, spread[:, None] * factor)


class WeatherErrors(BaseModel):
    """Errors of the forecasts of outdoor temperature and irradiance; `part` is the half hour that is open."""

    part: int = 0
    temperature: Errors = Errors()
    sun: Errors = Errors()

    def take(
        self, data: OutdoorSampled, run: WeatherForecastIssued | None, latitude_deg: float,
        longitude_deg: float,
    ) -> None:  # fmt: skip
        """A measurement; `run` is the forecast in force."""
        part = int(data.time.timestamp()) // PART_S
        if part < self.part:
            return  # overtaken by a newer one
        if part > self.part:
            self.temperature.pass_by(self.part, part, _told_c(run, part))
            self.sun.pass_by(self.part, part, ())  # of no use: docs/thermal.md
            open_block, block = self.part // PARTS, part // PARTS
            for passed in range(open_block, min(block, open_block + BLOCKS) if self.part else 0):
                self.temperature.close(passed, PRIOR_SD["temperature"], 1.0)
                clear = clear_sky_ghi(sun_path(_parts(passed, 1), latitude_deg, longitude_deg)).mean()
                self.sun.close(passed, PRIOR_SD["sun"], float(clear) if clear > DARK_W_M2 else 0.0)
            if run is not None and block > open_block and block % APART == 0:
                self.temperature.wait(block, run, run.temperature_c, PRIOR_SD["temperature"])
                self.sun.wait(block, run, run.ghi_w_m2, PRIOR_SD["sun"])
            self.part = part
        if data.temperature_c is not None:
            self.temperature.sample(data.temperature_c)
        if data.ghi_w_m2 is not None:
            self.sun.sample(data.ghi_w_m2)

    def coming(self, start_s: float) -> tuple[Coming, Coming]:
        """Of temperature, K, and of irradiance, shares of clear sky, for a forecast from `start_s` on."""
        temperature, sun = (
            errors.coming(start_s, PRIOR_SD[name], PRIOR_CORRELATION[name])
            for name, errors in (("temperature", self.temperature), ("sun", self.sun))
        )
        return temperature, sun


def _share(square: float, chance: float) -> float:
    """Of a bias that is believed: none if its square is that of chance."""
    return max(0.0, 1.0 - DOUBT * chance / square) if square > 0.0 else 0.0


def _told_c(run: WeatherForecastIssued | None, part: int) -> tuple[float | None, ...]:
    """Outdoor temperatures that a run tells of the half hours of a block's length from `part` on."""
    if run is None:
        return ()
    middles = (np.arange(part, part + PARTS + 1) + 0.5) * PART_S - run.start.timestamp()
    steps = (middles // run.step_s).astype(int).tolist()
    inside = range(len(run.temperature_c))
    return tuple(run.temperature_c[step] if step in inside else None for step in steps)


def _parts(first_block: int, blocks: int) -> Array:
    """Epoch seconds of the middles of the half hours of some blocks."""
    parts = np.arange(blocks * PARTS)
    return np.asarray(first_block * BLOCK_S + (parts + 0.5) * PART_S, dtype=np.float64)


def _listed(values: Sequence[float] | Array, digits: int = 6) -> tuple[float, ...]:
    return tuple(np.round(np.asarray(values, dtype=np.float64), digits).tolist())
