"""Figures: fit against held-out data, response to an hour of heating, parameters with errors."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import HouseModel
from services.thermal.core.discretise import discretise
from services.thermal.core.drive import drive_of
from services.thermal.core.filter import StepInputs, filter_step, initial_state
from services.thermal.core.history import History
from services.thermal.core.predict import Forecast, predict

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

Array = NDArray[np.float64]

MOST_ROOMS = 8
WARM_UP_S = 4 * 86400
SHOWN_S = 8 * 86400
RESPONSE_S = 12 * 3600


def day_ahead_runs(
    model: HouseModel, history: History, from_epoch_s: int, to_epoch_s: int
) -> list[tuple[Array, Array, Array, Array]]:
    """One 24 h run a day: (epoch_s, mean, low, high), temperatures (steps, rooms)."""
    step = history.step_s
    day = round(86400 / step)
    start = int(np.searchsorted(history.epoch_s, from_epoch_s))
    stop = int(np.searchsorted(history.epoch_s, min(to_epoch_s, from_epoch_s + SHOWN_S)))
    first = max(0, start - WARM_UP_S // step)
    drive = drive_of(model, history)
    state = initial_state(
        model,
        int(history.epoch_s[first]),
        list(history.temperature_c[first]),
        float(drive.outside_c[first]),
    )
    runs = []
    for t in range(first + 1, stop - day):
        inputs = StepInputs(
            step,
            float(drive.outside_c[t - 1]),
            list(drive.heat_w[t - 1]),
            list(drive.air_gain_w[t - 1]),
            list(drive.mass_gain_w[t - 1]),
        )
        state, _ = filter_step(model, state, inputs, list(history.temperature_c[t]))
        if t >= start and (t - start) % day == 0:
            ahead = slice(t, t + day)
            found = predict(
                model,
                state,
                Forecast(
                    drive.outside_c[ahead],
                    drive.heat_w[ahead],
                    drive.habit_air_w[ahead],
                    drive.mass_gain_w[ahead],
                ),
                step,
            )
            times = history.epoch_s[t + 1 : t + day + 1].astype(np.float64)
            runs.append((times, found.mean_c, found.low_c, found.high_c))
    return runs


def evaluation_figure(
    model: HouseModel, history: History, from_epoch_s: int, to_epoch_s: int, path: Path
) -> None:
    """Held-out data with day-ahead runs and bands, response to an hour of heating, parameters."""
    runs = day_ahead_runs(model, history, from_epoch_s, to_epoch_s)
    shown = min(len(model.rooms), MOST_ROOMS)
    figure, axes = plt.subplots(shown + 2, 1, figsize=(10, 2.1 * (shown + 2)), layout="constrained")
    for i in range(shown):
        _held_out(axes[i], model, history, runs, i)
    _responses(axes[shown], model)
    _parameters(axes[shown + 1], model)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def parameter_figure(model: HouseModel, path: Path) -> None:
    """Response to an hour of heating and parameters with error bars."""
    figure, axes = plt.subplots(2, 1, figsize=(10, 7), layout="constrained")
    _responses(axes[0], model)
    _parameters(axes[1], model)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _held_out(
    axis: Axes,
    model: HouseModel,
    history: History,
    runs: list[tuple[Array, Array, Array, Array]],
    i: int,
) -> None:
    if runs:
        begin = runs[0][0][0]
        rows = (history.epoch_s >= begin) & (history.epoch_s <= runs[-1][0][-1])
        axis.plot(
            (history.epoch_s[rows] - begin) / 86400.0,
            history.temperature_c[rows, i],
            color="black",
            linewidth=1.0,
            label="measured",
        )
        for k, (times, mean, low, high) in enumerate(runs):
            days = (times - begin) / 86400.0
            axis.fill_between(days, low[:, i], high[:, i], color="tab:orange", alpha=0.2, lw=0)
            label = "a day ahead, 90 % band" if k == 0 else None
            axis.plot(days, mean[:, i], color="tab:orange", lw=1.2, label=label)
    axis.set_ylabel(f"{model.rooms[i].name}\n°C")
    if i == 0:
        axis.legend(loc="upper right", fontsize=8)
        axis.set_xlabel("days of the test")


def hour_response_c(model: HouseModel, i: int, step_s: int = 300) -> Array:
    """Rise of room i over 12 h after one hour at rated power (1 kW if none is known), K."""
    dynamics = discretise(model, step_s)
    power = model.rooms[i].heater_power_w or 1000.0
    state = np.zeros(dynamics.layout.size)
    rises = []
    for k in range(RESPONSE_S // step_s):
        state = dynamics.A @ state
        if k * step_s < 3600:
            state = state + dynamics.B_heat[:, i] * power
        rises.append(state[dynamics.layout.air[i]])
    return np.array(rises)


def _responses(axis: Axes, model: HouseModel) -> None:
    hours = np.arange(1, RESPONSE_S // 300 + 1) / 12.0
    for i, room in enumerate(model.rooms):
        axis.plot(hours, hour_response_c(model, i), label=room.name, lw=1.0)
    axis.set_xlabel("hours after one hour of heating began")
    axis.set_ylabel("rise, K")
    axis.legend(fontsize=7, ncols=4)


def _parameters(axis: Axes, model: HouseModel) -> None:
    """Main parameters relative to their value, with one standard error."""
    names = ("air_capacity_j_per_k", "mass_capacity_j_per_k", "air_mass_w_per_k",
             "air_outside_w_per_k")  # fmt: skip
    for k, name in enumerate(names):
        for i, room in enumerate(model.rooms):
            value = getattr(room, name)
            errors = {e.parameter: e.standard_error for e in room.standard_errors}
            if not value or name not in errors:
                continue
            axis.errorbar(
                i + 0.15 * (k - 1.5), value, yerr=min(errors[name], 0.95 * value), fmt="o",
                color=f"C{k}", markersize=3, capsize=2,
                label=name if i == 0 else None,
            )  # fmt: skip
    axis.set_yscale("log")
    axis.set_xticks(range(len(model.rooms)), [room.name for room in model.rooms], rotation=30)
    axis.legend(fontsize=7, ncols=2)
