"""The forecast service: PV, uncontrolled load and price for the next 48 hours, every hour.

A promoted model is read from the model store by its hash and forecasts from then on; without one, or
when it cannot answer, the methods that need no training do. Once a day the forecasts whose last step
has passed are held against what came.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from chassis.models import ModelProblem, verified
from chassis.service import Decision, Service, State, due
from contracts import grid
from contracts.envelope import Event
from contracts.events.clock import Ticked
from contracts.events.forecast import AccuracyScored, ForecastIssued, LeadScores
from contracts.events.system import ModelChecked, ModelPromoted
from contracts.site import SiteConfig
from services.forecast.core.bands import Bands, IntArray
from services.forecast.core.calendar import DAY_S
from services.forecast.core.first_depth import METHODS, first_depth
from services.forecast.core.history import STEP_S, Record, place_of
from services.forecast.core.monitor import accuracy_by_lead
from services.forecast.core.predictor import Predictor
from services.forecast.core.price import PricePredictor
from services.forecast.core.registry import past_of, unpack
from services.forecast.core.series import Dataset

LOG = logging.getLogger("pems.forecast")
STEPS = 192
PERIOD_S = 3_600
SCORED_PERIOD_S = 6 * 3_600
"""Every sixth hour's forecast is kept until it can be scored: enough to tell, and the state stays small."""
KINDS = ("pv", "load", "price")
LEARNT_NEEDS_DAYS = {"pv": 0.0, "load": 7.0, "price": 7.0}
"""History that a learnt model's lags need at least; before, the untrained methods are better."""


class ForecastState(State):
    """History, models in force by hash, and forecasts that wait for the truth."""

    record: Record = Record()
    price_event: str = ""
    weather_event: str = ""
    models: dict[str, str] = {}
    """Content hash by quantity; what lies under it is read from the store, never kept here."""
    model_events: dict[str, str] = {}
    unread: list[str] = []
    """Quantities whose model came into force since the last tick: what it remembers is not taken in yet."""
    waiting: list[ForecastIssued] = []
    issued: datetime | None = None
    due: bool = False
    passed: list[ForecastIssued] = []
    """To be scored with the event just folded."""


class Forecast(Service[ForecastState]):
    """Weather, prices and history -> P10, P50, P90."""

    name = "forecast"
    state_type = ForecastState

    def __init__(self) -> None:
        self._opened: dict[tuple[str, str], Predictor] = {}

    def needs(self, state: ForecastState) -> Iterable[str]:
        return state.models.values()

    def fold(self, state: ForecastState, event: Event) -> None:
        data = event.data
        state.due, state.passed = False, []
        state.record.take(data, state.site)
        if event.type == "price.published":
            state.price_event = event.id
        elif event.type == "weather.forecast-issued":
            state.weather_event = event.id
        elif isinstance(data, ModelChecked) and data.in_force and data.quantity in KINDS:
            state.models[data.quantity] = data.content_hash
            state.model_events[data.quantity] = event.id
            state.unread = sorted({*state.unread, data.quantity})
        elif isinstance(data, ForecastIssued):
            if int(data.start.timestamp()) % SCORED_PERIOD_S == 0:
                state.waiting.append(data)
        elif isinstance(data, Ticked):
            for quantity in state.unread:
                self._recall(state, quantity, data.time)
            state.unread = []
            state.due = _due(state, data.time)
            if state.due:
                state.issued = data.time
            if due(data, DAY_S):
                now = data.time.timestamp()
                state.passed = [f for f in state.waiting if _end_s(f) <= now]
                state.waiting = [f for f in state.waiting if _end_s(f) > now]

    def decide(self, state: ForecastState, event: Event) -> Iterable[Decision]:
        if isinstance(event.data, ModelPromoted) and event.data.quantity in KINDS:
            yield self._check(state, event.data)
        for kind in KINDS:
            scored = _score(state, kind)
            if scored is not None:
                yield Decision("forecast.accuracy-scored", kind, scored)
        if state.due and state.site is not None and state.now is not None:
            yield from self._issue(state, state.site, state.now)

    def _check(self, state: ForecastState, promoted: ModelPromoted) -> Decision:
        """Whether a promoted model can be used; the answer on the log is what puts it in force."""
        problem = ""
        try:
            kind = self._open(promoted.content_hash, state.site).kind
            if kind != promoted.quantity:
                problem = f"is a model of {kind}"
            past_of(verified(self.models, promoted.content_hash))
        except ValueError as error:
            problem = str(error)[:500]
        checked = ModelChecked(
            quantity=promoted.quantity, content_hash=promoted.content_hash,
            in_force=not problem, problem=problem,
        )  # fmt: skip
        return Decision("system.model-checked", promoted.quantity, checked)

    def _recall(self, state: ForecastState, kind: str, now: datetime) -> None:
        """Let the record begin with what a model brought along. At a tick: who promotes knows no clock."""
        try:
            past = past_of(verified(self.models, state.models[kind]))
        except ValueError as error:
            LOG.info("%s: nothing remembered: %s", kind, error)
            return
        if past is not None:
            state.record.recall(kind, past, int(now.timestamp()))

    def _open(self, digest: str, site: SiteConfig | None) -> Predictor:
        """A model of the store, ready to use. Opened ones are kept: a cache, no part of the state."""
        if site is None:
            raise ModelProblem("there is no site configuration yet")
        key = (digest, site.content_hash())
        if key not in self._opened:
            if len(self._opened) >= 2 * len(KINDS):
                self._opened.clear()
            self._opened[key] = unpack(verified(self.models, digest), place_of(site))
        return self._opened[key]

    def _issue(
        self, state: ForecastState, site: SiteConfig, now: datetime
    ) -> Iterable[Decision]:
        start = grid.floor(now, STEP_S)
        issue_s = int(start.timestamp())
        times = issue_s + STEP_S * np.arange(STEPS, dtype=np.int64)
        published = state.record.tracks["price"].series().at(times)
        gaps = np.flatnonzero(np.isnan(published))
        known = int(gaps[0]) if gaps.size else STEPS
        for kind in KINDS:
            if kind == "pv" and not site.pv:
                continue
            bands, method, model = self._bands(state, site, kind, issue_s, times)
            if not np.isfinite(bands.p50).all():
                continue
            source = {"pv": state.weather_event, "price": state.price_event}.get(kind, "")
            because = (source, state.model_events.get(kind, "") if model else "")
            digits = 3 if kind == "price" else 1
            yield Decision(
                "forecast.issued",
                kind,
                ForecastIssued(
                    quantity=kind, issued=now, start=start, step_s=STEP_S,
                    p10=_rounded(bands.p10, digits), p50=_rounded(bands.p50, digits),
                    p90=_rounded(bands.p90, digits), known_steps=known if kind == "price" else 0,
                    correlation_h=bands.correlation_h, method=method, flags=bands.flags,
                    because=tuple(event for event in because if event), model_hash=model,
                ),
            )  # fmt: skip

    def _bands(
        self, state: ForecastState, site: SiteConfig, kind: str, issue_s: int, times: IntArray
    ) -> tuple[Bands, str, str]:
        """Bands, method and model hash: the learnt model's, else the untrained method's with the reason."""
        data = state.record.dataset(kind, issue_s)
        digest, flag = state.models.get(kind), ""
        if digest is not None:
            try:
                model = self._open(digest, site)
            except ValueError:
                flag = "model-missing"
            else:
                if state.record.tracks[kind].known_days() < LEARNT_NEEDS_DAYS[kind]:
                    flag = "history-short"
                else:
                    learnt = _predict(model, data, issue_s, times)
                    if learnt is not None:
                        return learnt, f"learnt {type(model).__name__}", digest
                    flag = "model-silent"
        bands = first_depth(kind, place_of(site))(data, issue_s, times)
        flags = tuple(sorted({*bands.flags, flag} - {""}))
        return Bands(bands.p10, bands.p50, bands.p90, bands.mean, flags), METHODS[kind], ""


