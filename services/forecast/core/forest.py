"""A quantile forest of extremely randomised trees: how alike cases of the past ended, weighted by likeness.

Split points are drawn at random and the best of a few is kept (Geurts, Ernst and Wehenkel 2006); the quantiles
come from all training cases that share leaves with the case in question (Meinshausen 2006). Each leaf keeps
a few quantiles and the mean of its cases, so that a forest is a handful of plain arrays.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from services.forecast.core.bands import LEVELS, FloatArray, IntArray
from services.forecast.core.learners import unit_of

LEAF_LEVELS = 4
"""Quantiles a leaf keeps, each for an equal share of its cases."""


@dataclass
class QuantileForest:
    """P10, P50, P90 and mean of a target by a forest.

    `unit` names a column by which the target is divided before learning (none: learnt as it is); `without`
    names columns the forest does not look at. `leaf`: fewest cases on each side of a split; `tried`: share of
    the columns tried at a split; `sample`: most cases one tree is grown from (its leaves are filled from
    all). Missing features take the column's median.

    arrays, all trees one after the other: `feature` (m,) of a node, -1 for a leaf; `threshold` (m,); `below`
    (m,): of a split the node for values up to the threshold (the other is the next), of a leaf its row in
    `leaves` (l, 5): four quantiles and the mean, in the unit; `roots` (trees,).
    """

    unit: str = ""
    without: tuple[str, ...] = ()
    trees: int = 60
    leaf: int = 3
    tried: float = 0.7
    sample: int = 6000
    seed: int = 1
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def fit(
        self, names: list[str], x: FloatArray, y: FloatArray, weight: FloatArray, case: IntArray
    ) -> None:
        """Fit on rows (n, f) with targets and weights (n,).

        Rows of the same `case` (n,) are one truth forecast at several times: a tree grows from one of
        them, else its leaves would hold the same truth over and over.
        """
        column = names.index(self.unit) if self.unit in names else -1
        unit = unit_of(x, column)
        seen = np.array([i for i, name in enumerate(names) if name not in self.without])
        middle = _medians(x[:, seen])
        filled = _filled(x[:, seen], middle)
        target, mass = y / unit, weight * unit
        order = np.argsort(target, kind="stable")
        rng = np.random.default_rng(self.seed)
        tried = max(1, round(self.tried * len(seen)))
        grown: list[tuple[NDArray[np.generic], ...]] = []
        roots: list[int] = []
        nodes = leaves = 0
        for _ in range(self.trees):
            mixed = rng.permutation(len(y))
            rows = rng.permutation(mixed[np.unique(case[mixed], return_index=True)[1]])
            rows = rows[: self.sample]
            feature, threshold, below = _grow(filled, target, mass, rows, tried, self.leaf, rng)
            ends = feature < 0
            row = np.cumsum(ends) - 1
            at = row[_drop(filled, feature, threshold, below)]
            table = _leaf_table(at[order], target[order], mass[order], int(ends.sum()))
            roots.append(nodes)
            grown.append((feature, threshold, np.where(ends, row + leaves, below + nodes), table))
            nodes, leaves = nodes + len(feature), leaves + len(table)
        feature, threshold, below, table = (
            np.concatenate(part) for part in zip(*grown, strict=True)
        )
        self.arrays = {
            "feature": feature.astype(np.int16), "threshold": threshold.astype(np.float32),
            "below": below.astype(np.int32), "leaves": table.astype(np.float16),
            "roots": np.array(roots, dtype=np.int32), "middle": middle, "seen": seen,
            "column": np.array(column),
        }  # fmt: skip

    def predict(self, x: FloatArray) -> FloatArray:
        """(n, 4): P10, P50, P90 and the mean."""
        a = self.arrays
        filled = _filled(x[:, a["seen"]], a["middle"])
        node = np.repeat(a["roots"][None], len(x), axis=0)
        rows = np.arange(len(x))[:, None]
        while True:
            feature = a["feature"][node]
            inside = feature >= 0
            if not inside.any():
                break
            beyond = filled[rows, feature] > a["threshold"][node]
            node = np.where(inside, a["below"][node] + beyond, node)
        found = a["leaves"][a["below"][node]].astype(np.float64)
        bands = np.quantile(found[:, :, :LEAF_LEVELS].reshape(len(x), -1), LEVELS, axis=1).T
        mean = found[:, :, LEAF_LEVELS].mean(axis=1)
        return np.column_stack([bands, mean]) * unit_of(x, int(a["column"]))[:, None]

    def to_files(self, prefix: str) -> dict[str, bytes]:
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **self.arrays)
        return {f"{prefix}.npz": buffer.getvalue()}

    def from_files(self, prefix: str, files: dict[str, bytes]) -> None:
        stored = np.load(io.BytesIO(files[f"{prefix}.npz"]), allow_pickle=False)
        self.arrays = {name: stored[name] for name in stored.files}


def _medians(x: FloatArray) -> FloatArray:
    """Median of each column; 0 where nothing is known."""
    return np.array([0.0 if np.isnan(c).all() else float(np.nanmedian(c)) for c in x.T])


def _filled(x: FloatArray, middle: FloatArray) -> NDArray[np.float32]:
    return np.where(np.isnan(x), middle, x).astype(np.float32)


@numba.njit(cache=True)
def _grow(x, y, w, rows, tried, leaf, rng):  # type: ignore[no-untyped-def]
    """One tree on `rows` (reordered in place): arrays feature, threshold, below by node."""
    most = 2 * (len(rows) // leaf + 1) + 1
    feature = np.full(most, -1, np.int64)
    threshold = np.zeros(most, np.float32)
    below = np.zeros(most, np.int64)
    stack = [(0, 0, len(rows))]
    count = 1
    columns = np.arange(x.shape[1])
    while len(stack) > 0:
        node, first, last = stack.pop()
        size = last - first
        if size < 2 * leaf:
            continue
        best, best_column, best_cut = 0.0, -1, np.float32(0.0)
        total_w, total_wy = 0.0, 0.0
        for i in range(first, last):
            r = rows[i]
            total_w += w[r]
            total_wy += w[r] * y[r]
        base = total_wy * total_wy / max(total_w, 1e-12)
        visited, drawn = 0, 0
        while visited < tried and drawn < x.shape[1]:
            pick = drawn + int(rng.random() * (x.shape[1] - drawn))
            columns[drawn], columns[pick] = columns[pick], columns[drawn]
            c = columns[drawn]
            drawn += 1
            low, high = x[rows[first], c], x[rows[first], c]
            for i in range(first + 1, last):
                value = x[rows[i], c]
                low, high = min(low, value), max(high, value)
            if not low < high:
                continue  # a constant column is no try
            visited += 1
            cut = np.float32(low + rng.random() * (high - low))
            if cut >= high:
                cut = low
            n, sw, swy = 0, 0.0, 0.0
            for i in range(first, last):
                r = rows[i]
                if x[r, c] <= cut:
                    n += 1
                    sw += w[r]
                    swy += w[r] * y[r]
            if n < leaf or size - n < leaf or sw <= 0.0 or total_w - sw <= 0.0:
                continue
            other = total_wy - swy
            gain = swy * swy / sw + other * other / (total_w - sw) - base
            if gain > best:
                best, best_column, best_cut = gain, c, cut
        if best_column < 0:
            continue
        i, j = first, last - 1
        while i <= j:
            if x[rows[i], best_column] <= best_cut:
                i += 1
            else:
                rows[i], rows[j] = rows[j], rows[i]
                j -= 1
        feature[node], threshold[node] = best_column, best_cut
        below[node] = count
        stack.append((count, first, i))
        stack.append((count + 1, i, last))
        count += 2
    return feature[:count], threshold[:count], below[:count]


@numba.njit(cache=True)
def _drop(x, feature, threshold, below):  # type: ignore[no-untyped-def]
    """The leaf node of every row."""
    result = np.empty(len(x), np.int64)
    for r in range(len(x)):
        node = 0
        while feature[node] >= 0:
            node = below[node] + (x[r, feature[node]] > threshold[node])
        result[r] = node
    return result


@numba.njit(cache=True)
def _leaf_table(at, y, w, count):  # type: ignore[no-untyped-def]
    """(count, 5) weighted quantiles at the middles of equal masses, and means; rows come sorted by y."""
    mass, total = np.zeros(count), np.zeros(count)
    for i in range(len(at)):
        mass[at[i]] += w[i]
        total[at[i]] += w[i] * y[i]
    table = np.zeros((count, LEAF_LEVELS + 1))
    seen = np.zeros(count)
    filled = np.zeros(count, np.int64)
    for i in range(len(at)):
        leaf = at[i]
        seen[leaf] += w[i]
        while filled[leaf] < LEAF_LEVELS and (
            seen[leaf] >= (filled[leaf] + 0.5) / LEAF_LEVELS * mass[leaf] * (1.0 - 1e-12)
        ):
            table[leaf, filled[leaf]] = y[i]
            filled[leaf] += 1
    for leaf in range(count):
        table[leaf, LEAF_LEVELS] = total[leaf] / max(mass[leaf], 1e-12)
    return table
