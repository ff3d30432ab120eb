"""Loads that may wait: their windows inside a horizon, and what of them has been run already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from contracts import planning
from contracts.events.measurement import LoadSampled
from contracts.events.override import Granted
from contracts.site import SiteConfig
from contracts.wishes import Load
from services.optimizer.core.phases import shares

Floats = NDArray[np.float64]

DONE_S = 300
"""Less than this of a programme left is what samples every five minutes cannot tell from nothing."""
LONGEST_GAP_S = 900


def see_load(
    seen: dict[str, LoadSampled], ran_s: dict[str, int], data: LoadSampled, site: SiteConfig
) -> None:
    """Count the time that a load has been on in the window that was open, whoever switched it."""
    before, seen[data.load] = seen.get(data.load), data
    load = next((load for load in site.loads if load.id == data.load), None)
    if load is None or before is None or not before.on:
        return
    seconds = int((data.time - before.time).total_seconds())
    if not 0 < seconds <= LONGEST_GAP_S:
        return
    zone = site.location.zone
    for name, first, last in load.windows(zone, before.time, before.time + timedelta(days=3)):
        if first <= before.time < last:
            ran_s[name] = ran_s.get(name, 0) + seconds
            break
    oldest = f"{data.time - timedelta(days=4):%Y-%m-%d}"
    for name in [name for name in ran_s if name[-10:] < oldest]:
        del ran_s[name]


def open_loads(
    site: SiteConfig,
    edges: Sequence[datetime],
    seen: Mapping[str, LoadSampled],
    ran_s: Mapping[str, int],
    overrides: Sequence[Granted],
) -> tuple[tuple[planning.DeferrableLoad, ...], Floats]:
    """(loads still to be placed, W per step of what runs anyway).

    A programme that is under way and cannot be interrupted runs on. An override that holds a load on
    uses its programme up meanwhile; one that holds it off lets it wait until then.
    """
    waiting = []
    running = np.zeros(len(edges) - 1)
    for load in site.loads:
        wish = next((wish for wish in overrides if wish.target == f"load-{load.id}"), None)
        held_on = 0.0
        earliest = edges[0]
        if wish is not None and wish.value:
            held_on = max(0.0, (wish.until - edges[0]).total_seconds())
            running += _programme([(round(held_on), load.mean_w)], edges[0], edges)
        elif wish is not None:
            earliest = max(earliest, wish.until)
        newest = seen.get(load.id)
        under_way = newest is not None and newest.on and not load.interruptible and wish is None
        for name, first, last in load.windows(site.location.zone, edges[0], edges[-1]):
            is_open = first <= edges[0]
            left = load.remaining(ran_s.get(name, 0) + (held_on if is_open else 0.0))
            if sum(seconds for seconds, _ in left) <= DONE_S:
                continue
            if under_way and is_open:
                running += _programme(left, edges[0], edges)
                continue
            if max(first, earliest) >= last:
                continue  # held off until it is too late
            waiting.append(_waiting(load, name, left, max(first, earliest), last))
    return tuple(waiting), running


def _waiting(
    load: Load, name: str, left: list[tuple[int, float]], earliest: datetime, deadline: datetime
) -> planning.DeferrableLoad:
    if load.interruptible:
        left = [(sum(seconds for seconds, _ in left), load.segments[0].power_w)]
    return planning.DeferrableLoad(
        name=name,
        segments=tuple(planning.LoadSegment(duration_s=s, power_w=w) for s, w in left),
        earliest=earliest,
        deadline=deadline,
        interruptible=load.interruptible,
        skip_penalty_eur=load.skip_penalty_eur,
        phase_shares=shares(load.phase),
    )


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
