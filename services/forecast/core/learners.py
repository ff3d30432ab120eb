"""Two ways to learn quantiles: gradient-boosted trees (XGBoost) and weighted linear models per slot.

Both speak in arrays, keep a P10/P50/P90 and a mean, and save to bytes in portable formats (XGBoost's own
UBJSON; numpy's npz without pickles).
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xgboost

from services.forecast.core.bands import LEVELS, FloatArray, IntArray

DEFAULT_BOOST: dict[str, Any] = {
    "max_depth": 5,
    "eta": 0.04,
    "min_child_weight": 8,
    "subsample": 0.6,
    "colsample_bytree": 0.5,
    "max_bin": 64,
    "rounds": 200,
    "seed": 1,
}

SMALLEST_UNIT = 0.03
BENT_MOST = 4.0
"""Where a bent line ends: with a bend of 1.5 at 18 times the scale."""


@dataclass
class BoostedQuantiles:
    """XGBoost with the pinball loss at three levels, and squared error for the mean.

    Monotone columns: +1 the quantiles rise with it, -1 they fall. `unit` names a column by which the target
    is divided before learning (and each row weighted), so that trees learn a shape once and not for every
    size; without that column the target is learnt as it is. One thread: the same on any machine.
    """

    parameters: dict[str, Any] = field(default_factory=dict)
    monotone: dict[str, int] = field(default_factory=dict)
    unit: str = ""
    quantiles: xgboost.Booster | None = None
    mean: xgboost.Booster | None = None

    def fit(self, names: list[str], x: FloatArray, y: FloatArray, weight: FloatArray) -> None:
        """Fit on rows (n, f) with targets and weights (n,)."""
        merged = DEFAULT_BOOST | self.parameters
        rounds = int(merged.pop("rounds"))
        if self.monotone:
            signs = ",".join(str(self.monotone.get(name, 0)) for name in names)
            merged["monotone_constraints"] = f"({signs})"
        merged |= {"nthread": 1, "tree_method": "hist", "verbosity": 0}
        column = names.index(self.unit) if self.unit in names else -1
        unit = unit_of(x, column)
        data = xgboost.QuantileDMatrix(
            x.astype(np.float32), y / unit, weight=weight * unit, feature_names=names,
            max_bin=merged["max_bin"], nthread=1,
        )  # fmt: skip
        loss = {"objective": "reg:quantileerror", "quantile_alpha": np.array(LEVELS)}
        self.quantiles = xgboost.train(merged | loss, data, rounds)
        self.quantiles.set_attr(unit_column=str(column))  # travels in the model's own file
        # Squared error learns faster than the pinball loss: half the rounds at twice the rate.
        faster = {"objective": "reg:squarederror", "eta": 2.0 * merged["eta"]}
        self.mean = xgboost.train(merged | faster, data, rounds // 2)

    def predict(self, x: FloatArray) -> FloatArray:
        """(n, 4): P10, P50, P90 without crossings, and the mean."""
        assert self.quantiles is not None
        assert self.mean is not None
        rows = np.ascontiguousarray(x, dtype=np.float32)
        bands = np.sort(self.quantiles.inplace_predict(rows, validate_features=False), axis=1)
        mean = self.mean.inplace_predict(rows, validate_features=False)
        unit = unit_of(x, int(self.quantiles.attr("unit_column") or -1))
        return np.column_stack([bands, mean]).astype(np.float64) * unit[:, None]

    def importance(self) -> dict[str, float]:
        """Share of the total gain by feature name; sums to 1."""
        assert self.quantiles is not None
        gains = self.quantiles.get_score(importance_type="total_gain")
        values = {k: float(v[0] if isinstance(v, list) else v) for k, v in gains.items()}
        total = sum(values.values()) or 1.0
        return dict(sorted(((k, v / total) for k, v in values.items()), key=lambda kv: -kv[1]))

    def to_files(self, prefix: str) -> dict[str, bytes]:
        assert self.quantiles is not None
        assert self.mean is not None
        return {
            f"{prefix}-quantiles.ubj": bytes(self.quantiles.save_raw("ubj")),
            f"{prefix}-mean.ubj": bytes(self.mean.save_raw("ubj")),
        }

    def from_files(self, prefix: str, files: dict[str, bytes]) -> None:
        self.quantiles = _booster(files[f"{prefix}-quantiles.ubj"])
        self.mean = _booster(files[f"{prefix}-mean.ubj"])


def unit_of(x: FloatArray, column: int) -> FloatArray:
    """The column by which targets are divided, at least 0.03; ones for column -1."""
    if column < 0:
        return np.ones(len(x))
    return np.maximum(np.nan_to_num(x[:, column], nan=1.0), SMALLEST_UNIT)


def _booster(raw: bytes) -> xgboost.Booster:
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(raw))
    return booster


@dataclass
class LinearQuantiles:
    """Linear quantile regression per slot (hour of day), by iteratively reweighted ridge.

    The weights turn squared error into the pinball loss (Schlossmacher 1973 for the median); the
    ridge keeps short histories sane. Columns are standardised over all rows; NaN takes the mean (0).
    With a `bend` the quantiles of asinh(bend * y) are learnt and taken back, so that spikes do not lead
    (Uniejewski, Weron and Ziel 2018); the mean is learnt of y itself.
    """

    ridge: float = 5.0
    iterations: int = 6
    bend: float = 0.0
    centre: FloatArray = field(default_factory=lambda: np.empty(0))
    spread: FloatArray = field(default_factory=lambda: np.empty(0))
    coefficients: FloatArray = field(default_factory=lambda: np.empty((0, 4, 0)))

    def fit(
        self, x: FloatArray, y: FloatArray, weight: FloatArray, slot: IntArray, slots: int
    ) -> None:
        """Fit on rows (n, f); `slot` (n,) in 0..slots-1 picks the model; empty slots use the pooled one."""
        known = ~np.isnan(x)
        count = np.maximum(known.sum(axis=0), 1)
        self.centre = np.where(known, x, 0.0).sum(axis=0) / count
        self.spread = (
            np.sqrt((np.where(known, x - self.centre, 0.0) ** 2).sum(axis=0) / count) + 1e-9
        )
        design = self._design(x)
        bent = np.arcsinh(self.bend * y) if self.bend else y
        goals = np.column_stack([bent, y])
        smallest = 1e-3 * (float(np.mean(np.abs(bent))) + 1e-9)
        some = slice(None, None, max(1, len(y) // 5000))  # the pooled model is only a prior
        pooled = self._solve(
            design[some], goals[some], weight[some], smallest, np.zeros((4, design.shape[1]))
        )
        self.coefficients = np.repeat(pooled[None], slots, axis=0)
        for index in range(slots):
            rows = slot == index
            if int(rows.sum()) >= 20:
                self.coefficients[index] = self._solve(
                    design[rows], goals[rows], weight[rows], smallest, pooled
                )

    def predict(self, x: FloatArray, slot: IntArray) -> FloatArray:
        """(n, 4): P10, P50, P90 without crossings, and the mean."""
        values = np.einsum("nf,nqf->nq", self._design(x), self.coefficients[slot])
        if self.bend:
            values[:, :3] = np.sinh(np.clip(values[:, :3], -BENT_MOST, BENT_MOST)) / self.bend
        values[:, :3] = np.sort(values[:, :3], axis=1)
        return np.asarray(values, dtype=np.float64)

    def _design(self, x: FloatArray) -> FloatArray:
        scaled = np.clip(np.nan_to_num((x - self.centre) / self.spread), -6.0, 6.0)
        return np.column_stack([scaled, np.ones(len(x))])

    def _solve(
        self, a: FloatArray, goals: FloatArray, weight: FloatArray, smallest: float,
        prior: FloatArray,
    ) -> FloatArray:  # fmt: skip
        """Coefficients (4, f); goals (n, 2): what the quantiles are of, and what the mean is of."""
        penalty = self.ridge * float(weight.mean()) * np.eye(a.shape[1])
        penalty[-1, -1] *= 0.01
        result = np.empty((4, a.shape[1]))
        y = goals[:, 0]
        gram = (a * weight[:, None]).T
        held = prior[[1 if self.bend else 3, 3]].T
        start, result[3] = np.linalg.solve(gram @ a + penalty, gram @ goals + penalty @ held).T
        typical = float(np.mean(np.abs(y - a @ start))) + 1e-9
        for row, level in enumerate(LEVELS):
            beta = start.copy()
            for _ in range(self.iterations):
                error = y - a @ beta
                tilt = np.where(error >= 0, level, 1.0 - level)
                pull = (
                    weight
                    * tilt
                    * typical
                    / np.maximum(np.abs(error), max(smallest, 0.03 * typical))
                )
                gram = (a * pull[:, None]).T
                beta = np.linalg.solve(
                    gram @ a + 0.3 * penalty, gram @ y + 0.3 * penalty @ prior[row]
                )
            result[row] = beta
        return result

    def to_files(self, prefix: str) -> dict[str, bytes]:
        buffer = io.BytesIO()
        np.savez(
            buffer, centre=self.centre, spread=self.spread, coefficients=self.coefficients,
            bend=self.bend,
        )  # fmt: skip
        return {f"{prefix}.npz": buffer.getvalue()}

    def from_files(self, prefix: str, files: dict[str, bytes]) -> None:
        stored = np.load(io.BytesIO(files[f"{prefix}.npz"]), allow_pickle=False)
        self.centre, self.spread = stored["centre"], stored["spread"]
        self.coefficients, self.bend = stored["coefficients"], float(stored["bend"])
