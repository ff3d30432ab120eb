"""Houses with something wrong: what a planner meets on its worst days, one named break at a time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np

from contracts.planning import PlanningProblem
from tests.unit.optimizer.small_houses import small_house

GRIDS: dict[str, tuple[int, ...]] = {
    "one step": (900,),
    "two steps": (300, 3600),
    "quarters": (900,) * 10,
    "blocks": (900,) * 4 + (1800,) * 3 + (3600,) * 3,
    "all duty": (3600,) * 6,
    "ragged": (300, 900, 60, 1800, 900, 3600, 7200, 3600),
    "coarse first": (3600, 3600, 900, 900, 1800, 900),
}

Data = dict[str, Any]
Break = Callable[[Data, np.random.Generator], None]


def _times(data: Data) -> tuple[dt.datetime, dt.datetime]:
    start = dt.datetime.fromisoformat(data["start"])
    return start, start + dt.timedelta(seconds=sum(data["step_s"]))


def _battery(data: Data, **changes: Any) -> None:
    data["battery"] = {
        "capacity_wh": 5000.0, "initial_soc_fraction": 0.5, "charge_limit_w": 3000.0,
        "discharge_limit_w": 2500.0, **(data["battery"] or {}), **changes,
    }  # fmt: skip


def _car(data: Data, **changes: Any) -> None:
    start, end = _times(data)
    name = f"car{len(data['evs'])}"
    data["evs"].append({
        "name": name, "arrival": start.isoformat(), "departure": end.isoformat(),
        "target_kwh": 3.0, "max_kwh": 8.0, "min_power_w": 1380.0, "max_power_w": 3680.0, **changes,
    })  # fmt: skip


def _load(data: Data, **changes: Any) -> None:
    start, end = _times(data)
    data["deferrable_loads"].append({
        "name": f"load{len(data['deferrable_loads'])}", "earliest": start.isoformat(),
        "deadline": end.isoformat(), "segments": [{"duration_s": 1500, "power_w": 900.0}],
        **changes,
    })  # fmt: skip


def _rooms(data: Data, **changes: Any) -> None:
    for room in data["rooms"]:
        room.update(changes)


def _relays(data: Data, rng: np.random.Generator) -> None:
    for room in data["rooms"]:
        room["fixed_relay"] = [rng.choice([None, None, 0, 1]) for _ in data["step_s"]]
        room["initial_in_state_s"] = 0


def _prices(data: Data, buy: Any, sell: Any) -> None:
    steps = len(data["step_s"])
    data["grid"]["buy_price_eur_per_kwh"] = np.broadcast_to(buy, steps).tolist()
    data["grid"]["sell_price_eur_per_kwh"] = np.broadcast_to(sell, steps).tolist()


def _scenarios(data: Data, rng: np.random.Generator) -> None:
    count = int(rng.integers(1, 4))
    data["scenarios"] = [
        {
            "probability": 1.0 / count,
            "pv_w": (np.array(data["pv_w"]) * rng.uniform(0, 2)).tolist(),
            "base_load_w": (np.array(data["base_load_w"]) * rng.uniform(0, 2)).tolist(),
        }
        for _ in range(count)
    ]
    data["weights"]["cvar_weight"] = float(rng.choice([0.0, 0.5, 1.0]))


def _churn(data: Data, rng: np.random.Generator) -> None:
    data["weights"]["churn_eur_per_change"] = 0.01
    data["previous"] = {
        "plan_id": "old",
        "relays": {
            room["name"]: [rng.choice([None, 0, 1]) for _ in data["step_s"]]
            for room in data["rooms"]
        },
    }


BREAKS: dict[str, Break] = {
    "battery empty": lambda d, r: _battery(d, initial_soc_fraction=0.0),
    "battery over full": lambda d, r: _battery(d, initial_soc_fraction=1.0, daily_cycle_limit=0.0),
    "battery without power": lambda d, r: _battery(d, charge_limit_w=0.0, discharge_limit_w=0.0),
    "battery points": lambda d, r: _battery(
        d, initial_soc_fraction=float(r.choice([0.02, 0.95])),
        charge_limit_points=[{"soc_fraction": s, "power_w": p} for s, p in
                             ((0.0, 3000.0), (0.8, 2500.0), (1.0, 0.0))],
        discharge_limit_points=[{"soc_fraction": s, "power_w": p} for s, p in
                                ((0.0, 0.0), (0.3, 2500.0), (1.0, 2500.0))],
    ),
    "battery ordered beyond its energy": lambda d, r: _battery(
        d, fixed_power_w=[float(r.choice([-2500.0, 3000.0, 9000.0])) for _ in d["step_s"]]
    ),
    "battery's charge unwanted at the end": lambda d, r: _battery(
        d, terminal_value_eur_per_kwh=-1.0
    ),
    "no battery": lambda d, r: d.update(battery=None),
    "no sun": lambda d, r: d.update(pv_w=[0.0] * len(d["step_s"])),
    "sun that cannot be curtailed": lambda d, r: d.update(
        pv_w=[9000.0] * len(d["step_s"]), pv_curtailable=False
    ),
    "no fuse": lambda d, r: d["grid"].update(import_limit_w=0.0),
    "no export": lambda d, r: d["grid"].update(export_limit_w=0.0),
    "export never pays": lambda d, r: d["grid"].update(export_min_price_eur_per_kwh=20.0),
    "no phase": lambda d, r: d["grid"].update(phase_import_limit_w=0.0),
    "peak": lambda d, r: d["grid"].update(peak_price_eur_per_kw=2.0, peak_so_far_w=1000.0),
    "negative prices": lambda d, r: _prices(d, -0.3, -0.4),
    "selling above buying": lambda d, r: _prices(d, 0.1, 0.5),
    "price of nothing": lambda d, r: _prices(d, 0.0, 0.0),
    "self-consumption above all": lambda d, r: d["weights"].update(
        self_consumption_eur_per_kwh=1.0, peak_eur_per_kw=0.5
    ),
    "car that cannot be filled": lambda d, r: _car(d, target_kwh=500.0, max_kwh=500.0),
    "car that left": lambda d, r: _car(
        d, arrival="2025-03-28T00:00:00Z", departure="2025-03-28T06:00:00Z"
    ),
    "two cars, one wants nothing": lambda d, r: (_car(d), _car(d, target_kwh=0.0, max_kwh=0.0)),
    "car above its own limit": lambda d, r: _car(d, fixed_power_w=[11000.0] * len(d["step_s"])),
    "car never cheap enough": lambda d, r: _car(d, price_cap_eur_per_kwh=-5.0),
    "car at one power": lambda d, r: _car(d, min_power_w=3680.0, switch_cost_eur=0.1),
    "load without time": lambda d, r: _load(
        d, deadline=(_times(d)[0] + dt.timedelta(seconds=60)).isoformat()
    ),
    "load that soaks first": lambda d, r: _load(
        d, segments=[{"duration_s": 1200, "power_w": 0.0}, {"duration_s": 600, "power_w": 900.0}]
    ),
    "load of no power": lambda d, r: _load(d, segments=[{"duration_s": 600, "power_w": 0.0}]),
    "boiler too slow": lambda d, r: _load(
        d, interruptible=True, segments=[{"duration_s": 80_000, "power_w": 900.0}]
    ),
    "relays ordered at random": _relays,
    "relay just switched, long minimum": lambda d, r: _rooms(
        d, min_on_s=14_400, min_off_s=14_400, initial_in_state_s=0
    ),
    "comfort out of reach": lambda d, r: _rooms(
        d, low_c=[35.0] * len(d["step_s"]), high_c=[35.0] * len(d["step_s"])
    ),
    "comfort without price": lambda d, r: _rooms(
        d, penalty_low_eur_per_k_h=0.0, penalty_high_eur_per_k_h=0.0
    ),
    "rooms frozen": lambda d, r: _rooms(d, initial_air_c=-5.0),
    "rooms boiling": lambda d, r: _rooms(d, initial_air_c=60.0),
    "nothing wanted at the end": lambda d, r: _rooms(
        d, terminal_target_c=[], terminal_value_eur_per_k=[]
    ),
    "heat source off": lambda d, r: (
        d.update(heating_groups=[{"name": "board", "capacity_w": 0.0}]),
        _rooms(d, heating_group="board"),
    ),
    "heaters without power": lambda d, r: _rooms(d, heater_w=0.0),
    "duty everywhere": lambda d, r: d.update(duty_from_step_s=60),
    "relays everywhere": lambda d, r: d.update(duty_from_step_s=86_400),
    "scenarios": _scenarios,
    "an old plan": _churn,
}


def broken_house(
    seed: int, rooms: int, grid: str, breaks: list[str], two_node: bool, coupled: bool
) -> PlanningProblem:
    """A small house on a named grid with the named breaks applied in order."""
    house = small_house(
        seed, rooms=rooms, two_node=two_node, coupled=coupled, step_s=GRIDS[grid],
        minimum_s=(0, 900, 1800)[seed % 3],
    )
    data = house.model_dump(mode="json")
    rng = np.random.default_rng(seed)
    for name in breaks:
        BREAKS[name](data, rng)
    return PlanningProblem.model_validate(data)
