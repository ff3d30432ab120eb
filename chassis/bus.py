"""The only door to the broker: publish with acknowledgement, read the log in order.

What DESIGN section 6 warns of is answered here: every publication names its stream and waits for
the acknowledgement, is repeated with the same id until it has one, and reading never touches a
consumer's or stream's configuration.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError

from chassis.settings import Settings
from contracts.envelope import Event, encode

LOG = logging.getLogger("pems.bus")
PUBLISH_TIMEOUT_S = 5.0
RETRY_FIRST_S, RETRY_LAST_S = 0.2, 5.0
READ_BATCH = 500
WRONG_LAST_SEQUENCE = (10071, 10164)


class FencedError(RuntimeError):
    """Another instance of this service writes to the log: this one must stop."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One raw message of the log."""

    sequence: int
    subject: str
    headers: Mapping[str, str]
    body: bytes
    stored: str = ""


def connect_options(settings: Settings, user: str) -> dict[str, Any]:
    """Options that every connection of the house shares.

    Unlimited reconnects: after a finite number the pull loop would spin and freeze the event
    loop. Ping every 10 s, two outstanding: a dead broker is noticed within half a minute.
    """
    return {
        "name": f"pems-{user}",
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 1,
        "connect_timeout": 5,
        "ping_interval": 10,
        "max_outstanding_pings": 2,
        "inbox_prefix": f"_INBOX.{user}",
    }


async def connect(settings: Settings, user: str) -> Client:
    """A plain connection as one of the broker's users."""
    return await nats.connect(
        settings.nats_url,
        user=user,
        password=settings.password(user),
        error_cb=_quiet,
        **connect_options(settings, user),
    )


async def _quiet(error: Exception) -> None:
    LOG.info("broker: %r", error)


class Bus:
    """Publishes events and reads the log of one site over one connection."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self.client = client
        self.js: JetStreamContext = client.jetstream(timeout=PUBLISH_TIMEOUT_S)
        self.stream = settings.stream

    async def append(
        self,
        events: Sequence[Event],
        on_trouble: Callable[[Exception], None] | None = None,
        expected_last: Mapping[str, int] | None = None,
    ) -> list[int]:
        """Append events in order; returns their sequences once the disk has them all.

        A time-out may still have landed, so the same ids are sent again until acknowledged; the
        broker drops what it has already.

        Raises
        ------
        FencedError
            when ``expected_last[event.id]`` is not the last sequence on that event's subject.
        """
        sequences: list[int] = []
        left, wait = list(events), RETRY_FIRST_S
        while left:
            acks = await asyncio.gather(
                *(self._publish(event, expected_last or {}) for event in left),
                return_exceptions=True,
            )
            # order: only an unbroken run of acknowledgements from the front counts
            for position, ack in enumerate(acks):
                if isinstance(ack, BaseException):
                    left = left[position:]
                    if isinstance(ack, FencedError) or not isinstance(
                        ack, NatsError | APIError | TimeoutError
                    ):
                        raise ack
                    if on_trouble:
                        on_trouble(ack)
                    LOG.warning("append of %s waits: %r", left[0].type, ack)
                    await asyncio.sleep(wait)
                    wait = min(RETRY_LAST_S, wait * 2)
                    break
                sequences.append(ack)
            else:
                left = []
        return sequences

    async def _publish(self, event: Event, expected_last: Mapping[str, int]) -> int:
        subject, headers, body = encode(event)
        if event.id in expected_last:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(expected_last[event.id])
        try:
            ack = await self.js.publish(subject, body, stream=self.stream, headers=headers)
        except APIError as error:
            if error.err_code in WRONG_LAST_SEQUENCE:
                # the broker checks the sequence before the id: an own retry looks like a rival
                last = await self.last_on(subject)
                if last is not None and last.headers.get("ce-id") == event.id:
                    return last.sequence
                raise FencedError(
                    f"another {event.source} writes to {subject}; only one may run"
                ) from error
            raise
        return int(ack.seq)

    async def last_sequence(self) -> int:
        """Sequence of the newest message of the log, 0 when it is empty."""
        return int((await self.js.stream_info(self.stream)).state.last_seq)

    async def last_on(self, subject: str) -> Entry | None:
        """Newest message on a subject, None when there is none."""
        answer = await self._direct({"last_by_subj": subject})
        return entry_of(answer) if _status(answer) is None else None

    async def _direct(self, request: dict[str, object]) -> Msg:
        return await self.client.request(
            f"$JS.API.DIRECT.GET.{self.stream}", json.dumps(request).encode(), PUBLISH_TIMEOUT_S
        )

    async def read(self, first: int, last: int | None = None) -> AsyncIterator[Entry]:
        """The log from ``first`` to ``last`` (the newest when None), both included, in order."""
        end = await self.last_sequence() if last is None else last
        inbox = self.client.new_inbox()
        answers = await self.client.subscribe(inbox)
        try:
            while first <= end:
                request = {"seq": first, "batch": READ_BATCH, "next_by_subj": ">"}
                await self.client.publish(
                    f"$JS.API.DIRECT.GET.{self.stream}", json.dumps(request).encode(), reply=inbox
                )
                before = first
                while True:
                    message = await answers.next_msg(PUBLISH_TIMEOUT_S)
                    if _status(message) is not None:
                        break
                    entry = entry_of(message)
                    if entry.sequence > end:
                        return
                    yield entry
                    first = entry.sequence + 1
                if first == before:
                    return
        finally:
            with suppress(NatsError):  # the connection may be gone already
                await answers.unsubscribe()


def _status(message: Msg) -> str | None:
    return (message.headers or {}).get("Status")


def entry_of(message: Msg) -> Entry:
    """A message that came by direct get."""
    headers = dict(message.headers or {})
    return Entry(
        sequence=int(headers.pop("Nats-Sequence")),
        subject=headers.pop("Nats-Subject"),
        headers=headers,
        body=message.data,
        stored=headers.pop("Nats-Time-Stamp", ""),
    )
