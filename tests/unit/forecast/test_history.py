"""From events to the predictors' data: what is missing stays missing, what is old goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from contracts.events.command import Executed
from contracts.events.forecast import ForecastIssued
from contracts.events.measurement import EvSampled, HouseSampled, LoadSampled, RoomSampled
from contracts.events.price import PricesPublished
from contracts.events.weather import WeatherForecastIssued
from contracts.site import SiteConfig
from services.forecast.core.first_depth import first_depth
from services.forecast.core.history import KEEP_RUNS, Record, Track, place_of, runs_as_columns
from services.forecast.service import ForecastState, _score

START = datetime(2026, 1, 12, 12, 0, tzinfo=UTC)
START_S = int(START.timestamp())


def house(minutes: float, load: float | None = 1_000.0, pv: float | None = 0.0) -> HouseSampled:
    return HouseSampled(
        time=START + timedelta(minutes=minutes),
        pv_w=pv,
        load_w=load,
        grid_w=None,
        battery_w=None,
        soc=None,
    )


def all_off(site: SiteConfig) -> Record:
    record = Record()
    for known in site.rooms:
        record.take(room(known.id, False), site)
    return record


def room(name: str, on: bool | None) -> RoomSampled:
    return RoomSampled(room=name, time=START, temperature_c=20.0, relay_on=on)


def weather(hours: float, ghi: float, length: int = 48) -> WeatherForecastIssued:
    at = START + timedelta(hours=hours)
    return WeatherForecastIssued(
        issued=at, start=at, step_s=3_600, source="test", temperature_c=(1.0,) * length,
        ghi_w_m2=(ghi,) * length,
    )  # fmt: skip


class TestTrack:
    def test_gaps_stay_empty_and_old_values_go(self) -> None:
        track = Track()
        for quarter in (0, 1, 4):
            track.put(START_S + quarter * 900, float(quarter), keep_s=4 * 900)
        assert track.values == [1.0, None, None, 4.0]
        assert track.start_s == START_S + 900
        track.put(START_S, 9.0)
        assert track.values == [1.0, None, None, 4.0]
        assert np.isnan(track.series().values[1])
        assert track.known_days() == pytest.approx(2 / 96)


@pytest.mark.parametrize(
    ("on", "power_w", "left_w"),
    [
        (True, 1_500.0, 1_500.0),  # metered
        (True, None, 1_000.0),  # its programme's mean
        (False, None, 3_000.0),
        (False, 200.0, 2_800.0),
        (None, None, None),
        (None, 500.0, 2_500.0),
    ],
)
def test_loads_that_may_wait_are_no_part_of_the_forecast_load(
    site: SiteConfig, on: bool | None, power_w: float | None, left_w: float | None
) -> None:
    record = all_off(site)
    seen = LoadSampled(load="boiler", time=START, on=on, power_w=power_w)
    for data in (seen, house(0, 3_000.0), house(15, 3_000.0)):
        record.take(data, site)
    assert record.tracks["load"].values == ([] if left_w is None else [left_w])


class TestExportLimit:
    """What the inverter was told to leave on the roof is no measure of the sun."""

    def limited(self, value: int, minutes: int) -> Executed:
        return Executed(
            verdict="v", proposal="p", device="inverter-export", value=value,
            until=START + timedelta(minutes=minutes), time=START,
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("value", "grid_w", "kept"),
        [
            (0, 0.0, False),
            (0, None, False),
            (0, 400.0, True),
            (3_000, -2_900.0, False),
            (3_000, -1_000.0, True),
            (10_000, -9_990.0, True),
        ],
    )
    def test_a_sample_at_the_limit_is_left_out(
        self, site: SiteConfig, value: int, grid_w: float | None, kept: bool
    ) -> None:
        record = Record()
        record.take(self.limited(value, 30), site)
        record.take(house(0, pv=900.0).model_copy(update={"grid_w": grid_w}), site)
        record.take(house(30, pv=800.0).model_copy(update={"grid_w": grid_w}), site)
        record.take(house(45), site)
        assert record.tracks["pv"].values == ([900.0, None, 800.0] if kept else [800.0])


class TestUncontrolledLoad:
    def record(self, site: SiteConfig, *before: RoomSampled | EvSampled) -> Record:
        record = all_off(site)
        for data in before:
            record.take(data, site)
        record.take(house(0, 4_000.0), site)
        record.take(house(15, 4_000.0), site)
        return record

    def test_is_the_total_less_what_is_controlled(self, site: SiteConfig) -> None:
        living = site.room("living")
        car = EvSampled(ev="car", time=START, plugged=True, power_w=1_000.0)
        record = self.record(site, room("living", True), car)
        assert record.tracks["load"].values == [4_000.0 - living.heater_w - 1_000.0]

    def test_a_room_never_heard_of_is_not_a_room_that_is_off(self, site: SiteConfig) -> None:
        record = Record()
        for minute in (0, 15, 30):
            record.take(house(minute), site)
        assert record.tracks["load"].values == []

    @pytest.mark.parametrize("unknown", [
        room("living", None),
        EvSampled(ev="car", time=START, plugged=True, power_w=None),
        EvSampled(ev="car", time=START, plugged=None, power_w=None),
    ])  # fmt: skip
    def test_is_unknown_when_a_part_is(
        self, site: SiteConfig, unknown: RoomSampled | EvSampled
    ) -> None:
        assert self.record(site, unknown).tracks["load"].values == []

    def test_a_car_that_is_not_there_takes_nothing(self, site: SiteConfig) -> None:
        away = EvSampled(ev="car", time=START, plugged=False, power_w=None)
        assert self.record(site, away).tracks["load"].values == [4_000.0]

    def test_a_missing_meter_leaves_its_quarter_empty(self, site: SiteConfig) -> None:
        record = all_off(site)
        for minutes, value in (
            (0, 100.0),
            (5, None),
            (10, 300.0),
            (15, None),
            (30, 50.0),
            (45, 50.0),
        ):
            record.take(house(minutes, value), site)
        assert record.tracks["load"].values == [200.0, None, 50.0]


class TestWeather:
    def test_the_newest_run_wins_and_the_ones_before_widen_the_band(self, site: SiteConfig) -> None:
        place, times = place_of(site), START_S + 900 * np.arange(8, dtype=np.int64)
        record = Record()
        record.take(weather(-3, 300.0), site)
        one = first_depth("pv", place)(record.dataset("pv", START_S), START_S, times)
        record.take(weather(-4, 20.0), site)  # an older run that came late
        two = first_depth("pv", place)(record.dataset("pv", START_S), START_S, times)
        np.testing.assert_array_equal(one.p50, two.p50)
        assert (two.p90 - two.p10 > 1.2 * (one.p90 - one.p10))[:4].all()

    def test_runs_are_bounded_and_a_short_one_is_continued_by_the_one_before(
        self, site: SiteConfig
    ) -> None:
        record = Record()
        for hour in range(-2 * KEEP_RUNS, 0):
            record.take(weather(hour, 100.0 - hour), site)
        assert len(record.runs) == KEEP_RUNS
        record.take(weather(0, 7.0, length=2), site)
        columns = runs_as_columns(record.runs, START_S)
        assert columns is not None
        issue = np.full(3, START_S)
        ahead = START_S + 3_600 * np.array([0, 1, 2])
        assert columns.as_of("ghi", issue, ahead).tolist() == [7.0, 7.0, 101.0]
        assert "dni" not in columns.columns

    def test_a_run_counts_only_from_its_issue_in_training(self) -> None:
        columns = runs_as_columns([weather(-2, 1.0), weather(0, 2.0)])
        assert columns is not None
        target = np.array([START_S + 7_200] * 2)
        seen = columns.as_of("ghi", np.array([START_S - 1, START_S]), target)
        assert seen.tolist() == [1.0, 2.0]


def test_hourly_prices_fill_their_quarters(site: SiteConfig) -> None:
    record = Record()
    prices = PricesPublished(
        market="CZ", published=START, start=START, step_s=3_600, eur_per_mwh=(10.0, -2.5)
    )
    record.take(prices, site)
    assert record.tracks["price"].values == [10.0] * 4 + [-2.5] * 4


class TestAccuracy:
    def state(self, kind: str, truth: list[float | None], known: int = 0) -> ForecastState:
        state = ForecastState(now=START + timedelta(days=2))
        state.record.tracks[kind] = Track(start_s=START_S, values=truth)
        n = len(truth)
        state.passed = [
            ForecastIssued(
                quantity=kind, issued=START, start=START, step_s=900, p10=(0.0,) * n,  # type: ignore[arg-type]
                p50=(10.0,) * n, p90=(20.0,) * n, known_steps=known, method="test", model_hash="a" * 64,
            )
        ]  # fmt: skip
        return state

    def test_scores_by_lead_time(self) -> None:
        truth: list[float | None] = [12.0] * 24 + [30.0] * 24
        scored = _score(self.state("load", truth), "load")
        assert scored is not None
        assert scored.model_hash == "a" * 64
        early, late = scored.by_lead["0-6h"], scored.by_lead["6-12h"]
        assert (early.n, early.mae, early.bias, early.coverage_80) == (24, 2.0, -2.0, 1.0)
        assert (late.rmse, late.coverage_80) == (20.0, 0.0)

    def test_published_prices_and_gaps_do_not_count(self) -> None:
        scored = _score(self.state("price", [10.0] * 8 + [None] * 4 + [14.0] * 2, known=8), "price")
        assert scored is not None
        assert scored.by_lead["0-6h"].n == 2
        assert scored.by_lead["0-6h"].mae == 4.0
        assert _score(self.state("price", [10.0] * 8, known=8), "price") is None
