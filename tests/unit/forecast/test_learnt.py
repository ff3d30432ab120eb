"""The learnt predictors: no look into the future, honest bands, exactness, storage, promotion."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.forecast.core.calendar import DAY_S
from services.forecast.core.ensemble import Memory, combine
from services.forecast.core.learners import BoostedQuantiles
from services.forecast.core.load import LoadPredictor, special_days
from services.forecast.core.place import place_from_mapping
from services.forecast.core.price import PricePredictor
from services.forecast.core.price_hours import hourly
from services.forecast.core.pv import PvPredictor
from services.forecast.core.pv_physics import PvArray, pv_power
from services.forecast.core.pv_site import estimate_location, estimate_plane, unusual_days
from services.forecast.core.registry import Registry
from services.forecast.core.rolling import report, rolling_origin
from services.forecast.core.series import Dataset, Series, weather_runs
from services.forecast.core.solar import Location, sun_path
from services.forecast.core.weather import irradiance
from tests.unit.forecast.made import PRAGUE, QUICK, START, load_series, price_series, pv_data

CASES = {
    "load": lambda: (LoadPredictor(PRAGUE, lead_s=DAY_S, parameters=QUICK), Dataset(load_series(40))),
    "pv": lambda: (PvPredictor(PRAGUE, lead_s=DAY_S, parameters=QUICK), pv_data(40)),
    "price": lambda: (
        PricePredictor(PRAGUE, lead_s=2 * DAY_S, parameters=QUICK), Dataset(price_series(60)),
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=sorted(CASES))
def trained(request):  # type: ignore[no-untyped-def]
    predictor, data = CASES[request.param]()
    issue = data.series.end_s - 3 * DAY_S
    predictor.train(data.before(issue), issue % DAY_S)
    return predictor, data, issue


class TestEveryPredictor:
    def test_nothing_after_the_issue_matters(self, trained) -> None:  # type: ignore[no-untyped-def]
        predictor, data, issue = trained
        target = issue + np.arange(24, dtype=np.int64) * 3600
        future = data.series.times_s >= issue
        poisoned = Series(
            data.series.start_s, data.series.step_s, np.where(future, 1e7, data.series.values)
        )
        clean = predictor.predict(data, issue, target)
        dirty = predictor.predict(Dataset(poisoned, data.weather), issue, target)
        for name in ("p10", "p50", "p90", "mean"):
            np.testing.assert_array_equal(getattr(clean, name), getattr(dirty, name))

    def test_training_does_not_see_the_future(self, trained) -> None:  # type: ignore[no-untyped-def]
        predictor, data, issue = trained
        row_issue = np.full(24, issue, dtype=np.int64)
        target = issue + np.arange(24, dtype=np.int64) * 3600
        cut = predictor.features(data.before(issue), row_issue, target)
        whole = predictor.features(data, row_issue, target)
        np.testing.assert_array_equal(cut.x, whole.x)

    def test_bands_are_ordered_and_finite(self, trained) -> None:  # type: ignore[no-untyped-def]
        predictor, data, issue = trained
        bands = predictor.predict(data, issue, issue + np.arange(24, dtype=np.int64) * 3600)
        assert np.isfinite(bands.p50).all()
        assert (bands.p10 <= bands.p50).all()
        assert (bands.p50 <= bands.p90).all()

    def test_save_and_load_give_the_same_forecast(self, trained) -> None:  # type: ignore[no-untyped-def]
        predictor, data, issue = trained
        target = issue + np.arange(24, dtype=np.int64) * 3600
        files = predictor.save()
        assert not [name for name in files if not name.endswith((".ubj", ".json", ".npz"))]
        copy = type(predictor)(predictor.place)
        copy.load(files)
        np.testing.assert_array_equal(
            copy.predict(data, issue, target).p90, predictor.predict(data, issue, target).p90
        )
        assert copy.save() == files

    def test_training_twice_gives_the_same_bytes(self, trained) -> None:  # type: ignore[no-untyped-def]
        predictor, data, issue = trained
        again = type(predictor)(
            predictor.place, lead_s=predictor.lead_s, parameters=predictor.parameters
        )
        again.train(data.before(issue), issue % DAY_S)
        assert again.save() == predictor.save()

    def test_metadata_and_importance(self, trained) -> None:  # type: ignore[no-untyped-def]
        predictor, _, _ = trained
        assert predictor.metadata.rows > 0
        assert len(predictor.metadata.data_hash) == 64
        importance = predictor.importance()
        assert set(importance) <= set(predictor.metadata.features)
        assert sum(importance.values()) == pytest.approx(1.0)

    def test_a_model_of_another_kind_is_refused(self, trained) -> None:  # type: ignore[no-untyped-def]
        predictor, _, _ = trained
        other = LoadPredictor if predictor.kind != "load" else PricePredictor
        with pytest.raises(ValueError, match="train again"):
            other(PRAGUE).load(predictor.save())

    def test_untrained_says_so(self, trained) -> None:  # type: ignore[no-untyped-def]
        predictor, data, issue = trained
        with pytest.raises(ValueError, match="not trained"):
            type(predictor)(PRAGUE).predict(data, issue, np.array([issue]))


class TestPv:
    def test_night_is_zero(self) -> None:
        data = pv_data(30)
        issue = START + 28 * DAY_S
        predictor = PvPredictor(PRAGUE, lead_s=DAY_S, parameters=QUICK)
        predictor.train(data.before(issue), 0)
        target = issue + np.arange(24, dtype=np.int64) * 3600
        sun = predictor.sun(target, 3600)
        assert sun is not None
        assert np.all(predictor.predict(data, issue, target).p90[~sun.up] == 0)

    def test_plane_and_location_are_found(self) -> None:
        times = START + np.arange(200 * 24, dtype=np.int64) * 3600
        place = Location(50.08, 14.43)
        sun = sun_path(times, 3600, place)
        found = estimate_location(times, 3600, sun.clear_ghi_wm2)
        assert found is not None
        assert abs(found.latitude - 50) < 6
        assert abs(found.longitude - 14.4) < 5
        data = pv_data(60, arrays=(PvArray(40, 210, 5000),), noise=0.0)
        ghi = data.weather.as_of("ghi", np.full(1440, 2**60), data.series.times_s)  # type: ignore[union-attr]
        plane = estimate_plane(data.series.times_s, 3600, data.series.values, ghi, place, 4000.0)
        assert plane is not None
        assert abs(plane.array.azimuth_deg - 210) <= 15
        assert abs(plane.array.tilt_deg - 40) <= 10

    def test_plane_south_of_the_equator_faces_north(self) -> None:
        place = Location(-36.0, 149.0)
        times = START + np.arange(60 * 24, dtype=np.int64) * 3600
        sun = sun_path(times, 3600, place)
        light, _ = irradiance({"ghi": sun.clear_ghi_wm2}, sun)
        power = pv_power(sun, light, 15.0, 1.5, [PvArray(35, 30, 5000)])
        plane = estimate_plane(times, 3600, power, sun.clear_ghi_wm2, place, 4000.0)
        assert plane is not None
        assert abs(plane.array.azimuth_deg - 30) <= 10
        assert abs(plane.array.tilt_deg - 35) <= 5

    def test_a_unit_is_kept_in_the_model_file(self) -> None:
        rng = np.random.default_rng(1)
        x = np.column_stack([rng.uniform(0.1, 1.0, 600), rng.uniform(0, 1, 600)])
        y = x[:, 0] * x[:, 1]
        model = BoostedQuantiles({"rounds": 20}, unit="clear_power")
        model.fit(["clear_power", "share"], x, y, np.ones(600))
        again = BoostedQuantiles()
        again.from_files("m", model.to_files("m"))
        assert np.array_equal(again.predict(x), model.predict(x))
        plain = BoostedQuantiles({"rounds": 20})
        plain.fit(["clear_power", "share"], x, y, np.ones(600))
        assert not np.array_equal(plain.predict(x), model.predict(x))

    def test_snow_curtailment_and_outage_are_named(self) -> None:
        data = pv_data(40)
        power, expected = data.series.values.copy(), data.series.values.copy() + 1.0
        day = (data.series.times_s - START) // DAY_S
        power[day == 5] = 0.0
        power[day == 10] *= 0.1
        cap = 0.4 * power[day == 15].max()
        power[day == 15] = np.minimum(power[day == 15], cap)
        cold = np.where(day == 10, -2.0, 10.0)
        found = unusual_days(data.series.times_s, 3600, power, expected, cold)
        first = START // DAY_S
        assert first + 5 in found["outage"]
        assert first + 10 in found["snow"]
        assert first + 15 in found["curtailment"]
        assert sum(len(v) for v in found.values()) == 3

    def test_weather_counts_only_from_its_issue_and_the_newest_wins(self) -> None:
        valid = np.array([3600, 3600, 7200], dtype=np.int64)
        runs = weather_runs(valid, {"ghi": np.array([1.0, 2.0, 3.0])}, np.array([0, 100, 5000]))
        at = np.array([3600, 3600, 7200, 7200])
        issue = np.array([50, 100, 100, 5000])
        np.testing.assert_array_equal(runs.as_of("ghi", issue, at), [1.0, 2.0, np.nan, 3.0])
        np.testing.assert_array_equal(runs.spread("ghi", issue, at), [np.nan, 1.0, np.nan, np.nan])

    def test_disagreeing_runs_widen_the_band(self) -> None:
        data = pv_data(30)
        issue = START + 28 * DAY_S
        predictor = PvPredictor(PRAGUE, lead_s=DAY_S, parameters=QUICK)
        predictor.train(data.before(issue), 0)
        target = issue + np.arange(24, dtype=np.int64) * 3600
        runs = data.weather
        assert runs is not None
        older = weather_runs(
            np.concatenate([runs.valid_s, target]),
            {"ghi": np.concatenate([runs.columns["ghi"], np.full(24, 900.0)])},
            np.concatenate([runs.issued_s, np.full(24, issue - DAY_S)]),
        )
        calm = predictor.predict(data, issue, target)
        torn = predictor.predict(Dataset(data.series, older), issue, target)
        assert (torn.p90 - torn.p10).sum() > 1.1 * (calm.p90 - calm.p10).sum()


class TestLoad:
    def test_cold_start_with_two_weeks_beats_the_naive(self) -> None:
        data = Dataset(load_series(28, seed=3))
        issues = START + (14 + np.arange(13)) * DAY_S
        rolled = rolling_origin("load", data, PRAGUE, issues, DAY_S, 7 * DAY_S, parameters=QUICK)
        scores = report(rolled, DAY_S)
        naive = scores["baselines"]
        assert isinstance(naive, dict)
        best = min(naive[k]["mae"] for k in ("yesterday", "last-week"))
        assert scores["mae"] < 0.9 * best  # type: ignore[operator]
        assert 0.6 < scores["coverage_80"] < 0.95  # type: ignore[operator]

    def test_absence_and_party_are_recognised(self) -> None:
        series = load_series(60)
        day = (series.times_s - START) // DAY_S
        values = np.where(day == 30, 40.0, np.where(day == 40, 6 * series.values, series.values))
        found = special_days(Dataset(Series(START, 3600, values)), "UTC")
        assert found["absence"].tolist() == [START // DAY_S + 30]
        assert found["party"].tolist() == [START // DAY_S + 40]

    def test_gaps_do_not_become_zeros(self) -> None:
        series = load_series(40)
        values = series.values.copy()
        values[200:400] = np.nan
        data = Dataset(Series(START, 3600, values))
        issue = START + 38 * DAY_S
        predictor = LoadPredictor(PRAGUE, lead_s=DAY_S, parameters=QUICK)
        predictor.train(data.before(issue), 0)
        bands = predictor.predict(data, issue, issue + np.arange(24, dtype=np.int64) * 3600)
        assert bands.p50.min() > 100

    def test_a_forest_of_wide_leaves_is_a_member(self) -> None:
        predictor = LoadPredictor(PRAGUE, lead_s=DAY_S, parameters=QUICK)
        predictor.train(Dataset(load_series(30)), 0)
        names = ["boost0", "linear", "forest0", "like-days", "like-days-at-recent-level"]
        assert predictor.member_names() == names
        (wood,) = predictor.woods
        assert wood.leaf == 10
        assert predictor.combination is not None
        assert (predictor.combination.band_weights > 0.02).all()

    def test_too_little_history_says_so(self) -> None:
        with pytest.raises(ValueError, match=r"load: .* days of history"):
            LoadPredictor(PRAGUE).train(Dataset(load_series(2)), 0)


class TestPrice:
    def test_published_is_exact_beyond_is_not(self) -> None:
        data = Dataset(price_series(62))
        issue = START + 60 * DAY_S
        predictor = PricePredictor(PRAGUE, parameters=QUICK)
        predictor.train(data.before(issue), 0)
        target = issue + np.arange(48, dtype=np.int64) * 3600
        bands = predictor.predict(data, issue, target, published_until_s=issue + DAY_S)
        np.testing.assert_array_equal(bands.p10[:24], data.series.values[-48:-24])
        np.testing.assert_array_equal(bands.p90[:24], data.series.values[-48:-24])
        assert (bands.p90[24:] > bands.p10[24:]).all()

    def test_quarter_hours_take_the_recent_shape(self) -> None:
        """Every hour rises by 30 from its first quarter to its last, whatever its neighbours cost."""
        flat = price_series(60, 900)
        quarter = np.arange(len(flat.values)) % 4
        data = Dataset(
            Series(START, 900, np.repeat(hourly(flat).values, 4) + 10.0 * (quarter - 1.5))
        )
        issue = START + 58 * DAY_S
        predictor = PricePredictor(PRAGUE, parameters=QUICK)
        predictor.train(data.before(issue), 0)
        bands = predictor.predict(data, issue, issue + np.arange(96, dtype=np.int64) * 900)
        rise = bands.p50.reshape(24, 4)[:, 3] - bands.p50.reshape(24, 4)[:, 0]
        assert np.all(rise > 20)

    def test_a_gap_in_the_history_is_survived(self) -> None:
        series = price_series(60)
        values = series.values.copy()
        values[900:930] = np.nan
        values[-30:-20] = np.nan
        data = Dataset(Series(START, 3600, values))
        predictor = PricePredictor(PRAGUE, parameters=QUICK)
        predictor.train(data, 0)
        end = series.end_s
        bands = predictor.predict(data, end, end + np.arange(48, dtype=np.int64) * 3600)
        assert np.isfinite(bands.p50).all()


class TestCalibration:
    @settings(max_examples=15, deadline=None)
    @given(st.floats(0.3, 3.0), st.integers(0, 1000))
    def test_wrong_bands_are_stretched_to_the_right_coverage(self, width: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        n = 4000
        actual = rng.normal(size=n)
        half = 1.2816 * width
        member = np.tile([-half, 0.0, half, 0.0], (n, 1, 1))
        memory = Memory()
        target = START + np.arange(n, dtype=np.int64) * 600
        memory.add(target, actual, member, np.zeros(n, dtype=np.int64))
        joined = combine(memory, 1, 0.01).apply(member[:1], np.zeros(1, dtype=np.int64))[0]
        inside = np.mean(
            (rng.normal(size=20000) >= joined[0]) & (rng.normal(size=20000) <= joined[2])
        )
        covered = np.mean((actual >= joined[0]) & (actual <= joined[2]))
        assert 0.76 < covered < 0.84
        assert inside > 0

    def test_the_better_member_gets_the_weight(self) -> None:
        rng = np.random.default_rng(1)
        actual = rng.normal(size=2000)
        good = actual[:, None] * 0.9 + np.array([-0.3, 0, 0.3, 0])
        bad = np.tile([-1.3, 0.5, 1.3, 0.5], (2000, 1))
        memory = Memory()
        target = START + np.arange(2000, dtype=np.int64) * 900
        memory.add(target, actual, np.stack([good, bad], axis=1), np.zeros(2000, dtype=np.int64))
        result = combine(memory, 1, 0.01)
        assert result.band_weights[0] > 0.9
        assert result.mean_weights[0] > 0.9


class TestRegistry:
    def test_only_a_better_model_is_promoted_and_it_can_go_back(self) -> None:
        store: dict[str, bytes] = {}
        registry = Registry(store)
        data = Dataset(load_series(80))
        split = START + 70 * DAY_S
        issues = split + np.arange(9) * DAY_S
        poor = LoadPredictor(PRAGUE, lead_s=DAY_S, parameters={"rounds": 20})
        poor.train(data.before(START + 20 * DAY_S), 0)
        assert poor.combination is not None
        poor.combination.stretch *= 6.0  # bands six times too wide
        first = registry.consider(poor, data, PRAGUE, issues)
        assert first.promoted
        good = LoadPredictor(PRAGUE, lead_s=DAY_S, parameters=QUICK)
        good.train(data.before(split), 0)
        second = registry.consider(good, data, PRAGUE, issues)
        assert second.promoted
        assert second.candidate_loss < second.incumbent_loss  # type: ignore[operator]
        third = registry.consider(poor, data, PRAGUE, issues)
        assert not third.promoted
        assert registry.current("load") == second.candidate
        assert registry.roll_back("load") == first.candidate
        with pytest.raises(ValueError, match="no earlier model"):
            registry.roll_back("load")

    def test_a_damaged_model_is_refused(self) -> None:
        store: dict[str, bytes] = {}
        registry = Registry(store)
        model = LoadPredictor(PRAGUE, lead_s=DAY_S, parameters=QUICK)
        model.train(Dataset(load_series(10)), 0)
        digest = registry.put(model)
        name = f"model/{digest}"
        store[name] = store[name] + b"x"
        with pytest.raises(ValueError, match="damaged"):
            registry.get(digest, PRAGUE)

    def test_a_window_the_candidate_has_seen_is_refused(self) -> None:
        registry = Registry({})
        data = Dataset(load_series(40))
        model = LoadPredictor(PRAGUE, lead_s=DAY_S, parameters=QUICK)
        model.train(data, 0)
        registry.consider(model, data, PRAGUE, np.array([START]))
        other = LoadPredictor(PRAGUE, lead_s=DAY_S, parameters={"rounds": 30})
        other.train(data, 0)
        with pytest.raises(ValueError, match="has seen"):
            registry.consider(other, data, PRAGUE, np.array([START + 30 * DAY_S]))


def test_site_files_of_both_shapes() -> None:
    house = place_from_mapping(
        {
            "location": {
                "latitude": 50.0,
                "longitude": 14.0,
                "timezone": "Europe/Prague",
                "country": "CZ",
            },
            "pv": [{"name": "roof", "tilt_deg": 35, "azimuth_deg": 180, "peak_w": 8000}],
            "inverter": {"ac_limit_w": 7000},
        }
    )
    flat = place_from_mapping(
        {
            "latitude": 50.0, "longitude": 14.0, "time_zone": "Europe/Prague", "country": "CZ",
            "arrays": [{"tilt": 35, "azimuth": 180, "peak_power_w": 8000}], "inverter_limit_w": 7000,
        }
    )  # fmt: skip
    assert house == flat
    assert dataclasses.asdict(house)["inverter_limit_w"] == 7000
    with pytest.raises(ValueError, match="latitude"):
        place_from_mapping({"latitude": "north"})
