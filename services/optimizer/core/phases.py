"""Which share of a device's power flows over each phase."""

from __future__ import annotations

from contracts.wishes import Phase

Shares = tuple[float, float, float]


def shares(phase: Phase | None) -> Shares:
    """All of it over one phase, or a third over each."""
    if phase is None:
        return (1 / 3, 1 / 3, 1 / 3)
    return (float(phase == 1), float(phase == 2), float(phase == 3))
