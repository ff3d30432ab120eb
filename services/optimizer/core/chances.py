"""How likely rooms are to be too cold where a plan takes them: its air, the thermal service's bands. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from contracts.events.override import Granted
from contracts.events.thermal import DynamicsIssued
from contracts.planning import Plan
from contracts.site import SiteConfig
from services.optimizer.core.problem import comfort

Array = NDArray[np.float64]

Z_90 = 1.6448536269514722
"""Standard deviations in half the width of a normal distribution's 90 % band."""


def chances_below(
    plan: Plan, dynamics: DynamicsIssued, site: SiteConfig, overrides: Sequence[Granted]
) -> dict[str, tuple[float, ...]]:
    """By room, the chance that its air is below the comfort limit at the end of each step.

    Of rooms whose dynamics, on which the plan rests, came with bands. These are as old as the
    dynamics: of a plan made within the hour they are a little too wide.
    """
    found = {}
    for room in plan.rooms:
        half = half_width_k(plan, dynamics, room.name)
        if half.size:
            low = limit_c(plan, site, room.name, overrides)
            chance = chance_below(np.array(room.air_c[1:]), half, low)
            found[room.name] = tuple(np.round(chance, 3).tolist())
    return found


def chance_below(air_c: Array, half_width_k: Array, limit_c: Array) -> Array:
    """Chance that the air is below the limit, 0..1, if it is normally distributed around `air_c` with
    a 90 % band of this half width."""
    return np.asarray(ndtr((limit_c - air_c) * Z_90 / np.maximum(half_width_k, 1e-6)))


def half_width_k(plan: Plan, dynamics: DynamicsIssued, room: str) -> Array:
    """(steps of the plan,) half the width of the room's 90 % band at the end of each; empty if unknown."""
    issued = dynamics.rooms.get(room)
    return np.array(issued.half_width_k[-len(plan.step_s) :] if issued is not None else ())


def limit_c(plan: Plan, site: SiteConfig, room: str, overrides: Sequence[Granted]) -> Array:
    """(steps,) low edge of the room's comfort, degC, as people gave it: without the planner's margin."""
    edges = [plan.start + timedelta(seconds=s) for s in (0, *accumulate(plan.step_s))]
    return comfort(site, room, edges, overrides, margin_k=0.0)[0]
