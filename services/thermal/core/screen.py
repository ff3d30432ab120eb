"""Screening of a history before it may teach anything: each fault is named, none is hidden.

Found here: stuck and impossible readings, gaps, rooms without data, heaters that never run or
never stop, constant weather, a clock that jumped, and sensors that swapped places (a joint jump
of two rooms to each other's level).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
CROSSED_MARGIN, CROSSED_LEAST = 0.2, 0.3
CROSSED_BLOCK_S = 5 * 86400
FEWEST_RISES = 48


@dataclass(frozen=True)
class Finding:
    """One fault: `kind` for programs, `room` ('' for the house), rows, a sentence for people, and whether
    nothing is learnt from its samples."""

    kind: str
    room: str
    first_row: int
    last_row: int
    text: str
    removed: bool = False

    @property
    def when_learnt(self) -> str:
        """The sentence where `screen` decides what is learnt from; `text` is what was seen alone."""
        return f"{self.text}; removed" if self.removed else self.text


def screen(history: History) -> tuple[NDArray[np.bool_], tuple[Finding, ...]]:
    """(T, rooms) of samples fit for learning, and the findings.

    Samples outside any usable stretch are False; missing samples are False too.
    """
    usable = np.isfinite(history.temperature_c)
    findings: list[Finding] = []
    for i, room in enumerate(history.rooms):
        findings += _room_findings(history, i, room, usable)
    findings += _swaps(history, usable)
    findings += _crossed_heating(history, usable)
    findings += _house_findings(history)
    return usable, tuple(findings)


def plausible(history: History) -> History:
    """`history` without readings that no room has: a sensor's error codes, neither asked nor scored."""
    values = history.temperature_c
    wrong = (values < LOWEST_C) | (values > HIGHEST_C)
    return replace(history, temperature_c=np.where(wrong, np.nan, values))


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
                f"{room}: {rows.size} readings outside {LOWEST_C:.0f}..{HIGHEST_C:.0f} degC",
                removed=True,
            )
        )
    spikes = _spikes(np.where(usable[:, i], values, np.nan))
    if spikes.any():
        rows = np.flatnonzero(spikes)
        usable[spikes, i] = False
        found.append(
            Finding("spikes", room, int(rows[0]), int(rows[-1]),
                    f"{room}: {rows.size} isolated spikes", removed=True)
        )
    for first, last in _constant_runs(values, max(4, STUCK_S // history.step_s)):
        usable[first : last + 1, i] = False
        hours = (last - first + 1) * history.step_s / 3600.0
        found.append(
            Finding("stuck", room, first, last,
                    f"{room}: sensor stuck at {values[first]:.2f} degC for {hours:.0f} h",
                    removed=True)
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
    """Two rooms that jump to each other's level at the same time and go on there.

    Both jumps must exceed whatever the rooms' heaters do in a step. The rarer of the two states is
    removed for both rooms.
    """
    found: list[Finding] = []
    values = np.where(usable, history.temperature_c, np.nan)
    jumps = np.diff(values, axis=0, prepend=values[:1])
    jumps = np.where(np.isfinite(jumps), jumps, 0.0)
    usual = 1.5 * np.quantile(np.abs(jumps), 0.998, axis=0)
    large = np.abs(jumps) > np.maximum(usual, SWAP_LEAST_K)
    steps, rooms = values.shape
    for i in range(rooms):
        for j in range(i + 1, rooms):
            together = np.flatnonzero(large[:, i] & large[:, j])
            rows = [int(t) for t in together if _crosses(values, int(t), i, j)]
            if not rows:
                continue
            edges = [0, *rows, steps]
            parity = np.zeros(steps, dtype=bool)
            for k in range(1, len(edges) - 1, 2):
                parity[edges[k] : edges[k + 1]] = True
            bad = parity if parity.sum() <= steps / 2 else ~parity
            usable[bad, i] = False
            usable[bad, j] = False
            bad_rows = np.flatnonzero(bad)
            for here, there in ((i, j), (j, i)):
                found.append(
                    Finding("swapped", history.rooms[here], int(bad_rows[0]), int(bad_rows[-1]),
                            f"{history.rooms[here]}: its sensor swapped places with that of "
                            f"{history.rooms[there]} for {bad_rows.size} samples", removed=True)
                )
    return found


def _crosses(values: Array, t: int, i: int, j: int) -> bool:
    """Whether each room continues, after row t, at the level the other had before."""
    before, after = values[max(0, t - 3) : t, [i, j]], values[t : t + 3, [i, j]]
    complete = [np.isfinite(part).any(axis=0).all() if part.size else False
                for part in (before, after)]  # fmt: skip
    if not all(complete):
        return False
    b, a = np.nanmean(before, axis=0), np.nanmean(after, axis=0)
    gap = abs(b[0] - b[1])
    return bool(abs(a[0] - b[1]) < 0.25 * gap and abs(a[1] - b[0]) < 0.25 * gap)


def _crossed_heating(history: History, usable: NDArray[np.bool_]) -> list[Finding]:
    """Stretches in which two rooms' heaters warm each other's sensor instead of their own.

    In blocks of five days, correlates the change of each heater's mean power over two hours with
    the rise of every temperature over the same two hours. Flagged blocks are removed for both.
    """
    names = [name for name in history.rooms if f"heat_{name}" in history.heat_w]
    block = round(CROSSED_BLOCK_S / history.step_s)
    if len(names) < 2:
        return []
    flagged: dict[tuple[str, str], list[int]] = {}
    steps = len(history.epoch_s)
    starts = sorted({*range(0, max(1, steps - block + 1), block // 2), max(0, steps - block)})
    for first in starts:
        last = min(first + block, steps)
        strength = _heater_strength(history, usable, names, first, last)
        for k, a in enumerate(names):
            for m in range(k + 1, len(names)):
                own = max(strength[k, k], strength[m, m])
                cross = min(strength[k, m], strength[m, k])
                if cross > own + CROSSED_MARGIN and cross > CROSSED_LEAST:
                    flagged.setdefault((a, names[m]), []).append(first)
    found: list[Finding] = []
    for (a, b), firsts in flagged.items():
        for room in (a, b):
            for first in firsts:
                usable[first : first + block, history.rooms.index(room)] = False
        days = (firsts[-1] + block - firsts[0]) * history.step_s / 86400
        for room, other in ((a, b), (b, a)):
            found.append(
                Finding("swapped", room, firsts[0], min(firsts[-1] + block, steps) - 1,
                        f"{room}: for about {days:.0f} days its sensor follows the heater of "
                        f"{other} and the other way round; check which sensor is where",
                        removed=True)
            )
    return found


def _heater_strength(
    history: History, usable: NDArray[np.bool_], names: list[str], first: int, last: int
) -> Array:
    """(heaters, sensors) correlation of heating changes with temperature rises in rows first..last;
    0 where it cannot be told."""
    window = max(1, 7200 // history.step_s)
    rows = np.arange(first + window, last - window, max(1, 1800 // history.step_s))
    result = np.zeros((len(names), len(names)))
    if len(rows) < FEWEST_RISES:
        return result
    columns = [history.rooms.index(name) for name in names]
    values = np.where(usable, history.temperature_c, np.nan)[:, columns]
    rise = values[rows + window] - values[rows]
    for k, name in enumerate(names):
        total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(history.heat_w[f"heat_{name}"]))])
        change = total[rows + window] - 2.0 * total[rows] + total[rows - window]
        for m in range(len(names)):
            both = np.isfinite(rise[:, m])
            x, y = change[both], rise[both, m]
            if both.sum() > FEWEST_RISES and x.std() > 0.0 and y.std() > 0.0:
                result[k, m] = float(np.corrcoef(x, y)[0, 1])
    return result


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
