"""Runs one service on the broker: read -> fold -> decide -> append -> acknowledge.

Start-up is recovery: load the snapshot, fold the log up to the consumer's acknowledgement floor,
go on. There is no other recovery path; when in doubt the process ends and is started again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError

from chassis import bus as buses
from chassis import health
from chassis.bus import Bus, Entry, FencedError
from chassis.models import FolderStore, ModelProblem, Objects, verified
from chassis.provision import consumer_problems
from chassis.service import Decision, Engine, Service, State
from chassis.settings import Settings
from chassis.snapshots import Snapshots
from chassis.tracing import Tracing
from contracts import catalog
from contracts.envelope import Event, PoisonError, decode, event_id
from contracts.events.system import Heartbeat, MessageQuarantined, ModelPromoted

LOG = logging.getLogger("pems.runner")
SNAPSHOT_EVERY = 2_000
PROGRESS_S = 3.0
WATCH_S = 5.0
STALL_S = 60.0
GRACE_S = 25.0
S = TypeVar("S", bound=State)


class Runner:
    """One service, one process, one consumer."""

    def __init__(self, service: Service[Any], settings: Settings) -> None:
        self.service, self.settings = service, settings
        self.engine = Engine(service)
        self.snapshots = Snapshots(settings.state, service.name, self.engine.code)
        self.tracing = Tracing(service.name, settings.otlp_url)
        self.stopping = asyncio.Event()
        self.failure: BaseException | None = None
        self.bus: Bus
        self.objects: Objects
        self.reads_models = service.name in catalog.BY_TYPE["system.model-promoted"].heard_by
        self.models = FolderStore(settings.state / "models")
        service.models = self.models
        self.handled = 0
        self.last_progress = time.monotonic()
        self.last_beat = 0
        self._check_doubles = True

    async def run(self) -> None:
        """Until SIGTERM or SIGINT, or until going on would be wrong (then an exception)."""
        name = self.service.name
        broker = self._broker()
        subscriber = broker.subscriber(
            stream=JStream(self.settings.stream, declare=False),
            subject=f"pems.{self.settings.site}.>",
            durable=name,
            pull_sub=PullSub(batch_size=1, timeout=5.0),
            ack_policy=AckPolicy.MANUAL,
            inbox_prefix=f"_INBOX.{name}.".encode(),
            decoder=_raw,
        )
        subscriber(self._on_message)
        await broker.connect()
        client = broker.config.connection_state.connection
        self.bus = self.service.bus = Bus(client, self.settings)
        self.objects = Objects(client, self.settings)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        await self._recover()
        await self.service.start()
        watcher = asyncio.create_task(self._watch())
        try:
            await broker.start()
            LOG.info("%s runs from sequence %d", name, self.engine.state.sequence)
            await self.stopping.wait()
        finally:
            watcher.cancel()
            await self.service.stop()
            await broker.stop()
            self.tracing.shutdown()
        if self.failure:
            raise self.failure
        self.snapshots.save(self.engine.state)

    def _broker(self) -> NatsBroker:
        name = self.service.name
        options = buses.connect_options(self.settings, name)

        async def closed() -> None:
            if not self.stopping.is_set():
                self.end(ConnectionError("the broker connection closed for good"))

        from faststream.security import SASLPlaintext

        return NatsBroker(
            self.settings.nats_url,
            security=SASLPlaintext(username=name, password=self.settings.password(name)),
            graceful_timeout=GRACE_S,
            closed_cb=closed,
            logger=None,
            apply_types=False,
            **options,
        )

    def end(self, failure: BaseException | None = None) -> None:
        """Stop the process; with a failure it ends in error and is started again."""
        self.failure = self.failure or failure
        self.stopping.set()

    async def _recover(self) -> None:
        """Snapshot, then the log up to what this consumer has acknowledged."""
        engine, name = self.engine, self.service.name
        try:
            info = await self.bus.js.consumer_info(self.settings.stream, name)
        except NotFoundError as error:
            raise RuntimeError(f"no consumer {name}: run provisioning first (pems up)") from error
        if info.config is None or consumer_problems(info.config):
            problems = consumer_problems(info.config) if info.config else ["no configuration"]
            raise RuntimeError(f"consumer {name}: {'; '.join(problems)}; run provisioning again")
        floor = info.ack_floor.stream_seq if info.ack_floor else 0
        state = self.snapshots.load(self.service.state_type)
        if state is not None and state.sequence <= max(floor, 1):
            engine.state = state
        async for entry in self.bus.read(engine.state.sequence + 1, floor):
            try:
                event = decode(entry.subject, entry.headers, entry.body, entry.sequence)
                await self._prepare(event)
                engine.fold(event)
            except Exception as error:  # it was quarantined when it came first; go on as then
                LOG.info("sequence %d is skipped again: %s", entry.sequence, error)
        for digest in self.service.needs(engine.state):
            await self._fetch(digest)
        beat = await self.bus.last_on(f"pems.{self.settings.site}.system.{name}.heartbeat")
        self.last_beat = beat.sequence if beat else 0

    async def _prepare(self, event: Event) -> None:
        """A promoted model is at hand before anything is made of it, the second time as the first."""
        if isinstance(event.data, ModelPromoted) and self.reads_models:
            await self._fetch(event.data.content_hash)

    async def _fetch(self, digest: str) -> None:
        """Have a model at hand before it is read. One that is not there, or is damaged, stays so:
        the service says what it makes of that."""
        try:
            verified(self.models, digest)
            return
        except ModelProblem:
            pass
        while True:
            try:
                content = await self.objects.get(digest)
                if content is not None:
                    self.models[digest] = content
                return
            except NoRespondersError:
                return  # there is no store
            except (NatsError, OSError) as error:  # no broker, a full disk: wait, do not misjudge
                LOG.info("model %s: %r", digest[:12], error)
                await asyncio.sleep(PROGRESS_S)

    async def _on_message(self, message: NatsMessage) -> None:
        """One message, from delivery to acknowledgement. Never raises: failures end the process."""
        raw = message.raw_message
        try:
            place = raw.metadata
            entry = Entry(place.sequence.stream, raw.subject, raw.headers or {}, raw.data)
            if place.num_delivered and place.num_delivered > 1:
                self._check_doubles = True
            await self._handle(entry, raw)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            LOG.exception("%s cannot go on", self.service.name)
            self.end(error)

    async def _handle(self, entry: Entry, raw: Any) -> None:
        engine = self.engine
        if entry.sequence <= engine.state.sequence:
            await raw.ack_sync()
            return
        started = time.time_ns()
        trigger: Event | None = None
        try:
            trigger = decode(entry.subject, entry.headers, entry.body, entry.sequence)
            await self._prepare(trigger)
            engine.fold(trigger)
            decisions = await self._decide(trigger, raw)
            events = engine.envelop(trigger, decisions)
        except PoisonError as error:
            events = [self._quarantine(entry, trigger, error)]
        except Exception as error:  # pure code failed: it would fail again, so set it aside
            LOG.exception("%s cannot handle sequence %d", self.service.name, entry.sequence)
            events = [self._quarantine(entry, trigger, error)]
        engine.state.sequence = max(engine.state.sequence, entry.sequence)
        if events:
            await self._append(trigger, events, started)
        self._check_doubles = False
        await raw.ack_sync()
        self.handled += 1
        self.last_progress = time.monotonic()
        if self.handled % SNAPSHOT_EVERY == 0:
            self.snapshots.save(engine.state)

    async def _decide(self, trigger: Event, raw: Any) -> list[Decision]:
        if not self.service.heavy:
            return [*self.engine.decide(trigger), *await self.service.act(self.engine.state, trigger)]
        work = asyncio.create_task(asyncio.to_thread(self.engine.decide, trigger))
        while True:
            done, _ = await asyncio.wait({work}, timeout=PROGRESS_S)
            if done:
                return [*work.result(), *await self.service.act(self.engine.state, trigger)]
            await raw.in_progress()
            self.last_progress = time.monotonic()

    async def _append(self, trigger: Event | None, events: list[Event], started: int) -> None:
        if trigger is not None:
            parents = self.tracing.record(trigger, events, started, time.time_ns())
            events = [
                replace(event, traceparent=parent)
                for event, parent in zip(events, parents, strict=True)
            ]
        if self._check_doubles:  # a message seen before: beyond the duplicate window, ask the log
            events = [event for event in events if not await self._on_log(event)]
        beats = {e.id: self.last_beat for e in events if isinstance(e.data, Heartbeat)}
        sequences = await self.bus.append(events, expected_last=beats)
        for event, sequence in zip(events, sequences, strict=True):
            if isinstance(event.data, Heartbeat):
                self.last_beat = sequence

    async def _on_log(self, event: Event) -> bool:
        last = await self.bus.last_on(event.subject)
        if last is None or last.headers.get("ce-id") != event.id:
            return False
        if isinstance(event.data, Heartbeat):
            self.last_beat = last.sequence
        return True

    def _quarantine(self, entry: Entry, trigger: Event | None, error: Exception) -> Event:
        state, name = self.engine.state, self.service.name
        place = f"{self.settings.site}/{entry.sequence}"
        note = MessageQuarantined(
            service=name,
            sequence=entry.sequence,
            subject=entry.subject,
            error=f"{type(error).__name__}: {error}"[:2_000],
        )
        return Event(
            type="system.message-quarantined",
            version=1,
            site=self.settings.site,
            entity=name,
            id=event_id(place, name, "system.message-quarantined", 0),
            source=name,
            data=note,
            time=state.now,
            cause=trigger.id if trigger else "",
            as_of=entry.sequence,
            mode=state.mode,
            code=self.engine.code,
        )

    async def _watch(self) -> None:
        """Write the health file while all is well; end the process when it stalls."""
        while True:
            try:
                info = await self.bus.js.consumer_info(self.settings.stream, self.service.name)
                waiting = (info.num_pending or 0) + (info.num_ack_pending or 0)
                stalled = time.monotonic() - self.last_progress
                if waiting == 0:
                    self.last_progress = time.monotonic()
                elif stalled > STALL_S:
                    self.end(RuntimeError(f"{waiting} messages wait and none came for {stalled:.0f} s"))
                    return
                health.report(
                    self.settings, self.service.name,
                    {"sequence": self.engine.state.sequence, "waiting": waiting},
                )  # fmt: skip
            except FencedError as error:
                self.end(error)
                return
            except Exception as error:  # the broker is away; the client reconnects by itself
                LOG.info("health: %r", error)
            await asyncio.sleep(WATCH_S)


async def _raw(message: NatsMessage) -> NatsMessage:
    """The message as it is: the envelope, not FastStream, knows how to read it."""
    return message


def main(make: Callable[[Settings], Service[Any]]) -> None:
    """Entry point of every service process: ``python -m services.<name>``."""
    logging.basicConfig(
        level=os.environ.get("PEMS_LOG_LEVEL", "WARNING"),
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
    )
    settings = Settings.from_environment()
    service = make(settings)
    asyncio.run(Runner(service, settings).run())
