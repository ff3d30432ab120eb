"""Joining members by recent skill and calibrating their joint band on what has happened since."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from services.forecast.core.bands import LEVELS, FloatArray, IntArray
from services.forecast.core.calendar import DAY_S

MEMORY_DAYS = 120
ADAPTATION = 0.02
"""By how much a day on which all steps lay outside one side of the band moves that side's level."""
LEVEL_BOUNDS = (0.7, 0.98)


@dataclass
class Memory:
    """Recent out-of-sample forecasts of every member with what came: the evidence for weights and bands.

    target_s (n,), actual (n,), members (n, m, 4) as P10, P50, P90, mean, all in the model's scaled unit;
    group (n,): small integers within which bands are calibrated separately; band (n, 2): P10 and P90 as they
    were issued, NaN where none was.
    """

    target_s: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    actual: FloatArray = field(default_factory=lambda: np.empty(0))
    members: FloatArray = field(default_factory=lambda: np.empty((0, 0, 4)))
    group: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    band: FloatArray = field(default_factory=lambda: np.empty((0, 2)))

    def add(
        self, target_s: IntArray, actual: FloatArray, members: FloatArray, group: IntArray,
        band: FloatArray | None = None,
    ) -> None:  # fmt: skip
        """Append rows; rows without an actual are dropped, and rows older than 120 days forgotten."""
        known = ~np.isnan(actual)
        if not known.any():
            return
        if len(self.actual) == 0:
            self.members = members[known][:0]
        target = np.concatenate([self.target_s, target_s[known]])
        keep = target > target.max() - MEMORY_DAYS * DAY_S
        self.actual = np.concatenate([self.actual, actual[known]])[keep]
        self.members = np.concatenate([self.members, members[known]])[keep]
        self.group = np.concatenate([self.group, group[known]])[keep]
        issued = np.full((len(actual), 2), np.nan) if band is None else band
        self.band = np.concatenate([self.band, issued[known]])[keep]
        self.target_s = target[keep]

    def __len__(self) -> int:
        return len(self.actual)

    def days(self) -> int:
        """Number of different days remembered."""
        return len(np.unique(self.target_s // DAY_S))

    def levels(self) -> FloatArray:
        """Conformal level of the lower and of the upper side, moved by what the issued bands missed.

        Adaptive conformal inference (Gibbs and Candes 2021), a step a day, for each side: too many outcomes
        beyond it raise its level, too few lower it. A day counts once, since its errors come together.
        """
        judged = ~np.isnan(self.band[:, 0])
        actual, band = self.actual[judged], self.band[judged]
        _, day = np.unique(self.target_s[judged] // DAY_S, return_inverse=True)
        steps = np.maximum(np.bincount(day), 1)
        excess = [
            float(np.sum(np.bincount(day, weights=outside) / steps - LEVELS[0]))
            for outside in (actual < band[:, 0], actual > band[:, 1])
        ]
        return np.clip(LEVELS[2] + ADAPTATION * np.array(excess), *LEVEL_BOUNDS)

    def recency(self, half_life_days: float) -> FloatArray:
        age = (self.target_s.max() - self.target_s) / DAY_S
        return np.asarray(np.exp2(-age / half_life_days), dtype=np.float64)


@dataclass
class Combination:
    """Weights of the members and stretch factors of the band.

    band_weights, mean_weights: (m,), sum to 1. stretch: (groups, 2): the lower and upper half-widths are
    multiplied by these. floor: smallest half-width that is stretched, in the scaled unit.
    """

    band_weights: FloatArray
    mean_weights: FloatArray
    stretch: FloatArray
    floor: float

    def join(self, members: FloatArray) -> FloatArray:
        """(n, 4) from (n, m, 4): quantiles averaged level by level (Lichtendahl et al. 2013)."""
        joined = np.einsum("nmq,m->nq", members, self.band_weights)
        joined[:, 3] = members[:, :, 3] @ self.mean_weights
        return np.asarray(joined, dtype=np.float64)

    def apply(self, members: FloatArray, group: IntArray) -> FloatArray:
        """Joined and calibrated (n, 4)."""
        joined = self.join(members)
        factor = self.stretch[np.minimum(group, len(self.stretch) - 1)]
        low = np.maximum(joined[:, 1] - joined[:, 0], self.floor) * factor[:, 0]
        high = np.maximum(joined[:, 2] - joined[:, 1], self.floor) * factor[:, 1]
        return np.column_stack(
            [joined[:, 1] - low, joined[:, 1], joined[:, 1] + high, joined[:, 3]]
        )

    def errors(self, memory: Memory) -> FloatArray:
        """(n,) distance of what came from the median, in half-widths of that side of the band."""
        joined = self.apply(memory.members, memory.group)
        error = memory.actual - joined[:, 1]
        side = np.where(error < 0, joined[:, 1] - joined[:, 0], joined[:, 2] - joined[:, 1])
        return np.asarray(error / np.maximum(side, 1e-9), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Prior:
    """A member trusted before there is a history: it takes `share` of the weight, whatever it scored.

    That share is all it gets: the rest is between the others. Stretches of its band are taken back as far.
    """

    member: int
    share: float

    def draw(self, weights: FloatArray) -> FloatArray:
        """Weights (m,) of which the member has its share first."""
        alone = np.zeros(len(weights))
        alone[self.member] = 1.0
        return np.asarray((1.0 - self.share) * weights + self.share * alone)


def equal(count: int, groups: int, floor: float, prior: Prior | None = None) -> Combination:
    """The combination before there is any evidence."""
    share = _start(count, prior)
    if prior is not None:
        share = prior.draw(share)
    return Combination(share, share.copy(), np.ones((groups, 2)), floor)


def _start(count: int, prior: Prior | None) -> FloatArray:
    """Equal weights (count,) of all members but the prior's."""
    weights = np.ones(count)
    if prior is not None:
        weights[prior.member] = 0.0
    return np.asarray(weights / weights.sum())


def combine(
    memory: Memory, groups: int, floor: float, half_life_days: float = 30.0,
    prior: Prior | None = None,
) -> Combination:  # fmt: skip
    """Weights by exponentiated gradient on recent pinball and squared error, then conformal stretches.

    The stretch of each side is the weighted conformal quantile of (P50 - y) over the half-width (and its
    mirror): conformalised quantile regression (Romano, Patterson and Candes 2019) with scores weighted by
    recency (Barber et al. 2023), so that coverage follows the season, at the adapted level of the side;
    groups with little evidence are drawn to the pooled factor.
    """
    count = memory.members.shape[1]
    result = equal(count, groups, floor, prior)
    if len(memory) < 48:
        return result
    recency = memory.recency(half_life_days)
    if count > 1:
        start = _start(count, prior)
        result.band_weights = _band_weights(memory, recency, start)
        result.mean_weights = _mean_weights(memory, recency, start)
        if prior is not None:
            result.band_weights = prior.draw(result.band_weights)
            result.mean_weights = prior.draw(result.mean_weights)
    joined = result.join(memory.members)
    sides = (
        (joined[:, 1] - memory.actual) / np.maximum(joined[:, 1] - joined[:, 0], floor),
        (memory.actual - joined[:, 1]) / np.maximum(joined[:, 2] - joined[:, 1], floor),
    )
    for side, (excess, level) in enumerate(zip(sides, memory.levels().tolist(), strict=True)):
        pooled = _weighted_quantile(excess, recency, level)
        for group in range(groups):
            rows = memory.group == group
            weight = float(recency[rows].sum())
            own = _weighted_quantile(excess[rows], recency[rows], level) if rows.any() else pooled
            trust = weight / (weight + 60.0)
            result.stretch[group, side] = np.clip(trust * own + (1 - trust) * pooled, 0.2, 5.0)
    if prior is not None:
        result.stretch **= 1.0 - prior.share  # a band that few days have judged stays as it came
    return result


def recent_bias(memory: Memory, combination: Combination, days: int) -> float:
    """Measured over forecast energy of the last days, half of the way from 1; within 0.85 to 1.15."""
    recent = memory.target_s > memory.target_s.max() - days * DAY_S
    forecast = float(combination.join(memory.members[recent])[:, 3].sum())
    if not forecast > 0.0:
        return 1.0
    ratio = float(memory.actual[recent].sum()) / forecast
    return float(np.clip(1.0 + 0.5 * (ratio - 1.0), 0.85, 1.15))


def _weighted_quantile(values: FloatArray, weights: FloatArray, level: float) -> float:
    order = np.argsort(values, kind="stable")
    position = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(position, level)), len(values) - 1)])


