"""How numerical kernels are compiled: once, kept on disk, and free of the interpreter's lock.

Two-node rooms are bounded in threads (side_by_side.py), which only code without the lock allows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """The function as machine code, with its own types for the type checker."""
    return cast(Kernel, njit(cache=True, nogil=True)(function))
