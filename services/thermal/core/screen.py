"""Screening of a history before it may teach anything: each fault is named, none is hidden.

Found here: stuck and impossible readings, gaps, rooms without data, heaters that never run or
never stop, constant weather, a clock that jumped, and sensors that swapped places (a joint jump
of two rooms to each other's level).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.thermal.core.history import History

Array = NDArray[np.float64]

LOWEST_C, HIGHEST_C = -10.0, 50.0
STUCK_S = 24 * 3600
LONG_GAP_S = 12 * 3600
FASTEST_K_PER_STEP = 6.0
HEATER_ON_FRACTION = 0.005
SWAP_LEAST_K = 0.8


@dataclass(frozen=True)
class Finding:
    """One fault: `kind` for programs, `room` ('' for the house), rows, a sentence for people."""

    kind: str
    room: str
    first_row: int
    last_row: int
    text: str


def screen(history: History) -> tuple[NDArray[np.bool_], tuple[Finding, ...]]:
    """(T, rooms) of samples fit for learning, and the findings.

    Samples outside any usable stretch are False; missing samples are False too.
    """
    usable = np.isfinite(history.temperature_c)
    findings: list[Finding] = []
    for i, room in enumerate(history.rooms):
        findings += _room_findings(history, i, room, usable)
    findings += _swaps(history, usable)
    findings += _house_findings(history)
    return usable, tuple(findings)


def _room_findings(
    history: History, i: int, room: str, usable: NDArray[np.bool_]
) -> list[Finding]:
    found: list[Finding] = []
    values = history.temperature_c[:, i]
    steps = len(values)
    if not np.isfinite(values).any():
        return [Finding("no-data", room, 0, steps - 1, f"{room}: no temperature at all")]
    wrong = np.isfinite(values) & ((values < LOWEST_C) | (values > HIGHEST_C))
    if wrong.any():
        rows = np.flatnonzero(wrong)
        usable[wrong, i] = False
        found.append(
            Finding(
                "impossible", room, int(rows[0]), int(rows[-1]),
                f"{room}: {rows.size} readings outside {LOWEST_C:.0f}..{HIGHEST_C:.0f} degC "
                "removed",
            )
        )
    spikes = _spikes(np.where(usable[:, i], values, np.nan))
    if spikes.any():
        rows = np.flatnonzero(spikes)
        usable[spikes, i] = False
        found.append(
            Finding("spikes", room, int(rows[0]), int(rows[-1]),
                    f"{room}: {rows.size} isolated spikes removed")
        )
    for first, last in _constant_runs(values, max(4, STUCK_S // history.step_s)):
        usable[first : last + 1, i] = False
        hours = (last - first + 1) * history.step_s / 3600.0
        found.append(
            Finding("stuck", room, first, last,
                    f"{room}: sensor stuck at {values[first]:.2f} degC for {hours:.0f} h, removed")
        )
    gaps = _missing_runs(np.isfinite(values), max(1, LONG_GAP_S // history.step_s))
    if gaps:
        lengths_h = [(last - first + 1) * history.step_s / 3600.0 for first, last in gaps]
        found.append(
            Finding("gap", room, gaps[0][0], gaps[-1][1],
                    f"{room}: {len(gaps)} gaps longer than {LONG_GAP_S // 3600} h, "
                    f"the longest {max(lengths_h):.0f} h")
        )
    source = f"heat_{room}"
    if source in history.heat_w:
        heat = history.heat_w[source]
        known = heat[np.isfinite(heat)]
        peak = float(known.max()) if known.size else 0.0
        on = float((known > 0.2 * peak).mean()) if peak > 0.0 else 0.0
        if on < HEATER_ON_FRACTION:
            found.append(
                Finding("heater-never-on", room, 0, steps - 1,
                        f"{room}: the heater ran {100 * on:.1f} % of the time, so its effect "
                        "cannot be learnt; the prior is kept")
            )
        elif on > 1.0 - HEATER_ON_FRACTION:
            found.append(
                Finding("heater-never-off", room, 0, steps - 1,
                        f"{room}: the heater never stopped, so its effect cannot be learnt; "
                        "the prior is kept")
            )
        if known.size and float(known.min()) < 0.0:
            found.append(
                Finding("negative-heat", room, 0, steps - 1,
                        f"{room}: heating power below 0 W; check the sign of {source}")
            )
    return found


def _spikes(values: Array) -> NDArray[np.bool_]:
    """Single samples far from both neighbours, which agree with each other."""
    spikes = np.zeros(len(values), dtype=bool)
    with np.errstate(invalid="ignore"):
        before = values[1:-1] - values[:-2]
        after = values[1:-1] - values[2:]
        spikes[1:-1] = (
            (np.abs(before) > FASTEST_K_PER_STEP)
            & (np.abs(after) > FASTEST_K_PER_STEP)
            & (np.sign(before) == np.sign(after))
        )
    return spikes


def _constant_runs(values: Array, shortest: int) -> list[tuple[int, int]]:
    """Runs of at least `shortest` samples with one identical value (gaps inside are skipped)."""
    rows = np.flatnonzero(np.isfinite(values))
    if rows.size == 0:
        return []
    change = np.flatnonzero(np.abs(np.diff(values[rows])) > 1e-9)
    starts = np.concatenate([[0], change + 1])
    ends = np.concatenate([change, [rows.size - 1]])
    return [
        (int(rows[s]), int(rows[e]))
        for s, e in zip(starts, ends, strict=True)
        if e - s + 1 >= shortest
    ]


def _missing_runs(present: NDArray[np.bool_], shortest: int) -> list[tuple[int, int]]:
    edges = np.diff(np.concatenate([[0], (~present).astype(int), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return [
        (int(s), int(e)) for s, e in zip(starts, ends, strict=True) if e - s + 1 >= shortest
    ]


def _swaps(history: History, usable: NDArray[np.bool_]) -> list[Finding]:
    """Two rooms that jump to each other's level at the same time and stay there.

    Both rooms jump by opposite amounts in one step, and each goes on at the level that the other
    had. The rarer of the two states is removed for both rooms.
    """
    found: list[Finding] = []
    values = np.where(usable, history.temperature_c, np.nan)
    jumps = _level_jumps(values)
    steps, rooms = values.shape
    for i in range(rooms):
        for j in range(i + 1, rooms):
            together = np.flatnonzero(
                (np.abs(jumps[:, i]) > SWAP_LEAST_K)
                & (np.abs(jumps[:, j]) > SWAP_LEAST_K)
                & (np.abs(jumps[:, i] + jumps[:, j]) < 0.35 * np.abs(jumps[:, i] - jumps[:, j]))
            )
            rows = [
                int(t)
                for t in together
                if _crosses(values, int(t), i, j)
            ]
            if not rows:
                continue
            edges = [0, *rows, steps]
            parity = np.zeros(steps, dtype=bool)
            for k in range(1, len(edges) - 1, 2):
                parity[edges[k] : edges[k + 1]] = True
            bad = parity if parity.sum() <= steps / 2 else ~parity
            usable[bad, i] = False
            usable[bad, j] = False
            a, b = history.rooms[i], history.rooms[j]
            bad_rows = np.flatnonzero(bad)
            found.append(
                Finding("swapped", a, int(bad_rows[0]), int(bad_rows[-1]),
                        f"{a} and {b}: sensors swapped places at row {rows[0]}; "
                        f"{bad_rows.size} samples of both removed")
            )
    return found


def _level_jumps(values: Array) -> Array:
    """Difference of every sample to the one before (0 where either is missing)."""
    jumps = np.zeros_like(values)
    step = np.diff(values, axis=0)
    jumps[1:] = np.where(np.isfinite(step), step, 0.0)
    return jumps


def _crosses(values: Array, t: int, i: int, j: int) -> bool:
    """Whether each room continues, after row t, at the level the other had before."""
    with np.errstate(invalid="ignore"):
        before = values[max(0, t - 3) : t, [i, j]]
        after = values[t : t + 3, [i, j]]
    if before.size == 0 or after.size == 0:
        return False
    counts_before, counts_after = np.isfinite(before).sum(0), np.isfinite(after).sum(0)
    if (counts_before == 0).any() or (counts_after == 0).any():
        return False
    b, a = np.nanmean(before, axis=0), np.nanmean(after, axis=0)
    gap = abs(b[0] - b[1])
    return bool(abs(a[0] - b[1]) < 0.3 * gap and abs(a[1] - b[0]) < 0.3 * gap)


def _house_findings(history: History) -> list[Finding]:
    found: list[Finding] = []
    last = len(history.epoch_s) - 1
    outside = history.outside_c[np.isfinite(history.outside_c)]
    if outside.size == 0:
        raise ValueError("no outdoor temperature at all; give the column temp_air")
    if float(outside.std()) < 1.0:
        found.append(
            Finding("constant-weather", "", 0, last,
                    f"the outdoor temperature varied by only {outside.std():.1f} K: losses to "
                    "outside cannot be learnt well; the prior weighs more")
        )
    for first, end in _missing_runs(
        np.isfinite(history.outside_c), max(1, LONG_GAP_S // history.step_s)
    ):
        hours = (end - first + 1) * history.step_s / 3600.0
        found.append(
            Finding("gap", "", first, end, f"no outdoor temperature for {hours:.0f} h")
        )
    return found
