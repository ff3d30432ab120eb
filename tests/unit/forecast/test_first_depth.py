"""The baselines: physics for PV, calendar for load; what is published is exact."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.forecast.core.calendar import calendar, local_seconds, utc_from_local
from services.forecast.core.load_seasonal import seasonal_load, weighted_quantiles
from services.forecast.core.price_hours import price_at
from services.forecast.core.pv_physics import PvArray, pv_physics
from services.forecast.core.solar import Location, sun_path
from services.forecast.core.weather import Weather

PRAGUE = Location(50.08, 14.43, 250.0)
SOUTH = PvArray(tilt_deg=35, azimuth_deg=180, peak_power_w=5000)


def epoch(*args: int) -> int:
    return int(dt.datetime(*args, tzinfo=dt.UTC).timestamp())  # type: ignore[arg-type]


def grid(start: int, n: int, step: int = 900) -> np.ndarray:
    return start + np.arange(n, dtype=np.int64) * step


class TestPhysics:
    def test_night_is_exactly_zero_even_under_bright_sensor_noise(self) -> None:
        times = grid(epoch(2025, 6, 21), 96)
        bands = pv_physics(times, PRAGUE, [SOUTH], Weather(ghi=np.full(96, 30.0)))
        sun = sun_path(times, 900, PRAGUE)
        for values in (bands.p10, bands.p50, bands.p90):
            assert np.all(values[~sun.up] == 0.0)
        assert bands.p50[48] > 0

    def test_polar_night_and_polar_day(self) -> None:
        north = Location(69.6, 18.9)
        winter = pv_physics(
            grid(epoch(2025, 12, 20), 96), north, [SOUTH], Weather(cloud_cover=np.zeros(96))
        )
        assert np.all(winter.p90 == 0.0)
        assert sun_path(grid(epoch(2025, 6, 20), 96), 900, north).up.all()

    def test_clear_summer_day_energy_is_plausible(self) -> None:
        times = grid(epoch(2025, 6, 21), 96)
        weather = Weather(cloud_cover=np.zeros(96), temp_air=np.full(96, 22.0))
        bands = pv_physics(times, PRAGUE, [SOUTH], weather)
        assert 6.0 < bands.p50.sum() / 4 / SOUTH.peak_power_w < 7.5  # kWh per kWp

    def test_east_array_peaks_before_west_array(self) -> None:
        times = grid(epoch(2025, 6, 21), 96)
        weather = Weather(cloud_cover=np.zeros(96))
        peaks = [
            int(np.argmax(pv_physics(times, PRAGUE, [PvArray(30, azimuth, 1000)], weather).p50))
            for azimuth in (90, 180, 270)
        ]
        assert peaks[0] < peaks[1] < peaks[2]

    def test_inverter_limit_and_horizon(self) -> None:
        times = grid(epoch(2025, 6, 21), 96)
        weather = Weather(cloud_cover=np.zeros(96))
        limited = pv_physics(times, PRAGUE, [SOUTH], weather, inverter_limit_w=2000.0)
        assert limited.p90.max() == 2000.0
        walled = PvArray(35, 180, 5000, horizon=((0.0, 90.0), (180.0, 90.0)))
        shaded = pv_physics(times, PRAGUE, [walled], weather)
        free = pv_physics(times, PRAGUE, [SOUTH], weather)
        assert 0 < shaded.p50.sum() < 0.4 * free.p50.sum()  # diffuse light alone

    def test_missing_columns_are_derived_and_flagged(self) -> None:
        times = grid(epoch(2025, 6, 21), 96)
        assert "weather-missing" in pv_physics(times, PRAGUE, [SOUTH], Weather()).flags
        assert (
            "cloud-cover-only"
            in pv_physics(times, PRAGUE, [SOUTH], Weather(cloud_cover=np.full(96, 50.0))).flags
        )
        ghi = np.full(96, 300.0)
        ghi[40:60] = np.nan
        patched = pv_physics(
            times, PRAGUE, [SOUTH], Weather(ghi=ghi, cloud_cover=np.full(96, 20.0))
        )
        assert not np.isnan(patched.p50).any()

    def test_components_rebuild_global(self) -> None:
        times = grid(epoch(2025, 6, 21), 96)
        sun = sun_path(times, 900, PRAGUE)
        cosine = np.maximum(np.cos(np.radians(sun.zenith_deg)), 0)
        dni, dhi = np.full(96, 600.0), np.full(96, 100.0)
        given_all = pv_physics(
            times, PRAGUE, [SOUTH], Weather(ghi=dni * cosine + dhi, dni=dni, dhi=dhi)
        )
        without_ghi = pv_physics(times, PRAGUE, [SOUTH], Weather(dni=dni, dhi=dhi))
        np.testing.assert_allclose(given_all.p50, without_ghi.p50, rtol=1e-12)

    @pytest.mark.parametrize(
        ("build", "field"),
        [
            (lambda: PvArray(120, 180, 1000), "tilt_deg"),
            (lambda: PvArray(30, 180, -1), "peak_power_w"),
            (lambda: Location(123, 0), "latitude"),
        ],
    )
    def test_bad_input_names_the_field(self, build: object, field: str) -> None:
        with pytest.raises(ValueError, match=field):
            build()  # type: ignore[operator]

    @settings(max_examples=25, deadline=None)
    @given(
        st.floats(-89, 89), st.floats(-180, 180), st.integers(0, 2_000_000_000),
        st.lists(st.one_of(st.floats(0, 1200), st.just(float("nan"))), min_size=24, max_size=24),
    )  # fmt: skip
    def test_bands_are_ordered_finite_and_not_negative(
        self, latitude: float, longitude: float, start: int, ghi: list[float]
    ) -> None:
        bands = pv_physics(
            grid(start, 24, 3600), Location(latitude, longitude), [SOUTH], Weather(ghi=np.array(ghi)),
            step_s=3600,
        )  # fmt: skip
        stack = np.stack([bands.p10, bands.p50, bands.p90])
        assert np.isfinite(stack).all()
        assert (stack >= 0).all()
        assert (np.diff(stack, axis=0) >= 0).all()


class TestCalendar:
    def test_days_of_23_and_25_hours(self) -> None:
        spring = grid(epoch(2025, 3, 29, 23), 23, 3600)
        assert len(set((local_seconds(spring, "Europe/Prague") // 86400).tolist())) == 1
        autumn = grid(epoch(2025, 10, 25, 22), 25, 3600)
        local = local_seconds(autumn, "Europe/Prague")
        assert len(set((local // 86400).tolist())) == 1
        assert len(set(local.tolist())) == 24

    def test_back_and_forth(self) -> None:
        times = grid(epoch(2025, 1, 1), 365 * 24, 3600)
        back = utc_from_local(local_seconds(times, "Europe/Prague"), "Europe/Prague")
        assert np.sum(back != times) <= 1  # the repeated hour of October

    def test_holiday_and_bridge_day(self) -> None:
        thursday = calendar(
            np.array([epoch(2025, 5, 1, 12), epoch(2025, 5, 2, 12)]), "Europe/Prague", "CZ"
        )
        assert thursday.holiday.tolist() == [True, False]
        assert thursday.bridge.tolist() == [False, True]
        assert thursday.day_kind.tolist() == [2, 1]

    def test_unknown_zone_and_country_say_what_to_use(self) -> None:
        with pytest.raises(ValueError, match="time_zone"):
            calendar(np.array([0]), "Mars/Olympus")
        with pytest.raises(ValueError, match="country"):
            calendar(np.array([0]), "UTC", "ZZZ")


class TestSeasonalLoad:
    @pytest.mark.parametrize("days", [0, 1, 3, 14])
    @pytest.mark.parametrize("step", [300, 900, 3600])
    def test_any_history_length_gives_an_answer(self, days: int, step: int) -> None:
        now = epoch(2025, 3, 1)
        past = grid(now - days * 86400, days * 48, 1800)
        bands = seasonal_load(
            grid(now, 48 * 3600 // step, step), past, np.full(len(past), 700.0), step_s=step,
            time_zone="Europe/Prague", country="CZ",
        )  # fmt: skip
        assert np.isfinite(bands.p50).all()
        assert (bands.p10 <= bands.p50).all()
        assert (bands.p50 <= bands.p90).all()
        if days >= 3:
            np.testing.assert_allclose(bands.p50, 700.0, rtol=0.25)
        assert ("history-missing" in bands.flags) == (days == 0)

    def test_weekend_differs_from_working_day(self) -> None:
        now = epoch(2025, 3, 6, 23)  # Friday 00:00 in Prague
        past = grid(now - 28 * 86400, 28 * 96)
        kind = calendar(past, "Europe/Prague", "CZ").day_kind
        bands = seasonal_load(
            grid(now, 192), past, np.where(kind == 0, 400.0, 1000.0),
            time_zone="Europe/Prague", country="CZ",
        )  # fmt: skip
        assert bands.p50[:96].mean() < 450
        assert bands.p50[96:].mean() > 900

    def test_the_future_is_ignored(self) -> None:
        now = epoch(2025, 3, 1)
        past = grid(now - 14 * 86400, 14 * 96)
        both = grid(now - 14 * 86400, 16 * 96)
        clean = seasonal_load(grid(now, 96), past, np.full(len(past), 500.0))
        leaky = seasonal_load(grid(now, 96), both, np.where(both < now, 500.0, 9e9))
        np.testing.assert_array_equal(clean.p90, leaky.p90)

    def test_gaps_are_flagged_and_not_zero(self) -> None:
        now = epoch(2025, 3, 1)
        past = grid(now - 20 * 86400, 20 * 96)
        load = np.full(len(past), 500.0)
        load[::2] = np.nan
        bands = seasonal_load(grid(now, 96), past, load)
        assert "history-gaps" in bands.flags
        assert bands.p10.min() > 100

    def test_weighted_quantiles_agree_with_numpy_for_equal_weights(self) -> None:
        samples = np.random.default_rng(1).normal(size=(101, 5))
        ours = weighted_quantiles(samples, np.ones_like(samples), (0.1, 0.5, 0.9))
        theirs = np.quantile(samples, [0.1, 0.5, 0.9], axis=0, method="hazen")
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


class TestPublishedPrice:
    def test_market_that_changes_from_hours_to_quarters(self) -> None:
        start = epoch(2025, 9, 30)
        times = np.concatenate([grid(start, 24, 3600), grid(start + 86400, 96)])
        values = np.arange(len(times), dtype=float)
        quarter = price_at(grid(start, 192), 900, times, values)
        np.testing.assert_array_equal(quarter[:96], np.repeat(values[:24], 4))
        np.testing.assert_array_equal(quarter[96:], values[24:])
        hourly = price_at(grid(start, 48, 3600), 3600, times, values)
        np.testing.assert_allclose(hourly[24:], values[24:].reshape(24, 4).mean(axis=1))