def _predict(model: Predictor, data: Dataset, issue_s: int, times: IntArray) -> Bands | None:
    """A learnt model's bands; None where it has no answer, as when a weather column it learnt from is gone."""
    try:
        if isinstance(model, PricePredictor):
            bands = model.predict(data, issue_s, times, published_until_s=data.series.end_s)
        else:
            bands = model.predict(data, issue_s, times)
    except (ValueError, LookupError, ArithmeticError) as error:
        LOG.info("%s cannot answer: %s", type(model).__name__, error)
        return None
    whole = all(np.isfinite(b).all() for b in (bands.p10, bands.p50, bands.p90))
    return bands if whole else None


def _due(state: ForecastState, now: datetime) -> bool:
    """Every full hour, once weather and prices are there to make the first."""
    if not state.record.runs or not state.price_event or state.site is None:
        return False
    if state.issued is None:
        return True
    return grid.floor(now, PERIOD_S) > grid.floor(state.issued, PERIOD_S)


def _end_s(forecast: ForecastIssued) -> float:
    return forecast.start.timestamp() + len(forecast.p50) * forecast.step_s


def _score(state: ForecastState, kind: str) -> AccuracyScored | None:
    """The forecasts of a kind that have passed, held against the truth."""
    mine = [f for f in state.passed if f.quantity == kind]
    if not mine or state.now is None:
        return None
    truth = state.record.tracks[kind].series()
    actual, lead, quantiles = [], [], []
    for forecast in mine:
        offset = forecast.step_s * np.arange(len(forecast.p50), dtype=np.int64)
        values = truth.at(int(forecast.start.timestamp()) + offset)
        values[: forecast.known_steps] = np.nan
        bands = np.array([forecast.p10, forecast.p50, forecast.p90])
        if kind == "pv":
            values[bands[2] <= 0.0] = np.nan
        actual.append(values)
        lead.append(offset)
        quantiles.append(bands)
    joined = np.concatenate(quantiles, axis=1)
    found = accuracy_by_lead(
        np.concatenate(actual), Bands(joined[0], joined[1], joined[2]), np.concatenate(lead)
    )
    if not found:
        return None
    hashes = {forecast.model_hash for forecast in mine}
    return AccuracyScored(
        quantity=mine[0].quantity, time=state.now, since=min(f.issued for f in mine),
        until=max(f.issued for f in mine), issues=len(mine),
        model_hash=hashes.pop() if len(hashes) == 1 else "",
        by_lead={
            name: LeadScores(
                n=s.n, rmse=round(s.rmse, 3), mae=round(s.mae, 3), bias=round(s.bias, 3),
                pinball=round(s.pinball or 0.0, 3),
                coverage_80=None if s.coverage_80 is None else round(s.coverage_80, 4),
            )
            for name, s in found.items()
        },
    )  # fmt: skip


def _rounded(values: NDArray[np.float64], digits: int) -> tuple[float, ...]:
    return tuple(np.round(values, digits).tolist())
