"""Market price beyond what is published: trees and linear models on lags and calendar, up to 48 h and more."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from services.forecast.core.bands import Bands, FloatArray, IntArray
from services.forecast.core.calendar import DAY_S, calendar
from services.forecast.core.ensemble import Prior
from services.forecast.core.features import Features, ModelMetadata
from services.forecast.core.lags import Lags, make_lags, row_mean, window_mean
from services.forecast.core.learners import BoostedQuantiles, LinearQuantiles
from services.forecast.core.predictor import Predictor
from services.forecast.core.price_hours import HOUR_S, hourly, through_hours
from services.forecast.core.price_seasonal import DEPTH_DAYS, like_days
from services.forecast.core.series import Dataset, Series

LEAST_SPREAD = 8.0
LAST_HOURS = range(1, 25)
"""Hours before the issue whose prices every hour ahead sees."""
LIKE_DAYS_ALONE = 40.0
"""Days of history at which trees and lines are believed as much as the like days."""
BEND = 1.5
"""The linear member sees asinh of this times the price: a straight line inside, spikes do not lead."""


class PricePredictor(Predictor):
    """P10, P50, P90 and mean of the price in EUR/MWh; exact where published.

    Learnt on hours, each relative to the median and spread of the last 28 days (so that a crisis year teaches
    shapes, not levels); on a quarter-hour market the way through the hours is added. The
    issue of a forecast is the end of what is published: everything before it is known.
    """

    kind = "price"
    groups = 2
    slots = 48  # what is known of the day before tells more of the first day than of the second
    floor = 0.01
    half_life_days = 40.0
    forget_days = 365.0
    line_forget_days = 365.0
    max_rows = 72_000
    scale_power = 0.5  # errors count in EUR, not in units of the spread
    training_days = 3 * 365  # and the year before: all its hours are rows

    def boosted(self) -> list[BoostedQuantiles]:
        return [
            BoostedQuantiles(
                {"max_depth": 4, "eta": 0.05, "subsample": 0.5, "min_child_weight": 10,
                 "colsample_bytree": 0.35, "rounds": 350}
            )
        ]  # fmt: skip

    def linear(self) -> LinearQuantiles | None:
        return LinearQuantiles(ridge=50.0, bend=BEND)

    def base_names(self) -> list[str]:
        return ["like-days"]

    def prior(self) -> Prior | None:
        return self.leaning("like-days", LIKE_DAYS_ALONE)

    def prepare(self, data: Dataset) -> None:
        known = int((~np.isnan(data.series.values)).sum())
        self.days_taught = known * data.series.step_s / DAY_S

    def constants(self) -> dict[str, Any]:
        return {"days_taught": self.days_taught}

    def restore(self, constants: dict[str, Any]) -> None:
        self.days_taught = float(constants["days_taught"])

    def features(self, data: Dataset, issue_s: IntArray, target_s: IntArray) -> Features:
        lags = make_lags(data, issue_s, target_s, self.place, DEPTH_DAYS)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", RuntimeWarning
            )  # all-NaN rows are NaN, as they should be
            return self._table(data, lags, issue_s, target_s)

    def _table(self, data: Dataset, lags: Lags, issue_s: IntArray, target_s: IntArray) -> Features:
        issues, of_issue = np.unique(lags.issue_local_s, return_inverse=True)
        window = lags.wall.at(issues[:, None] - HOUR_S * np.arange(1, 28 * 24 + 1))
        centre = np.nanmedian(window, axis=1)[of_issue]
        spread = np.maximum(np.nanstd(window, axis=1), LEAST_SPREAD)[of_issue]
        last_day, days = window[:, :24], window[:, : 14 * 24].reshape(len(issues), 14, 24)
        samples = lags.samples
        age = lags.first_lag[:, None] + np.arange(DEPTH_DAYS)
        week = lags.at_lag(7)

        level: dict[str, FloatArray] = {
            "day1": samples[:, 0], "day2": samples[:, 1], "day3": samples[:, 2],
            "week1": week, "week2": lags.at_lag(14), "week3": lags.at_lag(21),
        }  # fmt: skip
        for shift in (-1, 1):
            level[f"day1_{shift:+d}h"] = lags.at_lag(lags.first_lag, shift * HOUR_S)
            level[f"week1_{shift:+d}h"] = lags.at_lag(7, shift * HOUR_S)
        level["hour7"], level["hour28"] = samples[:, :7].mean(axis=1), np.nanmean(samples, axis=1)
        level["hour7_min"], level["hour7_max"] = (
            samples[:, :7].min(axis=1),
            samples[:, :7].max(axis=1),
        )
        level["hour14_p10"], level["hour14_p90"] = np.nanquantile(
            samples[:, :14], [0.1, 0.9], axis=1
        )
        level["hour14_median"] = np.nanmedian(samples[:, :14], axis=1)
        level["weeks4"] = np.nanmean(np.stack([lags.at_lag(7 * k) for k in (1, 2, 3, 4)]), axis=0)
        level["like"] = row_mean(
            samples, np.where(lags.likeness < 0.5, 0.0, 1.0) * np.exp(-age / 10.0)
        )
        level["recent3"] = row_mean(samples[:, :14], np.exp2(-np.arange(14) / 3.0)[None, :])
        level["recent10"] = row_mean(samples[:, :14], np.exp2(-np.arange(14) / 10.0)[None, :])
        level["step_of_last_week"] = samples[:, 0] + week - lags.at_lag(lags.first_lag + 7)
        for back in range(3):
            level[f"total{back + 1}"] = np.nanmean(days[:, back], axis=1)[of_issue]
        midnight = lags.local_s // DAY_S * DAY_S
        level["total_week1"] = window_mean(lags.wall, midnight - 7 * DAY_S, midnight - 6 * DAY_S)
        level["last_min"] = np.nanmin(last_day, axis=1)[of_issue]
        level["last_max"] = np.nanmax(last_day, axis=1)[of_issue]
        level["last_hours"] = np.nanmean(last_day[:, :3], axis=1)[of_issue]
        level |= {f"last_{hour}h": last_day[of_issue, hour - 1] for hour in LAST_HOURS}
        level["total7"] = np.nanmean(days[:, :7], axis=(1, 2))[of_issue]
        scaled = {name: (values - centre) / spread for name, values in level.items()}

        year = np.nanmean(
            np.stack([lags.wall.at(lags.local_s - d * DAY_S) for d in (350, 357, 364, 371, 378)]),
            axis=0,
        )
        year_mean = window_mean(lags.wall, lags.local_s - 378 * DAY_S, lags.local_s - 350 * DAY_S)
        plain: dict[str, FloatArray] = {
            "year_ago": (year - year_mean) / spread,
            "hour28_spread": np.nanstd(samples, axis=1) / spread,
            "shape14": (level["hour14_median"] - level["total7"]) / spread,
            "trend": (level["total7"] - np.nanmean(window, axis=1)[of_issue]) / spread,
            "spread": np.log(spread), "spread_to_level": spread / np.maximum(np.abs(centre), 20.0),
        }  # fmt: skip
        plain |= self._calendar(lags, target_s)
        plain |= self._weather(data, issue_s, target_s)
        free = (plain["kind"] == 2) | (plain["kind"] == 1)
        weekday = np.where(plain["holiday"] > 0, 6, plain["weekday"]).astype(np.int64)
        linear = np.column_stack(
            [
                *(np.arcsinh(BEND * scaled[name]) for name in (
                    "day1", "day2", "week1", "week2", "hour7", "hour28", "weeks4", "like", "recent3",
                    "recent10", "step_of_last_week", "total1", "total2", "total_week1", "total7",
                    "last_min", "last_max", "last_hours", *(f"last_{hour}h" for hour in LAST_HOURS),
                )),
                *(plain[name] for name in ("year_ago", "year_sin", "year_cos", "next_holiday",
                                           "neighbour_holiday", "lead_day")),
                *(np.where(free, np.arcsinh(BEND * scaled[name]), 0.0)
                  for name in ("day1", "total1", "week1")),
                np.eye(7)[weekday],
                *(values for name, values in plain.items() if name.startswith("weather_")),
            ]
        )  # fmt: skip
        names = [*scaled, *plain]
        like = (like_days(lags) - centre[:, None]) / spread[:, None]
        n = len(target_s)
        group = np.minimum(lags.first_lag - 1, 1)
        return Features(
            names, np.column_stack([*scaled.values(), *plain.values()]), linear, spread,
            slot=lags.local_s % DAY_S // HOUR_S + 24 * group, group=group,
            base=like[:, None, :], dark=np.zeros(n, dtype=np.bool_), widen=np.ones(n),
            flags=("price-extrapolated",), centre=centre,
        )  # fmt: skip

    def _calendar(self, lags: Lags, target_s: IntArray) -> dict[str, FloatArray]:
        row, table = lags.target_row(), lags.days
        last = table.row((lags.issue_local_s - 1) // DAY_S)
        neighbour = "FR" if self.place.country == "DE" else "DE"
        abroad = calendar(target_s, self.place.time_zone, neighbour if self.place.country else "")
        columns = {
            "hour": lags.local_s % DAY_S // HOUR_S, "kind": table.kind[row], "weekday": table.weekday[row],
            "holiday": table.holiday[row], "bridge": table.bridge[row],
            "next_holiday": table.holiday[table.row(lags.local_s // DAY_S + 1)],
            "kind_week_ago": table.kind[table.row(lags.local_s // DAY_S - 7)],
            "kind_last": table.kind[last], "weekday_last": table.weekday[last],
            "neighbour_holiday": abroad.holiday, "lead_day": lags.first_lag,
            "year_sin": np.sin(2 * np.pi * table.day_of_year[row] / 365.25),
            "year_cos": np.cos(2 * np.pi * table.day_of_year[row] / 365.25),
        }  # fmt: skip
        return {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}

    def _weather(
        self, data: Dataset, issue_s: IntArray, target_s: IntArray
    ) -> dict[str, FloatArray]:
        """Wind, sun and temperature when present, as known at the issue."""
        if data.weather is None:
            return {}
        columns = {}
        for name in ("wind_speed", "ghi", "temp_air", "cloud_cover"):
            if name in data.weather.columns:
                columns[f"weather_{name}"] = data.weather.as_of(name, issue_s, target_s)
        return columns

    # hours and quarters -----------------------------------------------------------------------

    def train(self, data: Dataset, issue_phase_s: int) -> ModelMetadata:
        recent = data.series.between(
            data.series.end_s - (self.training_days + 400) * DAY_S, data.series.end_s
        )
        return super().train(replace(data, series=hourly(recent)), issue_phase_s // HOUR_S * HOUR_S)

    def settle(self, series: Series) -> int:
        return super().settle(hourly(series))

    def predict(
        self, data: Dataset, issue_s: int, target_s: IntArray, *, remember: bool = False,
        published_until_s: int | None = None,
    ) -> Bands:  # fmt: skip
        """As `Predictor.predict`; published steps exact.

        `published_until_s` is the end of what the market had published at the issue, by default the issue
        itself; `data` is cut there.
        """
        data = data.before(issue_s if published_until_s is None else published_until_s)
        learnt = super().predict

        def of_hours(hours: Series, origin_s: int, ahead_s: IntArray) -> Bands:
            return learnt(replace(data, series=hours), origin_s, ahead_s, remember=remember)

        return through_hours(data.series, issue_s, target_s, of_hours)
