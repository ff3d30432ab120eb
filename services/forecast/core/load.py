"""Uncontrolled load of a house: like days, boosted trees and a linear model, joined and calibrated."""

from __future__ import annotations

import warnings

import numpy as np

from services.forecast.core.bands import FloatArray, IntArray
from services.forecast.core.calendar import DAY_S
from services.forecast.core.features import Features
from services.forecast.core.forest import QuantileForest
from services.forecast.core.lags import (
    Lags,
    make_lags,
    row_mean,
    row_quantiles,
    window_mean,
)
from services.forecast.core.learners import BoostedQuantiles, LinearQuantiles
from services.forecast.core.meters import Metered, without_glitches, without_stuck
from services.forecast.core.series import Dataset, Series

DEPTH_DAYS = 42
SPECIAL_DAY_SCORE = 3.5
LEVEL_TRUST = 0.7
GLITCH_W, GLITCH_TIMES = 50_000.0, 20.0
"""A step above both is a glitch; the second is in what 99 of 100 steps stay under, so a factory is none."""
NEGATIVE_SHARE = 0.01
KNOWN_ENOUGH = 0.8
"""Of the last seven days; less is flagged."""
LEAF_ROWS = 10
"""Fewest rows in a leaf of the forest: what people do is noise to a larger part than clouds are."""


