"""Rooms bounded side by side, one to a core.

Answers come back in the order of the questions and no answer depends on another, so a plan is the
same on any number of cores; only the time differs. It pays where a room takes ten milliseconds or
more; the interpreter's own share of a one-node room is too large for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from services.optimizer.core.pricing import Scratch

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def side_by_side(
    task: Callable[[Item, Scratch], Answer], items: Sequence[Item], threads: int | None = None
) -> list[Answer]:
    """task(item, working memory of its thread's) for all items, on all cores unless told otherwise.

    The kernels run without the interpreter's lock (compiled.py). One thread is the caller's.
    """
    spare: list[Scratch] = []

    def one(item: Item) -> Answer:
        try:
            scratch = spare.pop()
        except IndexError:
            scratch = Scratch()
        try:
            return task(item, scratch)
        finally:
            spare.append(scratch)

    threads = min(cores() if threads is None else threads, len(items))
    if threads < 2:
        return [one(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, items))
