"""The dispatcher's core: duty to relays, plan to battery mode, energy to amperes, wishes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events.command import Proposed, Rejected
from contracts.events.measurement import HouseSampled
from contracts.events.override import Requested
from contracts.events.safety import ModeChanged
from contracts.site import SiteConfig
from services.dispatcher.core import overrides, schedule
from services.dispatcher.service import Dispatcher, DispatcherState
from tests.conftest import START, make_event, tick

NOW = datetime(2026, 1, 12, 18, 1, tzinfo=UTC)


@given(st.lists(st.floats(0, 1), min_size=4, max_size=40))
def test_relay_time_follows_the_duty_and_never_switches_twice_in_a_slot(
    duties: list[float],
) -> None:
    carry, on_cycles = 0.0, 0
    for duty in duties:
        states = []
        for cycle in range(schedule.CYCLES_PER_SLOT):
            on, carry = schedule.relay_wish(duty, carry, cycle)
            states.append(on)
        on_cycles += sum(states)
        assert sum(a != b for a, b in pairwise(states)) <= 1
    wanted = sum(duties) * schedule.CYCLES_PER_SLOT
    assert abs(on_cycles - wanted) <= 1.0 + 1e-9


def plan(charge: float, discharge: float, grid: float) -> Any:
    return SimpleNamespace(
        battery_charge_w=[charge], battery_discharge_w=[discharge], grid_import_w=[max(0, grid)],
        grid_export_w=[max(0, -grid)], marginal_price_eur_per_kwh=[0.2],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("charge", "discharge", "grid", "value", "why"),
    [
        (0, 2_000, 0, 0, "covering the load is what self-use does"),
        (3_000, 0, 0, 0, "taking the surplus is what self-use does"),
        (4_000, 0, 5_000, 4_000, "charging from the grid is not"),
        (0, 3_000, -2_000, -3_000, "discharging into the grid is not"),
        (0, 0, 1_500, schedule.HOLD_W, "importing beside a full battery keeps its charge"),
        (0, 6_000, 4_000, 0, "at its greatest discharge self-use does the same"),
    ],
)
def test_battery_is_left_to_itself_when_it_would_do_the_same(
    site: SiteConfig, charge: float, discharge: float, grid: float, value: int, why: str
) -> None:
    assert schedule.battery_wish(plan(charge, discharge, grid), 0, site).value == value, why


@pytest.mark.parametrize(
    ("charge", "discharge", "grid", "soc", "value", "why"),
    [
        (4_000, 0, 5_000, 0.90, 0, "what is full takes nothing, and the gate would refuse it"),
        (4_000, 0, 5_000, 0.89, 4_000, "what is nearly full does"),
        (0, 0, 1_500, 0.91, 0, "holding is charging a little"),
        (0, 0, 1_500, 0.8996, 0, "the gate reads thousandths"),
        (0, 3_000, -2_000, 0.90, -3_000, "what is full may give"),
        (0, 3_000, -2_000, 0.10, 0, "what is empty may not"),
        (0, 3_000, -2_000, 0.11, -3_000, "what is nearly empty may"),
        (0, 0, 1_500, 0.10, schedule.HOLD_W, "what is empty can be held"),
    ],
)
def test_a_battery_at_its_end_is_asked_for_nothing_more(
    site: SiteConfig, charge: float, discharge: float, grid: float, soc: float, value: int, why: str
) -> None:
    found = schedule.battery_wish(plan(charge, discharge, grid), 0, site, soc)
    assert found.value == value, why
    assert value != 0 or f"at {soc:.0%}" in found.reason


@given(st.lists(st.floats(0, 11_040), min_size=6, max_size=60))
def test_ev_current_is_never_below_six_amperes_and_energy_is_kept(powers: list[float]) -> None:
    ev = SimpleNamespace(min_w=4_140.0, max_w=11_040.0, voltage_v=230.0, phases=3)
    carry, given_wh = 0.0, 0.0
    for power in powers:
        current, carry = schedule.ev_wish(power, carry, ev)  # type: ignore[arg-type]
        assert current == 0 or 6_000 <= current <= 16_000
        given_wh += current / 1_000 * 230 * 3 * schedule.CYCLE_S / 3_600
    wanted = sum(powers) * schedule.CYCLE_S / 3_600
    assert given_wh <= wanted + 4_140 * schedule.CYCLE_S / 3_600 + 1


def wish(**changes: Any) -> Requested:
    values = {"target": "room-living", "quantity": "temperature_c", "value": 23.0, "minutes": 60,
              "actor": "a person"} | changes  # fmt: skip
    return Requested(**values)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"target": "room-attic"}, "no room 'room-attic'; known: room-bathroom"),
        ({"value": 40.0}, "40.0 °C is outside 5.0 to 28.0 °C"),
        ({"minutes": None, "until": NOW - timedelta(minutes=1)}, "is not after now"),
        ({"minutes": None, "until": NOW + timedelta(days=15)}, "14 days at most"),
        ({"target": "relay-living", "quantity": "relay", "value": 0.5}, "a relay is 0 or 1"),
        ({"target": "relay-attic", "quantity": "relay", "value": 1.0}, "no relay 'relay-attic'"),
        ({"target": "battery", "quantity": "power_w", "value": 9_000.0}, "outside -6000 to 6000"),
        ({"target": "house", "quantity": "power_w", "value": 100.0}, "power_w is for the battery"),
        ({"target": "ev-car", "quantity": "current_a", "value": 3.0}, "neither 0 nor 6.0 to 16.0"),
        ({"target": "ev-van", "quantity": "current_a", "value": 8.0}, "no charger 'ev-van'"),
        ({"target": "room-living", "quantity": "away", "value": 1.0}, "away is for the house"),
    ],
)
def test_wishes_that_cannot_be_met_say_why(
    site: SiteConfig, changes: dict[str, Any], problem: str
) -> None:
    assert problem in str(overrides.problem(wish(**changes), NOW, site))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"target": "house"},
        {"target": "relay-living", "quantity": "relay", "value": 1.0},
        {"target": "battery", "quantity": "power_w", "value": -6_000.0},
        {"target": "ev-car", "quantity": "current_a", "value": 0.0},
        {"target": "house", "quantity": "away", "value": 1.0},
    ],
)
def test_wishes_that_can_be_met(site: SiteConfig, changes: dict[str, Any]) -> None:
    assert overrides.problem(wish(**changes), NOW, site) is None


def ask(service: Dispatcher, state: DispatcherState, request: Requested, key: str) -> list[str]:
    event = make_event("override.requested", request.target, request, "client", key=key)
    service.fold(state, event)
    return [decision.type for decision in service.decide(state, event)]


def test_a_later_wish_replaces_an_equal_one_but_not_one_of_higher_priority(
    site: SiteConfig,
) -> None:
    service, state = Dispatcher(), DispatcherState(site=site, now=NOW)
    assert ask(service, state, wish(source="price-signal"), "a") == ["override.granted"]
    assert ask(service, state, wish(value=22.0), "b") == ["override.granted", "override.ended"]
    assert ask(service, state, wish(source="price-signal", value=19.0), "c") == ["override.refused"]
    assert [held.value for held in state.held.values()] == [22.0]


def test_a_client_cannot_claim_to_be_the_person_at_the_device(site: SiteConfig) -> None:
    service, state = Dispatcher(), DispatcherState(site=site, now=NOW)
    ask(service, state, wish(source="device"), "a")
    assert [held.source for held in state.held.values()] == ["app"]


def test_an_override_of_a_device_is_proposed_at_once(site: SiteConfig) -> None:
    service, state = Dispatcher(), DispatcherState(site=site, now=NOW)
    request = wish(target="relay-living", quantity="relay", value=1.0)
    assert ask(service, state, request, "a") == ["override.granted", "command.proposed"]


def outbox(
    service: Dispatcher, state: DispatcherState, minutes: range
) -> Iterator[tuple[int, Proposed]]:
    """Everything that is proposed at those minutes."""
    for minute in minutes:
        clock = tick(minute)
        state.now, state.tick = clock.time, clock.id
        service.fold(state, clock)
        for _, payload, _ in state.outbox:
            yield minute, Proposed.model_validate_json(payload)


def proposals(
    service: Dispatcher, state: DispatcherState, minutes: range
) -> list[tuple[int, int, str]]:
    """(minute, value, reason) of every export limit proposed at those minutes."""
    found = []
    for minute, proposed in outbox(service, state, minutes):
        assert (proposed.device, proposed.kind) == ("inverter-export", "inverter-export")
        found.append((minute, proposed.value, proposed.reason))
    return found


def with_loads(site: SiteConfig) -> SiteConfig:
    """The house with a boiler from 00:30 to 04:00 UTC and a dishwasher that starts at the same time."""
    loads = [
        {"id": "boiler", "earliest": "01:30", "deadline": "05:00", "interruptible": True,
         "segments": [{"minutes": 60, "power_w": 2_000.0}]},
        {"id": "wash", "earliest": "01:30", "deadline": "05:00",
         "segments": [{"minutes": 30, "power_w": 2_000.0}, {"minutes": 15, "power_w": 200.0}]},
    ]  # fmt: skip
    return SiteConfig.model_validate({**site.model_dump(mode="json"), "loads": loads})


def laundry(site: SiteConfig, **power_w: list[float]) -> DispatcherState:
    """Quarter hours from midnight UTC on in which loads are planned to draw so much."""
    steps = max(len(series) for series in power_w.values())
    plan = SimpleNamespace(
        start=START, step_s=(900,) * max(steps, 40), rooms=(), evs=(), battery_charge_w=(),
        deferrable_loads=tuple(
            SimpleNamespace(name=f"{name} 2026-01-12", power_w=(*series, *([0.0] * 40)))
            for name, series in power_w.items()
        ),
    )
    state = DispatcherState(site=with_loads(site), safety_mode="normal")
    state.plan = plan  # type: ignore[assignment]
    return state


def supplies(state: DispatcherState, minutes: range, device: str) -> dict[int, tuple[int, str]]:
    """By minute, what was proposed for a load."""
    found = {}
    for minute, proposed in outbox(Dispatcher(), state, minutes):
        assert proposed.kind == "load"
        if proposed.device == device:
            found[minute] = (proposed.value, proposed.reason)
    return found


def test_a_load_is_held_off_before_its_window_opens_and_run_in_its_steps(site: SiteConfig) -> None:
    state = laundry(site, boiler=[0, 0, 0, 2_000, 0, 2_000, 0])
    found = supplies(state, range(125), "load-boiler")
    assert [(minute, value) for minute, (value, _) in found.items()] == [
        (26, 0), (41, 0), (46, 1), (61, 0), (76, 1), (91, 0), (106, 0), (121, 0),
    ]  # fmt: skip
    assert found[26][1] == "it waits for cheaper energy, to be done by 05:00"


def test_a_load_that_has_had_its_time_is_switched_off_once(site: SiteConfig) -> None:
    state = laundry(site, boiler=[0, 0, 0, 2_000, 2_000])
    assert supplies(state, range(62), "load-boiler")[46][0] == 1
    assert state.plan is not None
    state.plan.deferrable_loads = ()  # type: ignore[misc]
    found = supplies(state, range(62, 125), "load-boiler")
    assert found == {66: (0, "it has had its time")}


def test_a_programme_keeps_its_supply_to_its_planned_end(site: SiteConfig) -> None:
    state = laundry(site, wash=[0, 0, 0, 2_000, 2_000, 200, 0])
    assert supplies(state, range(50), "load-wash")[46][0] == 1
    assert state.plan is not None
    state.plan.deferrable_loads = ()  # type: ignore[misc]  # the next plan counts it as running
    found = supplies(state, range(50, 130), "load-wash")
    assert [(minute, value) for minute, (value, _) in found.items()] == [(61, 1), (76, 1)]
    assert found[61][1] == "its programme runs until 02:30"


@pytest.mark.parametrize("event", ["refused", "mode"])
def test_a_programme_that_did_not_start_follows_the_next_plan(site: SiteConfig, event: str) -> None:
    state = laundry(site, wash=[0, 0, 0, 2_000, 2_000, 200, 0])
    supplies(state, range(50), "load-wash")
    said: dict[str, Any] = {
        "refused": ("command.rejected", "load-wash", Rejected(
            proposal="p", device="load-wash", kind="load", asked=1, rule="fuse", reason="full", mode="normal",
        )),
        "mode": ("safety.mode-changed", "house", ModeChanged(
            time=START, before="degraded", after="normal", reasons=(), latched=False)),
    }  # fmt: skip
    Dispatcher().fold(state, make_event(*said[event], "safety"))
    assert state.plan is not None
    later = SimpleNamespace(name="wash 2026-01-12", power_w=[0.0] * 8 + [2_000.0] * 3 + [0.0] * 40)
    state.plan.deferrable_loads = (later,)  # type: ignore[misc]
    found = supplies(state, range(50, 125), "load-wash")
    assert [(minute, value) for minute, (value, _) in found.items() if value] == [(121, 1)]


def test_nobody_but_people_switches_a_load_outside_its_windows(site: SiteConfig) -> None:
    state = laundry(site, wash=[0, 0, 2_000, 2_000, 200])
    assert supplies(state, range(20), "load-wash") == {}
    request = wish(target="load-wash", quantity="relay", value=1.0)
    assert ask(Dispatcher(), state, request, "a") == ["override.granted", "command.proposed"]
    assert [Proposed.model_validate_json(payload).kind for _, payload, _ in state.outbox] == ["load"]
    other = wish(target="load-sauna", quantity="relay", value=1.0)
    assert "load-boiler, load-wash" in str(overrides.problem(other, NOW, with_loads(site)))


def test_what_gives_way_is_proposed_before_what_takes_its_room(site: SiteConfig) -> None:
    """The gate judges in the order of the log, and the fuse is full until somebody lets go."""
    state = laundry(site, boiler=[0, 0, 2_000, 0], wash=[0, 0, 0, 2_000, 200])
    plan: Any = state.plan
    plan.rooms = tuple(
        SimpleNamespace(name=room, relay=relay, air_c=[20.0] * 60)
        for room, relay in (("living", [0, 0, 0, 1]), ("kitchen", [0, 0, 1, 0]))
    )
    plan.battery_charge_w, plan.battery_discharge_w = [0, 0, 3_000, 6_000], [0] * 4
    plan.grid_import_w, plan.grid_export_w = [9_000] * 4, [0] * 4
    plan.marginal_price_eur_per_kwh = [0.2] * 4
    plan.evs = (SimpleNamespace(name="car", power_w=[0, 0, 11_000, 5_000]),)
    state.plugged["car"] = True
    found = [(minute, proposed.device, proposed.value) for minute, proposed
             in outbox(Dispatcher(), state, range(50)) if minute == 46]  # fmt: skip
    assert found == [
        (46, "relay-kitchen", 0), (46, "load-boiler", 0), (46, "ev-car", 7246),
        (46, "relay-living", 1), (46, "load-wash", 1), (46, "battery", 6_000),
    ]  # fmt: skip


def test_a_battery_is_charged_until_it_is_measured_full(site: SiteConfig) -> None:
    state, dispatcher = laundry(site, wash=[0]), Dispatcher()
    plan: Any = state.plan
    plan.battery_charge_w, plan.battery_discharge_w = [4_000] * 40, [0] * 40
    plan.grid_import_w, plan.grid_export_w = [5_000] * 40, [0] * 40
    plan.marginal_price_eur_per_kwh = [0.2] * 40

    def asked(minutes: range, soc: float | None) -> dict[int, int]:
        sample = house_sample(soc)
        dispatcher.fold(state, make_event("measurement.house.sampled", "house", sample, "gateway"))
        return {
            minute: proposed.value
            for minute, proposed in outbox(dispatcher, state, minutes)
            if proposed.device == "battery"
        }

    assert asked(range(5), None) == {1: 4_000}
    assert asked(range(5, 10), 0.90) == {6: 0}
    assert asked(range(10, 15), 0.89) == {11: 4_000}


def house_sample(soc: float | None) -> HouseSampled:
    """A sample of the meters of which only the battery's charge matters."""
    return HouseSampled.model_validate(dict.fromkeys(HouseSampled.model_fields) | {"time": START, "soc": soc})


