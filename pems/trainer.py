"""The trainer: from a house's log to models that may take over.

It reads the log, trains, and judges every candidate on the last days beside what is in force (a
learnt model, or the method that needs no training). It decides nothing: whoever calls it stores the
content and appends the promotion, and the services answer on the log whether they follow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from chassis.models import ModelProblem, name_of, verified
from contracts.envelope import Event
from contracts.events.forecast import AccuracyScored
from contracts.events.system import ConfigLoaded, ModelChecked, ModelPromoted
from contracts.events.thermal import ModelIdentified
from contracts.site import SiteConfig
from contracts.thermal_model import HouseModel
from services.forecast.core.history import Record, place_of
from services.forecast.core.monitor import decide_retraining
from services.forecast.core.place import Place
from services.forecast.core.registry import trained_to_s, unpack
from services.forecast.core.scores import Scores
from services.forecast.retrain import REFRESHED
from services.forecast.retrain import consider as consider_forecast
from services.thermal.core import retrain as thermal
from services.thermal.core.content import pack
from services.thermal.core.content import unpack as thermal_content
from services.thermal.core.from_site import model_of
from services.thermal.core.memory import Memory
from services.thermal.core.recorded import KEEP_DAYS, Recorder
from services.thermal.train import code_hash

KINDS = ("thermal", "pv", "load", "price")


@dataclass(frozen=True)
class Outcome:
    """What came of one kind: a promotion with the model's content, or why there is none."""

    kind: str
    sentence: str
    promoted: ModelPromoted | None = None
    content: bytes = b""


@dataclass
class Schedule:
    """When a kind was trained, and how its forecasts have done since."""

    full_s: int = 0
    light_s: int = 0
    scores: list[Scores] = field(default_factory=list)
    """The newest two: before and now."""


@dataclass
class Past:
    """What the trainer needs of a log, folded event by event: a year of it need not lie in memory."""

    site: SiteConfig | None = None
    record: Record = field(default_factory=Record)
    rooms: Recorder = field(default_factory=Recorder)
    memory: Memory = field(default_factory=lambda: Memory(keep_days=KEEP_DAYS))
    in_force: dict[str, str] = field(default_factory=dict)
    """Hash of the learnt model by kind."""
    house_model: HouseModel | None = None
    """The thermal model in force, learnt or not."""
    schedules: dict[str, Schedule] = field(default_factory=lambda: {k: Schedule() for k in KINDS})
    now_s: int = 0

    def take(self, event: Event) -> None:
        """Fold one event."""
        data = event.data
        if event.time is not None:
            self.now_s = int(event.time.timestamp())
        if isinstance(data, ConfigLoaded) and data.site is not None:
            self.site = data.site
        elif isinstance(data, ModelChecked) and data.in_force:
            self.in_force[data.quantity] = data.content_hash
        elif isinstance(data, ModelIdentified):
            self.house_model = data.model
        elif isinstance(data, ModelPromoted):
            schedule = self.schedules[data.quantity]
            schedule.light_s = self.now_s
            if not data.method.endswith(REFRESHED):
                schedule.full_s = self.now_s
        elif isinstance(data, AccuracyScored):
            kept = self.schedules[data.quantity].scores
            kept[:] = [*kept[-1:], _day_ahead(data)]
        self.record.take(data, self.site, bounded=False)
        self.rooms.take(data)
        self.memory.take(data)


def read(events: Iterable[Event]) -> Past:
    """Fold a whole log."""
    past = Past()
    for event in events:
        past.take(event)
    return past


def train_house(
    past: Past,
    models: Mapping[str, bytes],
    kinds: Sequence[str] = KINDS,
    depth: str = "full",
    progress: Callable[[str], None] = lambda kind: None,
) -> list[Outcome]:
    """Train and judge each kind; one that has too little history says so and is left as it is.

    Parameters
    ----------
    models : contents by hash, at least of the models in force
    depth : ``full`` fits anew (weekly), ``light`` refreshes what is in force from its recent errors
        (nightly), ``auto`` does what is due by the log
    progress : told the name of each kind before its training begins
    """
    outcomes = []
    for kind in kinds:
        progress(kind)
        began = time.process_time()
        try:
            action, why = (depth, "") if depth != "auto" else due(past, kind)
            full = action == "full"
            if action == "none":
                outcome = Outcome(kind, f"{kind}: left as it is: {why}")
            elif kind == "thermal":
                outcome = _thermal(past, models, full)
            else:
                outcome = _forecast(past, kind, models, full)
        except ValueError as error:
            outcome = Outcome(kind, f"{kind}: left as it is: {error}")
        seconds = time.process_time() - began
        outcomes.append(
            Outcome(kind, f"{outcome.sentence} ({seconds:.0f} s)", outcome.promoted, outcome.content)
        )
    return outcomes


def _site(past: Past) -> SiteConfig:
    if past.site is None:
        raise ValueError("the log names no site; start the house first")
    return past.site


