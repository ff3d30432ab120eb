"""How wrong the weather forecasts have been here, by lead, and how long an error lasts.

Means over blocks of three hours: what passes sooner no room feels. Of the run in force every six hours
its next 48 h wait for what is measured. Errors of temperature count in kelvin, those of irradiance in
shares of the clear sky's. Each lead's variance is drawn to the prior's shape, and that to the level of all
leads: errors of one day come together, so a few weeks say little about a single lead.
"""

from __future__ import annotations

from collections.abc import Sequence

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
APART = 2
"""Blocks from one run that is kept to the next: weather services compute a run every six hours."""
DAYS_EACH = APART * BLOCK_S / 86_400
HALF_LIFE_DAYS = 20.0
LEVEL_DAYS, LEAD_DAYS = 4.0, 12.0
"""Worth of the prior's level, and of the level found for a single lead."""
PART_S = 1_800
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


class Run(BaseModel):
    """What a run told of the blocks from the one on in which it was in force, and its last error, in
    standard deviations of the prior."""

    told: tuple[float, ...]
    before: float | None = None


class Errors(BaseModel):
    """One quantity: runs that wait, by block, and sums over the errors that have come due, by lead."""

    waiting: dict[int, Run] = {}
    days: tuple[float, ...] = (0.0,) * BLOCKS
    squares: tuple[float, ...] = (0.0,) * BLOCKS
    """Of errors in standard deviations of the prior, times the days each stands for."""
    pairs: float = 0.0
    products: float = 0.0
    """Squares of neighbouring blocks' errors, and what they have in common."""
    parts: int = 0
    part: int = 0
    total: float = 0.0
    count: int = 0
    """Measured in the open block: half hours, the last of them, sum and number of samples."""

    def sample(self, value: float, at_s: int) -> None:
        """Count a measurement into the open block."""
        self.parts += self.part != at_s // PART_S
        self.part = at_s // PART_S
        self.total, self.count = self.total + value, self.count + 1

    def wait(self, block: int, run: WeatherForecastIssued, values: Sequence[float | None]) -> None:
        """Keep what a run says, at the beginning of a block, of this one and the next."""
        if any(value is not None for value in values):
            means = series(run, values, _parts(block, BLOCKS)).reshape(BLOCKS, -1).mean(axis=1)
            self.waiting[block] = Run(told=_listed(means, 2))

    def close(self, block: int, sd: Array, unit: float) -> None:
        """The open block is over: hold against its mean what was told of it. An error of `unit` is one
        of which the prior's standard deviation by lead is `sd`; nothing is learnt from a block without."""
        enough, mean = self.parts >= FEWEST_PARTS and unit > 0.0, self.total / max(self.count, 1)
        self.parts, self.total, self.count = 0, 0.0, 0
        kept = 0.5 ** (BLOCK_S / 86_400 / HALF_LIFE_DAYS)
        days, squares = kept * np.array(self.days), kept * np.array(self.squares)
        self.pairs, self.products = kept * self.pairs, kept * self.products
        self.waiting = {first: run for first, run in self.waiting.items() if first > block - BLOCKS}
        for first, run in self.waiting.items():
            if first > block:
                continue
            lead, now = block - first, None
            if enough:
                now = float(np.clip((run.told[lead] - mean) / (unit * sd[lead]), -CLIP, CLIP))
                days[lead] += DAYS_EACH
                squares[lead] += DAYS_EACH * now**2
                if run.before is not None:
                    self.pairs += DAYS_EACH / BLOCKS * 0.5 * (now**2 + run.before**2)
                    self.products += DAYS_EACH / BLOCKS * now * run.before
            run.before = None if now is None else round(now, 4)
        self.days, self.squares = _listed(days), _listed(squares)
        self.pairs, self.products = round(self.pairs, 6), round(self.products, 6)

    def factor(self, sd: Array, correlation: float) -> Array:
        """(BLOCKS, BLOCKS) lower triangular L; L z with independent standard normal z is an error."""
        days, squares = np.array(self.days), np.array(self.squares)
        level = (LEVEL_DAYS + squares.mean()) / (LEVEL_DAYS + days.mean())
        by_lead = (LEAD_DAYS * level + squares) / (LEAD_DAYS + days)
        drawn = LEVEL_DAYS * level
        common = (drawn * correlation + self.products) / (drawn + self.pairs)
        apart = np.abs(np.subtract.outer(np.arange(BLOCKS), np.arange(BLOCKS)))
        found = np.linalg.cholesky(np.clip(common, 0.0, 0.98) ** apart)
        return np.asarray((sd * np.sqrt(by_lead))[:, None] * found)


class WeatherErrors(BaseModel):
    """Errors of the forecasts of outdoor temperature and irradiance, and the block that is open."""

    block: int = 0
    temperature: Errors = Errors()
    sun: Errors = Errors()

    def take(
        self, data: OutdoorSampled, run: WeatherForecastIssued | None, latitude_deg: float,
        longitude_deg: float,
    ) -> None:  # fmt: skip
        """A measurement; `run` is the forecast in force."""
        at_s = int(data.time.timestamp())
        block = at_s // BLOCK_S
        if block < self.block:
            return  # overtaken by a newer one
        if block > self.block:
            for passed in range(self.block, min(block, self.block + BLOCKS) if self.block else 0):
                clear = clear_sky_ghi(sun_path(_parts(passed, 1), latitude_deg, longitude_deg)).mean()
                self.temperature.close(passed, PRIOR_SD["temperature"], 1.0)
                self.sun.close(passed, PRIOR_SD["sun"], float(clear) if clear > DARK_W_M2 else 0.0)
            self.block = block
            if run is not None and block % APART == 0:
                self.temperature.wait(block, run, run.temperature_c)
                self.sun.wait(block, run, run.ghi_w_m2)
        if data.temperature_c is not None:
            self.temperature.sample(data.temperature_c, at_s)
        if data.ghi_w_m2 is not None:
            self.sun.sample(data.ghi_w_m2, at_s)

    def factors(self) -> tuple[Array, Array]:
        """Of temperature, K, and of irradiance, shares of clear sky: see `Errors.factor`."""
        temperature, sun = (
            errors.factor(PRIOR_SD[name], PRIOR_CORRELATION[name])
            for name, errors in (("temperature", self.temperature), ("sun", self.sun))
        )
        return temperature, sun


def _parts(first_block: int, blocks: int) -> Array:
    """Epoch seconds of the middles of the half hours of some blocks."""
    parts = np.arange(blocks * BLOCK_S // PART_S)
    return np.asarray(first_block * BLOCK_S + (parts + 0.5) * PART_S, dtype=np.float64)


def _listed(values: Sequence[float] | Array, digits: int = 6) -> tuple[float, ...]:
    return tuple(np.round(np.asarray(values, dtype=np.float64), digits).tolist())
