"""Old events read as new ones: a chain of (type, n) -> n + 1.

Writers write the newest version only; the past is never edited. An upcaster is a pure function
on the payload's plain JSON values and stays for ever, with a golden file of the version it reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Payload = dict[str, Any]


def _as_it_was(value: Payload) -> Payload:
    """The newer version allows more and means the same."""
    return value


UPCASTERS: dict[tuple[str, int], Callable[[Payload], Payload]] = {
    # v2: loads that may wait are devices, too
    ("command.proposed", 1): _as_it_was,
    ("command.approved", 1): _as_it_was,
    ("command.rejected", 1): _as_it_was,
}


class UnknownVersionError(ValueError):
    """No chain leads from the stored version to the newest one."""


def to_newest(
    type_: str,
    stored: int,
    newest: int,
    body: bytes,
    table: dict[tuple[str, int], Callable[[Payload], Payload]] | None = None,
) -> Payload:
    """Lift a stored body to the newest version, a step at a time.

    Raises
    ------
    UnknownVersionError
        when ``stored`` is newer than this code, or a step of the chain is missing.
    """
    steps = UPCASTERS if table is None else table
    if not 1 <= stored <= newest:
        raise UnknownVersionError(
            f"{type_} v{stored} is not known here (newest is v{newest}); update this service"
        )
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnknownVersionError(f"{type_} v{stored}: the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UnknownVersionError(f"{type_} v{stored}: the body is not a JSON object")
    for version in range(stored, newest):
        step = steps.get((type_, version))
        if step is None:
            raise UnknownVersionError(f"{type_}: no upcaster from v{version} to v{version + 1}")
        try:
            value = step(value)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise UnknownVersionError(
                f"{type_} v{version}: the body cannot be lifted to v{version + 1}: {error!r}"
            ) from error
    return dict(value)