def _thermal(past: Past, models: Mapping[str, bytes], full: bool) -> Outcome:
    site, digest, learnt = _site(past), past.in_force.get("thermal"), None
    if not full and digest is None:
        raise ValueError("there is no learnt model to refresh; train fully first")
    history, prior = past.rooms.history(site), model_of(site)
    incumbent = past.house_model or prior
    if digest is not None:
        try:
            model, found = thermal_content(verified(models, digest))
            learnt = found if model == incumbent else None
        except ValueError:
            pass  # what cannot be read is not in use either
    verdict = thermal.consider(
        history, past.memory, prior, incumbent, learnt, full=full, code_version=code_hash()
    )
    if not verdict.better:
        return Outcome("thermal", f"thermal: kept aside: {verdict.reason}")
    provenance = verdict.candidate.provenance
    until = provenance.trained_to_epoch_s or int(history.epoch_s[-1])
    promoted = ModelPromoted(
        quantity="thermal", content_hash=name_of(verdict.content),
        method=provenance.method if full else f"{provenance.method}, {REFRESHED}",
        trained_until=datetime.fromtimestamp(until, UTC),
        score=round(verdict.candidate_mae_k, 4), metric="mean absolute error, K, 6 and 24 h ahead",
        reason=verdict.reason,
    )  # fmt: skip
    return Outcome("thermal", f"thermal: promoted: {verdict.reason}", promoted, verdict.content)


def _forecast(past: Past, kind: str, models: Mapping[str, bytes], full: bool) -> Outcome:
    place, digest, incumbent = place_of(_site(past)), past.in_force.get(kind), None
    if digest is not None:
        try:
            incumbent = unpack(verified(models, digest), place)
        except ModelProblem:
            incumbent = None  # what cannot be read is not in use either
    verdict = consider_forecast(kind, past.record.dataset(kind), place, incumbent, full=full)
    if not verdict.better:
        return Outcome(kind, f"{kind}: kept aside: {verdict.reason}")
    promoted = ModelPromoted(
        quantity=kind,
        content_hash=name_of(verdict.content),
        method=verdict.method, trained_until=datetime.fromtimestamp(verdict.trained_to_s, UTC),
        score=round(verdict.candidate_loss, 4), metric="pinball, 24 h ahead",
        reason=verdict.reason,
    )  # fmt: skip
    return Outcome(kind, f"{kind}: promoted: {verdict.reason}", promoted, verdict.content)


def due(past: Past, kind: str) -> tuple[str, str]:
    """What the log says is to be done for a kind now (``full``, ``light``, ``none``), and why.

    A learnt model is fitted anew a week after its promotion, or when its scores have gone astray;
    it is refreshed every day in between.
    """
    if kind not in past.in_force:
        return "full", "no learnt model yet"
    schedule = past.schedules[kind]
    recent = schedule.scores[-1] if schedule.scores else None
    usual = schedule.scores[-2] if len(schedule.scores) > 1 else None
    found = decide_retraining(past.now_s, schedule.light_s, schedule.full_s, recent, usual)
    return found.action, found.reason


def _day_ahead(scored: AccuracyScored) -> Scores:
    """Scores of the first day, joined over its ranges of lead time."""
    parts = [s for name, s in scored.by_lead.items() if int(name.split("-")[0]) < 24]
    n = sum(part.n for part in parts)

    def mean(name: str) -> float:
        return sum(part.n * (getattr(part, name) or 0.0) for part in parts) / max(n, 1)

    return Scores(
        n, mean("rmse"), mean("mae"), mean("bias"), mean("pinball"), mean("coverage_80"),
        mean("rmse"),
    )  # fmt: skip


def by_hand(kind: str, content: bytes) -> tuple[ModelPromoted, bytes]:
    """A promotion of a model file by a person, checked for what it is; raises ValueError."""
    if kind == "thermal":
        model, correction = thermal_content(content.strip())
        content, method = pack(model, correction), model.provenance.method
        until = model.provenance.trained_to_epoch_s or 0
    else:
        found = unpack(content, Place())
        if found.kind != kind:
            raise ValueError(f"is a model of {found.kind}")
        method, until = type(found).__name__, trained_to_s(found)
    promoted = ModelPromoted(
        quantity=kind,
        content_hash=name_of(content), method=method,
        trained_until=datetime.fromtimestamp(until, UTC), reason="promoted by a person",
    )  # fmt: skip
    return promoted, content


def roll_back(events: Sequence[Event], kind: str) -> ModelPromoted:
    """A promotion of the model that was in force before the present one.

    Raises ValueError when there is none.
    """
    promotions = {
        e.data.content_hash: e.data
        for e in events
        if isinstance(e.data, ModelPromoted) and e.data.quantity == kind
    }
    line: list[str] = []
    for event in events:
        data = event.data
        if isinstance(data, ModelChecked) and data.quantity == kind and data.in_force:
            if len(line) > 1 and line[-2] == data.content_hash:
                line.pop()  # this was a roll-back: what came after is gone
            elif not line or line[-1] != data.content_hash:
                line.append(data.content_hash)
    if len(line) < 2:
        raise ValueError(f"{kind}: there is no earlier model to go back to")
    return promotions[line[-2]].model_copy(
        update={"reason": f"rolled back from {line[-1][:12]} by a person"}
    )

