"""Figures: fit against held-out data, response to an hour of heating, parameters with errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import HouseModel
from services.thermal.core.correction import Correction, correct_filtered, rows_to_filter
from services.thermal.core.discretise import discretise
from services.thermal.core.drive import drive_of
from services.thermal.core.hindcast import run_filter
from services.thermal.core.history import History
from services.thermal.core.predict import Z_90, Forecast, predict
from services.thermal.core.recalibrate import recalibrated

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.figure import FigureBase

Array = NDArray[np.float64]

MOST_ROOMS = 8
WARM_UP_S = 14 * 86400
SHOWN_S = 8 * 86400
RESPONSE_S = 12 * 3600
PARAMETERS = {
    "air_capacity_j_per_k": ("air, kJ/K", 1e-3),
    "mass_capacity_j_per_k": ("mass, MJ/K", 1e-6),
    "air_mass_w_per_k": ("air to mass, W/K", 1.0),
    "air_outside_w_per_k": ("air to outside, W/K", 1.0),
}


def day_ahead_runs(
    model: HouseModel, history: History, correction: Correction, from_epoch_s: int, to_epoch_s: int
) -> list[tuple[Array, Array, Array, Array]]:
    """One corrected 24 h run a day: (epoch_s, mean, low, high), temperatures (steps, rooms)."""
    step = history.step_s
    day = round(86400 / step)
    start = int(np.searchsorted(history.epoch_s, from_epoch_s))
    stop = int(np.searchsorted(history.epoch_s, min(to_epoch_s, from_epoch_s + SHOWN_S)))
    first = max(0, start - WARM_UP_S // step)
    drive = drive_of(model, history)
    origins = np.arange(max(start, first + 1), stop - day, day, dtype=np.int64)
    if not len(origins):
        return []
    filtered = run_filter(
        model, history, drive, first, rows_to_filter(correction, step, origins, first)
    )
    leads = range(1, day + 1)
    added, half = correct_filtered(
        correction, model, history, drive, filtered.rows, filtered.means, origins, leads
    )
    mean = np.empty_like(half)
    for k, t in enumerate(origins.tolist()):
        ahead = slice(t, t + day)
        found = predict(
            model,
            filtered.states[int(np.searchsorted(filtered.rows, t))],
            Forecast(
                drive.outside_c[ahead],
                drive.heat_w[ahead],
                drive.habit_air_w[ahead],
                drive.mass_gain_w[ahead],
            ),
            step,
        )
        mean[:, k] = found.mean_c + np.nan_to_num(added[:, k])
        half[:, k] = np.where(np.isfinite(half[:, k]), half[:, k], Z_90 * found.sd_c)
    came = np.stack([history.temperature_c[origins + lead] for lead in leads])
    at = [lead * step for lead in leads]
    half = recalibrated(at, history.epoch_s[origins], mean - came, half)
    low, high = mean - half, mean + half
    return [
        (history.epoch_s[t + 1 : t + day + 1].astype(np.float64), mean[:, k], low[:, k], high[:, k])
        for k, t in enumerate(origins.tolist())
    ]


def evaluation_figure(
    model: HouseModel,
    history: History,
    correction: Correction,
    from_epoch_s: int,
    to_epoch_s: int,
    path: Path,
) -> None:
    """Held-out data with day-ahead runs and bands, response to an hour of heating, parameters."""
    runs = day_ahead_runs(model, history, correction, from_epoch_s, to_epoch_s)
    shown = min(len(model.rooms), MOST_ROOMS)
    lines = -(-shown // 2)
    figure = plt.figure(figsize=(13, 2.3 * lines + 7.0), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(2.3 * lines, 7.0))
    axes = top.subplots(lines, 2, sharex=True, squeeze=False).ravel()
    top.suptitle("Held-out days: every day forecast at its beginning", fontweight="bold")
    for i in range(shown):
        _held_out(axes[i], model, history, runs, i)
    for axis in axes[shown:]:
        axis.set_axis_off()
    _learnt(bottom, model)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def parameter_figure(model: HouseModel, path: Path) -> None:
    """Response to an hour of heating and parameters with error bars."""
    figure = plt.figure(figsize=(13, 7), layout="constrained")
    _learnt(figure, model)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _learnt(figure: FigureBase, model: HouseModel) -> None:
    """Upper half the responses, lower half one panel a parameter."""
    halves: Any = figure.subfigures(2, 1)
    above, below = halves
    _responses(above.subplots(), model)
    panels = below.subplots(1, len(PARAMETERS), sharey=True)
    below.suptitle(
        "What was learnt, with one standard error (hollow: kept its prior)", fontweight="bold"
    )
    for axis, (name, (label, scale)) in zip(panels, PARAMETERS.items(), strict=True):
        _parameter(axis, model, name, label, scale)
    panels[0].set_yticks(range(len(model.rooms)), model.room_names)
    panels[0].invert_yaxis()


def _held_out(
    axis: Axes,
    model: HouseModel,
    history: History,
    runs: list[tuple[Array, Array, Array, Array]],
    i: int,
) -> None:
    name = model.rooms[i].name
    axis.set_title(name, loc="left", fontsize=10)
    axis.set_ylabel("°C")
    axis.grid(alpha=0.25)
    if not runs:
        return
    rows = (history.epoch_s >= runs[0][0][0]) & (history.epoch_s <= runs[-1][0][-1])
    axis.plot(_dates(history.epoch_s[rows]), history.temperature_c[rows, i], color="black", lw=1.1,
              label="measured")  # fmt: skip
    for k, (times, mean, low, high) in enumerate(runs):
        days = _dates(times)
        axis.fill_between(days, low[:, i], high[:, i], color="tab:orange", alpha=0.18, lw=0,
                          label=None if k else "90 % band")  # fmt: skip
        axis.plot(days, mean[:, i], color="tab:orange", lw=1.3, label=None if k else "forecast")
    axis.xaxis.set_major_formatter(DateFormatter("%d %b"))
    if i == 0:
        axis.legend(loc="upper right", fontsize=8, ncols=3)


def _dates(epoch_s: Array | NDArray[np.int64]) -> NDArray[np.datetime64]:
    return np.asarray(epoch_s).astype(np.int64).astype("datetime64[s]")


def hour_response_c(model: HouseModel, i: int, step_s: int = 300) -> Array | None:
    """Rise of room i over 12 h after one hour of its heater at rated power, or of 1 kW of a heater
    that rooms share, K; None for a room that no heater reaches."""
    power = np.zeros(len(model.rooms))
    for j, room in enumerate(model.rooms):
        for share in room.heat_shares:
            if share.source == "heat":
                power[j] += 1000.0 * share.fraction
    if model.rooms[i].heater_power_w > 0.0:
        power = np.zeros(len(model.rooms))
        power[i] = model.rooms[i].heater_power_w
    if power[i] == 0.0:
        return None
    dynamics = discretise(model, step_s)
    state = np.zeros(dynamics.layout.size)
    rises = []
    for k in range(RESPONSE_S // step_s):
        state = dynamics.A @ state
        if k * step_s < 3600:
            state = state + dynamics.B_heat @ power
        rises.append(state[dynamics.layout.air[i]])
    return np.array(rises)


def _responses(axis: Axes, model: HouseModel) -> None:
    """One line a heated room; beside each the room's name where the line ends."""
    colours = plt.get_cmap("tab20")
    hours = np.arange(RESPONSE_S // 300 + 1) / 12.0
    for i, room in enumerate(model.rooms):
        rises = hour_response_c(model, i)
        if rises is not None:
            axis.plot(hours, [0.0, *rises], label=room.name, lw=1.5, color=colours(i % 20))
    axis.axvspan(0.0, 1.0, color="tab:red", alpha=0.08, lw=0)
    axis.set_title("Response to one hour of heating (shaded)", fontweight="bold")
    axis.set_xlabel("hours since heating began")
    axis.set_ylabel("rise, K")
    axis.set_xlim(0.0, hours[-1])
    axis.grid(alpha=0.25)
    if axis.lines:
        axis.legend(fontsize=8, ncols=2, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _parameter(axis: Axes, model: HouseModel, name: str, label: str, scale: float) -> None:
    """One parameter of all rooms; the axis is logarithmic where the rooms differ tenfold."""
    shown = []
    for i, room in enumerate(model.rooms):
        value = getattr(room, name)
        if not value:
            continue
        errors = {e.parameter: e.standard_error for e in room.standard_errors}
        value, error = value * scale, errors.get(name, 0.0) * scale
        shown.append(value)
        axis.errorbar(
            value, i, xerr=[[min(error, 0.95 * value)], [error]], fmt="o", color="tab:blue",
            markerfacecolor="tab:blue" if name in room.identified else "white",
            markersize=4, capsize=2, lw=1.0,
        )  # fmt: skip
    if shown and max(shown) > 10.0 * min(shown):
        axis.set_xscale("log")
    else:
        axis.set_xlim(left=0.0)
    axis.set_xlabel(label)
    axis.grid(alpha=0.25, axis="x")
