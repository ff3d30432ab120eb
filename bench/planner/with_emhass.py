"""EMHASS as a peer: our house in its words, its plan in ours, replayed by the same checker.

What it can say: one-node rooms as on/off "thermal" loads with minimum on and off times in whole
steps, a battery with a fixed final charge, cars as loads of a given energy in a window with a least
power, import and export limits. What it cannot: solar gains and losses that differ by room beyond
one outdoor temperature for all (the mean of our rooms' is given), neighbours and two-node rooms,
prices for missed wishes of cars, switching costs in EUR, wear other than a weight. So its plan is
made for a slightly different house; the replay shows what it is worth in ours.
"""

from __future__ import annotations

import json
import resource
import subprocess
from pathlib import Path

import numpy as np

from contracts.planning import Plan, PlanningProblem, WorkDone
from services.optimizer.core.assemble import make_plan
from services.optimizer.core.house import House, compile_house
from services.optimizer.core.linear_model import SolverFailed
from services.optimizer.core.lp_rung import place
from services.optimizer.core.rounding import round_relays

PEER = Path(__file__).with_name("emhass_peer.py")


def in_its_words(problem: PlanningProblem, limit_s: float) -> dict[str, object]:
    """The house as EMHASS's configuration. Raises SolverFailed for what it has no word for."""
    steps = set(problem.step_s)
    if len(steps) > 1:
        raise SolverFailed("emhass: steps of one length only")
    if any(room.dynamics.nodes == 2 or room.dynamics.neighbours for room in problem.rooms):
        raise SolverFailed("emhass: no two-node rooms, no neighbours")
    step_s = steps.pop()
    hours = step_s / 3600.0
    rooms, battery, edges = problem.rooms, problem.battery, problem.boundaries()
    outdoor = np.mean(
        [np.array(r.dynamics.drift_air_k) / (1 - np.array(r.dynamics.decay_air)) for r in rooms], 0
    )
    loads = [
        {"thermal_config": {
            "heating_rate": float(np.mean(r.dynamics.heat_air_k)) / hours,
            "cooling_constant": float(np.mean(1 - np.array(r.dynamics.decay_air))) / hours,
            "start_temperature": r.initial_air_c, "sense": "heat",
            "desired_temperatures": [r.initial_air_c, *r.low_c[:-1]],
            "overshoot_temperature": float(np.mean(r.high_c)),
            "penalty_factor": r.penalty_low_eur_per_k_h * hours,
        }}
        for r in rooms
    ]  # fmt: skip
    cars = problem.evs
    count = len(rooms) + len(cars)

    def steps_of(seconds: int) -> int:
        return -(-seconds // step_s)

    conf: dict[str, object] = {
        "number_of_deferrable_loads": count,
        "nominal_power_of_deferrable_loads": [r.heater_w for r in rooms]
        + [car.max_power_w for car in cars],
        "minimum_power_of_deferrable_loads": [0.0] * len(rooms) + [c.min_power_w for c in cars],
        "treat_deferrable_load_as_semi_cont": [True] * len(rooms) + [False] * len(cars),
        "set_deferrable_load_single_constant": [False] * count,
        "set_deferrable_startup_penalty": [0.0] * count,
        "deferrable_load_max_cost": [0.0] * count,
        "set_deferrable_max_startups": [0] * count,
        "def_minimum_on_time": [steps_of(r.min_on_s) for r in rooms] + [0] * len(cars),
        "def_minimum_off_time": [steps_of(r.min_off_s) for r in rooms] + [0] * len(cars),
        "cost_forecast_per_deferrable_load": [None] * count,
        "is_electric_load": [True] * count,
        "operating_hours_of_each_deferrable_load": [0] * count,
        "start_timesteps_of_each_deferrable_load": [0] * count,
        "end_timesteps_of_each_deferrable_load": [0] * count,
        "def_load_config": [*loads, *({} for _ in cars)],
        "maximum_power_from_grid": problem.grid.import_limit_w,
        "maximum_power_to_grid": problem.grid.export_limit_w,
        "set_nodischarge_to_grid": False, "set_use_pv": True,
        "compute_curtailment": problem.pv_curtailable,
        "num_threads": 1, "lp_solver_timeout": limit_s, "lp_solver_mip_rel_gap": 1e-4,
        "set_use_battery": battery is not None,
    }  # fmt: skip
    if battery is not None:
        conf |= {
            "battery_discharge_power_max": battery.discharge_limit_w,
            "battery_charge_power_max": battery.charge_limit_w,
            "battery_discharge_efficiency": battery.discharge_efficiency,
            "battery_charge_efficiency": battery.charge_efficiency,
            "battery_nominal_energy_capacity": battery.capacity_wh,
            "battery_minimum_state_of_charge": battery.min_soc_fraction,
            "battery_maximum_state_of_charge": battery.max_soc_fraction,
            "weight_battery_discharge": battery.wear_eur_per_kwh,
            "weight_battery_charge": battery.wear_eur_per_kwh,
        }
    soc = battery.initial_soc_fraction if battery is not None else None
    arrive = [int(np.searchsorted([e.timestamp() for e in edges], c.arrival.timestamp()))
              for c in cars]  # fmt: skip
    leave = [
        int(np.searchsorted([e.timestamp() for e in edges], c.departure.timestamp(), "right")) - 1
        for c in cars
    ]
    return {
        "conf": conf, "step_s": step_s, "steps": problem.steps, "start": str(problem.start),
        "pv_w": problem.pv_w, "load_w": problem.base_load_w,
        "buy": problem.grid.buy_price_eur_per_kwh, "sell": problem.grid.sell_price_eur_per_kwh,
        "outdoor_c": outdoor.tolist(), "soc_init": soc, "soc_final": soc,
        "hours": [0.0] * len(rooms)
        + [c.target_kwh * 1e3 / c.efficiency / c.max_power_w for c in cars],
        "first": [0] * len(rooms) + arrive, "last": [0] * len(rooms) + leave,
        "temperatures": [r.initial_air_c for r in rooms] + [None] * len(cars),
    }  # fmt: skip


def solve(problem: PlanningProblem, python: str, limit_s: float) -> tuple[Plan, float]:
    """(its plan in our house, CPU seconds of its process).

    Relays that come back as fractions or break their minimum times are rounded by simulation after
    its own temperatures; battery, car and grid are then placed by us, which can only help it.
    """
    spoken = json.dumps(in_its_words(problem, limit_s))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [python, str(PEER)], input=spoken, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode != 0:
        raise SolverFailed(f"emhass: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    house = compile_house(problem)
    relays, how = _relays(house, answer)
    placed = place(house, relays)
    made = make_plan(
        house, placed.decisions, placed.marginal_price, "full", None, None,
        f"none ({answer['status']}; {how})", WorkDone(), f"emhass {answer['version']}", 0,
    )  # fmt: skip
    return made, spent


def _relays(house: House, answer: dict[str, list[float]]) -> tuple[np.ndarray, str]:
    """Its relays where they are relays that keep the rules, else rounded after its temperatures."""
    rooms = house.rooms
    duty = np.array(
        [np.array(answer[f"P_deferrable{r.index}"]) / 1e3 / r.power_kw for r in rooms]
    ).clip(0.0, 1.0)
    whole = np.round(duty)
    fractional = int((np.abs(duty - whole) > 1e-3).sum())
    broken = sum(_breaks(house, room.index, whole[room.index]) for room in rooms)
    if fractional == 0 and broken == 0:
        return whole, "relays as given"
    target = np.zeros((len(rooms), house.steps + 1))
    for room in rooms:
        air = np.array(answer.get(f"predicted_temp_heater{room.index}", [20.0] * house.steps))
        target[room.index] = [*air, air[-1]]
    rounded = round_relays(house, target)
    return rounded, f"{fractional} fractional relay steps, {broken} short runs, rounded by us"


def _breaks(house: House, index: int, relay: np.ndarray) -> int:
    """Runs that are shorter than their minimum time (the last one may go on)."""
    room, count, since, state = house.rooms[index], 0, 10**6, house.rooms[index].initial_on
    for step, value in enumerate(relay.astype(int)):
        if value != state:
            least = (room.min_on_steps if state else room.min_off_steps)[max(0, step - since)]
            count += int(since < least)
            state, since = value, 0
        since += 1
    return count
