"""Pictures of an evaluation: fan chart, reliability diagram, error by lead time."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from services.forecast.core.bands import BoolArray
from services.forecast.core.rolling import Rolled
from services.forecast.core.scenarios import from_uniform


def draw(rolled: Rolled, unit: str, time_zone: str, path: Path) -> None:
    """Write one picture (format by suffix) with a week of forecasts, their reliability and their errors."""
    figure, axes = plt.subplots(3, 1, figsize=(11, 12), constrained_layout=True)
    _fan(axes[0], rolled, unit, time_zone)
    _reliability(axes[1], rolled)
    _by_lead(axes[2], rolled, unit)
    figure.savefig(path, dpi=110, metadata={"Software": None} if path.suffix == ".png" else None)
    plt.close(figure)


def _fan(axis: plt.Axes, rolled: Rolled, unit: str, time_zone: str) -> None:
    first_day = rolled.lead_s < 86_400
    end = rolled.target_s[first_day].max()
    rows = first_day & (rolled.target_s > end - 7 * 86_400)
    when = pd.to_datetime(rolled.target_s[rows], unit="s", utc=True).tz_convert(time_zone)
    ours = rolled.ours
    axis.fill_between(when, ours.p10[rows], ours.p90[rows], alpha=0.3, label="P10 to P90")
    axis.plot(when, ours.p50[rows], lw=1.2, label="P50")
    axis.plot(when, rolled.actual[rows], color="black", lw=0.9, label="measured")
    axis.xaxis.set_major_formatter(mdates.DateFormatter("%d %b", tz=time_zone))
    axis.set(title="The last week, day ahead", ylabel=unit)
    axis.legend(loc="upper left", ncols=3, fontsize=8)


def _reliability(axis: plt.Axes, rolled: Rolled) -> None:
    known: BoolArray = ~np.isnan(rolled.actual) & rolled.lit
    levels = np.linspace(0.05, 0.95, 19)
    values = from_uniform(rolled.ours, np.repeat(levels[:, None], len(rolled.actual), axis=1))
    observed = (rolled.actual[None, known] <= values[:, known]).mean(axis=1)
    axis.plot([0, 1], [0, 1], color="grey", lw=0.8, ls="--", label="perfect")
    axis.plot(levels, observed, marker="o", ms=4, label="interpolated levels")
    three = np.stack([rolled.ours.p10, rolled.ours.p50, rolled.ours.p90])[:, known]
    axis.plot(
        [0.1, 0.5, 0.9], (rolled.actual[known] <= three).mean(axis=1), "s", label="P10, P50, P90"
    )
    axis.set(title="Reliability", xlabel="stated probability", ylabel="observed share below")
    axis.legend(fontsize=8)


def _by_lead(axis: plt.Axes, rolled: Rolled, unit: str) -> None:
    hour = rolled.lead_s // 3600
    hours = np.unique(hour)
    error = np.abs(rolled.ours.p50 - rolled.actual)
    series = {"ours": error} | {
        name: np.abs(bands.p50 - rolled.actual) for name, bands in rolled.baselines.items()
    }
    for name, values in series.items():
        means = [
            float(np.mean(part[~np.isnan(part)])) if (~np.isnan(part)).any() else np.nan
            for part in (values[hour == h] for h in hours)
        ]
        axis.plot(hours, means, lw=2 if name == "ours" else 1, label=name)
    axis.set(title="Mean absolute error by lead time", xlabel="hours ahead", ylabel=unit)
    axis.legend(fontsize=8, ncols=3)
