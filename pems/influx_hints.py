"""What looks wrong in an imported column, in words: units, signs, clocks, what was never there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.forecast.core.place import Place
from services.forecast.core.solar import sun_path
from services.gateway.core.steps import Array

KILOWATTS = 30.0
"""A power that never exceeds this is told in kW (a kettle draws 2000 W)."""
WARM = (
    (45.0, 150.0, "Fahrenheit? Let the recorder write degC"),
    (150.0, 1e9, "Kelvin? Let the recorder write degC"),
)
UNITS = {
    "price": (
        (0.0, 3.0, "EUR/kWh? scale 1000"), (3.0, 25.0, "cents a kWh? scale 10"),
        (600.0, 1e9, "another currency?"),
    ),
    "T_": WARM, "temp_air": WARM,
}  # fmt: skip
"""By how a column begins: where its median should not lie, and what it may be."""
PERCENT = ("cloud_cover", "relative_humidity")
NIGHT_SHARE, MUCH_AT_NIGHT = 0.002, 0.01
"""Of the energy: what an hour's shift brings in June, and what nothing but a wrong time or place does."""


def hints(name: str, values: Array, times_s: NDArray[np.int64], step_s: int, place: Place) -> list[str]:
    """Sentences about a column; none when nothing is odd."""
    known = values[np.isfinite(values)]
    if not len(known):
        return ["nothing known in this time"]
    found = []
    median, most = float(np.median(known)), float(known.max())
    if len(known) < 0.5 * _length(values):
        found.append("more than half is missing: a longer hold, or kind: held if it is written on change?")
    if len(known) > 2 and known.min() == most and not (name.startswith("heat") and most == 0.0):
        found.append("never changes: a stuck sensor?")
    for begin, places in UNITS.items():
        if name.startswith(begin):
            found += [f"median {median:.3g}: {what}" for low, high, what in places if low <= abs(median) < high]
    if name.endswith("_w") or name.startswith("heat"):
        found += _power(name, known, median, most)
    if name in ("ghi", "dni", "dhi") and 0.0 < most < 5.0:
        found.append(f"at most {most:.3g}: kW/m2? scale 1000")
    if name in PERCENT and 0.0 < most <= 1.0:
        found.append(f"at most {most:.3g}: a share? scale 100")
    if name == "pv_w" and place.location is not None:
        found += _night(values, times_s, step_s, place)
    return found


def _length(values: Array) -> int:
    """Steps from the first to the last known one."""
    at = np.flatnonzero(np.isfinite(values))
    return int(at[-1] - at[0]) + 1


def _power(name: str, known: Array, median: float, most: float) -> list[str]:
    found = []
    rises = np.diff(known)
    if most > 0.0 and len(rises) > 100 and (rises >= 0).mean() > 0.99 and known[-1] > known[0]:
        found.append("only ever grows: kind: counter?")
    elif name.startswith("heat") and most <= 0.0:
        found.append("never above 0: another series, or another sign?")
    elif 0.0 < most < KILOWATTS:
        found.append(f"median {median:.3g}, at most {most:.3g}: kW? scale 1000")
    elif most > 200_000.0:
        found.append(f"at most {most:.3g} W: more than a house draws; a counter, or a wrong scale?")
    if known.min() < 0.0 and (share := float((known < -1.0).mean())) > 0.01:
        what = "what is fed in counts, too?" if name == "load_w" else "another sign?"
        found.append(f"below 0 in {100 * share:.0f} % of the steps: {what}")
    return found


def _night(values: Array, times_s: NDArray[np.int64], step_s: int, place: Place) -> list[str]:
    """PV at night is a clock that is not UTC (or a site file of another place)."""
    assert place.location is not None
    known = np.isfinite(values)
    sun = sun_path(times_s[known], step_s, place.location)
    power = np.maximum(values[known], 0.0)
    total = float(power.sum())
    if total <= 0.0 or (dark := float(power[~sun.up].sum()) / total) <= NIGHT_SHARE:
        return []
    noon = np.array([(power * np.roll(sun.clear_ghi_wm2, k)).sum() for k in _shifts(step_s)])
    hours = _shifts(step_s)[int(noon.argmax())] * step_s / 3600.0
    if not hours and dark < MUCH_AT_NIGHT:
        return []
    late = f"; it fits the sun best {abs(hours):g} h {'earlier' if hours > 0 else 'later'}" if hours else ""
    return [f"{100 * dark:.1f} % of the energy while the sun is down: times that are not UTC{late}?"]


def _shifts(step_s: int) -> list[int]:
    return [round(h * 3600 / step_s) for h in np.arange(-12.0, 12.0, 0.5)]