def _band_weights(memory: Memory, recency: FloatArray, start: FloatArray) -> FloatArray:
    """Weights on the simplex that lower the recent pinball loss of the averaged quantiles.

    Members without weight at the start stay without.
    """
    quantiles = memory.members[:, :, :3]
    levels = np.array(LEVELS)
    weights, total = start.copy(), np.zeros(len(start))
    scale = recency.sum() * float(
        np.mean(np.abs(memory.actual - quantiles[:, :, 1].mean(axis=1))) + 1e-9
    )
    for step in range(60):
        joined = np.einsum("nmq,m->nq", quantiles, weights)
        slope = np.where(memory.actual[:, None] >= joined, -levels, 1.0 - levels)
        gradient = np.einsum("n,nq,nmq->m", recency, slope, quantiles) / scale
        gradient += 0.06 * (weights - start)  # equal ones are hard to beat (Smith, Wallis 2009)
        weights = weights * np.exp(-0.5 * (gradient - gradient.mean()))
        weights /= weights.sum()
        if step >= 20:
            total += weights
    return np.asarray(total / total.sum(), dtype=np.float64)


def _mean_weights(memory: Memory, recency: FloatArray, start: FloatArray) -> FloatArray:
    """Weights on the simplex that lower the recent squared error of the averaged means."""
    weights = start.copy()
    error = memory.members[:, :, 3] - memory.actual[:, None]
    moment = (error * recency[:, None]).T @ error / recency.sum()
    moment /= np.trace(moment) / len(start) + 1e-12
    for _ in range(200):
        gradient = moment @ weights + 0.05 * (weights - start)
        weights = weights * np.exp(-0.3 * (gradient - gradient.mean()))
        weights /= weights.sum()
    return np.asarray(weights, dtype=np.float64)
