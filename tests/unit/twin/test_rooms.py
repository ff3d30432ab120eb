"""The physics against what is known of houses, in still, dark weather of 0 degC."""

import numpy as np
import pytest

from contracts.site import SiteConfig
from twin.rooms import Building, Rooms, building, ground_c

NO = np.zeros(16)


@pytest.fixture(scope="module")
def built(site: SiteConfig) -> Building:
    return building(site, 7)


def _rooms(built: Building, air_c: float = 20.0, outdoor: float = 0.0) -> Rooms:
    return Rooms(built, np.full(16, air_c), outdoor, 8.0)


def _run(rooms: Rooms, minutes: int, heat: np.ndarray, outdoor: float = 0.0) -> np.ndarray:
    air = []
    for _ in range(minutes):
        rooms.step(60, heat, NO, NO, NO, outdoor, 3.0, 8.0)
        air.append(rooms.air_c)
    return np.array(air)


def test_heat_is_conserved(built: Building) -> None:
    rng = np.random.default_rng(1)
    rooms = _rooms(built)
    for _ in range(500):
        before = rooms.stored_wh()
        heat = rooms.step(
            60, *(rng.uniform(0, 900, 16) for _ in range(3)), rng.uniform(0, 1, 16),
            float(rng.uniform(-15, 35)), float(rng.uniform(0, 12)), 9.0,
        )  # fmt: skip
        gained = (heat.into_rooms_w - heat.lost_w) / 60
        assert rooms.stored_wh() - before == pytest.approx(gained, abs=1e-6)


def test_total_loss_is_near_the_nominal(built: Building, site: SiteConfig) -> None:
    rooms = _rooms(built)
    _run(rooms, 4 * 1440, np.array([0.45 * room.heat_loss_w_per_k * 20 for room in site.rooms]))
    steady = rooms.air_c.copy()
    heat = rooms.step(60, NO, NO, NO, NO, 0.0, 3.0, 8.0)
    nominal = sum(
        room.heat_loss_w_per_k * air for room, air in zip(site.rooms, steady, strict=True)
    )
    assert heat.lost_w == pytest.approx(nominal, rel=0.2)


def test_rooms_cool_as_houses_do(built: Building) -> None:
    rooms = _rooms(built)
    air = _run(rooms, 9 * 60, NO)
    rate = (air[60] - air[-1]) / 8
    area = built.area_m2
    assert 0.15 < float((rate * area).sum() / area.sum()) < 0.5
    assert rate.min() > 0.02
    assert rate.max() < 0.7


def test_floor_heating_lags(built: Building) -> None:
    rooms = _rooms(built)
    idle = _rooms(built)
    heat = 0.5 * built.heater_w
    effect = _run(rooms, 8 * 60, heat) - _run(idle, 8 * 60, NO)
    living = effect[:, 0]
    # Response to a constant power: slow at first, 63 % of the eight-hour rise after some hours.
    assert living[20] < 0.12 * living[-1]
    assert 90 < int(np.argmax(living > 0.5 * living[-1])) < 300
    # After switching off the room still rises for a while.
    after = _run(rooms, 120, NO)[:, 0]
    assert after.argmax() > 10


def test_neighbours_share_heat(built: Building, site: SiteConfig) -> None:
    ids = [room.id for room in site.rooms]
    heat = NO.copy()
    heat[ids.index("living")] = 2_000.0
    effect = _run(_rooms(built), 600, heat)[-1] - _run(_rooms(built), 600, NO)[-1]
    assert effect[ids.index("living")] > 1.0
    assert 0.1 < effect[ids.index("kitchen")] < effect[ids.index("living")]
    assert effect[ids.index("utility")] < effect[ids.index("kitchen")]
    np.testing.assert_allclose(built.door.sum(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(built.door, built.door.T)


def test_open_window_and_wind_cool(built: Building) -> None:
    shut, opened, windy = _rooms(built), _rooms(built), _rooms(built)
    for _ in range(10):
        shut.step(60, NO, NO, NO, NO, 0.0, 3.0, 8.0)
        opened.step(60, NO, NO, NO, np.ones(16), 0.0, 3.0, 8.0)
        windy.step(60, NO, NO, NO, NO, 0.0, 15.0, 8.0)
    assert shut.air_c[0] - opened.air_c[0] > 0.3
    assert 0.01 < shut.air_c[0] - windy.air_c[0] < 0.3


def test_houses_differ_by_seed_but_little(site: SiteConfig) -> None:
    one, two = building(site, 1), building(site, 2)
    assert not np.array_equal(one.wall_out_w_k, two.wall_out_w_k)
    nominal = np.array([room.heater_w for room in site.rooms])
    np.testing.assert_allclose(one.heater_w, nominal, rtol=0.05)


def test_ground_follows_the_year_with_a_lag() -> None:
    march = int(np.datetime64("2026-02-27", "s").astype(int))
    days = ground_c(np.arange(march, march + 365 * 86_400, 86_400))
    assert days.argmin() in (0, 364)
    assert days.min() == pytest.approx(7.0, abs=0.01)
