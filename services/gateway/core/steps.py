"""What a recorder kept, as the mean of each step: states that hold, and energy counters.

Both are pieces of constant level on the time axis, with nothing known between them; a step's mean is
that of its known part, weighted by time, and unknown when less than half of the step is known.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEAST_KNOWN = 0.5
"""Share of a step that must be known for its mean."""
MOST_W = 200_000.0
"""What a house may draw (as `contracts.units.Watts`); beyond lies a counter that jumped."""


@dataclass
class Steps:
    """Time-weighted means on a grid: `count` steps of `step_s` from `start_s` (epoch seconds) on."""

    start_s: int
    step_s: int
    count: int
    total: Array = field(init=False)
    known_s: Array = field(init=False)

    def __post_init__(self) -> None:
        self.total, self.known_s = np.zeros(self.count), np.zeros(self.count)

    def add(self, begin_s: Array, end_s: Array, level: Array) -> None:
        """Take pieces of constant level, in order and without overlap; a NaN level is not known."""
        kept = np.isfinite(level) & (end_s > begin_s)
        if not kept.any():
            return
        begin, end, value = begin_s[kept] - self.start_s, end_s[kept] - self.start_s, level[kept]
        # Integrals up to each bound of a piece; between pieces they stand still.
        bounds = np.column_stack([begin, end]).ravel()
        first = max(0, int(bounds[0] // self.step_s))
        last = min(self.count, int(-(-bounds[-1] // self.step_s)))
        if first >= last:
            return
        edges = self.step_s * np.arange(first, last + 1, dtype=np.float64)
        for integral, rate in ((self.total, value), (self.known_s, np.ones_like(value))):
            so_far = np.cumsum(rate * (end - begin))
            grown = np.column_stack([so_far - rate * (end - begin), so_far]).ravel()
            integral[first:last] += np.diff(np.interp(edges, bounds, grown))

    def means(self) -> Array:
        """The mean of each step, NaN where less than half of it is known."""
        enough = self.known_s >= LEAST_KNOWN * self.step_s - 1e-6
        return np.where(enough, self.total / np.maximum(self.known_s, 1e-6), np.nan)


@dataclass
class Held:
    """A state written when it changes: it holds until the next one, for `hold_s` at most."""

    steps: Steps
    hold_s: float
    last: tuple[float, float] | None = None
    """Time and value of the newest state: it may hold on into the next part."""
    done_s: float = -np.inf

    def take(self, times_s: Array, values: Array, until_s: float) -> None:
        """The states of the next part of the history, which ends at `until_s`; NaN: not known from here."""
        if self.last is not None:
            times_s, values = np.append(self.last[0], times_s), np.append(self.last[1], values)
        if len(times_s):
            end = np.minimum(np.append(times_s[1:], until_s), times_s + self.hold_s)
            self.steps.add(np.maximum(times_s, self.done_s), end, values)
            self.last = float(times_s[-1]), float(values[-1])
        self.done_s = until_s


def counted(times_s: Array, energy_wh: Array, gap_s: float) -> tuple[Array, Array, Array]:
    """Pieces of constant power (begin, end, W) out of a counter's readings; NaN where it does not tell.

    It does not tell across a gap of more than `gap_s` between readings, where the counter falls (reset,
    roll-over), where it comes back to where it had fallen from (a reading of 0 in between), and where
    it would be more than a house can draw. A rise by the counter's one tick (0.1 kWh, say) did not come
    at once: it is spread over the time since the change before, `gap_s` at most.
    """
    rise, span = np.diff(energy_wh), np.diff(times_s)
    wrong = (rise < 0) | (span > gap_s)
    changes = np.flatnonzero(rise)
    fell_and_rose = (rise[changes[:-1]] < 0) & (rise[changes[:-1]] + rise[changes[1:]] >= 0)
    for k in np.flatnonzero(fell_and_rose):
        wrong[changes[k] : changes[k + 1] + 1] = True
    good = rise[(rise > 0) & ~wrong]
    one_tick = (rise > 0) & ~wrong & (rise <= 1.5 * (good.min() if len(good) else 0.0))
    # Between these the counter stands, and is heard of: no power. The last stretch has no rise at its end.
    bounds = np.flatnonzero((rise != 0) | wrong)
    since, end = times_s[np.append(0, bounds + 1)], times_s[np.append(bounds + 1, len(times_s) - 1)]
    begin = np.append(times_s[bounds], times_s[-1])
    smeared = np.append(one_tick[bounds], False)
    begin = np.where(smeared, np.maximum(since, end - gap_s), begin)
    level = np.append(np.where(wrong, np.nan, rise)[bounds], 0.0)
    level = 3600.0 * level / np.where(end > begin, end - begin, 1.0)
    level[level > MOST_W] = np.nan
    return (
        np.column_stack([since, begin]).ravel(),
        np.column_stack([begin, end]).ravel(),
        np.column_stack([np.zeros_like(level), level]).ravel(),
    )
