"""Lock-step time: the clock moves on only when every service has finished with the last tick.

A tick is finished when the log has been still while every consumer had nothing waiting and nothing
unacknowledged. A service whose process is gone (no connection to the broker) or which has not
moved for a minute is waited for no longer, until it comes back: the house must go on without it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import time
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError

from chassis import monitor
from contracts import catalog

LOG = logging.getLogger("pems.lockstep")
FIRST_LOOK_S, LONGEST_LOOK_S = 0.004, 0.03
STALL_S = 60.0
ABSENT_S = 3.0


@dataclass
class Progress:
    """What was seen of a service last."""

    floor: int = -1
    moved: float = 0.0
    connected: float = 0.0


class Barrier:
    """Waits until a tick is finished.

    Parameters
    ----------
    monitor_url : HTTP monitoring of the broker, to see who is connected; empty: time alone tells
    """

    def __init__(self, client: Client, stream: str, monitor_url: str = "") -> None:
        self.client, self.stream, self.monitor_url = client, stream, monitor_url
        self.progress = {name: Progress() for name in catalog.SERVICES}
        self.absent: set[str] = set()
        self._looked = 0.0

    async def wait(self) -> set[str]:
        """Return when the tick is finished; the names of services that were not waited for."""
        pause = FIRST_LOOK_S
        while True:
            try:
                before = await self._last()
                waiting = await self._waiting()
                if not waiting - self.absent and await self._last() == before:
                    return waiting & self.absent
                await self._find_absent(waiting)
            except (NatsError, TimeoutError) as error:  # the broker is away: time stands still
                LOG.info("barrier: %r", error)
                await asyncio.sleep(1)
            await asyncio.sleep(pause)
            pause = min(LONGEST_LOOK_S, pause * 1.5)

    async def _last(self) -> int:
        info = await self._ask(f"STREAM.INFO.{self.stream}")
        return int(info["state"]["last_seq"])

    async def _ask(self, what: str) -> dict[str, Any]:
        """One request of the JetStream API; the answer as it is, because this runs often."""
        answer = await self.client.request(f"$JS.API.{what}", b"", timeout=5)
        found: dict[str, Any] = json.loads(answer.data)
        if "error" in found:
            raise RuntimeError(f"{what}: {found['error']}")
        return found

    async def _waiting(self) -> set[str]:
        """Services that have not finished, noting who moved. One request tells of all."""
        now = time.monotonic()
        waiting = set()
        for info in (await self._ask(f"CONSUMER.LIST.{self.stream}"))["consumers"]:
            seen = self.progress.get(info["name"])
            if seen is None:
                continue
            floor = int(info["ack_floor"]["stream_seq"])
            busy = bool(info["num_pending"] + info["num_ack_pending"])
            if floor != seen.floor or not busy:
                seen.floor, seen.moved = floor, now
                self.absent.discard(info["name"])
            if busy:
                waiting.add(info["name"])
        return waiting

    async def _find_absent(self, waiting: set[str]) -> None:
        now = time.monotonic()
        if now - self._looked < 1.0:
            return
        self._looked = now
        connected = await asyncio.to_thread(self._connected) if self.monitor_url else None
        for name in waiting:
            seen = self.progress[name]
            if connected is None or name in connected:
                seen.connected = now
            gone = now - seen.connected > ABSENT_S and now - seen.moved > ABSENT_S
            if gone or now - seen.moved > STALL_S:
                self.absent.add(name)

    def _connected(self) -> set[str] | None:
        """Services with a connection; None when the monitor does not answer."""
        try:
            page = monitor.ask(self.monitor_url, "connz?limit=1024", timeout_s=2)
        except OSError:
            return None
        return {str(c.get("name", "")).removeprefix("pems-") for c in page["connections"]}


CYCLE_S, ACT_S = 300, 60


def next_tick(now: dt.datetime, every_minute: bool) -> dt.datetime:
    """The next instant at which the clock ticks.

    As fast as possible it ticks only when something is due: on the five-minute mark, when the house
    is measured, and a minute later, when commands are given. Else every minute.
    """
    second = int(now.timestamp())
    if every_minute:
        return now + dt.timedelta(seconds=60)
    past = second % CYCLE_S
    return now + dt.timedelta(seconds=(ACT_S if past < ACT_S else CYCLE_S) - past)
