"""What a meter cannot have measured counts as missing: error codes, glitches, a day on one value."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import numpy as np

from services.forecast.core.bands import Bands, BoolArray, IntArray
from services.forecast.core.calendar import DAY_S
from services.forecast.core.features import ModelMetadata
from services.forecast.core.predictor import Predictor
from services.forecast.core.series import Dataset, Series


class Metered(Predictor):
    """A predictor of power: it learns from and is asked with what can be believed of the past."""

    @abstractmethod
    def believed(self, series: Series) -> Series:
        """`series` with what cannot be true missing."""

    def train(self, data: Dataset, issue_phase_s: int) -> ModelMetadata:
        return super().train(replace(data, series=self.believed(data.series)), issue_phase_s)

    def settle(self, series: Series) -> int:
        return super().settle(self.believed(series))

    def predict(
        self, data: Dataset, issue_s: int, target_s: IntArray, *, remember: bool = False
    ) -> Bands:
        past = data.before(issue_s)
        past = replace(past, series=self.believed(past.series))
        return super().predict(past, issue_s, target_s, remember=remember)


def without_glitches(series: Series, least_w: float, times: float) -> Series:
    """Steps beyond `least_w` and beyond `times` what 99 of 100 steps stay under are missing, of either sign."""
    size = np.abs(series.values)
    if np.isnan(size).all():
        return series
    limit = max(least_w, times * float(np.nanquantile(size, 0.99)))
    return _without(series, size > limit) if limit > 0.0 else series


def without_stuck(series: Series) -> Series:
    """A day or more on one value is missing; a meter that says one value most of the time is believed."""
    known = np.nonzero(~np.isnan(series.values))[0]
    if len(known) == 0:
        return series
    starts = np.append(0, np.nonzero(np.diff(series.values[known]))[0] + 1)
    runs = np.diff(np.append(starts, len(known)))
    stuck = np.repeat(runs >= DAY_S // series.step_s, runs)
    if stuck.mean() >= 0.5:
        return series
    wrong = np.zeros(len(series.values), dtype=np.bool_)
    wrong[known[stuck]] = True
    return _without(series, wrong)


def _without(series: Series, wrong: BoolArray) -> Series:
    return replace(series, values=np.where(wrong, np.nan, series.values))
