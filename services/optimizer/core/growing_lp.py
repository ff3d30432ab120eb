"""A linear programme that grows and is solved again and again, each time from where GLOP ended last.

Columns are added and bounds moved between solves; a few dozen pivots then lead to the new optimum,
where a solve from nothing takes hundreds. MathOpt is the only door of OR-tools that keeps a basis.
The dual simplex needs two thirds of the primal's time where limits bind, and as long elsewhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ortools.math_opt import (
    callback_pb2,
    model_parameters_pb2,
    model_pb2,
    model_update_pb2,
    parameters_pb2,
    result_pb2,
    sparse_containers_pb2,
)
from ortools.math_opt.core.python import solver
from pybind11_abseil.status import StatusNotOk

from services.optimizer.core.linear_model import LinearModel, Solution, glop_work

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class GrowingLp:
    """Minimise cost @ x over the rows of a LinearModel (integers relaxed) and the columns added since."""

    def __init__(self, model: LinearModel) -> None:
        self._low, self._high, cost, row_low, row_high, _ = model.vectors()
        matrix = model.matrix().tocoo()
        self._solver = solver.new(
            parameters_pb2.SOLVER_TYPE_GLOP,
            model_pb2.ModelProto(
                variables=_variables(0, self._low, self._high),
                objective=model_pb2.ObjectiveProto(linear_coefficients=_sparse(0, cost)),
                linear_constraints=model_pb2.LinearConstraintsProto(
                    ids=range(model.rows), lower_bounds=row_low.tolist(),
                    upper_bounds=row_high.tolist(),
                ),
                linear_constraint_matrix=_entries(matrix.row, matrix.col, matrix.data),
            ),
            parameters_pb2.SolverInitializerProto(),
        )
        self._parameters = parameters_pb2.SolveParametersProto()
        self._parameters.glop.use_preprocessing = False
        self._parameters.glop.use_dual_simplex = True
        self._parameters.glop.max_deterministic_time = glop_work(model.rows)
        self.first_pivots = self.pivots = 0
        """Pivots of the first solve, which begins from nothing, and of the last one."""

    @property
    def columns(self) -> int:
        """Number of columns."""
        return int(self._low.size)

    def grow(self, cost: Floats, rows: Ints, columns: Ints, values: Floats) -> None:
        """Add columns between 0 and 1, numbered on from the last one, with these entries."""
        first = self.columns
        low, high = np.zeros(cost.size), np.ones(cost.size)
        order = np.lexsort((columns, rows))
        self._solver.update(model_update_pb2.ModelUpdateProto(
            new_variables=_variables(first, low, high),
            objective_updates=model_update_pb2.ObjectiveUpdatesProto(
                linear_coefficients=_sparse(first, cost)
            ),
            linear_constraint_matrix_updates=_entries(rows[order], columns[order], values[order]),
        ))
        self._low = np.concatenate([self._low, low])
        self._high = np.concatenate([self._high, high])

    def add_cuts(
        self, first: int, low: Floats, rows: Ints, columns: Ints, values: Floats
    ) -> None:
        """Add rows of at least `low`, numbered on from `first`, with these entries."""
        order = np.lexsort((columns, rows))
        self._solver.update(model_update_pb2.ModelUpdateProto(
            new_linear_constraints=model_pb2.LinearConstraintsProto(
                ids=range(first, first + low.size), lower_bounds=low.tolist(),
                upper_bounds=[np.inf] * low.size,
            ),
            linear_constraint_matrix_updates=_entries(rows[order], columns[order], values[order]),
        ))

    def solve(self, low: Floats, high: Floats) -> Solution | None:
        """The optimum between these bounds of all columns; None where GLOP does not find it."""
        self._solver.update(model_update_pb2.ModelUpdateProto(
            variable_updates=model_update_pb2.VariableUpdatesProto(
                lower_bounds=_changed(self._low, low), upper_bounds=_changed(self._high, high)
            )
        ))
        self._low, self._high = low, high
        try:
            found = self._solver.solve(
                self._parameters, model_parameters_pb2.ModelSolveParametersProto(), None,
                callback_pb2.CallbackRegistrationProto(), None, None,
            )
        except StatusNotOk:  # GLOP says ABNORMAL
            return None
        if found.termination.reason != result_pb2.TERMINATION_REASON_OPTIMAL:
            return None
        self.pivots = int(found.solve_stats.simplex_iterations)
        self.first_pivots = self.first_pivots or self.pivots
        best = found.solutions[0]
        objective = float(best.primal_solution.objective_value)
        return Solution(
            np.array(best.primal_solution.variable_values.values),
            np.array(best.dual_solution.dual_values.values), objective, objective,
        )


def _variables(first: int, low: Floats, high: Floats) -> model_pb2.VariablesProto:
    return model_pb2.VariablesProto(
        ids=range(first, first + low.size), lower_bounds=low.tolist(), upper_bounds=high.tolist(),
        integers=[False] * low.size,
    )


def _sparse(first: int, values: Floats) -> sparse_containers_pb2.SparseDoubleVectorProto:
    """Values numbered on from `first`."""
    return sparse_containers_pb2.SparseDoubleVectorProto(
        ids=range(first, first + values.size), values=values.tolist()
    )


def _changed(before: Floats, after: Floats) -> sparse_containers_pb2.SparseDoubleVectorProto:
    where = np.flatnonzero(before != after)
    return sparse_containers_pb2.SparseDoubleVectorProto(
        ids=where.tolist(), values=after[where].tolist()
    )


def _entries(
    rows: Ints, columns: Ints, values: Floats
) -> sparse_containers_pb2.SparseDoubleMatrixProto:
    """Entries of the matrix, row by row, each place once."""
    return sparse_containers_pb2.SparseDoubleMatrixProto(
        row_ids=rows.tolist(), column_ids=columns.tolist(), coefficients=values.tolist()
    )
