"""Replay: feed a recorded log to today's code and compare what it decides with what was decided.

Identity is exact: the same event, entity, cause and payload for every trigger of every pure
service. The one field that is not recomputed is the verdict's signature (replay holds no key); the
recorded signature is checked against the public key instead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chassis.service import Engine, Service
from chassis.signing import Verifier
from contracts.envelope import Event, payload
from contracts.events import command
from services.dispatcher.service import Dispatcher
from services.forecast.service import Forecast
from services.historian.service import Historian
from services.optimizer.service import Optimizer
from services.safety.service import Safety
from services.thermal.service import Thermal

NOT_RECOMPUTED = {"command.approved": ("key", "signature")}


class Unsigned:
    """Stands in for the safety service's key."""

    def sign(self, subject: str, verdict: command.Approved) -> command.Approved:
        """Leave the verdict as it is."""
        return verdict


def pure_services(models: Mapping[str, bytes] | None = None) -> list[Service[Any]]:
    """Every service whose decisions follow from the log and the models that it names by hash.

    The gateway's are observations and not among them.
    """
    services: list[Service[Any]] = [
        Forecast(), Thermal(), Optimizer(), Dispatcher(), Safety(Unsigned()), Historian(),
    ]  # fmt: skip
    for service in services:
        service.models = models or {}
    return services


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where today's code decides something else."""

    service: str
    trigger: Event
    what: str
    recorded: Event | None
    decided: Event | None
    chain: tuple[Event, ...]


@dataclass
class Outcome:
    """What a replay found."""

    events: int = 0
    decisions: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    signatures: int = 0
    forged: list[str] = field(default_factory=list)
    unfinished: int = 0
    """Decisions for triggers at the log's very end that had not been made when it ended."""
    difference: Difference | None = None

    @property
    def compared(self) -> int:
        """Number of decisions that were compared."""
        return sum(self.decisions.values())

    @property
    def identical(self) -> bool:
        """Nothing differs, nothing is forged, and there was something to compare."""
        return self.difference is None and not self.forged and self.compared > 0


def replay(
    events: Sequence[Event],
    verifier: Verifier | None = None,
    services: Sequence[Service[Any]] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Callable[[int], None] = lambda done: None,
    models: Mapping[str, bytes] | None = None,
) -> Outcome:
    """Compare until the first difference.

    Parameters
    ----------
    events : the log from its beginning, in order
    since, until : compare only decisions in this span; everything before is folded all the same
    progress : called with the number of events done
    models : trained models by content hash, as they lie in the house's store
    """
    by_id = {event.id: event for event in events}
    recorded: dict[tuple[str, int], dict[str, Event]] = defaultdict(dict)
    handled: dict[str, int] = defaultdict(int)
    for event in events:
        recorded[event.source, event.as_of][event.id] = event
        handled[event.source] = max(handled[event.source], event.as_of)
    engines = [Engine(service) for service in (services or pure_services(models))]
    outcome = Outcome()
    for event in events:
        outcome.events += 1
        progress(outcome.events)
        if isinstance(event.data, command.Approved) and verifier is not None:
            if verifier.valid(event.subject, event.data):
                outcome.signatures += 1
            else:
                outcome.forged.append(event.id)
        inside = event.time is None or (
            (since is None or event.time >= since) and (until is None or event.time <= until)
        )
        for engine in engines:
            if event.type not in engine.hears:
                continue
            name = engine.service.name
            wanted = recorded.get((name, event.sequence), {})
            try:
                decided = engine.handle(event)
            except Exception as error:
                if any(e.type == "system.message-quarantined" for e in wanted.values()):
                    continue  # it failed then as now, and was set aside
                outcome.difference = _difference(
                    by_id, name, event, f"{type(error).__name__}: {error}", None, None
                )
                return outcome
            if not inside:
                continue
            if not wanted and event.sequence > handled[name]:
                outcome.unfinished += len(decided)
                continue
            found = _compare(by_id, name, event, wanted, decided)
            if found is not None:
                outcome.difference = found
                return outcome
            outcome.decisions[name] += len(decided)
    return outcome


def _compare(
    by_id: dict[str, Event],
    service: str,
    trigger: Event,
    recorded: dict[str, Event],
    decided: Iterable[Event],
) -> Difference | None:
    left = {key: e for key, e in recorded.items() if e.type != "system.message-quarantined"}
    for event in decided:
        then = left.pop(event.id, None)
        if then is None:
            return _difference(
                by_id, service, trigger, f"{event.type} for {event.entity} is new", None, event
            )
        what = _first_unequal(then, event)
        if what:
            return _difference(by_id, service, trigger, what, then, event)
    for then in left.values():
        return _difference(
            by_id, service, trigger, f"{then.type} for {then.entity} is not decided any more",
            then, None,
        )  # fmt: skip
    return None


def _first_unequal(then: Event, now: Event) -> str | None:
    """Where two events differ, None when they are the same decision."""
    for name in ("type", "entity", "cause", "time"):
        if getattr(then, name) != getattr(now, name):
            return f"{name}: recorded {getattr(then, name)}, now {getattr(now, name)}"
    skipped = NOT_RECOMPUTED.get(then.type, ())
    old, new = payload(then), payload(now)
    for name in skipped:
        old.pop(name, None)
        new.pop(name, None)
    return None if old == new else first_unequal_field(old, new)


def first_unequal_field(old: Any, new: Any, path: str = "") -> str | None:
    """Path and both values of the first field in which two plain values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            if key not in old or key not in new:
                return f"{path}.{key}".lstrip(".") + (" is new" if key in new else " is gone")
            found = first_unequal_field(old[key], new[key], f"{path}.{key}")
            if found:
                return found
        return None
    if isinstance(old, list) and isinstance(new, list):
        for i, (a, b) in enumerate(zip(old, new, strict=False)):
            found = first_unequal_field(a, b, f"{path}[{i}]")
            if found:
                return found
        if len(old) != len(new):
            return f"{path}: recorded {len(old)} values, now {len(new)}".lstrip(".")
        return None
    return None if old == new else f"{path.lstrip('.')}: recorded {old}, now {new}"


def _difference(
    by_id: dict[str, Event],
    service: str,
    trigger: Event,
    what: str,
    then: Event | None,
    now: Event | None,
) -> Difference:
    return Difference(service, trigger, what, then, now, chain(by_id, then or now or trigger))


def chain(by_id: dict[str, Event], event: Event, longest: int = 12) -> tuple[Event, ...]:
    """An event and what it followed from, newest first."""
    found = [event]
    while found[-1].cause in by_id and len(found) < longest:
        found.append(by_id[found[-1].cause])
    return tuple(found)
