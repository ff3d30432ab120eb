"""Rooms bounded side by side, one to a core.

Answers come back in the order of the questions and no answer depends on another, so a plan is the
same on any number of cores; only the time differs. It pays where a room takes ten milliseconds or
more; the interpreter's own share of a one-node room is too large for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from services.optimizer.core.pricing import Scratch

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Crew:
    """Threads, and working memory for each, as long as a plan is being made.

    The kernels run without the interpreter's lock (compiled.py). One thread works in the caller's.
    """

    def __init__(self, threads: int | None = None) -> None:
        threads = cores() if threads is None else threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._spare: list[Scratch] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def each(
        self, task: Callable[[Item, Scratch], Answer], items: Sequence[Item]
    ) -> list[Answer]:
        """task(item, working memory of its own) for all items."""

        def one(item: Item) -> Answer:
            try:
                scratch = self._spare.pop()
            except IndexError:
                scratch = Scratch()
            try:
                return task(item, scratch)
            finally:
                self._spare.append(scratch)

        if self._pool is None or len(items) < 2:
            return [one(item) for item in items]
        return list(self._pool.map(one, items))
