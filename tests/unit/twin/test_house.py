import datetime as dt
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.site import SiteConfig
from twin.generate import default_scenario
from twin.house import House
from twin.scenario import EvSession, Scenario
from twin.state import OWN_RULES, Actuation, Observation

MINUTE = dt.timedelta(minutes=1)


def _house(site: SiteConfig, scenario: Scenario, hours: float = 0, seed: int = 7) -> House:
    return House(site, scenario, seed, scenario.start + dt.timedelta(hours=hours))


def _balanced(seen: Observation) -> None:
    assert seen.grid_w == pytest.approx(seen.load_w + seen.battery_w - seen.pv_w, abs=1e-6)
    assert seen.import_wh - seen.export_wh == pytest.approx(
        seen.load_wh + seen.battery_charge_wh - seen.battery_discharge_wh - seen.pv_wh, abs=1e-6
    )


commands = st.builds(
    Actuation,
    relays=st.dictionaries(
        st.sampled_from(["living", "kitchen", "bathroom", "study"]),
        st.one_of(st.none(), st.booleans()),
    ),
    battery_power_w=st.one_of(st.none(), st.floats(-9_000, 9_000)),
    ev_current_a=st.dictionaries(st.just("car"), st.one_of(st.none(), st.floats(-1, 40))),
    export_limit_w=st.one_of(st.none(), st.floats(-10, 20_000)),
    loads=st.dictionaries(st.just("boiler"), st.one_of(st.none(), st.booleans())),
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(plan=st.lists(st.tuples(commands, st.integers(1, 5_000)), min_size=1, max_size=8))
def test_balances_hold_under_any_command(
    site: SiteConfig, winter: Scenario, plan: list[tuple[Actuation, int]]
) -> None:
    house = _house(site, winter, hours=10)
    start = house.truth
    for actuation, seconds in plan:
        seen = house.step(house.time + dt.timedelta(seconds=seconds), actuation)
        truth = house.truth
        _balanced(seen)
        assert seen.load_w == pytest.approx(
            truth.base_load_w + truth.heating_w + truth.ev_w + truth.loads_w, abs=1e-6
        )
        assert seen.load_wh == pytest.approx(
            truth.base_load_wh + truth.heating_wh + truth.ev_wh + truth.loads_wh, abs=1e-6
        )
        assert truth.stored_wh - start.stored_wh == pytest.approx(
            truth.gained_wh - truth.lost_wh, abs=1e-6
        )
        assert truth.battery_stored_wh - start.battery_stored_wh == pytest.approx(
            seen.battery_charge_wh - seen.battery_discharge_wh - truth.battery_lost_wh, abs=1e-6
        )
        assert seen.pv_w - seen.battery_w <= site.inverter.ac_limit_w + 1e-6
        assert -seen.grid_w <= seen.export_limit_w + 1e-6
        assert 0 <= seen.soc <= 1
        assert 0 <= seen.pv_w <= truth.pv_available_w
        assert seen.evs["car"].power_w <= site.evs[0].max_w + 1e-6


def test_same_input_same_output_and_seed_matters(site: SiteConfig, winter: Scenario) -> None:
    def run(seed: int) -> Observation:
        return _house(site, winter, seed=seed).step(winter.start + dt.timedelta(hours=6))

    assert run(7) == run(7)
    assert run(7) != run(8)


def test_stepping_by_minutes_equals_stepping_at_once(site: SiteConfig, winter: Scenario) -> None:
    actuation = Actuation(relays={"living": True}, battery_power_w=1_500.0)
    one, many = _house(site, winter, 14), _house(site, winter, 14)
    end = one.time + dt.timedelta(hours=5)
    whole = one.step(end, actuation)
    while many.time < end:
        pieces = many.step(many.time + MINUTE, actuation)
    assert pieces == whole
    assert many.truth == one.truth


def test_save_and_load_continue_bit_for_bit(site: SiteConfig, winter: Scenario) -> None:
    house = _house(site, winter, 14)
    house.step(house.time + dt.timedelta(hours=4, seconds=17), Actuation(battery_power_w=500.0))
    state = json.loads(json.dumps(house.save()))
    end = house.time + dt.timedelta(hours=3)
    again = _house(site, winter)
    again.load(state)
    assert again.observe() == house.observe()
    assert again.step(end) == house.step(end)
    assert again.save() == house.save()
    with pytest.raises(ValueError, match=r"state\.seed"):
        _house(site, winter, seed=8).load(state)
    other = replace(winter, sessions=())
    with pytest.raises(ValueError, match=r"state\.scenario"):
        _house(site, other).load(state)


def test_relay_commands_and_lock_out(site: SiteConfig, winter: Scenario) -> None:
    house = _house(site, winter)
    second = dt.timedelta(seconds=1)
    on, off = Actuation(relays={"garage": True}), Actuation(relays={"garage": False})
    house.step(house.time + second, off)
    house.step(house.time + 120 * second, off)
    assert house.step(house.time + second, on).rooms["garage"].relay_on
    assert house.step(house.time + 30 * second, off).rooms["garage"].relay_on
    assert not house.step(house.time + 120 * second, off).rooms["garage"].relay_on
    switches = house.truth.relay_switches
    for k in range(120):
        house.step(house.time + second, on if k % 2 else off)
    assert house.truth.relay_switches - switches < 120


def test_thermostats_hold_comfort_on_their_own(site: SiteConfig, winter: Scenario) -> None:
    house = House.warmed(site, winter, 7, winter.start)
    seen = house.step(winter.end)
    truth = house.truth
    # 16 rooms, 48 h: under 0.01 K on average, and no fuse blown.
    assert truth.comfort_below_kh < 16 * 48 * 0.005
    assert truth.over_fuse_s == 0
    assert 60_000 < seen.load_wh / 2 < 130_000
    assert any(room.temperature_c != round(room.temperature_c) for room in seen.rooms.values())
    assert all(round(10 * r.temperature_c, 6).is_integer() for r in seen.rooms.values())


def test_heaters_off_freeze_and_heaters_on_overheat(site: SiteConfig, winter: Scenario) -> None:
    ids = [room.id for room in site.rooms]
    cold, warm = _house(site, winter), _house(site, winter)
    day = winter.start + dt.timedelta(hours=24)
    cold.step(day, Actuation(relays=dict.fromkeys(ids, False)))
    warm.step(day, Actuation(relays=dict.fromkeys(ids, True)))
    assert cold.truth.heating_wh == 0
    assert cold.truth.comfort_below_kh > 100
    assert min(warm.truth.air_c.values()) > 24
    gap = np.array(list(warm.truth.air_c.values())) - np.array(list(cold.truth.air_c.values()))
    assert gap.min() > 4


def test_battery_obeys_commands_within_limits(site: SiteConfig, winter: Scenario) -> None:
    house = _house(site, winter)
    assert house.step(house.time + MINUTE, Actuation(battery_power_w=2_500.0)).battery_w == 2_500
    assert house.step(house.time + MINUTE, Actuation(battery_power_w=99_000.0)).battery_w == 6_000
    assert house.step(house.time + MINUTE, Actuation(battery_power_w=-2_000.0)).battery_w == -2_000
    assert house.step(house.time + MINUTE, Actuation(battery_power_w=0.0)).battery_w == 0
    no_grid = site.model_copy(
        update={"battery": site.battery.model_copy(update={"grid_charge": False})}  # type: ignore[union-attr]
    )
    dark = _house(no_grid, winter)
    assert dark.step(dark.time + MINUTE, Actuation(battery_power_w=2_500.0)).battery_w <= 0


def test_self_use_covers_load_and_stops_at_its_floor(site: SiteConfig, winter: Scenario) -> None:
    house = _house(site, winter, hours=17)
    seen = house.step(house.time + MINUTE)
    assert seen.battery_w < 0
    assert seen.grid_w == pytest.approx(0, abs=40)  # dead band
    seen = house.step(house.time + dt.timedelta(hours=12))
    assert seen.soc == pytest.approx(site.battery.soc_min, abs=0.005)  # type: ignore[union-attr]


def test_export_limit_curtails_and_spares_battery_first(site: SiteConfig) -> None:
    summer = default_scenario(dt.datetime(2026, 6, 20, tzinfo=dt.UTC), 3, 5)
    house = House(site, summer, 7, summer.start + dt.timedelta(hours=10))
    free = house.step(house.time + MINUTE, Actuation(battery_power_w=0.0))
    assert free.grid_w < -200
    tight = house.step(
        house.time + MINUTE, Actuation(battery_power_w=-3_000.0, export_limit_w=100.0)
    )
    assert tight.battery_w == 0
    assert tight.grid_w == pytest.approx(-100, abs=1e-6)
    assert tight.export_limit_w == 100
    assert house.truth.curtailed_wh > 0


def test_fuse_guard_of_the_wallbox(site: SiteConfig, winter: Scenario) -> None:
    ids = [room.id for room in site.rooms]
    session = EvSession("car", winter.start_s, winter.start_s + 80_000, 60_000.0)
    scenario = replace(winter, sessions=(session,))
    house = _house(site, scenario)
    everything = Actuation(relays=dict.fromkeys(ids, True), battery_power_w=0.0)
    seen = [house.step(house.time + MINUTE, everything) for _ in range(60)]
    assert max(one.grid_w for one in seen) <= site.grid.import_limit_w + 1e-6
    assert house.truth.over_fuse_s == 0
    # The rest of the house can still overload the fuse: the twin counts it, nothing hides it.
    house.step(house.time + 10 * MINUTE, replace(everything, battery_power_w=6_000.0))
    assert house.truth.over_fuse_s > 0


def test_ev_observation_over_a_session(site: SiteConfig, winter: Scenario) -> None:
    session = EvSession(
        "car", winter.start_s + 630, winter.start_s + 9_000, 2_000.0, None, winter.start_s + 8_100
    )
    house = _house(site, replace(winter, sessions=(session,)))
    assert not house.step(winter.start + 10 * MINUTE).evs["car"].plugged
    seen = house.step(winter.start + 12 * MINUTE).evs["car"]
    assert seen.plugged
    assert seen.target_energy_wh is None
    assert seen.departure == winter.start + dt.timedelta(seconds=8_100)
    seen = house.step(winter.start + 60 * MINUTE).evs["car"]
    assert seen.session_energy_wh == pytest.approx(2_000, abs=0.01)
    assert seen.power_w == 0
    gone = house.step(winter.start + 151 * MINUTE).evs["car"]
    assert not gone.plugged
    assert gone.session_energy_wh == 0


def test_measured_pv_replaces_the_model(site: SiteConfig, winter: Scenario) -> None:
    table = replace(winter.load, columns={"w_per_kwp": np.full(len(winter.load), 100.0)})
    seen = _house(site, replace(winter, pv=table)).step(winter.start + MINUTE)
    assert seen.pv_w == pytest.approx(100.0 * site.pv_peak_w / 1000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relays": {"cellar": True}}, "'cellar' is no room"),
        ({"ev_current_a": {"bus": 6.0}}, "'bus' is no car"),
        ({"battery_power_w": float("nan")}, "battery_power_w is nan"),
        ({"export_limit_w": float("inf")}, "export_limit_w is inf"),
    ],
)
def test_bad_commands_are_refused(
    site: SiteConfig, winter: Scenario, change: dict[str, Any], message: str
) -> None:
    house = _house(site, winter)
    with pytest.raises(ValueError, match=message):
        house.step(house.time + MINUTE, replace(OWN_RULES, **change))


def test_times_outside_are_refused(site: SiteConfig, winter: Scenario) -> None:
    house = _house(site, winter)
    with pytest.raises(ValueError, match="lies before"):
        house.step(house.time - MINUTE)
    with pytest.raises(ValueError, match="outside the scenario"):
        house.step(winter.end + dt.timedelta(days=30))
    with pytest.raises(ValueError, match="whole minute"):
        House(site, winter, 1, winter.start + dt.timedelta(seconds=5))
    stranger = replace(winter, sessions=(EvSession("bus", 0, 1, 1.0),))
    with pytest.raises(ValueError, match="'bus' is no car"):
        House(site, stranger, 1, winter.start)
