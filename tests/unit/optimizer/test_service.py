"""The rolling horizon: when a plan is made, from what, and what happens when it cannot be."""

from __future__ import annotations

from datetime import timedelta

import pytest

from contracts.events.measurement import EvSampled, HouseSampled, LoadSampled
from contracts.events.override import Granted
from contracts.events.plan import LadderDescended, PlanComputed
from contracts.events.price import PricesPublished
from contracts.planning import Churn
from services.optimizer import service
from services.optimizer.core import planner, watch
from services.optimizer.core.changes import with_churn
from services.optimizer.core.linear_model import SolverFailed
from services.optimizer.core.problem import build
from tests.unit.optimizer.small_site import (
    NOW,
    Desk,
    dynamics,
    estimate,
    knowledge,
    minutes,
    small_site,
)


@pytest.fixture
def desk():
    found = Desk()
    found.hour(NOW)
    return found


def plans(events):
    return [event.data for event in events if isinstance(event.data, PlanComputed)]


def test_the_first_hour_brings_the_first_plan(desk):
    (made,) = plans(desk.said)
    assert made.reason == "hourly"
    assert made.plan.rung == "full"
    assert made.plan.churn is None
    assert made.inputs.base_load_w == (500.0,) * 84


def test_a_house_without_a_battery_plans_too():
    desk = Desk(small_site(battery=None))
    assert plans(desk.hour(NOW))


def test_a_calm_house_is_left_alone_until_the_next_hour(desk):
    for part in range(1, 12):
        soc = expected_soc(desk, minutes(5 * part))
        assert not plans(desk.five_minutes(minutes(5 * part), soc=soc))
    assert [plan.reason for plan in plans(desk.hour(minutes(60)))] == ["hourly"]


def expected_soc(desk, time):
    last = desk.state.last
    step = watch.step_at(last, time)
    return last.battery_soc_fraction[step]


@pytest.mark.parametrize(
    ("what", "word"),
    [("soc", "battery is at"), ("air", "living is at"), ("load", "kWh off its forecast")],
)
def test_deviations_bring_a_plan_after_a_rest(desk, what, word):
    made = []
    for part in range(1, 10):
        time = minutes(5 * part)
        desk.tick(time)
        load = 3_500.0 if what == "load" else 500.0
        desk.sample(time, soc=0.0 if what == "soc" else expected_soc(desk, time), load_w=load)
        air = 17.0 if what == "air" else desk.state.last.rooms[0].air_c[watch.step_at(
            desk.state.last, time)]  # fmt: skip
        made += plans(desk.tell("thermal.state-estimated", estimate(time, air)))
    assert made
    assert made[0].time >= minutes(service.REPLAN_REST_S / 60)
    assert word in made[0].reason


def test_a_load_above_its_forecast_is_planned_with(desk):
    for part in range(1, 8):
        time = minutes(5 * part)
        desk.five_minutes(time, soc=expected_soc(desk, time), load_w=3_500.0)
    inputs = plans(desk.said)[-1].inputs
    assert inputs.base_load_w[0] > 2_000.0
    assert inputs.base_load_w[30] == pytest.approx(500.0, abs=30.0)


@pytest.mark.parametrize("power_w", [None, 3_000.0])
@pytest.mark.parametrize("what", ["ev", "load"])
def test_power_of_a_car_or_a_waiting_load_says_nothing_of_the_forecast(desk, what, power_w):
    """Missing is not zero: 3 kW that may be the car's are no error of the load forecast."""
    sample = {
        "ev": EvSampled(ev="car", time=minutes(1), plugged=True, power_w=power_w),
        "load": LoadSampled(load="boiler", time=minutes(1), on=True, power_w=power_w),
    }[what]
    desk.tell(f"measurement.{what}.sampled", sample)
    for part in range(1, 4):
        desk.five_minutes(minutes(5 * part), soc=expected_soc(desk, minutes(5 * part)), load_w=3_500.0)
    assert abs(desk.state.watch.load_off_wh) < 1.0


def test_published_prices_are_news_once_and_at_once(desk):
    start = minutes(7 * 60)
    prices = PricesPublished(
        market="CZ", published=minutes(3), start=start, step_s=900, eur_per_mwh=(999.0,) * 96
    )
    desk.tell("price.published", prices)
    (made,) = plans(desk.five_minutes(minutes(5)))
    assert "prices of 24 coming hours were published" in made.reason
    assert max(made.inputs.buy_eur_per_kwh) == pytest.approx((0.999 + 0.08) * 1.21)
    assert "prices up to" in "; ".join(made.plan.churn.reasons)
    desk.tell("price.published", prices)
    assert not plans(desk.five_minutes(minutes(10)))


def test_a_car_at_the_plug_and_a_wish_are_answered_at_once(desk):
    car = EvSampled(ev="car", time=minutes(2), plugged=True, power_w=0.0, target_wh=9_000.0)
    desk.tell("measurement.ev.sampled", car)
    (made,) = plans(desk.five_minutes(minutes(5)))
    assert "plugged in" in made.reason
    assert [ev.name for ev in made.plan.evs] == ["car"]
    assert "ev car is new" in made.plan.churn.reasons
    wish = Granted(
        override="o1", target="relay-bath", quantity="relay", value=1.0, since=minutes(6),
        until=minutes(90), actor="resident", source="app",
    )  # fmt: skip
    desk.tell("override.granted", wish)
    (made,) = plans(desk.five_minutes(minutes(10)))
    assert "override of relay-bath by resident" in made.reason
    assert made.plan.rooms[1].relay[:5] == (1.0,) * 5
    assert "override of bath is new" in made.plan.churn.reasons


