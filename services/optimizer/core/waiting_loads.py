"""Loads that may wait: their windows inside a horizon, and what of them the plans already used up.

No device obeys the plan here: a load counts as started when the plan in force said so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from contracts import planning
from contracts.local_time import DAYS
from contracts.site import SiteConfig
from contracts.wishes import Load
from services.optimizer.core.phases import shares

Floats = NDArray[np.float64]


def windows(load: Load, site: SiteConfig, start: datetime, end: datetime) -> list[
    tuple[str, datetime, datetime]
]:  # fmt: skip
    """(name, earliest, deadline) in UTC of each window that ends after start and by end."""
    zone = site.location.zone
    found = []
    day = start.astimezone(zone).date() - timedelta(days=2)
    while day <= end.astimezone(zone).date():
        opens = datetime.combine(day, load.earliest, zone)
        closes = datetime.combine(day, load.deadline, zone)
        if load.deadline <= load.earliest:
            closes = datetime.combine(day + timedelta(days=1), load.deadline, zone)
        first, last = opens.astimezone(UTC), closes.astimezone(UTC)
        if DAYS[day.weekday()] in load.days and start < last <= end:
            found.append((f"{load.id} {day:%Y-%m-%d}", first, last))
        day += timedelta(days=1)
    return found


def open_loads(
    site: SiteConfig,
    edges: Sequence[datetime],
    started: Mapping[str, datetime],
    ran_s: Mapping[str, int],
) -> tuple[tuple[planning.DeferrableLoad, ...], Floats]:
    """(loads still to be placed, W per step of programmes already under way)."""
    waiting = []
    running = np.zeros(len(edges) - 1)
    for load in site.loads:
        segments = [(part.minutes * 60, part.power_w) for part in load.segments]
        for name, first, last in windows(load, site, edges[0], edges[-1]):
            left = segments
            if load.interruptible:
                seconds = sum(part[0] for part in segments) - ran_s.get(name, 0)
                if seconds <= 0:
                    continue
                left = [(seconds, segments[0][1])]
            elif name in started:
                running += _programme(segments, started[name], edges)
                continue
            waiting.append(planning.DeferrableLoad(
                name=name,
                segments=tuple(
                    planning.LoadSegment(duration_s=s, power_w=w) for s, w in left
                ),
                earliest=max(first, edges[0]),
                deadline=last,
                interruptible=load.interruptible,
                skip_penalty_eur=load.skip_penalty_eur,
                phase_shares=shares(load.phase),
            ))  # fmt: skip
    return tuple(waiting), running


def _programme(
    segments: list[tuple[int, float]], begin: datetime, edges: Sequence[datetime]
) -> Floats:
    power = np.zeros(len(edges) - 1)
    for seconds, watts in segments:
        end = begin + timedelta(seconds=seconds)
        for i, (left, right) in enumerate(pairwise(edges)):
            overlap = (min(right, end) - max(left, begin)).total_seconds()
            power[i] += max(0.0, overlap) / (right - left).total_seconds() * watts
        begin = end
    return power
