"""PV power: physics, boosted trees on weather and physics, per-hour linear quantiles, joined and calibrated."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from typing import Any

import numpy as np

from services.forecast.core.bands import FloatArray, IntArray
from services.forecast.core.calendar import DAY_S
from services.forecast.core.ensemble import Prior
from services.forecast.core.features import Features
from services.forecast.core.forest import QuantileForest
from services.forecast.core.learners import SMALLEST_UNIT, BoostedQuantiles, LinearQuantiles
from services.forecast.core.meters import Metered, without_glitches
from services.forecast.core.place import Place
from services.forecast.core.pv_linear import spline_columns
from services.forecast.core.pv_physics import PvArray, default_band, pv_power
from services.forecast.core.pv_published import followed, followed_columns
from services.forecast.core.pv_recent import Recent, lag_columns
from services.forecast.core.pv_site import (
    Plane,
    believable_capacity,
    clock_error,
    estimate_location,
    estimate_plane,
    unusual_days,
)
from services.forecast.core.pv_weather import others_columns, weather_columns
from services.forecast.core.series import Dataset, Series, WeatherRuns
from services.forecast.core.solar import Location, SunPath, sun_path
from services.forecast.core.weather import Weather, check_weather, irradiance

# A published forecast changes with its maker: what was true of it half a year ago may not be now.
OTHERS_FORGET_DAYS = 60.0
OTHERS_HALF_LIFE_DAYS = 15.0
"""Of the evidence for weights and bands, then."""
GLITCH_TIMES = 5.0
"""What 99 of 100 steps stay under, so often beyond it (and twice the capacity) no module gives."""
LIGHT = {"ghi", "dni", "cloud_cover"}
"""Weather of which one is needed for physics."""
PHYSICS_ALONE_DAYS = 20.0
"""Days of history at which physics has half of the weight for itself."""
GAIN_DAYS = 14
GAIN_PRIOR_H = 6.0
"""Full-load hours as expected that stand against what was measured over the last fortnight."""
SHARES = ("physics", "day1", "mean3", "mean7", "mean14", "max7", "max14")
"""Columns that are also given as shares of clear power."""
NOT_SHARES = (
    *SHARES, "year_sin", "year_cos", "ghi", "ghi_-3h", "ghi_-2h", "ghi_-1h", "ghi_+1h", "ghi_+2h",
    "ghi_+3h", "ghi_3h", "ghi_before", "ghi_after", "ghi_of_day",
)  # fmt: skip
"""Columns the forest of shares does not look at: sizes that go with the season."""


class PvPredictor(Metered):
    """P10, P50, P90 and mean of PV power in W.

    Without coordinates the location is estimated (for sun features and for the night only); without
    arrays an effective plane is fitted. Weather and somebody else's forecast (`pv_forecast_w`) are
    read as they were known at each issue.
    """

    kind = "pv"
    groups = 3
    half_life_days = 45.0
    history_days = 40
    floor = 0.004
    forget_days = 500.0
    bias_days = 7

    def __init__(
        self, place: Place, *, lead_s: int = 2 * DAY_S, parameters: dict[str, Any] | None = None
    ) -> None:
        super().__init__(place, lead_s=lead_s, parameters=parameters)
        self.capacity_w = place.capacity_w or 0.0
        self.location: Location | None = place.location
        self.plane: Plane | None = None
        self.shift_s = 0
        self.fitted_from_rows = 0
        self.has_others = self.has_physics = self.only_others = False
        self._sun_kept: tuple[tuple[int, int, int], SunPath | None] | None = None

    def believed(self, series: Series) -> Series:
        return without_glitches(series, 2.0 * (self.place.capacity_w or 0.0), GLITCH_TIMES)

    # site -------------------------------------------------------------------------------------

    def prepare(self, data: Dataset) -> None:
        weather = set() if data.weather is None else set(data.weather.columns)
        self._survey(data, weather)
        has_site = self.location is not None and bool(self.arrays())
        self.has_physics = has_site and bool(weather & LIGHT)

    def _survey(self, data: Dataset, weather: set[str]) -> None:
        """Capacity, location and plane, fitted anew when the history has grown by half."""
        series = data.series
        self.has_others = "pv_forecast_w" in weather
        self.only_others = self.has_others and not weather & LIGHT
        if self.has_others:
            self.forget_days = self.line_forget_days = OTHERS_FORGET_DAYS
            self._heed_others()
        known = int((~np.isnan(series.values)).sum())
        self.days_taught = known * series.step_s / DAY_S
        if known < 1.5 * self.fitted_from_rows:
            return
        self.fitted_from_rows = known
        self.capacity_w = believable_capacity(self.place.capacity_w, series.values)
        times = series.times_s
        ghi = self._history(data, "ghi", times)
        light = series.values if ghi is None else ghi
        if self.place.location is None:
            self.location = estimate_location(times, series.step_s, light)
        if self.location is None:
            return
        if self.place.arrays:  # a few dull days must not move the sun over modules that are known
            self.shift_s = clock_error(times, series.step_s, light, self.location)
            return
        self.plane = estimate_plane(
            times, series.step_s, series.values, ghi, self.location, self.capacity_w
        )
        self.shift_s = 0 if self.plane is None else self.plane.shift_s

    def _heed_others(self) -> None:
        self.half_life_days = OTHERS_HALF_LIFE_DAYS
        self.bias_days = 0  # what one week was beside a forecast that changes says nothing of the next

    def _history(self, data: Dataset, name: str, times: IntArray) -> FloatArray | None:
        if data.weather is None or name not in data.weather.columns:
            return None
        late = np.full(len(times), np.iinfo(np.int64).max // 2, dtype=np.int64)
        return data.weather.as_of(name, late, times)

    def arrays(self) -> tuple[PvArray, ...]:
        """The arrays of the site file, else the fitted plane."""
        if self.place.arrays:
            return self.place.arrays
        return (self.plane.array,) if self.plane is not None else ()

    def sun(self, target_s: IntArray, step_s: int) -> SunPath | None:
        """Sun for each row, computed once per different target."""
        if self.location is None:
            return None
        unique, inverse = np.unique(target_s, return_inverse=True)
        path = sun_path(unique + self.shift_s, step_s, self.location)
        return SunPath(*(getattr(path, name)[inverse] for name in SunPath.__slots__))

    def physics(
        self, data: Dataset, issue_s: IntArray, target_s: IntArray, sun: SunPath | None
    ) -> FloatArray | None:
        """Physics power in W with the weather known at each issue; None without location or irradiance."""
        arrays = self.arrays()
        if sun is None or not arrays or data.weather is None:
            return None
        names = set(data.weather.columns) & set(Weather.__slots__)
        if not names & LIGHT:
            return None
        step_s = data.series.step_s
        seen = {name: data.weather.between(name, issue_s, target_s, step_s) for name in names}
        columns = check_weather(Weather(**seen), target_s)
        light, _ = irradiance(columns, sun)
        temp = np.nan_to_num(columns.get("temp_air", np.full(len(target_s), 12.0)), nan=12.0)
        wind = np.nan_to_num(columns.get("wind_speed", np.full(len(target_s), 1.5)), nan=1.5)
        power = pv_power(sun, light, temp, wind, arrays, self.place.inverter_limit_w)
        return np.where(light.unknown, np.nan, power)

    def training_rows(self, data: Dataset, issue_phase_s: int) -> tuple[IntArray, IntArray]:
        """As for every kind; of issues in between only what a weather run had reached by then."""
        issue, target = super().training_rows(data, issue_phase_s)
        if data.weather is None:
            return issue, target
        due = (issue - issue_phase_s) % DAY_S == 0
        keep = due | (data.weather.rows_as_of(issue, target) >= 0)
        return issue[keep], target[keep]

    # learning ---------------------------------------------------------------------------------

    def boosted(self) -> list[BoostedQuantiles]:
        rising = {"ghi": 1, "ghi_3h": 1, "physics": 1, "others": 1, "cloud_cover": -1}
        parameters = {
            "max_depth": 4, "rounds": 250, "colsample_bytree": 0.25, "min_child_weight": 20,
        }  # fmt: skip
        return [BoostedQuantiles(parameters, rising, "clear_power")]

    def forests(self) -> list[QuantileForest]:
        # One learns power as it is; the other its share of clear sky from shares alone, so that what it
        # learnt in one season holds in another, and the same cloud takes the same share at every hour.
        return [
            QuantileForest(),
            QuantileForest(unit="clear_power", without=NOT_SHARES, seed=2),
        ]

    def linear(self) -> LinearQuantiles | None:
        # Where a published forecast is all there is, the follower is the better line.
        return None if self.only_others else LinearQuantiles(ridge=20.0)

    def features(self, data: Dataset, issue_s: IntArray, target_s: IntArray) -> Features:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", RuntimeWarning
            )  # all-NaN rows are NaN, as they should be
            return self._table(data, issue_s, target_s)

    def _table(self, data: Dataset, issue_s: IntArray, target_s: IntArray) -> Features:
        n = len(target_s)
        step_s = data.series.step_s
        sun = self.sun(target_s, step_s)
        columns: dict[str, FloatArray] = {"hour": (target_s % DAY_S) / 3600.0}
        line: list[str] = []
        if sun is not None:
            clear = sun.clear_ghi_wm2
            columns |= {
                "elevation": sun.elevation_deg, "azimuth": sun.azimuth_deg, "clear_ghi": clear,
            }  # fmt: skip
            dark, year_day = ~sun.up, sun.day_of_year
            line.append("clear_ghi")
        else:
            clear = np.full(n, np.nan)
            dark, year_day = np.zeros(n, dtype=np.bool_), (target_s // DAY_S % 365) + 1
        columns["year_sin"] = np.sin(2 * np.pi * year_day / 365.25)
        columns["year_cos"] = np.cos(2 * np.pi * year_day / 365.25)
        line += ["year_sin", "year_cos"]
        clear_power = self._clear_power(sun)
        if clear_power is not None:
            columns["clear_power"] = clear_power / self.capacity_w
            line.append("clear_power")
        group = np.ones(n, dtype=np.int64)
        widen = np.ones(n)
        if data.weather is not None:
            line += weather_columns(
                columns, data.weather, issue_s, target_s, step_s, self._near_s(data.weather), clear,
                lambda times: self._clear_at(times, step_s), self.capacity_w,
            )  # fmt: skip
            physics = self.physics(data, issue_s, target_s, sun)
            if physics is not None:
                columns["physics"] = physics / self.capacity_w
                line.append("physics")
            if "clearness" in columns:
                group = np.digitize(np.nan_to_num(columns["clearness"], nan=0.5), [0.4, 0.75])
            if "ghi" in data.weather.columns:
                change = data.weather.spread("ghi", issue_s, target_s)
                widen = 1.0 + 0.5 * np.clip(
                    np.nan_to_num(change / np.maximum(clear, 100.0)) / 0.3, 0, 1
                )
        line += self._recent_columns(columns, data, issue_s, target_s, clear_power)
        if clear_power is not None:
            size = np.maximum(columns["clear_power"], SMALLEST_UNIT)
            columns |= {f"{k}_share": columns[k] / size for k in SHARES if k in columns}
        base = [np.empty((n, 0, 4))]
        if self.has_physics:
            base.append(self._physics_member(columns, data, issue_s))
        if "others" in columns:
            base.append(self._others(columns, data, issue_s, target_s))
            line.append("others_corrected")
        if "others" in columns and "clearness" not in columns and clear_power is not None:
            group = np.digitize(
                np.nan_to_num(
                    columns["others"] / np.maximum(columns["clear_power"], 0.02), nan=0.5
                ),
                [0.3, 0.7],
            )
        names = list(columns)
        flags = () if data.weather is not None else ("weather-missing",)
        return Features(
            names, np.column_stack([columns[k] for k in names]),
            np.column_stack([*(columns[k] for k in line), *spline_columns(columns)]),
            scale=np.full(n, self.capacity_w), slot=((target_s % DAY_S) // 3600).astype(np.int64),
            group=group.astype(np.int64), base=np.concatenate(base, axis=1),
            dark=dark, widen=widen, flags=flags,
        )  # fmt: skip

    def _near_s(self, weather: WeatherRuns) -> int:
        return weather.step_s if self.weather is None else self.weather[1]

    def _clear_power(self, sun: SunPath | None) -> FloatArray | None:
        arrays = self.arrays()
        if sun is None or not arrays:
            return None
        light, _ = irradiance({"ghi": sun.clear_ghi_wm2}, sun)
        return pv_power(sun, light, 15.0, 1.5, arrays, self.place.inverter_limit_w)

    def _others(
        self, columns: dict[str, FloatArray], data: Dataset, issue_s: IntArray, target_s: IntArray
    ) -> FloatArray:
        """Somebody else's forecast, corrected by how it did lately, as a member (n, 1, 4)."""
        weather, times = data.weather, data.series.times_s
        assert weather is not None
        # What was forecast for the past before the day of each step began.
        past: dict[str, FloatArray] = {}
        others_columns(
            past, weather, times // DAY_S * DAY_S, times, data.series.step_s, self._near_s(weather),
            self.capacity_w,
        )  # fmt: skip
        clear = self._clear_power(self._past_sun(data.series))
        if clear is not None:
            past["clear_power"] = clear / self.capacity_w
        member = followed(
            issue_s, target_s, followed_columns(columns), times, followed_columns(past),
            data.series.values / self.capacity_w,
        )  # fmt: skip
        told = Recent(data.series, past["others"] * self.capacity_w, self.capacity_w)
        ratio = np.clip(np.nan_to_num(told.ratio(issue_s, 24 * GAIN_DAYS), nan=1.0), 0.5, 2.0)
        columns["others_ratio"] = ratio
        columns["others_corrected"] = columns["others"] * ratio
        return member[:, None, :]

    def base_names(self) -> list[str]:
        return ["physics"] * self.has_physics + ["others-followed"] * self.has_others

    def _clear_at(self, target_s: IntArray, step_s: int) -> FloatArray:
        sun = self.sun(target_s, step_s)
        assert sun is not None
        return sun.clear_ghi_wm2

    def _recent_columns(
        self, columns: dict[str, FloatArray], data: Dataset, issue_s: IntArray, target_s: IntArray,
        clear_power: FloatArray | None,
    ) -> list[str]:  # fmt: skip
        """What the modules did at this time of day before the issue, and in the last days altogether."""
        series = data.series
        columns |= lag_columns(series, issue_s, target_s, self.capacity_w)
        names = ["mean14", "max14"]
        if clear_power is not None:
            clear = self._clear_power(self._past_sun(series))
            assert clear is not None
            recent = Recent(series, clear, self.capacity_w)
            for hours in (3, 24, 72):
                columns[f"ratio_{hours}h"] = recent.ratio(issue_s, hours)
            columns["expected_72h"] = columns["ratio_72h"] * columns["clear_power"]
        return names

    def _past_sun(self, series: Series) -> SunPath | None:
        """Sun over the history, kept between the tables of one training or one forecast."""
        key = (series.start_s, len(series.values), self.fitted_from_rows)
        if self._sun_kept is None or self._sun_kept[0] != key:
            self._sun_kept = (key, self.sun(series.times_s, series.step_s))
        return self._sun_kept[1]

    def _physics_member(
        self, columns: dict[str, FloatArray], data: Dataset, issue_s: IntArray
    ) -> FloatArray:
        """Physics times what the modules gave of it in the last fortnight, as a member (n, 1, 4)."""
        series, times = data.series, data.series.times_s
        # With the weather as it was last forecast before each step.
        expected = self.physics(data, times, times, self._past_sun(series))
        assert expected is not None
        measured, wanted = Recent(series, expected, self.capacity_w).sums(issue_s, 24 * GAIN_DAYS)
        stand = GAIN_PRIOR_H * 3600 / series.step_s * self.capacity_w
        gain = (measured + stand) / (wanted + stand)
        middle = columns["physics"] * gain
        ceiling = np.maximum(columns["clear_power"], middle)
        low, high = default_band(middle, ceiling)
        return np.stack([low, middle, high, middle], axis=1)[:, None, :]

    def prior(self) -> Prior | None:
        if not self.has_physics:
            return None
        return self.leaning("physics", PHYSICS_ALONE_DAYS)

    def sample_weight(
        self, data: Dataset, target_s: IntArray, y: FloatArray
    ) -> tuple[FloatArray, dict[str, int]]:
        """Days of snow, curtailment and outage weigh nothing."""
        times = data.series.times_s
        late = np.full(len(times), np.iinfo(np.int64).max // 2, dtype=np.int64)
        sun = self.sun(times, data.series.step_s)
        expected = self.physics(data, late, times, sun)
        if expected is None:
            clear = self._clear_power(sun)
            # Without weather only an outage is certain: even overcast leaves a tenth of clear sky.
            expected = None if clear is None else 0.5 * clear
        if expected is None:
            return np.ones(len(target_s)), {}
        found = unusual_days(
            times, data.series.step_s, data.series.values, expected,
            self._history(data, "temp_air", times),
        )  # fmt: skip
        bad = np.concatenate(list(found.values()))
        weight = np.where(np.isin(target_s // DAY_S, bad), 0.0, 1.0)
        return weight, {name: len(days) for name, days in found.items()}

    def finish(
        self, data: Dataset, issue_s: int, target_s: IntArray, values: FloatArray
    ) -> FloatArray:
        most = float(np.nanmax(data.series.values, initial=0.0))
        stated = self.place.capacity_w or 0.0
        top = self.place.inverter_limit_w or 1.05 * max(self.capacity_w, stated, most)
        return np.clip(values, 0.0, top)

    # storage ----------------------------------------------------------------------------------

    def constants(self) -> dict[str, Any]:
        return {
            "capacity_w": self.capacity_w,
            "location": None if self.location is None else asdict(self.location),
            "plane": None if self.plane is None else asdict(self.plane),
            "shift_s": self.shift_s,
            "fitted_from_rows": self.fitted_from_rows,
            "has_others": self.has_others,
            "has_physics": self.has_physics,
            "days_taught": self.days_taught,
        }

    def restore(self, constants: dict[str, Any]) -> None:
        self.capacity_w = float(constants["capacity_w"])
        place, plane = constants["location"], constants["plane"]
        self.location = None if place is None else Location(**place)
        self.fitted_from_rows = int(constants["fitted_from_rows"])
        self.has_others = bool(constants["has_others"])
        if self.has_others:
            self._heed_others()
        self.has_physics = bool(constants["has_physics"])
        self.days_taught = float(constants["days_taught"])
        self.plane, self.shift_s = None, int(constants["shift_s"])
        if plane is not None:
            array = plane["array"] | {"horizon": tuple(map(tuple, plane["array"]["horizon"]))}
            self.plane = Plane(PvArray(**array), int(plane["shift_s"]), float(plane["fit"]))
