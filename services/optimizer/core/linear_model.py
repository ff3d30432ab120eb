"""A sparse linear (mixed-integer) model built from arrays and solved by OR-tools.

The model is kept as coordinate arrays, because building row by row in Python costs more than
solving. Every variable must have finite bounds: then `dual_bound` turns ANY vector of row prices
into a true lower bound (weak duality), whatever the tolerance of the solver that proposed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from ortools.linear_solver.python import model_builder_helper as helper
from scipy.optimize import linprog
from scipy.sparse import csr_matrix, vstack

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MIP_PARAMETERS = {
    "scip": "parallel/maxnthreads = 1\nrandomization/randomseedshift = 1\n"
            "limits/gap = {gap}\nlimits/nodes = {nodes}\n",
    "highs": "threads=1\nrandom_seed=1\nmip_rel_gap={gap}\nmip_max_nodes={nodes}\n",
    "sat": "num_workers:1 random_seed:1 relative_gap_limit:{gap} "
           "max_number_of_conflicts:{nodes}",
}

QUICK_SCIP = (
    "presolving/maxrestarts = 0\nseparating/maxroundsroot = 5\nseparating/maxrounds = 0\n"
    "heuristics/alns/freq = -1\n"
)
"""Restarts, cuts and searches of large neighbourhoods cost more than they save on small, loose models."""
QUICK_BRANCHING = "branching/pscost/priority = 100000\n"
"""Beside several futures strong branching takes most of the time (24 s of a plan, 14 without) for nothing."""
STRONG_PIVOTS = "lu_factorization_pivot_threshold:0.5"
"""Weak pivots (0.01 by default) are why GLOP gives up: 15 of 329 random relaxations, 1 with at least 0.1."""
_GLOP_WAYS = tuple(
    f"{STRONG_PIVOTS} {way}" for way in ("use_preprocessing:false", "", "use_dual_simplex:true")
)
"""GLOP gives up (status ABNORMAL, after a tenth of a second) or goes round in circles on the relaxation of
one house or the other, and solves it another way."""
_HIGHS_ITERATIONS = 1_000_000
_GLOP_WORK, _USUAL_ROWS = 10.0, 7000
"""Operations in units of 1e9 (about a second) before a way is given up, at so many rows: four times
what the relaxation of 16 coupled rooms takes; they grow with the third power of the rows."""


def glop_work(rows: int) -> float:
    """Operations (1e9) after which GLOP counts as lost in a model of so many rows."""
    return 1.0 + _GLOP_WORK * (rows / _USUAL_ROWS) ** 3


class SolverFailed(RuntimeError):
    """The solver gave no usable solution; the message names solver and status."""


@dataclass(frozen=True)
class Solution:
    """Values per variable, duals per row (LP only), objective and best bound (EUR)."""

    values: Floats
    duals: Floats
    objective: float
    bound: float


class LinearModel:
    """Minimise cost @ x, row_low <= A x <= row_high, low <= x <= high, some x integer."""

    def __init__(self) -> None:
        self._low: list[Floats] = []
        self._high: list[Floats] = []
        self._cost: list[Floats] = []
        self._integer: list[NDArray[np.bool_]] = []
        self._row_low: list[Floats] = []
        self._row_high: list[Floats] = []
        self._entry_row: list[Ints] = []
        self._entry_column: list[Ints] = []
        self._entry_value: list[Floats] = []
        self.columns = 0
        self.rows = 0

    def clone(self) -> LinearModel:
        """A model that can grow on its own; the arrays so far are shared, never changed."""
        other = LinearModel()
        for name in ("_low", "_high", "_cost", "_integer", "_row_low", "_row_high",
                     "_entry_row", "_entry_column", "_entry_value"):
            setattr(other, name, list(getattr(self, name)))
        other.columns, other.rows = self.columns, self.rows
        return other

    def variables(
        self,
        count: int,
        low: ArrayLike,
        high: ArrayLike,
        cost: ArrayLike = 0.0,
        integer: ArrayLike = False,
    ) -> Ints:
        """Add `count` variables with finite bounds; returns their column numbers."""
        low_array = np.broadcast_to(np.asarray(low, dtype=np.float64), (count,))
        high_array = np.broadcast_to(np.asarray(high, dtype=np.float64), (count,))
        if not (np.isfinite(low_array).all() and np.isfinite(high_array).all()):
            raise ValueError("low/high of a variable must be finite; give a safe bound")
        self._low.append(low_array)
        self._high.append(high_array)
        self._cost.append(np.broadcast_to(np.asarray(cost, dtype=np.float64), (count,)))
        self._integer.append(np.broadcast_to(np.asarray(integer, dtype=np.bool_), (count,)))
        self.columns += count
        return np.arange(self.columns - count, self.columns)

    def cost_of(self, first: int, last: int) -> Floats:
        """Costs of the columns first .. last - 1."""
        return np.concatenate(self._cost)[first:last]

    def cost_range(self, first: int, cost: Floats) -> tuple[float, float]:
        """Least and most that the columns from `first` on can cost together at `cost` each."""
        low = np.concatenate(self._low)[first : first + cost.size]
        high = np.concatenate(self._high)[first : first + cost.size]
        ends = cost * low, cost * high
        return float(np.minimum(*ends).sum()), float(np.maximum(*ends).sum())

    def make_whole(self, columns: Ints) -> None:
        """Let these columns take whole values only."""
        integer = np.concatenate(self._integer)
        integer[columns] = True
        self._integer = [integer]

    def scale_cost(self, first: int, last: int, factor: float) -> None:
        """Multiply the costs of the columns first .. last - 1."""
        cost = np.concatenate(self._cost)
        cost[first:last] *= factor
        self._cost = [cost]

    def add_rows(self, count: int, low: ArrayLike, high: ArrayLike) -> Ints:
        """Add `count` empty rows; returns their numbers."""
        self._row_low.append(np.broadcast_to(np.asarray(low, dtype=np.float64), (count,)))
        self._row_high.append(np.broadcast_to(np.asarray(high, dtype=np.float64), (count,)))
        self.rows += count
        return np.arange(self.rows - count, self.rows)

    def free_rows(self, rows: Ints) -> None:
        """Let these rows bind nothing."""
        low, high = np.concatenate(self._row_low), np.concatenate(self._row_high)
        low[rows], high[rows] = -np.inf, np.inf
        self._row_low, self._row_high = [low], [high]

    def put(self, rows: ArrayLike, columns: ArrayLike, values: ArrayLike) -> None:
        """Add coefficients (broadcast against each other; repeated entries add up)."""
        row, column, value = np.broadcast_arrays(
            np.asarray(rows, dtype=np.int64),
            np.asarray(columns, dtype=np.int64),
            np.asarray(values, dtype=np.float64),
        )
        self._entry_row.append(row.ravel())
        self._entry_column.append(column.ravel())
        self._entry_value.append(value.ravel())

    def matrix(self) -> csr_matrix:
        """The rows x columns coefficient matrix."""
        empty_int, empty = np.zeros(0, dtype=np.int64), np.zeros(0)
        matrix = csr_matrix(
            (
                np.concatenate([*self._entry_value, empty]),
                (
                    np.concatenate([*self._entry_row, empty_int]),
                    np.concatenate([*self._entry_column, empty_int]),
                ),
            ),
            shape=(self.rows, self.columns),
        )
        matrix.sum_duplicates()
        return matrix

    def vectors(self) -> tuple[Floats, Floats, Floats, Floats, Floats, NDArray[np.bool_]]:
        """(low, high, cost, row_low, row_high, integer) as flat arrays."""
        empty = np.zeros(0)
        return (
            np.concatenate([*self._low, empty]),
            np.concatenate([*self._high, empty]),
            np.concatenate([*self._cost, empty]),
            np.concatenate([*self._row_low, empty]),
            np.concatenate([*self._row_high, empty]),
            np.concatenate([*self._integer, np.zeros(0, dtype=np.bool_)]),
        )

    def solve(
        self,
        solver: str = "glop",
        fixed: dict[int, float] | None = None,
        gap: float = 1e-5,
        nodes: int = 2000,
        time_limit_s: float | None = None,
        parameters: str = "",
        start: Mapping[int, float] | None = None,
    ) -> Solution:
        """Solve with "glop" (integrality dropped) or "scip", "highs", "sat" (one thread).

        `fixed` pins columns to values. `gap` is relative; `nodes` counts nodes (or conflicts).
        `parameters` are more of the solver's own, line by line; GLOP is asked again in other ways
        (`_GLOP_WAYS`) when it gives up, and HiGHS at last. `start` proposes values of some columns to SCIP.
        `time_limit_s` is for benches only: a limit in seconds makes results depend on the machine.
        """
        low, high, cost, row_low, row_high, integer = self.vectors()
        if fixed:
            pinned = np.fromiter(fixed.keys(), dtype=np.int64)
            low, high = low.copy(), high.copy()
            low[pinned] = high[pinned] = np.fromiter(fixed.values(), dtype=np.float64)
        builder = helper.ModelBuilderHelper()
        builder.fill_model_from_sparse_data(
            low, high, cost, row_low, row_high, self.matrix()  # type: ignore[arg-type]
        )
        is_lp = solver == "glop"
        work = f"max_deterministic_time:{glop_work(self.rows)}"
        ways = (parameters, *_GLOP_WAYS)
        attempts = [f"{work} {way}" for way in dict.fromkeys(ways)]
        if solver in _MIP_PARAMETERS:
            for column in np.flatnonzero(integer):
                builder.set_var_integrality(int(column), True)
            for proposed, value in (start or {}).items():
                builder.add_hint(proposed, value)
            attempts = [_MIP_PARAMETERS[solver].format(gap=gap, nodes=nodes) + parameters]
        for attempt in attempts:
            engine = helper.ModelSolverHelper(solver)
            engine.set_solver_specific_parameters(attempt)
            if time_limit_s is not None:
                engine.set_time_limit_in_seconds(time_limit_s)
            engine.solve(builder)
            # an LP that was only cut short has a solution, too, with prices of no use
            if engine.has_solution() and (not is_lp or engine.status() == helper.SolveStatus.OPTIMAL):
                break
        else:
            found = self._by_highs(low, high) if is_lp else None
            if found is not None:
                return found
            raise SolverFailed(f"{solver}: {engine.status_string() or engine.status()}")
        objective = float(engine.objective_value())
        return Solution(
            values=np.asarray(engine.variable_values(), dtype=np.float64),
            duals=np.asarray(engine.dual_values(), dtype=np.float64) if is_lp else np.zeros(0),
            objective=objective,
            bound=objective if is_lp else float(engine.best_objective_bound()),
        )

    def _by_highs(self, low: Floats, high: Floats) -> Solution | None:
        """The LP by HiGHS's dual simplex; through scipy, as OR-tools hands on other numbers for its duals."""
        _, _, cost, row_low, row_high, _ = self.vectors()
        matrix, equal = self.matrix(), row_low == row_high
        below, above = ~equal & np.isfinite(row_high), ~equal & np.isfinite(row_low)
        found = linprog(
            cost, vstack([matrix[below], -matrix[above]]),
            np.concatenate([row_high[below], -row_low[above]]), matrix[equal], row_low[equal],
            np.column_stack([low, high]), method="highs-ds", options={"maxiter": _HIGHS_ITERATIONS},
        )  # fmt: skip
        if found.status != 0:
            return None
        duals = np.zeros(self.rows)
        upper, lower = np.split(found.ineqlin.marginals, [int(below.sum())])
        duals[equal] = found.eqlin.marginals
        duals[below] += upper
        duals[above] -= lower
        return Solution(np.asarray(found.x), duals, float(found.fun), float(found.fun))

    def dual_bound(self, duals: Floats) -> float:
        """A true lower bound on the LP from any row prices (weak duality with finite bounds).

        Rows unbounded on the side their price points to get price 0 first, and so do rows added since.
        """
        duals = np.pad(duals, (0, self.rows - duals.size))
        low, high, cost, row_low, row_high, _ = self.vectors()
        prices = np.where((duals > 0) & ~np.isfinite(row_low), 0.0, duals)
        prices = np.where((prices < 0) & ~np.isfinite(row_high), 0.0, prices)
        side = np.where(prices > 0, row_low, np.where(prices < 0, row_high, 0.0))
        reduced = cost - self.matrix().T @ prices
        return float(prices @ side + np.minimum(reduced * low, reduced * high).sum())
