"""Weather at and around a step, as columns of the PV feature table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.forecast.core.bands import FloatArray, IntArray
from services.forecast.core.series import WeatherRuns

THIN_KG_M2 = 0.005
"""Water in a column of cloud that dims little; the logarithm of more, since one cloud hides the next."""


def weather_columns(
    columns: dict[str, FloatArray], weather: WeatherRuns, issue_s: IntArray, target_s: IntArray,
    step_s: int, near_s: int, clear: FloatArray, clear_at: Callable[[IntArray], FloatArray], capacity_w: float,
) -> list[str]:  # fmt: skip
    """Weather at the target and around it; returns the names the linear member takes.

    `near_s`: what else within the hour is looked at, the step of the weather that was learnt from.
    """
    line: list[str] = []

    def seen(name: str, hours: float = 0.0) -> FloatArray:
        return weather.between(name, issue_s, target_s + int(hours * 3600), step_s)

    def around(name: str, hours: tuple[float, ...]) -> FloatArray:
        return np.asarray(np.nanmean(np.stack([seen(name, h) for h in hours]), axis=0))

    have = weather.columns
    if "ghi" in have:
        columns["ghi"] = seen("ghi")
        for hours in (-3, -2, -1, 1, 2, 3):
            columns[f"ghi_{hours:+d}h"] = seen("ghi", hours)
        columns["ghi_3h"] = around("ghi", (-1, 0, 1))
        if near_s < 3600:
            columns["ghi_before"] = seen("ghi", -near_s / 3600)
            columns["ghi_after"] = seen("ghi", near_s / 3600)
        line += ["ghi", "ghi_-1h", "ghi_+1h"]
        if not np.isnan(clear).all():
            clearness = np.where(clear > 25, columns["ghi"] / np.maximum(clear, 25.0), np.nan)
            columns["clearness"] = np.clip(clearness, 0, 1.6)
            clear_now, clear_total = clear, clear.copy()
            total = np.nan_to_num(columns["ghi"])
            for hours in range(-6, 7):
                if hours:
                    part = seen("ghi", hours)
                    other = clear_at(target_s + hours * 3600)
                    total = total + np.nan_to_num(part)
                    clear_total = clear_total + np.where(np.isnan(part), 0.0, other)
                    if abs(hours) <= 2:
                        columns[f"clearness_{hours:+d}h"] = np.where(
                            other > 25, part / np.maximum(other, 25.0), np.nan
                        )
            columns["clearness_day"] = total / np.maximum(clear_total, 100.0)
            columns["ghi_of_day"] = columns["clearness_day"] * clear_now
            near = [columns[f"clearness_{h:+d}h"] for h in (-2, -1, 1, 2)]
            columns["clearness_5h"] = np.nanmean(np.stack([columns["clearness"], *near]), axis=0)
            columns["clearness_rough"] = np.nanstd(np.stack([columns["clearness"], *near]), axis=0)
            line += ["clearness_5h", "ghi_of_day"]
    if "cloud_cover" in have:
        columns["cloud_cover"] = seen("cloud_cover")
        for hours in (-3, -2, -1, 1, 2, 3):
            columns[f"cloud_{hours:+d}h"] = seen("cloud_cover", hours)
        columns["cloud_5h"] = around("cloud_cover", (-2, -1, 0, 1, 2))
        columns["cloud_11h"] = around("cloud_cover", (-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5))
        line += ["cloud_cover", "cloud_5h"]
    if "temp_air" in have:
        columns["temp_air"] = seen("temp_air")
        columns["temp_day"] = around("temp_air", (-9, -6, -3, 0, 3, 6, 9))
        line.append("temp_air")
    if "relative_humidity" in have:
        columns["humidity"] = seen("relative_humidity")
        columns["humidity_5h"] = around("relative_humidity", (-2, -1, 0, 1, 2))
        line += ["humidity", "humidity_5h"]
        if "temp_air" in have:
            columns["dew_point"] = columns["temp_air"] - (100.0 - columns["humidity"]) / 5.0
    for name in ("tclw", "tciw"):
        if name in have:
            near = [seen(name, h) for h in (-2, -1, 0, 1, 2)]
            thick = [np.log1p(np.maximum(water, 0.0) / THIN_KG_M2) for water in near]
            columns[name] = thick[2]
            columns[f"{name}_5h"] = np.asarray(np.nanmean(np.stack(thick), axis=0))
            line.append(name)
    if "wind_speed" in have:
        columns["wind_5h"] = around("wind_speed", (-2, -1, 0, 1, 2))
    for name in ("dni", "dhi"):
        if name in have:
            columns[name] = seen(name)
    if "pv_forecast_w" in have:
        line += others_columns(columns, weather, issue_s, target_s, step_s, near_s, capacity_w)
    return line


def others_columns(
    columns: dict[str, FloatArray], weather: WeatherRuns, issue_s: IntArray, target_s: IntArray,
    step_s: int, near_s: int, capacity_w: float,
) -> list[str]:  # fmt: skip
    """Somebody else's forecast at the target and around it; returns the names the linear member takes."""

    def seen(hours: float) -> FloatArray:
        at = target_s + int(hours * 3600)
        return weather.between("pv_forecast_w", issue_s, at, step_s) / capacity_w

    columns["others"] = np.maximum(seen(0), 0.0)
    for hours in (-2, -1, 1, 2):
        columns[f"others_{hours:+d}h"] = seen(hours)
    if near_s < 3600:
        columns["others_before"] = seen(-near_s / 3600)
        columns["others_after"] = seen(near_s / 3600)
    day = np.stack([seen(h) for h in (-6, -4, -2, 0, 2, 4, 6)])
    columns["others_day"] = np.asarray(np.nanmean(day, axis=0))
    return ["others", "others_-1h", "others_+1h", "others_day"]