def test_relays_start_as_they_are():
    desk = Desk()
    desk.relay(minutes(-40), "living", False)
    desk.relay(minutes(-20), "living", True)
    desk.relay(minutes(-10), "living", True)
    desk.relay(minutes(3), "bath", True)
    built = build(knowledge(watch=desk.state.watch), NOW)
    living, bath = built.rooms
    assert (living.initial_on, living.initial_in_state_s) == (True, 1_800)
    assert (bath.initial_on, bath.initial_in_state_s) == (True, 0)


def test_a_relay_that_was_just_switched_is_not_switched_back(desk):
    desk.relay(minutes(1), "living", True)
    desk.relay(minutes(1), "bath", False)
    car = EvSampled(ev="car", time=minutes(2), plugged=True, power_w=0.0)
    desk.tell("measurement.ev.sampled", car)
    (made,) = plans(desk.five_minutes(minutes(5)))
    assert [room.relay[0] for room in made.plan.rooms] == [1.0, 0.0]


def test_the_next_plan_says_how_much_changed(desk):
    (old,) = plans(desk.said)
    (made,) = plans(desk.hour(minutes(60)))
    churn = made.plan.churn
    assert churn.previous_plan_id
    # the new plan's last two half-hours were the old one's first hour with a duty, which says
    # something about a relay only when it is all or nothing
    duties = [room.relay[24 + 36] for room in old.plan.rooms]
    sure = sum(duty in (0.0, 1.0) for duty in duties)
    assert churn.relay_steps_compared == 2 * (24 + 36 - 2) + 2 * sure
    assert 0 <= churn.relay_steps_changed <= churn.relay_steps_compared
    assert churn.battery_kwh_moved >= 0
    assert churn.reasons[0] == "hourly"
    assert made.plan.work.warm_columns > 0


def test_battery_energy_that_moved_is_counted_once(desk):
    (first,) = plans(desk.said)
    old = first.plan
    charge = list(old.battery_charge_w)
    charge[0] += 1_000.0
    charge[1] -= 1_000.0
    new = old.model_copy(update={
        "battery_charge_w": tuple(charge),
        "churn": Churn(
            previous_plan_id="1", relay_steps_compared=0, relay_steps_changed=0, reasons=()
        ),
    })  # fmt: skip
    problem = build(knowledge(), NOW)
    assert with_churn(new, old, problem, None, "test").churn.battery_kwh_moved == pytest.approx(0.25)


def test_a_price_on_churn_keeps_more_of_the_last_plan():
    changed = []
    for price in (0.0, 1.0):
        desk = Desk(small_site(planner={"churn_eur_per_change": price}))
        desk.hour(NOW)
        (made,) = plans(desk.hour(minutes(60)))
        changed.append(made.plan.churn.relay_steps_changed)
    assert changed[1] <= changed[0]
    assert changed[1] <= 2


def _broken(*args, **kwargs):
    raise SolverFailed("planted")


def _rungs(events):
    return [
        (event.data.wanted, event.data.used)
        for event in events
        if isinstance(event.data, LadderDescended)
    ]


def test_without_solvers_the_last_plan_is_shifted_and_every_step_down_is_told(desk, monkeypatch):
    monkeypatch.setattr(planner, "_decomposed", _broken)
    monkeypatch.setattr(planner, "lp_plan", _broken)
    said = desk.hour(minutes(60))
    (made,) = plans(said)
    assert made.plan.rung == "shifted"
    assert _rungs(said) == [
        ("full", "restricted"), ("restricted", "lp-rounded"), ("lp-rounded", "shifted")
    ]  # fmt: skip
    assert all("planted" in e.data.reason for e in said if isinstance(e.data, LadderDescended))


def test_without_solvers_and_without_a_last_plan_rules_hold(monkeypatch):
    monkeypatch.setattr(planner, "_decomposed", _broken)
    monkeypatch.setattr(planner, "lp_plan", _broken)
    said = Desk().hour(NOW)
    (made,) = plans(said)
    assert made.plan.rung == "rules"
    assert _rungs(said)[-1] == ("shifted", "rules")


def test_without_a_problem_the_last_plan_goes_on_until_it_is_over(desk, monkeypatch):
    monkeypatch.setattr(service, "build", _broken)
    said = desk.hour(minutes(60))
    assert not plans(said)
    assert _rungs(said) == [("full", "shifted")]
    later = NOW + timedelta(hours=49)
    desk.tick(later)
    assert _rungs(desk.hour(later)) == [("full", "rules")]


def test_inputs_that_do_not_reach_are_no_crash(desk):
    stale = dynamics(minutes(-72 * 60))
    desk.tell("thermal.dynamics-issued", stale.model_copy(update={"start": minutes(60)}))
    said = desk.tick(minutes(60 + 49 * 60))
    assert _rungs(said)


def test_the_month_s_peak_is_followed_by_quarter_hours():
    site, seen = small_site(), watch.Watch()
    # the last reading comes an hour late: what was drawn in which quarter hour is not known
    for part, wh in ((0, 0.0), (1, 500.0), (2, 1_700.0), (3, 1_800.0), (7, 6_000.0)):
        data = HouseSampled(
            time=minutes(15 * part), pv_w=0.0, load_w=0.0, grid_w=0.0, battery_w=0.0, soc=0.5,
            import_wh=wh,
        )  # fmt: skip
        watch.see_house(seen, data, site, {}, None)
    assert seen.peak_w == pytest.approx(4_800.0)
    known = knowledge(small_site(tariff={"peak_eur_per_kw": 5.0}), watch=seen)
    assert build(known, NOW).grid.peak_so_far_w == 4_800.0
