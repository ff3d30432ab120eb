"""Reading recordings, the clock, the sun, and the watch for open windows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pvlib import irradiance, solarposition

from services.thermal.core.filter import Innovation, RoomEstimate
from services.thermal.core.history import fill_short_gaps, make_windows, with_irradiance
from services.thermal.core.solar import (
    local_hour,
    plane_irradiance,
    split_ghi,
    sun_path,
    weekend,
)
from services.thermal.core.windows import WindowState, watch_windows
from services.thermal.history_csv import clock_notes, read_history, regularise
from services.thermal.location import locate
from tests.unit.thermal.house import simulate, true_house


def test_sun_and_planes_agree_with_pvlib() -> None:
    times = pd.date_range("2025-03-10", periods=48, freq="30min", tz="UTC")
    epoch_s = times.as_unit("s").asi8
    sun = sun_path(epoch_s, 50.0, 14.4)
    reference = solarposition.get_solarposition(times, 50.0, 14.4)
    np.testing.assert_allclose(sun.zenith_deg, reference["apparent_zenith"], atol=0.02)
    ghi = np.maximum(600.0 * np.cos(np.radians(sun.zenith_deg)), 0.0)
    dni, dhi = split_ghi(sun, ghi)
    up = sun.zenith_deg < 80.0
    total = irradiance.get_total_irradiance(
        90.0, 180.0, sun.zenith_deg, sun.azimuth_deg, dni, ghi, dhi, albedo=0.2
    )["poa_global"]
    found = plane_irradiance(sun, ghi, dni, dhi, [(180.0, 90.0), (0.0, 0.0)])
    np.testing.assert_allclose(found[up, 0], np.asarray(total)[up], rtol=1e-6, atol=0.01)
    np.testing.assert_allclose(found[up, 1], ghi[up], rtol=1e-6)
    erbs = irradiance.erbs(ghi, sun.zenith_deg, times)
    np.testing.assert_allclose(dhi[up], np.asarray(erbs["dhi"])[up], rtol=0.02, atol=1.0)
    assert np.isnan(plane_irradiance(sun, ghi * np.nan, dni, dhi, [(180.0, 90.0)])).all()


def test_local_hour_knows_daylight_saving() -> None:
    hours = pd.to_datetime(
        ["2025-03-30T00:30Z", "2025-03-30T01:30Z", "2025-10-26T00:30Z", "2025-10-26T01:30Z"]
    )
    found = local_hour(hours.as_unit("s").asi8, "Europe/Prague")
    np.testing.assert_array_equal(found, [1, 3, 2, 2])


def test_a_weekend_begins_and_ends_at_local_midnight() -> None:
    times = pd.date_range("2025-03-01", "2025-11-30", freq="30min", tz="UTC", unit="s")
    for zone in ("Europe/Prague", "America/Los_Angeles", "Asia/Kolkata"):
        expected = np.asarray(times.tz_convert(zone).dayofweek >= 5)
        hourly = np.asarray(times.tz_convert(zone).minute == 0) | (zone != "Asia/Kolkata")
        np.testing.assert_array_equal(weekend(times.asi8, zone)[hourly], expected[hourly])
    assert weekend(np.array([], dtype=np.int64), "Europe/Prague").size == 0


def write(path: Path, **columns: object) -> Path:
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_csv_is_read_onto_a_regular_grid(tmp_path: Path) -> None:
    times = pd.date_range("2025-01-06", periods=12, freq="10min", tz="UTC")
    keep = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]
    file = write(
        tmp_path / "house.csv",
        utc=times[keep].strftime("%Y-%m-%dT%H:%M:%SZ"),
        T_bath=[20.0, 20.1, None, 20.3, 20.4, 20.5, 20.6, 20.7, 20.8, 20.9],
        heat_bath=[0.0] * 10,
        temp_air=[5.0] * 10,
        oven=[100.0] * 10,
    )
    history, notes = read_history(file)
    assert (history.step_s, len(history.epoch_s), history.rooms) == (600, 12, ("bath",))
    assert np.isnan(history.temperature_c[[2, 4, 5], 0]).all()
    assert history.temperature_c[6, 0] == 20.4
    assert list(history.metered_w) == ["oven"]
    assert notes == ()


def test_a_local_clock_is_named(tmp_path: Path) -> None:
    local = pd.date_range("2025-10-25", "2025-10-27", freq="1h", tz="Europe/Prague")
    file = write(
        tmp_path / "autumn.csv",
        utc=local.tz_localize(None).strftime("%Y-%m-%dT%H:%M:%S"),
        T_bath=np.linspace(20.0, 21.0, len(local)),
        temp_air=5.0,
    )
    history, notes = read_history(file)
    assert any("daylight saving" in note or "repeat a time" in note for note in notes)
    assert (np.diff(history.epoch_s) == history.step_s).all()
    spring = pd.date_range("2025-03-29", "2025-03-31", freq="1h", tz="Europe/Prague")
    naive = spring.tz_localize(None).as_unit("s").asi8
    assert any("daylight saving" in note for note in clock_notes(naive))
    backwards = np.array([0, 600, 1200, -2400, -1800, -1200]) + 10**9
    assert any("runs back" in note for note in clock_notes(backwards))
    mixed = np.random.default_rng(0).permutation(600 * np.arange(100))
    for rows in (mixed, np.sort(mixed)[::-1]):
        assert clock_notes(rows) == ("the rows are not in the order of time; they were sorted",)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"T_a": [1.0], "temp_air": [1.0]}, "no column 'utc'"),
        ({"utc": ["2025-01-01"], "T_a": [1.0]}, "no column 'temp_air'"),
        ({"utc": ["2025-01-01"], "temp_air": [1.0]}, "no temperature column"),
        ({"utc": ["soon"], "temp_air": [1.0], "T_a": [1.0]}, "not a time"),
        ({"utc": ["2025-01-01"], "temp_air": [1.0], "T_a": [1.0]}, "fewer than two"),
        ({"utc;T_a;temp_air": ["2025-01-01;19,5;1,0"]}, "separate the fields by commas"),
        (
            {"utc": ["2025-01-01"] * 2, "temp_air": [1.0, 1.0], "T_a": ["unknown", "19,5"]},
            "T_a in data row 2: '19,5' is no number",
        ),
    ],
)
def test_bad_files_are_refused_by_name(
    tmp_path: Path, columns: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_history(write(tmp_path / "bad.csv", **columns))


def test_regularise_averages_rows_that_share_a_place() -> None:
    epoch, step, table = regularise(
        np.array([0, 300, 300, 600, 900]), np.array([[1.0], [2.0], [4.0], [np.nan], [5.0]])
    )
    assert step == 300
    np.testing.assert_array_equal(epoch, [0, 300, 600, 900])
    np.testing.assert_array_equal(table[:, 0], [1.0, 3.0, np.nan, 5.0])


def test_nothing_is_learnt_of_a_room_until_it_has_been_followed_after_a_gap() -> None:
    """Three quarters of a day after two days without it; the other room, and one that is heard only
    now and then, count as before."""
    history = simulate(true_house(), days=8)
    step = history.step_s
    day = 86400 // step
    history.temperature_c[2 * day : 4 * day, 0] = np.nan
    history.temperature_c[np.arange(len(history.epoch_s)) % day > 4 * 3600 // step, 2] = np.nan
    valid = np.ones(len(history.epoch_s), dtype=bool)
    windows = make_windows(
        history, np.zeros((len(valid), 1)), valid, horizon_s=3600, stride_s=step, skip_s=0
    )
    assert (windows.weights[:, 1] == 1.0).all()
    first = int(windows.origins[(windows.origins >= 4 * day) & (windows.weights[:, 0] > 0)][0])
    assert 0.7 * day <= first - 4 * day <= 0.8 * day
    assert (windows.weights[windows.origins >= first, 0] == 1.0).all()
    assert 0.1 < windows.weights[:, 2].mean() < 0.4


def test_only_short_gaps_are_filled() -> None:
    values = np.array([1.0, np.nan, 3.0, np.nan, np.nan, np.nan, 7.0, np.nan])
    filled = fill_short_gaps(values, 2)
    np.testing.assert_array_equal(filled[:3], [1.0, 2.0, 3.0])
    assert np.isnan(filled[[3, 4, 5, 7]]).all()


def test_longitude_follows_from_the_daylight() -> None:
    _, longitude, _, note = locate(simulate(true_house(), days=10))
    assert longitude == pytest.approx(14.4, abs=3.0)
    assert "assumed" in note


def test_direct_and_diffuse_light_make_the_global_and_holes_in_them_are_split_from_it() -> None:
    history = simulate(true_house(), days=3)
    place = (50.08, 14.43)
    assert history.ghi_w_m2 is not None
    full = with_irradiance(history, *place)
    assert full.dni_w_m2 is not None and full.dhi_w_m2 is not None
    parts = replace(history, ghi_w_m2=None, dni_w_m2=full.dni_w_m2, dhi_w_m2=full.dhi_w_m2)
    made = with_irradiance(parts, *place)
    assert made.ghi_w_m2 is not None and not made.ghi_is_estimated
    np.testing.assert_allclose(made.ghi_w_m2, history.ghi_w_m2, atol=20.0)
    assert locate(parts)[1] == pytest.approx(locate(history)[1], abs=3.0)
    dni = full.dni_w_m2.copy()
    dni[10:20] = np.nan
    holes = replace(history, dni_w_m2=dni, dhi_w_m2=full.dhi_w_m2)
    mended = with_irradiance(holes, *place)
    assert mended.dni_w_m2 is not None
    np.testing.assert_allclose(mended.dni_w_m2, full.dni_w_m2)


@pytest.mark.parametrize(("most", "factor"), [(1.0, 1000.0), (9.0, 1000.0), (60.0, 1.0)])
def test_heating_that_cannot_be_watts_is_taken_as_kilowatts_and_said(
    tmp_path: Path, most: float, factor: float
) -> None:
    file = write(
        tmp_path / "house.csv",
        utc=[f"2025-01-06T0{hour}:00:00Z" for hour in range(3)],
        T_bath=20.0, T_hall=20.0, temp_air=5.0, heat_bath=[0.0, None, most], heat_hall=0.5,
    )  # fmt: skip
    history, notes = read_history(file)
    np.testing.assert_array_equal(history.heat_w["heat_bath"], [0.0, np.nan, factor * most])
    np.testing.assert_array_equal(history.heat_w["heat_hall"], factor * 0.5)
    assert any("give W" in note for note in notes) == (factor > 1.0)


def test_codes_for_no_weather_are_removed_and_said(tmp_path: Path) -> None:
    file = write(
        tmp_path / "house.csv",
        utc=[f"2025-01-06T0{hour}:00:00Z" for hour in range(4)],
        T_bath=20.0, temp_air=[5.0, -999.0, -40.0, None], ghi=[-3.0, 1.0, 9999.0, -999.0],
    )  # fmt: skip
    history, notes = read_history(file)
    np.testing.assert_array_equal(history.outside_c, [5.0, np.nan, -40.0, np.nan])
    np.testing.assert_array_equal(history.ghi_w_m2, [-3.0, 1.0, np.nan, np.nan])
    assert notes == (
        "temp_air: 1 values outside -70..70 removed", "ghi: 2 values outside -50..2000 removed",
    )  # fmt: skip


def test_heating_of_a_room_without_a_temperature_is_said(tmp_path: Path) -> None:
    file = write(
        tmp_path / "house.csv",
        utc=[f"2025-01-06T0{hour}:00:00Z" for hour in range(3)],
        T_bath=20.0, temp_air=5.0, heat_Bath=500.0, heat_bath=500.0, heat=[0.0, 1.0, 500.0],
    )  # fmt: skip
    assert read_history(file)[1] == ("heat_Bath heats no room: there is no T_Bath",)


def test_an_empty_weather_column_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    file = write(
        tmp_path / "house.csv",
        utc=[f"2025-01-06T0{hour}:00:00Z" for hour in range(3)],
        T_bath=20.0, temp_air=5.0, ghi=[0.0, 1.0, 2.0], dni=[None] * 3, dhi=[None] * 3,
    )  # fmt: skip
    history, _ = read_history(file)
    assert history.dni_w_m2 is None and history.dhi_w_m2 is None


def drop(z: float) -> tuple[tuple[Innovation, ...], tuple[RoomEstimate, ...]]:
    return (
        (Innovation("bath", 20.0, 0.1 * z, 0.1, True),),
        (RoomEstimate("bath", 20.0, 0.1, None, 0.0, 50.0, None),),
    )


def test_an_open_window_is_noticed_and_forgotten() -> None:
    states: dict[str, WindowState] = {}
    for z in (0.3, -0.6, 0.9, -1.2, 0.1):
        states = watch_windows(states, *drop(z), outside_c=0.0, step_s=300)
    assert not states["bath"].open
    for _ in range(3):
        states = watch_windows(states, *drop(-4.5), outside_c=0.0, step_s=300)
    assert states["bath"].open
    states = watch_windows(states, *drop(-0.5), outside_c=0.0, step_s=300)
    assert states["bath"].open
    assert WindowState.from_dict(states["bath"].to_dict()) == states["bath"]
    states = watch_windows(states, *drop(2.5), outside_c=0.0, step_s=300)
    assert not states["bath"].open


def test_no_window_alarm_when_it_is_warm_outside() -> None:
    states: dict[str, WindowState] = {}
    for _ in range(10):
        states = watch_windows(states, *drop(-4.5), outside_c=19.0, step_s=300)
    assert not states["bath"].open
