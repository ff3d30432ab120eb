"""Standard errors of the identified parameters.

By leaving out one day after the other, because errors along a day are correlated: each time one step
of Gauss and Newton from the fit (CR3 of R. Bell and D. McCaffrey, Survey Methodology 28(2), 2002). The
fit follows each of its few days, so the slopes that a day leaves (K.-Y. Liang and S. Zeger's sandwich)
say too little of a day that comes. What the prior draws aside is added.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from services.thermal.core.fit import Fit, set_disturbance_time
from services.thermal.core.objective import Windows, errors_only

Array = NDArray[np.float64]

IDENTIFIED_RATIO = 0.7
LEADS_PER_RUN = 2
DIFFERENCE = 1e-3
MOST_RUNS = 1000


def posterior(fit: Fit, windows: Windows) -> tuple[Array, Array]:
    """Posterior standard deviation of theta, and its ratio to the prior's (1: nothing learnt)."""
    set_disturbance_time(fit.parameters, fit.disturbance_time_s)
    keep = slice(None, None, max(1, -(-len(windows.origins) // MOST_RUNS)))
    thin = replace(windows, origins=windows.origins[keep], weights=windows.weights[keep])
    _, day = np.unique(thin.origins * windows.step_s // 86400, return_inverse=True)
    leads = np.unique(np.linspace(0, thin.horizon - 1, LEADS_PER_RUN).astype(int))

    def errors(theta: Array) -> Array:
        found: Array = errors_only(theta, fit.parameters, thin, fit.gain)[0][leads]
        return found

    base = errors(fit.theta)
    present = np.isfinite(base)
    clean = np.where(present, base, 0.0) / fit.shape.delta_c
    root = np.sqrt(1.0 + clean**2)
    weight = fit.shape.lead_weight[leads][:, None, None] * thin.weights[None] * present
    total = max(float(weight.sum()), 1e-9)
    curvature = fit.shape.data_weight / total * weight / root**3 / fit.shape.delta_c**2
    slope = fit.shape.data_weight / total * weight * clean / root / fit.shape.delta_c
    count = len(fit.theta)
    jacobian = np.empty((count, *base.shape))
    for k in range(count):
        step = DIFFERENCE if fit.theta[k] + DIFFERENCE <= fit.parameters.high[k] else -DIFFERENCE
        moved = fit.theta.copy()
        moved[k] += step
        jacobian[k] = np.where(present, (errors(moved) - base) / step, 0.0)
    flat = jacobian.reshape(count, -1)
    precision = np.diag(1.0 / fit.parameters.prior_sd**2)
    hessian = (flat * curvature.ravel()) @ flat.T + precision
    by_run = np.einsum("plor,lor->po", jacobian, slope)
    scores = np.zeros((count, int(day.max()) + 1))
    np.add.at(scores.T, day, by_run.T)
    scores = scores - scores.mean(axis=1, keepdims=True)
    inverse = np.linalg.pinv(hessian, hermitian=True)
    moved_by = np.empty_like(scores)
    for k in range(scores.shape[1]):
        own = jacobian[:, :, day == k].reshape(count, -1)
        without = hessian - (own * curvature[:, day == k].ravel()) @ own.T
        moved_by[:, k] = np.linalg.solve(without, scores[:, k])
    covariance = left_out_covariance(moved_by) + inverse @ precision @ inverse
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return deviation, deviation / fit.parameters.prior_sd


def left_out_covariance(moved_by: Array) -> Array:
    """Covariance of parameters that leaving out day k moves by `moved_by[:, k]`.

    The jackknife's, larger by (n - 1) / (n - 3): the variance of Student's t, which errors follow
    whose spread is known from n days only.
    """
    days = moved_by.shape[1]
    centred = moved_by - moved_by.mean(axis=1, keepdims=True)
    jackknife = (days - 1) / days * centred @ centred.T
    return np.asarray(jackknife * (days - 1) / max(days - 3, 1))
