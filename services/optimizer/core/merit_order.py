"""What the site's next kilowatts cost in a step: its ways to give power, the cheapest first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def cost_between(price: Floats, capacity: Floats, start: Floats, power: float) -> Floats:
    """Cost of `power` kW in each step, EUR, when the `start` cheapest kW are taken already.

    `price` (ways, steps) is EUR per kW, `capacity` (ways, steps) kW; beyond all of them the dearest
    way goes on.
    """
    order = np.argsort(price, axis=0, kind="stable")
    price = np.take_along_axis(price, order, axis=0)
    upper = np.cumsum(np.take_along_axis(capacity, order, axis=0), axis=0)
    lower = np.vstack([np.zeros((1, start.size)), upper[:-1]])
    lower[0], upper[-1] = -np.inf, np.inf
    taken = np.minimum(upper, start + power) - np.maximum(lower, start)
    return np.asarray((price * np.maximum(taken, 0.0)).sum(axis=0))
