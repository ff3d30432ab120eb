"""Whether a model learnt anew from the house's own log should take over from the one in force.

A full training identifies everything from all but the last days; a light one adapts the model in
force. Both are judged on the last days, which they have not seen, beside the model in force: mean
absolute error of the free run 6 and 24 hours ahead. What is promoted is the model that was judged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.thermal_model import HouseModel, content_hash
from services.thermal.core.adapt import adapt
from services.thermal.core.backtest import backtest
from services.thermal.core.history import History, with_irradiance
from services.thermal.core.identify import identify
from services.thermal.core.structure import FOR_THE_PLANNER

DAY_S = 86_400
LEADS_S = (6 * 3_600, 24 * 3_600)
LEAST_TRAINING_DAYS = 5
LIGHT_DAYS = 28
LEAST_GAIN = 0.01


@dataclass(frozen=True)
class Verdict:
    """The candidate, both errors in K on the judged days, what was found in the data, and the reason."""

    candidate: HouseModel
    better: bool
    candidate_mae_k: float
    incumbent_mae_k: float
    notes: tuple[str, ...]
    reason: str


def consider(
    history: History, prior: HouseModel, incumbent: HouseModel, *, full: bool = True,
    window_days: int = 3, code_version: str = "",
) -> Verdict:  # fmt: skip
    """Train a candidate on all but the last `window_days` and judge it there beside `incumbent`.

    Raises ValueError when the history is too short to train and to judge.
    """
    split_s = int(history.epoch_s[-1]) - window_days * DAY_S
    split = int(np.searchsorted(history.epoch_s, split_s))
    if split * history.step_s < LEAST_TRAINING_DAYS * DAY_S:
        raise ValueError(
            f"{split * history.step_s / DAY_S:.1f} days before the judged ones; "
            f"at least {LEAST_TRAINING_DAYS} are needed"
        )
    if full:
        # The planner's room has an air and a mass temperature: heat waiting elsewhere would be lost.
        found = identify(
            history.rows(0, split), prior, candidates=FOR_THE_PLANNER, code_version=code_version,
            parent_hash=content_hash(incumbent),
        )  # fmt: skip
        candidate, notes = found.model, tuple(finding.text for finding in found.findings)
    else:
        recent = max(0, split - LIGHT_DAYS * DAY_S // history.step_s)
        adapted = adapt(history.rows(recent, split), incumbent)
        candidate, notes = adapted.model, tuple(f.text for f in adapted.findings)
        if not adapted.accepted:
            return Verdict(
                candidate, False, adapted.loss_after, adapted.loss_before, notes,
                "adapting did not predict unseen days better",
            )  # fmt: skip
    ours = _error(candidate, history, split_s)
    theirs = _error(incumbent, history, split_s)
    better = ours < theirs * (1.0 - LEAST_GAIN)
    reason = (
        f"mean absolute error {ours:.3f} K against {theirs:.3f} K of the model in force, "
        f"6 and 24 h ahead, last {window_days} days"
    )
    return Verdict(candidate, better, ours, theirs, notes, reason)


def _error(model: HouseModel, history: History, from_s: int) -> float:
    """Mean absolute error in K over rooms, origins and both leads."""
    complete = with_irradiance(history, model.latitude_deg, model.longitude_deg)
    result = backtest(
        model, complete, train_until_epoch_s=from_s, from_epoch_s=from_s,
        to_epoch_s=int(history.epoch_s[-1]), lead_s=LEADS_S,
    )  # fmt: skip
    known = result.ours[np.isfinite(result.ours)]
    if known.size == 0:
        raise ValueError("the judged days hold no complete stretch; wait for data")
    return float(np.abs(known).mean())
