"""The one service interface: fold the log into a state, decide what follows.

A service is pure. ``fold`` and ``decide`` see nothing but their state and one event of the log,
so the same log gives the same decisions on the broker (:mod:`chassis.runner`), in one process
without a broker (:mod:`chassis.loop`) and in a replay (``pems replay``). Services at the edge of
the log (devices, files) add ``act``, the only place where the outside world may be touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from chassis.bus import Bus
from contracts import catalog
from contracts.base import Record
from contracts.envelope import Event, event_id
from contracts.events.clock import Ticked
from contracts.events.system import ConfigLoaded, Heartbeat
from contracts.site import SiteConfig

HEARTBEAT_S = 300
ROOT = Path(__file__).resolve().parent.parent


class State(BaseModel):
    """What every service remembers; subclasses add their own fields.

    It is all a service knows, it is plain data, and its JSON is the snapshot. ``sequence`` is the
    last folded place of the log, ``now`` the log's clock, ``site`` the configuration in force.
    """

    model_config = ConfigDict(extra="forbid")

    sequence: int = 0
    now: datetime | None = None
    tick: str = ""
    site: SiteConfig | None = None
    config_hash: str = ""
    mode: str = "live"


S = TypeVar("S", bound=State)


@dataclass(frozen=True, slots=True)
class Decision:
    """An event that a service wants on the log.

    ``cause`` and ``traceparent`` default to the event that triggered it; give them when it follows
    from another one (a command follows from its plan, not from the tick that released it).
    """

    type: str
    entity: str
    data: Record
    cause: str = ""
    correlation: str = ""
    traceparent: str = ""
    expiry: datetime | None = None


class Service(Generic[S]):
    """A room of the house. Subclasses set ``name`` and ``state_type`` and write fold and decide."""

    name: ClassVar[str]
    heavy: ClassVar[bool] = False
    """Deciding may take seconds: run it beside the event loop."""
    state_type: type[S]
    models: Mapping[str, bytes] = MappingProxyType({})
    """Trained models by content hash. What a hash names never changes, so reading is no side effect."""
    bus: Bus | None = None
    """The broker, for services that ``act``; None in the in-process runner."""

    def initial(self) -> S:
        """The state before the first event."""
        return self.state_type()

    def fold(self, state: S, event: Event) -> None:
        """Take one event into the state. Must not decide anything."""

    def needs(self, state: S) -> Iterable[str]:
        """Hashes of the models that decisions in this state rest on."""
        return ()

    def decide(self, state: S, event: Event) -> Iterable[Decision]:
        """What follows from an event just folded. Must not change the state."""
        return ()

    async def act(self, state: S, event: Event) -> Sequence[Decision]:
        """Touch the outside world because of an event; what came of it goes on the log."""
        return ()

    async def start(self) -> None:
        """Open what ``act`` needs."""

    async def stop(self) -> None:
        """Close it again."""


class Engine(Generic[S]):
    """Runs one service over events in log order; shared by all runners.

    Parameters
    ----------
    service : the service
    state : where to resume; the initial state when None
    """

    def __init__(self, service: Service[S], state: S | None = None) -> None:
        self.service = service
        self.state = state if state is not None else service.initial()
        self.hears = catalog.hears(service.name)
        self.says = catalog.says(service.name)
        self.code = code_hash(service.name)

    def fold(self, event: Event) -> None:
        """Take an event into the state; one that is already in it is ignored."""
        state = self.state
        if event.sequence <= state.sequence:
            return
        state.sequence = event.sequence
        if event.type not in self.hears:
            return
        data = event.data
        if isinstance(data, Ticked):
            state.now, state.tick, state.mode = data.time, event.id, event.mode
        elif isinstance(data, ConfigLoaded) and data.kind == "site":
            state.site, state.config_hash = data.site, data.content_hash
        self.service.fold(state, event)

    def decide(self, event: Event) -> list[Decision]:
        """What follows from an event just folded; a heartbeat with every fifth minute's tick."""
        if event.type not in self.hears:
            return []
        decisions = list(self.service.decide(self.state, event))
        if isinstance(event.data, Ticked) and due(event.data, HEARTBEAT_S):
            beat = Heartbeat(
                service=self.service.name, time=event.data.time, handled=event.sequence
            )
            decisions.append(Decision("system.heartbeat", self.service.name, beat))
        return decisions

    def handle(self, event: Event) -> list[Event]:
        """Fold and decide without touching the outside world: what a replay does."""
        self.fold(event)
        return self.envelop(event, self.decide(event))

    def envelop(self, trigger: Event, decisions: Iterable[Decision]) -> list[Event]:
        """Put decisions into envelopes with deterministic ids."""
        counts: dict[str, int] = {}
        state, events = self.state, []
        for decision in decisions:
            if decision.type not in self.says:
                raise PermissionError(f"{self.service.name} may not say {decision.type}")
            index = counts.get(decision.type, 0)
            counts[decision.type] = index + 1
            events.append(
                Event(
                    type=decision.type,
                    version=catalog.BY_TYPE[decision.type].version,
                    site=trigger.site,
                    entity=decision.entity,
                    id=event_id(trigger.id, self.service.name, decision.type, index),
                    source=self.service.name,
                    data=decision.data,
                    time=state.now,
                    cause=decision.cause or trigger.id,
                    correlation=decision.correlation or trigger.correlation or trigger.id,
                    as_of=trigger.sequence,
                    mode=state.mode,
                    code=self.code,
                    config=state.config_hash[:12],
                    expiry=decision.expiry,
                    traceparent=decision.traceparent,
                )
            )
        return events


def due(tick: Ticked, period_s: int, offset_s: int = 0) -> bool:
    """Whether ``offset_s`` past a multiple of the period lies in the interval this tick closes."""
    now = int(tick.time.timestamp()) - offset_s
    return now // period_s > (now - tick.interval_s) // period_s


@cache
def code_hash(service: str) -> str:
    """Hash of the code that a service's decisions depend on: its folder and the contracts."""
    digest = sha256()
    for folder in (ROOT / "services" / service, ROOT / "contracts", ROOT / "chassis"):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def dump(state: State) -> bytes:
    """A snapshot of a state."""
    return state.model_dump_json().encode()


def load(state_type: type[S], raw: bytes | str) -> S:
    """A state from its snapshot."""
    return state_type.model_validate_json(raw)
