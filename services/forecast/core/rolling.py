"""Rolling-origin evaluation: at each issue only what was known then, refitted as time goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from services.forecast.core.bands import Bands, BoolArray, FloatArray, IntArray
from services.forecast.core.baselines import PvBaselines, lag_baselines
from services.forecast.core.calendar import DAY_S
from services.forecast.core.load import LoadPredictor
from services.forecast.core.load_seasonal import seasonal_load
from services.forecast.core.place import Place
from services.forecast.core.predictor import FEWEST_DAYS, Predictor
from services.forecast.core.price import PricePredictor
from services.forecast.core.pv import PvPredictor
from services.forecast.core.scores import score
from services.forecast.core.series import Dataset

KINDS: dict[str, type[Predictor]] = {
    "pv": PvPredictor,
    "load": LoadPredictor,
    "price": PricePredictor,
}


@dataclass(frozen=True)
class Rolled:
    """Every forecast step of every issue: issue, target, actual (n,), ours and each baseline.

    lit: where the sun is up (PV), True elsewhere: coverage is counted there.
    """

    issue_s: IntArray
    target_s: IntArray
    actual: FloatArray
    ours: Bands
    baselines: dict[str, Bands]
    lit: BoolArray
    predictor: Predictor

    @property
    def lead_s(self) -> IntArray:
        return self.target_s - self.issue_s


def make_predictor(kind: str, place: Place, lead_s: int) -> Predictor:
    """A fresh predictor; raises ValueError for an unknown kind."""
    if kind not in KINDS:
        raise ValueError(f"kind: {kind!r} is not one of {', '.join(KINDS)}")
    return KINDS[kind](place, lead_s=lead_s)


def rolling_origin(
    kind: str, data: Dataset, place: Place, issues_s: IntArray, lead_s: int, refit_s: int,
    until_s: int | None = None, progress: Callable[[int], None] | None = None,
    parameters: dict[str, object] | None = None,
) -> Rolled:  # fmt: skip
    """Forecast `lead_s` seconds from every issue, refitting when `refit_s` has passed since the last fit.

    Targets at or after `until_s` are left out, and issues before there is history enough to learn from. Raises
    ValueError when there is no issue.
    """
    if until_s is not None:
        issues_s = issues_s[data.series.steps_from(issues_s, lead_s)[:, 0] < until_s]
    if len(issues_s) == 0:
        raise ValueError("from/to: no issue time lies between them; widen the span")
    predictor = make_predictor(kind, place, lead_s)
    predictor.parameters = dict(parameters or {})
    linear = PvBaselines(place)
    fitted_s: int | None = None
    parts: list[tuple[IntArray, IntArray, Bands, dict[str, Bands], BoolArray]] = []
    for number, issue_s in enumerate(issues_s.tolist()):
        past = data.before(issue_s)
        if fitted_s is None and issue_s < issues_s[-1] and not _taught(predictor, past, issue_s):
            continue
        predictor.settle(past.series)
        if fitted_s is None or issue_s - fitted_s >= refit_s:
            predictor.train(past, issue_s % DAY_S)
            if kind == "pv":
                linear.train(past)
            fitted_s = issue_s
        target = data.series.steps_from(np.array([issue_s]), lead_s)[0]
        if until_s is not None:
            target = target[target < until_s]
        ours = predictor.predict(past, issue_s, target, remember=True)
        lit = np.ones(len(target), dtype=np.bool_)
        if isinstance(predictor, PvPredictor):
            baselines = linear.predict(data, issue_s, target, predictor)
            sun = predictor.sun(target, data.series.step_s)
            lit = lit if sun is None else sun.up
        else:
            baselines = lag_baselines(data, issue_s, target, place)
        if kind == "load":
            recent = past.before(issue_s, 60).series
            baselines["seasonal"] = seasonal_load(
                target, recent.times_s, recent.values, step_s=data.series.step_s,
                time_zone=place.time_zone, country=place.country, subdivision=place.subdivision,
                annual_kwh=place.annual_kwh,
            )  # fmt: skip
        parts.append((np.full(len(target), issue_s), target, ours, baselines, lit))
        if progress is not None:
            progress(number + 1)
    target_all = np.concatenate([part[1] for part in parts])
    return Rolled(
        issue_s=np.concatenate([part[0] for part in parts]),
        target_s=target_all,
        actual=data.series.at(target_all),
        ours=_join([part[2] for part in parts]),
        baselines={name: _join([part[3][name] for part in parts]) for name in parts[0][3]},
        lit=np.concatenate([part[4] for part in parts]),
        predictor=predictor,
    )


def _taught(predictor: Predictor, past: Dataset, issue_s: int) -> bool:
    _, target = predictor.training_rows(past, issue_s % DAY_S)
    return len(np.unique(target // DAY_S)) >= FEWEST_DAYS


def _join(parts: list[Bands]) -> Bands:
    mean = None
    if parts[0].mean is not None:
        mean = np.concatenate([part.expected for part in parts])
    return Bands(
        np.concatenate([part.p10 for part in parts]),
        np.concatenate([part.p50 for part in parts]),
        np.concatenate([part.p90 for part in parts]),
        mean,
        tuple(sorted({flag for part in parts for flag in part.flags})),
    )


def _pick(bands: Bands, rows: BoolArray) -> Bands:
    mean = None if bands.mean is None else bands.mean[rows]
    return Bands(bands.p10[rows], bands.p50[rows], bands.p90[rows], mean, bands.flags)


def lead_buckets(lead_s: int) -> list[tuple[str, int, int]]:
    """Names and bounds (s) of the lead times reported: quarters of the first day, halves and wholes of both."""
    hours = [(0, 6), (6, 12), (12, 18), (18, 24), (24, 36), (36, 48), (0, 24), (24, 48)]
    limit = lead_s // 3600
    return [(f"{a}-{b}h", a * 3600, b * 3600) for a, b in hours if b <= limit]


def report(rolled: Rolled, lead_s: int) -> dict[str, object]:
    """Scores of ours and of each baseline, in all and by lead time, as a JSON-able mapping.

    Each baseline is scored where it has a forecast; `ours_same_steps` are our scores on those steps.
    """

    def scored(rows: BoolArray) -> dict[str, object]:
        actual, lit = rolled.actual[rows], rolled.lit[rows]
        ours = _pick(rolled.ours, rows)
        baselines: dict[str, object] = {}
        for name, bands in rolled.baselines.items():
            other = _pick(bands, rows)
            same = np.where(np.isnan(other.p50), np.nan, actual)
            entry: dict[str, object] = dict(score(actual, other, lit).as_dict())
            entry["ours_same_steps"] = score(same, ours, lit).as_dict()
            baselines[name] = entry
        return {"ours": score(actual, ours, lit).as_dict(), "baselines": baselines}

    everything = np.ones(len(rolled.target_s), dtype=np.bool_)
    result = scored(everything)
    lead = rolled.lead_s
    result["by_lead"] = {
        name: scored((lead >= low) & (lead < high)) for name, low, high in lead_buckets(lead_s)
    }
    ours = result["ours"]
    assert isinstance(ours, dict)
    return {**ours, **result}
