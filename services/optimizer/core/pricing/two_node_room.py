"""The room with two temperatures (air and mass, or air and floor), and its two modes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from .room import TOO_QUICK, FloatArray, IntArray, check_schedule_fields, grids_follow

SHARED = 1e-9
"""How far the eigenvectors of two steps may differ (share of the matrix)."""


@dataclass(frozen=True)
class TwoNodeRoomPricing:
    """One room over n steps with an air node (first) and a slow node (second).

    ``T[t+1] = transition[t] @ T[t] + gain_on_k[t] * u[t] + drift_k[t]``. The matrices may vary with
    the length of the step, but must share their eigenvectors, as the exact discretisations of one
    continuous model do; their eigenvalues must be real and in (0, 1], as those of any network of
    resistances and capacities are.

    Attributes:
        transition: [n, 2, 2].
        gain_on_k: [n, 2] K added to each node by a step with the relay on.
        drift_k: [n, 2] K added by everything else.
        start_temperature_c: [2] degC.
        air_price_eur_per_k: [n] price of each K of the air at the end of a step (what the
            neighbours pay for it, negative); empty: none.
        end_slope_eur_per_k: [2] price of each K of a node at the very end.
        end_weights, end_target_c, end_value_eur_per_k: [m, 2], [m], [m] cost of each K that
            ``end_weights @ T[n]`` lies below a target.
        Others: as in RoomPricing; comfort is judged on the air node.
    """

    transition: FloatArray
    gain_on_k: FloatArray
    drift_k: FloatArray
    start_temperature_c: FloatArray
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
    air_price_eur_per_k: FloatArray = field(default_factory=lambda: np.empty(0))
    end_slope_eur_per_k: FloatArray = field(default_factory=lambda: np.zeros(2))
    end_weights: FloatArray = field(default_factory=lambda: np.empty((0, 2)))
    end_target_c: FloatArray = field(default_factory=lambda: np.empty(0))
    end_value_eur_per_k: FloatArray = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        transition = np.asarray(self.transition)
        if transition.ndim != 3 or transition.shape[0] == 0 or transition.shape[1:] != (2, 2):
            raise ValueError("transition must be [n, 2, 2]: one matrix for each step")
        steps = transition.shape[0]
        check_schedule_fields(self, steps)
        kinks = np.size(self.end_target_c)
        shapes = {
            "transition": (steps, 2, 2),
            "gain_on_k": (steps, 2),
            "drift_k": (steps, 2),
            "start_temperature_c": (2,),
            "air_price_eur_per_k": (steps,),
            "end_slope_eur_per_k": (2,),
            "end_weights": (kinks, 2),
            "end_target_c": (kinks,),
            "end_value_eur_per_k": (kinks,),
        }
        for name, shape in shapes.items():
            value = np.array(getattr(self, name), dtype=np.float64, order="C")
            if name == "air_price_eur_per_k" and value.size == 0:
                value = np.zeros(shape)
            if value.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {value.shape}")
            if not np.isfinite(value).all():
                raise ValueError(f"{name} holds NaN or infinity: fill the gap before pricing")
            value.flags.writeable = False
            object.__setattr__(self, name, value)
        if np.any(self.end_value_eur_per_k < 0.0):
            raise ValueError("end_value_eur_per_k must not be negative: it would reward cold")
        for mode in self.modes.decay.T:  # refuses matrices that do not split
            if not grids_follow(mode, self.min_off_steps, self.min_on_steps):
                raise ValueError(TOO_QUICK)

    @cached_property
    def modes(self) -> Modes:
        """The room's slow and fast mode."""
        return split_modes(self.transition)


class Modes(NamedTuple):
    """``transition[t] = vectors @ diag(decay[t]) @ inverse`` for every t; slow mode first."""

    vectors: FloatArray
    inverse: FloatArray
    decay: FloatArray


def split_modes(transition: FloatArray) -> Modes:
    """Split the matrices [n, 2, 2] into a slow and a fast scalar mode; ValueError if they do not.

    The vectors are scaled so that a mode moves the air by one K per unit (or, where it does not
    move the air, the other node).
    """
    values, vectors = np.linalg.eig(transition[0])
    if np.iscomplexobj(values):
        raise ValueError("transition has complex eigenvalues: no network of heat flows has them")
    order = np.argsort(-values)
    vectors = vectors[:, order]
    largest = np.abs(vectors).max(axis=0)
    lead = np.where(np.abs(vectors[0]) > 1e-6 * largest, vectors[0], vectors[1])
    vectors = vectors / lead
    if np.linalg.cond(vectors) > 1e5:
        raise ValueError("transition has no two distinct modes: price it as a one-node room")
    inverse = np.linalg.inv(vectors)
    modal = inverse @ transition @ vectors
    decay = np.ascontiguousarray(np.stack([modal[:, 0, 0], modal[:, 1, 1]], axis=1))
    if np.abs(modal[:, (0, 1), (1, 0)]).max() > SHARED:
        raise ValueError("transition matrices must share their eigenvectors (one continuous model)")
    if np.any(decay <= 1e-9) or np.any(decay > 1.0 + 1e-12):
        raise ValueError("transition must have eigenvalues in (0, 1]: a passive, stable room")
    return Modes(vectors, inverse, np.minimum(decay, 1.0))
