"""What the planner chose, and how it is read out of a solution of the site's model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.house import House
from services.optimizer.core.site_rows import SiteRows

Floats = NDArray[np.float64]


@dataclass
class Decisions:
    """What the planner chose: relays (rooms, steps); kW per step for everything else."""

    relays: Floats
    charge_kw: Floats
    discharge_kw: Floats
    ev_kw: list[Floats]
    load_kw: list[Floats]
    load_start: list[int | None]
    load_done: list[float]
    curtailed_kw: Floats


def read_decisions(
    house: House, site: SiteRows, number: int, values: Floats, relays: Floats
) -> Decisions:
    """Read the site's decisions of scenario `number` out of a solution, cleaned of solver dust."""
    columns = site.scenarios[number]
    zeros = np.zeros(house.steps)
    battery = house.problem.battery
    charge, discharge, burnt = zeros, zeros, zeros
    if battery is not None and columns.charge is not None and columns.discharge is not None:
        charge = np.maximum(values[columns.charge], 0.0)
        discharge = np.maximum(values[columns.discharge], 0.0)
        # keep the net effect on the cells, drop what only burns energy
        net = charge * battery.charge_efficiency - discharge / battery.discharge_efficiency
        charge = np.where(net > 1e-7, net / battery.charge_efficiency, 0.0)
        discharge = np.where(net < -1e-7, -net * battery.discharge_efficiency, 0.0)
        burnt = values[columns.charge] - values[columns.discharge] - charge + discharge
        burnt = np.maximum(burnt, 0.0)
    ev_kw = []
    for ev, arrays in zip(site.evs, house.evs, strict=True):
        power = np.where(np.isfinite(arrays.fixed_kw), arrays.fixed_kw, values[ev.power])
        ev_kw.append(np.where(power > 1e-6, power, 0.0))
    load_kw, starts, done = [], [], []
    for load, source in zip(site.loads, house.problem.deferrable_loads, strict=True):
        chosen = values[load.choice] if load.choice.size else np.zeros(0)
        chosen = np.where(chosen > 0.5, 1.0, 0.0)
        load_kw.append(chosen @ load.power_kw if chosen.size else zeros)
        whole = chosen.any() and not source.interruptible
        starts.append(int(load.starts[int(np.argmax(chosen))]) if whole else None)
        seconds = sum(segment.duration_s for segment in source.segments)
        if source.interruptible:
            ran = float(((load_kw[-1] > 0) * house.step_h).sum()) * 3600.0
            done.append(min(1.0, ran / seconds))
        else:
            done.append(1.0 if chosen.any() else 0.0)
    curtailed = np.clip(values[columns.curtailed], 0.0, None)
    if house.problem.pv_curtailable:
        # where sun is worth nothing, burning it is as cheap as curtailing, and only that may be sold
        curtailed = np.minimum(curtailed + burnt, house.scenarios[number].pv_kw)
    curtailed = np.where(curtailed > 1e-7, curtailed, 0.0)
    return Decisions(relays, charge, discharge, ev_kw, load_kw, starts, done, curtailed)
