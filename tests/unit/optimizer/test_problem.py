"""Every clause of the site file arrives in the planning problem."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from contracts.events.measurement import EvSampled, LoadSampled
from contracts.events.override import Granted
from contracts.planning import PlanningProblem
from services.optimizer.core.checker import check_plan
from services.optimizer.core.planner import WorkBudget, plan
from services.optimizer.core.problem import build
from services.optimizer.core.waiting_loads import open_loads, see_load
from tests.unit.optimizer.small_site import (
    NOW,
    dynamics,
    estimate,
    forecast,
    knowledge,
    small_site,
)

FULL = small_site(
    inverter={"curtailable": True, "phase": 2},
    battery={
        "daily_cycle_limit": 1.5, "standby_w": 15.0, "grid_charge": False,
        "charge_limit_points": [{"soc": 0.0, "power_w": 4000.0}, {"soc": 0.8, "power_w": 4000.0},
                                {"soc": 1.0, "power_w": 500.0}],
        "discharge_limit_points": [{"soc": 0.0, "power_w": 0.0}, {"soc": 0.2, "power_w": 4000.0},
                                   {"soc": 1.0, "power_w": 4000.0}],
    },
    evs=[
        {"id": "car", "capacity_wh": 5e4, "phases": 1, "phase": 3, "price_cap_eur_per_kwh": 0.2},
        {"id": "van", "capacity_wh": 6e4},
    ],
    grid={"phase_import_limit_w": 5750.0, "export_min_price_eur_per_kwh": 0.02},
    tariff={"peak_eur_per_kw": 4.0},
    rooms=[
        {"id": name, "name": name, "floor_area_m2": 20.0, "heater_w": 1500.0, "comfort": "day",
         "heat_loss_w_per_k": 20.0, "phase": 1, "heating_group": "board", "min_on_s": 1800,
         "min_off_s": 600}
        for name in ("living", "bath")
    ],
    heating_groups=[{"name": "board", "capacity_w": 2000.0}],
    loads=[
        {"id": "dishwasher", "earliest": "19:30", "deadline": "06:30", "phase": 2,
         "segments": [{"minutes": 30, "power_w": 2000.0}, {"minutes": 60, "power_w": 200.0}]},
        {"id": "boiler", "earliest": "22:00", "deadline": "06:00", "interruptible": True,
         "segments": [{"minutes": 120, "power_w": 2000.0}]},
    ],
    planner={"self_consumption_eur_per_kwh": 0.01, "peak_eur_per_kw": 0.1,
             "churn_eur_per_change": 0.002, "scenarios": 4, "cvar_weight": 0.3, "cvar_tail": 0.25},
)  # fmt: skip


def _full(**changes):
    seen = {
        name: EvSampled(ev=name, time=NOW, plugged=True, power_w=0.0, target_wh=8_000.0)
        for name in ("car", "van")
    }
    return build(knowledge(FULL, evs=seen, **changes), NOW)


def test_every_clause_arrives():
    made = _full()
    assert made.pv_curtailable
    assert made.pv_phase_shares == (0.0, 1.0, 0.0)
    battery = made.battery
    assert (battery.daily_cycle_limit, battery.standby_w) == (1.5, 15.0)
    assert not battery.allow_grid_charging
    assert battery.phase_shares == (0.0, 1.0, 0.0)
    assert [p.power_w for p in battery.charge_limit_points] == [4000.0, 4000.0, 500.0]
    assert [p.power_w for p in battery.discharge_limit_points] == [0.0, 4000.0, 4000.0]
    car, van = made.evs
    assert car.phase_shares == (0.0, 0.0, 1.0)
    assert (car.min_power_w, car.max_power_w) == (6 * 230.0, 16 * 230.0)
    assert car.price_cap_eur_per_kwh == 0.2
    assert van.phase_shares == pytest.approx((1 / 3,) * 3)
    assert van.min_power_w == 3 * 6 * 230.0
    assert made.grid.phase_import_limit_w == pytest.approx(5750.0 - 1000.0 / 3)
    assert made.grid.export_min_price_eur_per_kwh == 0.02
    assert made.grid.peak_price_eur_per_kw == pytest.approx(4.0 * 1.21)
    assert made.grid.fixed_fee_eur == pytest.approx(10 * 1.21 * 48 / (365.25 * 24 / 12))
    for room in made.rooms:
        assert room.heating_group == "board"
        assert room.phase_shares == (1.0, 0.0, 0.0)
        assert (room.min_on_s, room.min_off_s) == (1800, 600)
    assert made.rooms[0].dynamics.neighbours[0].room == "bath"
    assert made.rooms[0].dynamics.neighbours[0].gain_air[0] == pytest.approx(0.01)
    weights = made.weights
    assert (weights.self_consumption_eur_per_kwh, weights.peak_eur_per_kw) == (0.01, 0.1)
    assert (weights.cvar_weight, weights.cvar_tail) == (0.3, 0.25)
    assert weights.churn_eur_per_change == 0.002
    assert len(made.scenarios) == 4


def test_the_whole_site_is_planned_and_checked():
    data = _full().model_dump()
    data["scenarios"] = data["scenarios"][:2]
    for future in data["scenarios"]:
        future["probability"] = 0.5
    # a monthly peak charge against a car's least power is a long search, seen elsewhere
    data["evs"], data["grid"]["peak_price_eur_per_kw"] = data["evs"][:1], 0.0
    made = PlanningProblem.model_validate(data)
    found = plan(made, budget=WorkBudget(pricing_rounds=2))
    assert found.steps_down == ()
    assert check_plan(made, found).ok
    starts = {load.name: load.start for load in found.deferrable_loads}
    assert starts["dishwasher 2026-01-12"] is not None


def test_waiting_loads_have_their_windows_and_are_not_run_twice():
    names = {load.name: load for load in _full().deferrable_loads}
    tonight = names["dishwasher 2026-01-12"]
    assert tonight.earliest == datetime(2026, 1, 12, 18, 30, tzinfo=UTC)
    assert tonight.deadline == datetime(2026, 1, 13, 5, 30, tzinfo=UTC)
    assert tonight.phase_shares == (0.0, 1.0, 0.0)
    assert set(names) == {
        "dishwasher 2026-01-12", "dishwasher 2026-01-13", "boiler 2026-01-12", "boiler 2026-01-13",
    }  # fmt: skip


EVENING = datetime(2026, 1, 12, 21, 0, tzinfo=UTC)


def _loads(ran_s, on=(), overrides=(), now=EVENING):
    """(loads still to be placed by name, W of the first six quarters) when so much has been run."""
    edges = [now + timedelta(minutes=15 * k) for k in range(4 * 40)]
    seen = {
        load: LoadSampled(load=load, time=now, on=load in on) for load in ("dishwasher", "boiler")
    }
    waiting, running = open_loads(FULL, edges, seen, ran_s, overrides)
    return {load.name: load for load in waiting}, running[:6].tolist()


def test_what_was_run_is_not_run_again():
    left, running = _loads({"boiler 2026-01-12": 3_600, "dishwasher 2026-01-12": 900})
    assert left["boiler 2026-01-12"].segments[0].duration_s == 3_600
    wash = left["dishwasher 2026-01-12"]
    assert [(part.duration_s, part.power_w) for part in wash.segments] == [(900, 2_000), (3_600, 200)]
    assert running == [0.0] * 6
    left, _ = _loads({"boiler 2026-01-12": 7_000, "dishwasher 2026-01-12": 5_100})
    assert set(left) == {"boiler 2026-01-13", "dishwasher 2026-01-13"}


def test_a_programme_under_way_runs_on_and_a_boiler_that_is_on_may_be_switched_off():
    left, running = _loads({"dishwasher 2026-01-12": 900}, on=("dishwasher", "boiler"))
    assert "dishwasher 2026-01-12" not in left
    assert "boiler 2026-01-12" in left
    assert running == pytest.approx([2_000.0, 200.0, 200.0, 200.0, 200.0, 0.0])


def _held(load, value, hours):
    return Granted(
        override="a", target=f"load-{load}", quantity="relay", value=value, since=EVENING,
        until=EVENING + timedelta(hours=hours), actor="resident", source="app",
    )  # fmt: skip


def test_an_override_of_a_load_is_planned_around():
    left, running = _loads({}, on=("boiler",), overrides=(_held("boiler", 1.0, 1.0),))
    assert left["boiler 2026-01-12"].segments[0].duration_s == 3_600
    assert running == pytest.approx([2_000.0] * 4 + [0.0] * 2)
    _, running = _loads({}, on=("dishwasher",), overrides=(_held("dishwasher", 1.0, 0.5),))
    assert running == pytest.approx([800.0] * 2 + [0.0] * 4)
    left, running = _loads({}, overrides=(_held("boiler", 0.0, 2.0),))
    assert left["boiler 2026-01-12"].earliest == EVENING + timedelta(hours=2)
    assert running == [0.0] * 6
    left, _ = _loads({}, overrides=(_held("boiler", 0.0, 9.0),))
    assert set(left) == {"boiler 2026-01-13", "dishwasher 2026-01-12", "dishwasher 2026-01-13"}


@pytest.mark.parametrize(
    ("samples", "counted"),
    [
        ([(0, True), (5, True), (10, False), (15, True)], {"boiler 2026-01-12": 600}),
        ([(0, True), (16, True)], {}),  # too long a silence to know
        ([(0, None), (5, True), (8, None), (9, None)], {"boiler 2026-01-12": 180}),
        ([(-10, True), (-5, True), (0, True), (5, False)], {"boiler 2026-01-12": 300}),
        ([(475, True), (480, True), (485, True)], {"boiler 2026-01-12": 300}),
    ],
)
def test_time_counts_while_the_supply_was_on_inside_a_window(samples, counted):
    seen, ran_s = {}, {}
    for minute, on in samples:
        at = EVENING + timedelta(minutes=minute)
        see_load(seen, ran_s, LoadSampled(load="boiler", time=at, on=on), FULL)
    assert ran_s == counted


def test_what_ran_days_ago_is_forgotten():
    seen, ran_s = {}, {"boiler 2026-01-08": 60, "boiler 2026-01-07": 60}
    for minute in (0, 5):
        at = EVENING + timedelta(minutes=minute)
        see_load(seen, ran_s, LoadSampled(load="boiler", time=at, on=True), FULL)
    assert ran_s == {"boiler 2026-01-08": 60, "boiler 2026-01-12": 300}


def test_away_is_occupancy_and_a_wish_for_warmth_is_comfort():
    away = Granted(override="a", target="house", quantity="away", value=1.0, since=NOW,
                   until=NOW + timedelta(hours=10), actor="resident", source="app")  # fmt: skip
    warm = away.model_copy(update={"target": "room-bath", "quantity": "temperature_c",
                                   "value": 23.5})  # fmt: skip
    empty = build(knowledge(overrides=(away,)), NOW)
    assert max(empty.rooms[0].low_c[:28]) == 12.0
    assert max(empty.rooms[0].low_c) > 20.0
    bath = build(knowledge(overrides=(warm,)), NOW).rooms[1]
    assert bath.low_c[0] == pytest.approx(23.7)
    assert bath.high_c[0] == 25.0


@pytest.mark.parametrize("day", [datetime(2026, 3, 28, 18, tzinfo=UTC),
                                 datetime(2026, 10, 24, 18, tzinfo=UTC)])  # fmt: skip
def test_days_of_23_and_25_hours_keep_local_hours(day):
    known = knowledge(
        dynamics=dynamics(day), estimate=estimate(day),
        forecasts={name: forecast(name, day) for name in ("load", "pv", "price")},
    )  # fmt: skip
    made = build(known, day)
    zone = known.site.location.zone
    local = [edge.astimezone(zone) for edge in made.boundaries()]
    for begin, end, low in zip(local, local[1:], made.rooms[0].low_c, strict=False):
        if begin.hour >= 7 and end.hour < 22 and begin.date() == end.date():
            assert low == pytest.approx(20.2)
        if end.hour < 6 and begin.date() == end.date():
            assert low == pytest.approx(18.2)


def test_a_horizon_without_forecasts_is_refused_by_name():
    late = forecast("load", NOW + timedelta(hours=1))
    known = knowledge(forecasts={"load": late, "price": forecast("price")})
    with pytest.raises(ValueError, match="forecast load"):
        build(known, NOW)
