"""Whether a model learnt anew from the house's own log should take over from the one in force.

A full training identifies everything from all but the last days; a light one adapts the model in
force. What the model gets wrong again and again is learnt on the same days (`correction`). All is
judged on the last days, which nothing of it has seen, beside what is in force: mean absolute error
6 and 24 hours ahead, in the rows that the service's correction reads. What is promoted is what was
judged, without the correction where it does not pay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.thermal_model import HouseModel, content_hash
from services.thermal.core.adapt import adapt
from services.thermal.core.backtest import backtest
from services.thermal.core.content import pack, unpack
from services.thermal.core.correction import Correction, learn
from services.thermal.core.dynamics import HORIZON_S
from services.thermal.core.history import History
from services.thermal.core.identify import identify
from services.thermal.core.memory import Memory
from services.thermal.core.screen import screen
from services.thermal.core.stacking import PLANNED
from services.thermal.core.structure import FOR_THE_PLANNER

DAY_S = 86_400
LEADS_S = (6 * 3_600, 24 * 3_600)
LEAST_TRAINING_DAYS = 5
LIGHT_DAYS = 28
LEAST_GAIN = 0.01


@dataclass(frozen=True)
class Verdict:
    """The candidate as a promotion would store it, both errors in K on the judged days, what was
    found in the data, and the reason."""

    candidate: HouseModel
    content: bytes
    better: bool
    candidate_mae_k: float
    incumbent_mae_k: float
    notes: tuple[str, ...]
    reason: str


def consider(
    history: History, memory: Memory, prior: HouseModel, incumbent: HouseModel,
    learnt: Correction | None = None, *, full: bool = True, window_days: int = 3,
    code_version: str = "",
) -> Verdict:  # fmt: skip
    """Train a candidate on all but the last `window_days` and judge it there beside what is in force.

    `history` and `memory` hold the same days of the log, in the steps that identification and that
    the correction read; `learnt` is the correction in force with `incumbent`. Raises ValueError
    when the history is too short to train and to judge.
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
        candidate, notes = found.model, tuple(finding.when_learnt for finding in found.findings)
    else:
        recent = max(0, split - LIGHT_DAYS * DAY_S // history.step_s)
        adapted = adapt(history.rows(recent, split), incumbent)
        candidate, notes = adapted.model, tuple(f.when_learnt for f in adapted.findings)
    theirs = _error(incumbent, learnt, memory.history(incumbent), split_s)
    rows = memory.history(candidate)
    ours, content = _error(candidate, None, rows, split_s), pack(candidate)
    both, corrected = _with_correction(candidate, rows, split_s)
    said = f"{ours:.3f} K without its correction"
    if both < ours * (1.0 - LEAST_GAIN):
        ours, content = both, corrected
    else:
        said = f"its correction left out, {both:.3f} K with it"
    reason = (
        f"mean absolute error {ours:.3f} K ({said}) against {theirs:.3f} K of what is in force, "
        f"6 and 24 h ahead, last {window_days} days"
    )
    better = ours < theirs * (1.0 - LEAST_GAIN)
    return Verdict(candidate, content, better, ours, theirs, notes, reason)


def _with_correction(model: HouseModel, rows: History, split_s: int) -> tuple[float, bytes]:
    """Error of a model with the correction learnt on the rows before the judged ones, and both packed."""
    before = rows.rows(0, int(np.searchsorted(rows.epoch_s, split_s)))
    content = pack(model, learn(model, before, screen(before)[0], HORIZON_S, PLANNED))
    return _error(*unpack(content), rows, split_s), content


def _error(model: HouseModel, learnt: Correction | None, rows: History, from_s: int) -> float:
    """Mean absolute error in K over rooms, origins and both leads."""
    result = backtest(
        model, rows, train_until_epoch_s=from_s, from_epoch_s=from_s,
        to_epoch_s=int(rows.epoch_s[-1]), lead_s=LEADS_S, correction=learnt,
    )  # fmt: skip
    known = result.ours[np.isfinite(result.ours)]
    if known.size == 0:
        raise ValueError("the judged days hold no complete stretch; wait for data")
    return float(np.abs(known).mean())