def sunny(site: SiteConfig, *sell: float) -> DispatcherState:
    """Quarter hours in which a kWh fed in brings so much, and nothing else is planned."""
    steps = SimpleNamespace(
        start=START, step_s=(900,) * len(sell), rooms=(), evs=(), battery_charge_w=(),
        deferrable_loads=(),
    )
    state = DispatcherState(site=site, safety_mode="normal", sell_eur_per_kwh=sell)
    state.plan = steps  # type: ignore[assignment]
    return state


def test_where_feeding_in_costs_money_nothing_is_exported_and_the_limit_is_lifted_once(
    site: SiteConfig,
) -> None:
    state = sunny(site, 0.02, -0.01, -0.01, 0.0, 0.02, 0.02, 0.02)
    found = proposals(Dispatcher(), state, range(105))
    assert [(minute, value) for minute, value, _ in found] == [
        (16, 0), (31, 0), (46, 10_000),
    ]  # fmt: skip
    assert "-0.010 EUR: nothing is exported" in found[0][2]


def test_a_limit_that_could_not_be_lifted_is_lifted_again(site: SiteConfig) -> None:
    service, state = Dispatcher(), sunny(site, -0.01, 0.02, 0.02)
    assert [value for _, value, _ in proposals(service, state, range(17))] == [0, 10_000]
    service._retry(state, "inverter-export")
    assert proposals(service, state, range(17, 45))[0][:2] == (21, 10_000)


def test_the_least_price_of_the_connection_counts_and_other_inverters_are_left_alone(
    site: SiteConfig,
) -> None:
    dear = site.grid.model_copy(update={"export_min_price_eur_per_kwh": 0.05})
    state = sunny(site.model_copy(update={"grid": dear}), 0.02, 0.05)
    assert [value for _, value, _ in proposals(Dispatcher(), state, range(17))] == [0, 10_000]
    plain = site.inverter.model_copy(update={"curtailable": False})
    state = sunny(site.model_copy(update={"inverter": plain}), -0.02, -0.02)
    assert proposals(Dispatcher(), state, range(17)) == []
