"""Working memory that outlives one pricing (fresh memory costs as much time as the arithmetic)."""

from __future__ import annotations

import numpy as np

from .room import FloatArray, IntArray


class Scratch:
    """Named buffers that grow as needed. Their old content is never read; not for two threads."""

    def __init__(self) -> None:
        self._floats: dict[str, FloatArray] = {}
        self._integers: dict[str, IntArray] = {}

    def floats(self, name: str, size: int) -> FloatArray:
        """A float64 buffer of `size` numbers, whatever was in it."""
        held = self._floats.get(name)
        if held is None or held.size < size:
            held = self._floats[name] = np.empty(size + size // 2)
        return held[:size]

    def integers(self, name: str, size: int) -> IntArray:
        """An int64 buffer of `size` numbers, whatever was in it."""
        held = self._integers.get(name)
        if held is None or held.size < size:
            held = self._integers[name] = np.empty(size + size // 2, np.int64)
        return held[:size]
