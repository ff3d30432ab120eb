"""Whether a forecast model learnt from the house's own log should take over from what is in use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.forecast.core.bands import IntArray
from services.forecast.core.calendar import DAY_S, local_seconds, utc_from_local
from services.forecast.core.first_depth import Predict, first_depth
from services.forecast.core.history import remembered
from services.forecast.core.place import Place
from services.forecast.core.predictor import Predictor
from services.forecast.core.registry import judge, pack, trained_to_s, unpack
from services.forecast.core.rolling import make_predictor
from services.forecast.core.series import Dataset

LEAD_S = 2 * DAY_S
WINDOW_DAYS = 14
LEAST_WINDOW_DAYS, LEAST_TRAINING_DAYS = 3, 7
REFRESHED = "refreshed"
ISSUES_PER_DAY = {"pv": 4, "load": 4, "price": 1}
"""As the service issues: load and PV at any hour; prices are forecast from the end of what is published."""

TAUGHT_PER_DAY = {"pv": 4, "load": 1, "price": 1}
"""Issues a day to learn from: what the sky did this morning says much of PV at noon."""


@dataclass(frozen=True)
class Verdict:
    """A candidate as it would be stored, both losses on the judged days, and the reason in words."""

    content: bytes
    method: str
    trained_to_s: int
    better: bool
    candidate_loss: float
    incumbent_loss: float
    reason: str


def consider(
    kind: str, data: Dataset, place: Place, incumbent: Predictor | None, *, full: bool = True,
    with_past: bool = False,
) -> Verdict:  # fmt: skip
    """Train a candidate on all but the last days and judge it there beside what is in use.

    Full: a new fit. Light: the incumbent with member weights, bands and bias renewed from its own
    forecasts since it was trained. Without an incumbent the rival is the untrained method. With its past, the
    content holds the newest stretch of the series, too, for a house that has no log of it. Raises
    ValueError when the history is too short.
    """
    series = data.series
    days = int((series.end_s - series.start_s) // DAY_S)
    window = min(WINDOW_DAYS, max(LEAST_WINDOW_DAYS, days // 4)) if full else LEAST_WINDOW_DAYS
    local = local_seconds(np.array([series.end_s - window * DAY_S]), place.time_zone)
    split_s = int(utc_from_local(local // DAY_S * DAY_S, place.time_zone)[0])
    if split_s - series.start_s < LEAST_TRAINING_DAYS * DAY_S:
        raise ValueError(
            f"{days} days of history; at least {LEAST_TRAINING_DAYS + LEAST_WINDOW_DAYS + 1} are needed"
        )
    if full:
        candidate = make_predictor(kind, place, LEAD_S)
        candidate.issues_per_day = TAUGHT_PER_DAY[kind]
        candidate.train(data.before(split_s), split_s % DAY_S)
    else:
        if incumbent is None:
            raise ValueError("there is no learnt model to refresh; train fully first")
        candidate = refreshed(incumbent, data, place, split_s)
    step = DAY_S // ISSUES_PER_DAY[kind]
    issues = np.arange(split_s, series.end_s - DAY_S + 1, step, dtype=np.int64)
    rival = first_depth(kind, place) if incumbent is None else incumbent.predict
    if kind == "price" and incumbent is None:
        rival = _not_published_beyond(rival)
    ours, theirs = judge(candidate, rival, data, issues)
    other = "the untrained method" if incumbent is None else "the model in use"
    return Verdict(
        pack(candidate, remembered(kind, series) if with_past else None),
        f"{type(candidate).__name__}, {'full' if full else REFRESHED}",
        trained_to_s(candidate), ours < theirs, ours, theirs,
        f"pinball {ours:.4g} against {theirs:.4g} of {other}, {len(issues)} issues on the last "
        f"{window} days",
    )  # fmt: skip


def refreshed(incumbent: Predictor, data: Dataset, place: Place, until_s: int) -> Predictor:
    """A copy of the incumbent whose weights, bands and bias follow its forecasts up to `until_s`."""
    candidate = unpack(pack(incumbent), place)
    since = trained_to_s(incumbent)
    days: IntArray = np.arange(since, until_s - LEAD_S + 1, DAY_S, dtype=np.int64)
    if len(days) == 0:
        raise ValueError("the model in use is too young to be refreshed")
    for issue in days.tolist():
        target = np.arange(issue, issue + LEAD_S, data.series.step_s, dtype=np.int64)
        candidate.predict(data, issue, target, remember=True)
    candidate.settle(data.before(until_s).series)
    return candidate


def _not_published_beyond(rival: Predict) -> Predict:
    """The untrained price method takes all it is given as published: cut it at the issue."""
    return lambda data, issue_s, target_s: rival(data.before(issue_s), issue_s, target_s)