class LoadPredictor(Metered):
    """P10, P50, P90 and mean of a house's uncontrolled load in W.

    Everything is relative to the mean of the last 28 known days, so that a house that changes its
    level needs no new model. Members: boosted trees, a quantile forest, per-hour linear quantiles, and the
    weighted quantiles of like days (the seasonal forecast), which carries the first weeks.
    """

    kind = "load"
    groups = 4
    history_days = 60
    half_life_days = 30.0
    floor = 0.02
    forget_days = 180.0

    def believed(self, series: Series) -> Series:
        return without_stuck(without_glitches(series, GLITCH_W, GLITCH_TIMES))

    def boosted(self) -> list[BoostedQuantiles]:
        shared = {
            "max_depth": 4,
            "eta": 0.05,
            "min_child_weight": 15,
            "subsample": 0.5,
            "rounds": 160,
        }
        return [BoostedQuantiles(shared | {"colsample_bytree": 0.3})]

    def linear(self) -> LinearQuantiles | None:
        return LinearQuantiles(ridge=30.0)

    def forests(self) -> list[QuantileForest]:
        return [QuantileForest(leaf=LEAF_ROWS)]

    def base_names(self) -> list[str]:
        return ["like-days", "like-days-at-recent-level"]

    def features(self, data: Dataset, issue_s: IntArray, target_s: IntArray) -> Features:
        lags = make_lags(data, issue_s, target_s, self.place, DEPTH_DAYS)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", RuntimeWarning
            )  # all-NaN rows are NaN, as they should be
            return self._table(data, lags, issue_s, target_s)

    def _table(self, data: Dataset, lags: Lags, issue_s: IntArray, target_s: IntArray) -> Features:
        samples, age = lags.samples, lags.first_lag[:, None] + np.arange(DEPTH_DAYS)
        per_hour = max(1, 3600 // data.series.step_s)
        radius = max(1, per_hour // 2)
        when = lags.local_s[:, None] - age * DAY_S
        smoothed = lags.smoothed(when, radius)
        scale = window_mean(lags.wall, lags.issue_local_s - 28 * DAY_S, lags.issue_local_s)
        scale = np.where(scale > 20.0, scale, np.where(np.isnan(scale), np.nan, 20.0))

        relative: dict[str, FloatArray] = {}
        like: dict[int, FloatArray] = {}
        for half_life in (4, 14):
            weight = lags.likeness * np.exp2(-age / half_life)
            if half_life == 14:
                around = [lags.smoothed(when + shift, radius) for shift in (-1800, 1800)]
                three = np.concatenate([samples, *around], axis=1)
                heavy = np.concatenate([weight, 0.5 * weight, 0.5 * weight], axis=1)
                like[half_life] = row_quantiles(three, heavy, (0.1, 0.5, 0.9))
            else:
                like[half_life] = row_quantiles(samples, weight, (0.1, 0.5, 0.9))
            for column, level in enumerate((10, 50, 90)):
                relative[f"like{half_life}_p{level}"] = like[half_life][:, column]
            relative[f"like{half_life}_mean"] = row_mean(samples, weight)
            relative[f"like{half_life}_smooth"] = row_mean(smoothed, weight)
        for back in range(3):
            relative[f"day{back + 1}"] = samples[:, back]
        relative["day1_smooth"] = smoothed[:, 0]
        relative["week1"], relative["week2"] = lags.at_lag(7), lags.at_lag(14)
        week = lags.local_s[:, None] - 7 * DAY_S
        relative["week1_smooth"] = lags.smoothed(week, radius)[:, 0]
        for hours in (1, 3, 24, 72, 168):
            relative[f"last{hours}h"] = lags.before_issue(hours)
        midnight = lags.local_s // DAY_S * DAY_S
        for back in (1, 2, 7):
            day = midnight - (lags.first_lag + back - 1) * DAY_S
            relative[f"total{back}"] = window_mean(
                lags.wall, day, np.minimum(day + DAY_S, lags.issue_local_s)
            )
        relative["hour7"], relative["hour28"] = (
            np.nanmean(samples[:, :7], axis=1),
            np.nanmean(samples[:, :28], axis=1),
        )
        relative["hour28_spread"] = np.nanstd(samples[:, :28], axis=1)
        relative["low7"] = np.nanmin(smoothed[:, :7], axis=1)

        row = lags.target_row()
        hour = (lags.local_s % DAY_S) / 3600.0
        plain: dict[str, FloatArray] = {
            "hour": hour,
            "kind": lags.days.kind[row].astype(np.float64),
            "kind_day_before": lags.days.kind[np.maximum(row - 1, 0)].astype(np.float64),
            "weekday": lags.days.weekday[row].astype(np.float64),
            "holiday": lags.days.holiday[row].astype(np.float64),
            "bridge": lags.days.bridge[row].astype(np.float64),
            "year_sin": np.sin(2 * np.pi * lags.days.day_of_year[row] / 365.25),
            "year_cos": np.cos(2 * np.pi * lags.days.day_of_year[row] / 365.25),
            "lead_day": lags.first_lag.astype(np.float64),
        }
        plain |= self._temperature(data, issue_s, target_s)
        names = [*relative, *plain]
        scaled = {name: values / scale for name, values in relative.items()}
        x = np.column_stack([*scaled.values(), *plain.values()])
        kind = plain["kind"]
        linear = np.column_stack(
            [
                *(scaled[name] for name in (
                    "like4_mean", "like14_mean", "like14_p50", "like14_smooth", "day1_smooth",
                    "week1_smooth", "last24h", "last168h", "last3h", "hour7", "hour28", "total1",
                )),
                (kind == 1).astype(np.float64), (kind == 2).astype(np.float64),
                plain["year_sin"], plain["year_cos"],
                *(plain[name] for name in ("temperature", "temperature_day") if name in plain),
            ]
        )  # fmt: skip
        days = np.column_stack([like[14], relative["like14_mean"]]) / scale[:, None]
        # Heat waves, guests, absences: the same shape at the level of the last three days.
        fortnight = window_mean(lags.wall, lags.issue_local_s - 14 * DAY_S, lags.issue_local_s)
        recent_level = relative["last72h"] / np.maximum(fortnight, 20.0)
        recent_level = np.where(np.isnan(recent_level), 1.0, recent_level)
        factor = np.clip(recent_level, 0.3, 3.0) ** LEVEL_TRUST
        base = np.stack([days, days * factor[:, None]], axis=1)
        wall_hour = np.minimum(hour.astype(np.int64), 23)
        return Features(
            names, x, linear, scale, slot=wall_hour, group=wall_hour // 6, base=base,
            dark=np.zeros(len(target_s), dtype=np.bool_), widen=np.ones(len(target_s)),
            flags=_flags(data.series, int(issue_s.max())),
        )  # fmt: skip

    def _temperature(
        self, data: Dataset, issue_s: IntArray, target_s: IntArray
    ) -> dict[str, FloatArray]:
        if data.weather is None or "temp_air" not in data.weather.columns:
            return {}
        now = data.weather.as_of("temp_air", issue_s, target_s)
        around = [
            data.weather.as_of("temp_air", issue_s, target_s + hours * 3600)
            for hours in (-24, -18, -12, -6, -3)
        ]
        day = np.nanmean(np.stack([now, *around]), axis=0)
        return {"temperature": now, "temperature_day": day, "heating": np.maximum(15.0 - day, 0.0)}

    def sample_weight(
        self, data: Dataset, target_s: IntArray, y: FloatArray
    ) -> tuple[FloatArray, dict[str, int]]:
        """Special days (absence, parties) weigh a quarter."""
        special = special_days(data, self.place.time_zone)
        day = target_s // DAY_S
        weak = np.isin(day, np.concatenate([special["absence"], special["party"]]))
        return np.where(weak, 0.25, 1.0), {name: len(days) for name, days in special.items()}

    def finish(
        self, data: Dataset, issue_s: int, target_s: IntArray, values: FloatArray
    ) -> FloatArray:
        # Where the meter counts what is fed in, too, the load has been below zero for more than some odd steps.
        known = data.series.values[~np.isnan(data.series.values)]
        lowest = float(np.quantile(known, NEGATIVE_SHARE)) if len(known) else 0.0
        return np.maximum(values, min(lowest, 0.0))


def _flags(series: Series, issue_s: int) -> tuple[str, ...]:
    """How much of the last seven days is there, whatever came before them."""
    week = series.between(issue_s - 7 * DAY_S, issue_s)
    known = (~np.isnan(week.values)).sum() * series.step_s
    if issue_s - series.start_s < 7 * DAY_S:
        return ("history-short",)
    return ("history-gaps",) if known < KNOWN_ENOUGH * 7 * DAY_S else ()


def special_days(data: Dataset, time_zone: str) -> dict[str, IntArray]:
    """UTC days whose energy is far from the running median of four weeks: absence below, party above.

    A robust score of the logarithm of the day's mean power: |x - median| over 1.4826 x the median
    absolute deviation (Hampel), above 3.5.
    """
    series = data.series
    day = series.times_s // DAY_S
    known = ~np.isnan(series.values)
    first = int(day[0]) if len(day) else 0
    size = int(day[-1]) - first + 1 if len(day) else 0
    counts = np.bincount((day - first)[known], minlength=size)
    sums = np.bincount((day - first)[known], weights=series.values[known], minlength=size)
    enough = counts >= 0.7 * DAY_S / series.step_s
    level = np.log(np.maximum(sums / np.maximum(counts, 1), 1.0))
    absence, party = [], []
    for index in np.nonzero(enough)[0]:
        near = slice(max(0, index - 14), index + 15)
        values = level[near][enough[near]]
        if len(values) < 10:
            continue
        middle = float(np.median(values))
        spread = max(1.4826 * float(np.median(np.abs(values - middle))), 0.10)
        deviation = (level[index] - middle) / spread
        if deviation < -SPECIAL_DAY_SCORE:
            absence.append(first + int(index))
        elif deviation > SPECIAL_DAY_SCORE:
            party.append(first + int(index))
    return {
        "absence": np.array(absence, dtype=np.int64),
        "party": np.array(party, dtype=np.int64),
    }
