"""The second runner: all services in one process on an in-memory log, no broker, one fixed order.

For what-if, training, property tests and simulated years. The services are the same objects, the
events the same events; each event is handed to every service before the next one, in the order
in which the services were given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from chassis.service import Engine, Service
from contracts import catalog
from contracts.base import Record
from contracts.envelope import Event, event_id


class Loop:
    """An in-memory log with its services.

    Parameters
    ----------
    services : in the order in which they see each event
    mode : goes into every envelope (``simulated``, ``whatif``, ...)
    sink : called with every event as it is appended
    """

    def __init__(
        self,
        site: str,
        services: Sequence[Service[Any]],
        mode: str = "simulated",
        sink: Callable[[Event], None] | None = None,
    ) -> None:
        self.site, self.mode, self.sink = site, mode, sink
        self.engines = [Engine(service) for service in services]
        self.sequence = 0
        self._queue: deque[Event] = deque()

    def say(
        self, source: str, type_: str, entity: str, data: Record, time: datetime | None = None
    ) -> Event:
        """Append an event of the outside (clock, configuration, people) and let all follow it."""
        event = Event(
            type=type_,
            version=catalog.BY_TYPE[type_].version,
            site=self.site,
            entity=entity,
            id=event_id(f"{self.site}/{self.sequence + 1}", source, type_, 0),
            source=source,
            data=data,
            time=time,
            mode=self.mode,
        )
        appended = self._append(event)
        self._run()
        return appended

    def _append(self, event: Event) -> Event:
        self.sequence += 1
        placed = replace(event, sequence=self.sequence)
        self._queue.append(placed)
        if self.sink is not None:
            self.sink(placed)
        return placed

    def _run(self) -> None:
        while self._queue:
            event = self._queue.popleft()
            for engine in self.engines:
                if event.type not in engine.hears:
                    continue
                engine.fold(event)
                decisions = engine.decide(event)
                decisions += now(engine.service.act(engine.state, event))
                for decided in engine.envelop(event, decisions):
                    self._append(decided)


def now(work: Coroutine[Any, Any, Sequence[Any]]) -> list[Any]:
    """Finish a coroutine that never waits.

    Raises
    ------
    RuntimeError
        when it does wait: what it touches is not fit for the in-process runner.
    """
    try:
        work.send(None)
    except StopIteration as done:
        return list(done.value)
    work.close()
    raise RuntimeError("a device of the in-process loop must answer without waiting")
