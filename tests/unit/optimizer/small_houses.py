"""Small houses drawn from a seed: every feature, broken starts and negative prices included."""

from __future__ import annotations

import datetime as dt

import numpy as np

from contracts.planning import (
    Battery,
    DeferrableLoad,
    EvSession,
    Grid,
    HeatingGroup,
    LoadSegment,
    NeighbourGain,
    ObjectiveWeights,
    PlanningProblem,
    PowerPoint,
    Room,
    RoomDynamics,
)

START = dt.datetime(2025, 3, 29, 22, 0, tzinfo=dt.UTC)


def small_house(
    seed: int,
    rooms: int = 2,
    steps: int = 8,
    two_node: bool = False,
    coupled: bool = False,
    minimum_s: int = 1800,
    extras: bool = True,
    step_s: tuple[int, ...] | None = None,
) -> PlanningProblem:
    """A house of `rooms` x `steps`; the same seed gives the same house."""
    rng = np.random.default_rng(seed)
    step_s = step_s or (900,) * steps
    steps = len(step_s)
    buy = rng.normal(0.2, 0.15, steps)
    sell = buy - rng.uniform(0.0, 0.1)
    if extras and rng.random() < 0.2:
        sell[0] = buy[0] + 0.05
    end = START + dt.timedelta(seconds=sum(step_s))
    battery, evs, loads, groups = None, (), (), ()
    grid = {}
    if extras:
        if rng.random() < 0.7:
            battery = Battery(
                capacity_wh=5000.0,
                initial_soc_fraction=float(rng.choice([0.05, 0.5, 0.95])),
                charge_limit_w=3000.0, discharge_limit_w=2500.0, wear_eur_per_kwh=0.03,
                terminal_value_eur_per_kwh=0.15, standby_w=20.0,
                daily_cycle_limit=0.2 if rng.random() < 0.3 else None,
                charge_limit_points=(
                    PowerPoint(soc_fraction=0.0, power_w=3000.0),
                    PowerPoint(soc_fraction=0.6, power_w=3000.0),
                    PowerPoint(soc_fraction=1.0, power_w=400.0),
                ) if rng.random() < 0.5 else (),
                allow_grid_charging=bool(rng.random() < 0.7),
            )
        if rng.random() < 0.6:
            evs = (EvSession(
                name="car", arrival=START + dt.timedelta(minutes=10), departure=end,
                target_kwh=float(rng.uniform(0, 12)), max_kwh=14.0, min_power_w=1380.0,
                max_power_w=3680.0, switch_cost_eur=float(rng.choice([0.0, 0.02])),
                price_cap_eur_per_kwh=0.25 if rng.random() < 0.4 else None,
                phase_shares=(1.0, 0.0, 0.0),
            ),)
        if rng.random() < 0.6:
            loads = (
                DeferrableLoad(
                    name="dishwasher", earliest=START, deadline=end, skip_penalty_eur=2.0,
                    segments=(LoadSegment(duration_s=1500, power_w=1800.0),
                              LoadSegment(duration_s=900, power_w=200.0)),
                ),
                DeferrableLoad(
                    name="boiler", earliest=START, deadline=end, skip_penalty_eur=1.0,
                    interruptible=True, segments=(LoadSegment(duration_s=2700, power_w=2000.0),),
                ),
            )
        if rng.random() < 0.5:
            groups = (HeatingGroup(name="board", capacity_w=1500.0),)
        if rng.random() < 0.4:
            grid["phase_import_limit_w"] = 2500.0
        if rng.random() < 0.4:
            grid["export_min_price_eur_per_kwh"] = 0.05
        if rng.random() < 0.4:
            grid["peak_price_eur_per_kw"] = 0.3
    return PlanningProblem(
        start=START,
        step_s=step_s,
        base_load_w=tuple(rng.uniform(100, 900, steps)),
        pv_w=tuple(rng.choice([0.0, 500.0, 4000.0], steps)),
        pv_curtailable=bool(rng.random() < 0.7),
        grid=Grid(
            buy_price_eur_per_kwh=tuple(buy), sell_price_eur_per_kwh=tuple(sell),
            import_limit_w=float(rng.choice([3000.0, 20000.0])),
            export_limit_w=float(rng.choice([1000.0, 10000.0])), **grid,
        ),
        rooms=tuple(
            _room(rng, index, rooms, step_s, two_node, coupled, minimum_s, bool(groups))
            for index in range(rooms)
        ),
        heating_groups=groups,
        battery=battery,
        evs=evs,
        deferrable_loads=loads,
        weights=ObjectiveWeights(
            self_consumption_eur_per_kwh=0.02 if extras and rng.random() < 0.3 else 0.0
        ),
    )


def _room(
    rng: np.random.Generator, index: int, rooms: int, step_s: tuple[int, ...], two_node: bool,
    coupled: bool, minimum_s: int, grouped: bool,
) -> Room:
    hours = np.array(step_s) / 3600.0
    loss, capacity, heater = rng.uniform(0.02, 0.05), rng.uniform(0.3, 0.8), rng.uniform(0.8, 1.6)
    outdoor = rng.uniform(-8, 8)
    pair = 0.01 if coupled and rooms > 1 else 0.0
    other = (index + 1) % rooms
    link = 0.2 if two_node else 0.0
    total = loss + pair + link
    decay = np.exp(-hours * total / capacity)
    gain = (1 - decay) / total
    mass = {}
    if two_node:
        heavy = 4 * capacity
        mass_decay = np.exp(-hours * link / heavy)
        mass = {
            "mass_to_air": tuple(gain * link),
            "air_to_mass": tuple(1 - mass_decay),
            "decay_mass": tuple(mass_decay),
            "heat_mass_k": tuple(0.05 * hours),
            "drift_mass_k": tuple(0.0 * hours),
        }
    start = float(rng.choice([14.0, 20.0, 20.6, 26.0]))
    low = 20.0 + rng.choice([0.0, 1.0], hours.size)
    return Room(
        name=f"room{index}",
        heater_w=float(1000 * heater),
        dynamics=RoomDynamics(
            decay_air=tuple(decay), heat_air_k=tuple(gain * heater),
            drift_air_k=tuple(gain * loss * outdoor), **mass,
            neighbours=(NeighbourGain(room=f"room{other}", gain_air=tuple(gain * pair)),)
            if pair else (),
        ),
        initial_air_c=start,
        initial_mass_c=start - 0.5 if two_node else None,
        low_c=tuple(low), high_c=tuple(low + rng.choice([0.3, 2.0])),
        min_on_s=minimum_s, min_off_s=minimum_s,
        switch_cost_eur=float(rng.choice([0.0, 0.02])),
        initial_on=bool(rng.random() < 0.5), initial_in_state_s=int(rng.choice([0, 900, 7200])),
        heating_group="board" if grouped else None,
        terminal_target_c=(20.5,) * (2 if two_node else 1),
        terminal_value_eur_per_k=(0.1,) * (2 if two_node else 1),
        fixed_relay=tuple(1 if i == 2 else None for i in range(hours.size))
        if rng.random() < 0.2 else (),
    )
