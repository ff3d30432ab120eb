"""The room as the pricing problem sees it: arrays in, a priced relay schedule out."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]

MOST_HALVINGS = 36
"""A minimum run that keeps less than one part in two to this power of a temperature difference leads out of
any grid: nodes would lie closer together than their numbers can count."""


@dataclass(frozen=True)
class RoomPricing:
    """One room over n steps, without the price of energy.

    The temperature follows ``T[t+1] = decay[t] * T[t] + gain_on_k[t] * u[t] + drift_k[t]`` with the
    relay ``u[t]`` in {0, 1}; every array may vary with time, so any grid of steps works.

    Attributes:
        decay: [n] share of the temperature kept over a step, in [0, 1] (see `grids_follow`).
        gain_on_k: [n] K added by a step with the relay on (negative for cooling).
        drift_k: [n] K added by everything else (outdoors, sun, neighbours).
        start_temperature_c: temperature at the beginning of step 0, degC.
        comfort_low_c, comfort_high_c: [n] wished band, applied to T[t+1], degC.
        penalty_low_eur_per_k, penalty_high_eur_per_k: [n] price of each K outside the band for
            that step (already multiplied by the step's length), >= 0.
        switch_cost_eur: price of every change of the relay, >= 0.
        min_on_steps, min_off_steps: a run of the relay lasts at least so many steps; a whole number
            or [n] numbers, the one at the step where the run begins counts. A run that reaches the
            end of the horizon is let go.
        relay_on_at_start: relay state before step 0.
        steps_in_state_at_start: how long it has been in that state.
        relay_fixed: [n] -1 free, 0 or 1 ordered; empty: all free. An order goes before a minimum
            time; a free switch is not allowed when an order would cut its minimum run short.
        terminal_temperature_c, terminal_value_eur: [k] break points of the value of the final
            temperature T[n], concave, continued in straight lines outside; k = 0: no value,
            k = 1: a constant.
        energy_on_kwh: [n] energy drawn by a step with the relay on, kWh.
    """

    decay: FloatArray
    gain_on_k: FloatArray
    drift_k: FloatArray
    start_temperature_c: float
    comfort_low_c: FloatArray
    comfort_high_c: FloatArray
    penalty_low_eur_per_k: FloatArray
    penalty_high_eur_per_k: FloatArray
    energy_on_kwh: FloatArray
    switch_cost_eur: float = 0.0
    min_on_steps: int | IntArray = 1
    min_off_steps: int | IntArray = 1
    relay_on_at_start: bool = False
    steps_in_state_at_start: int = 1_000_000
    relay_fixed: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    terminal_temperature_c: FloatArray = field(default_factory=lambda: np.empty(0))
    terminal_value_eur: FloatArray = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        steps = np.asarray(self.decay).size
        if steps == 0:
            raise ValueError("decay is empty: a room needs at least one step")
        check_schedule_fields(self, steps)
        _check_terminal(self)
        for name in ("decay", "gain_on_k", "drift_k"):
            _freeze(self, name, steps)
        if not np.isfinite(self.start_temperature_c):
            raise ValueError("start_temperature_c must be finite: estimate it before pricing")
        if np.any(self.decay < 0.0) or np.any(self.decay > 1.0):
            raise ValueError("decay must lie in [0, 1]: it is exp(-step / time constant)")
        if not grids_follow(self.decay, self.min_off_steps, self.min_on_steps):
            raise ValueError(TOO_QUICK)

    @cached_property
    def median_gain_k(self) -> float:
        """What a step with the relay on usually adds or takes, K."""
        return float(np.median(np.abs(self.gain_on_k)))


def grids_follow(
    decay: FloatArray, min_off_steps: int | IntArray, min_on_steps: int | IntArray
) -> bool:
    """Whether grids hold a temperature that keeps `decay` [n] of itself, over every minimum run."""
    lost = np.append(0.0, np.cumsum(-np.log2(np.maximum(decay, 1e-300))))
    begin = np.arange(decay.size)
    end = np.minimum(begin + np.maximum(min_off_steps, min_on_steps), decay.size)
    return bool((lost[end] - lost[begin]).max() <= MOST_HALVINGS)


TOO_QUICK = "decay: a minimum run forgets where it began; shorten it, or search such a room over cells"


def check_schedule_fields(room: object, steps: int) -> None:
    """Check and normalise the fields that the one-node and the two-node room share.

    Arrays become contiguous and read-only. Raises ValueError naming the field and the fix.
    """
    for name in (
        "comfort_low_c",
        "comfort_high_c",
        "penalty_low_eur_per_k",
        "penalty_high_eur_per_k",
        "energy_on_kwh",
    ):
        _freeze(room, name, steps)
    for name in ("penalty_low_eur_per_k", "penalty_high_eur_per_k"):
        if np.any(getattr(room, name) < 0.0):
            raise ValueError(
                f"{name} must not be negative: a penalty below zero rewards discomfort"
            )
    if np.any(room.comfort_low_c > room.comfort_high_c):  # type: ignore[attr-defined]
        raise ValueError("comfort_low_c lies above comfort_high_c: swap or widen the band")
    switch = float(room.switch_cost_eur)  # type: ignore[attr-defined]
    if not (np.isfinite(switch) and switch >= 0.0):
        raise ValueError("switch_cost_eur must be finite and not negative")
    for name in ("min_on_steps", "min_off_steps"):
        value = np.array(getattr(room, name), dtype=np.int64)
        value = np.full(steps, value) if value.ndim == 0 else value
        if value.shape != (steps,) or np.any(value < 1):
            raise ValueError(f"{name} must be a whole number >= 1, or {steps} of them")
        value.flags.writeable = False
        object.__setattr__(room, name, value)
    if room.steps_in_state_at_start < 0:  # type: ignore[attr-defined]
        raise ValueError("steps_in_state_at_start must not be negative")
    given = room.relay_fixed  # type: ignore[attr-defined]
    free = given is None or np.size(given) == 0
    fixed = np.full(steps, -1) if free else np.array(given, dtype=np.int64)
    if fixed.shape != (steps,) or not np.isin(fixed, (-1, 0, 1)).all():
        raise ValueError(f"relay_fixed must hold {steps} values of -1 (free), 0 or 1")
    fixed.flags.writeable = False
    object.__setattr__(room, "relay_fixed", fixed)


def _check_terminal(room: RoomPricing) -> None:
    """Check and normalise the break points of the terminal value."""
    _freeze(room, "terminal_temperature_c", None)
    points = room.terminal_temperature_c
    _freeze(room, "terminal_value_eur", points.size)
    if np.any(np.diff(points) <= 0.0):
        raise ValueError("terminal_temperature_c must rise strictly")
    if points.size > 2:
        slope = np.diff(room.terminal_value_eur) / np.diff(points)
        if np.any(np.diff(slope) > 1e-12 * (1.0 + np.abs(slope[1:]))):
            raise ValueError("terminal_value_eur must be concave over terminal_temperature_c")


def _freeze(room: object, name: str, steps: int | None) -> None:
    """Replace a field by a read-only contiguous float64 copy of the right length."""
    value = np.array(getattr(room, name), dtype=np.float64, order="C")
    if value.ndim != 1 or (steps is not None and value.size != steps):
        raise ValueError(f"{name} must be a vector of {steps} numbers, got shape {value.shape}")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} holds NaN or infinity: fill the gap before pricing")
    value.flags.writeable = False
    object.__setattr__(room, name, value)


@dataclass(frozen=True)
class RoomPriced:
    """A relay schedule, its exact cost, and a true lower bound on the best possible cost.

    Attributes:
        schedule: [n] relay on (1) or off (0), obeys the orders and the minimum times.
        cost_eur: energy at the given prices + comfort + switching - terminal value of `schedule`,
            by forward simulation.
        lower_bound_eur: no feasible schedule costs less.
        temperatures: [n+1] degC (two-node room: [n+1, 2], air first).
        work_nodes: how many grid nodes were evaluated, a count that does not depend on the machine.
    """

    schedule: NDArray[np.uint8]
    cost_eur: float
    lower_bound_eur: float
    temperatures: FloatArray
    work_nodes: int

    @property
    def gap_eur(self) -> float:
        """Distance between the schedule's cost and the bound, EUR, never negative."""
        return max(0.0, self.cost_eur - self.lower_bound_eur)


def terminal_as_cost(points: FloatArray, values: FloatArray) -> FloatArray:
    """Minus a concave terminal value: row 0 (constant, slope), then rows (kink, rise of slope)."""
    if points.size == 0:
        return np.zeros((1, 2))
    if points.size == 1:
        return np.array([[-values[0], 0.0]])
    slope = -np.diff(values) / np.diff(points)
    rows = [[-values[0] - slope[0] * points[0], slope[0]]]
    rows += [[points[j], max(0.0, slope[j] - slope[j - 1])] for j in range(1, slope.size)]
    return np.array(rows)
