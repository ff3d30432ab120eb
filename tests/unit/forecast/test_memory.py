"""What a model remembers of the time before a house: in quarter hours, under its hash, and the log wins."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from chassis.models import name_of
from chassis.service import Engine, dump, load
from contracts.envelope import Event
from contracts.events.clock import Ticked
from contracts.events.measurement import HouseSampled
from contracts.events.price import PricesPublished
from contracts.events.system import ConfigLoaded, ModelChecked, ModelPromoted
from contracts.events.weather import WeatherForecastIssued
from contracts.site import SiteConfig
from services.forecast.core.calendar import DAY_S
from services.forecast.core.history import KEEP_S, Record, Track, remembered
from services.forecast.core.load import LoadPredictor
from services.forecast.core.registry import PAST, pack, past_of, unpack
from services.forecast.core.series import Dataset, Series
from services.forecast.retrain import consider
from services.forecast.service import Forecast, ForecastState
from tests.conftest import make_event
from tests.unit.forecast.made import PRAGUE, QUICK, START, load_series

QUARTER_S = 900
NOW = datetime(2025, 4, 14, 10, 0, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
NAN = float("nan")


def quarters(values: list[float], start_s: int = START) -> Series:
    return Series(start_s, QUARTER_S, np.array(values, dtype=np.float64))


class TestRemembered:
    @pytest.mark.parametrize(
        ("step_s", "shift_s", "values", "expected"),
        [
            (3600, 0, [400.0, NAN], [400.0] * 4 + [NAN] * 4),
            (1800, 0, [300.0, 500.0], [300.0] * 2 + [500.0] * 2),
            (900, 0, [1.0, NAN, 3.0], [1.0, NAN, 3.0]),
            (300, 0, [1.0, 2.0, 6.0, NAN, NAN, 5.0, NAN, 7.0, 9.0], [3.0, NAN, 8.0]),
            (600, 0, [3.0, 6.0, 9.0], [4.0, 8.0]),
            (3600, 1800, [8.0], [8.0] * 4),
            (900, 300, [3.0, 9.0, 9.0], [3.0, 7.0, 9.0, NAN]),
        ],
        ids=["hours", "half-hours", "quarters", "5 min", "10 min", "half past", "askew"],
    )
    def test_a_mean_holds_for_all_its_quarters(
        self, step_s: int, shift_s: int, values: list[float], expected: list[float]
    ) -> None:
        found = remembered("load", Series(START + shift_s, step_s, np.array(values)))
        assert (found.step_s, found.start_s) == (QUARTER_S, (START + shift_s) // 900 * 900)
        np.testing.assert_allclose(found.values, expected)

    @pytest.mark.parametrize("kind", ["pv", "load", "price"])
    def test_is_the_newest_that_a_record_keeps(self, kind: str) -> None:
        series = Series(START, 3600, np.arange(500.0 * 24))
        found = remembered(kind, series)
        assert (found.end_s - found.start_s, found.end_s) == (KEEP_S[kind], series.end_s)
        assert found.values[-1] == series.values[-1]


class TestFill:
    """The merge: own steps win, and what neither knows stays empty."""

    def test_a_house_without_a_log_begins_with_what_is_known(self) -> None:
        track = Track()
        track.fill(quarters([NAN, 1.0, NAN, 2.0, NAN]))
        assert (track.start_s, track.values) == (START + 900, [1.0, None, 2.0])
        track.put(START + 6 * 900, 9.0)
        assert track.values == [1.0, None, 2.0, None, None, 9.0]

    def test_own_steps_win_and_holes_in_the_own_log_stay(self) -> None:
        track = Track()
        for step, value in ((4, 40.0), (6, 60.0)):
            track.put(START + step * 900, value)
        track.fill(quarters([1.0, NAN, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]))
        assert (track.start_s, track.values) == (START, [1.0, None, 3.0, 4.0, 40.0, None, 60.0])

    def test_a_newer_memory_is_added_before_the_log_begins(self) -> None:
        track = Track()
        track.fill(quarters([1.0, 2.0]))
        track.fill(quarters([9.0, 9.0, 3.0]))
        track.fill(quarters([8.0], START - 900))
        track.fill(quarters([4.0], START + 3 * 900))
        assert (track.start_s, track.values) == (START - 900, [8.0, 1.0, 2.0, 3.0, 4.0])

    def test_a_later_memory_closes_the_gap_and_keeps_what_was_known(self) -> None:
        track = Track()
        track.fill(quarters([1.0, 2.0]))
        track.put(START + 5 * 900, 50.0)
        track.fill(quarters([7.0, 7.0, 3.0, NAN, 4.0, 5.0]))
        assert track.values == [1.0, 2.0, 3.0, None, 4.0, 50.0]

    def test_nothing_known_changes_nothing(self) -> None:
        track = Track()
        track.fill(quarters([NAN, NAN]))
        track.fill(quarters([]))
        assert track == Track()

    def test_a_gap_of_days_is_a_gap(self) -> None:
        record = Record()
        record.recall("load", quarters([100.0] * 96, NOW_S - 5 * DAY_S), NOW_S)
        record.tracks["load"].put(NOW_S, 300.0, KEEP_S["load"])
        values = record.tracks["load"].series().at(NOW_S + 900 * np.arange(-5 * 96, 1))
        assert (values[:96] == 100.0).all() and np.isnan(values[96:-1]).all() and values[-1] == 300.0

    @pytest.mark.parametrize("kind", ["pv", "load", "price"])
    def test_what_is_too_old_or_yet_to_come_is_nothing(self, kind: str) -> None:
        record = Record()
        old = quarters([5.0] * 8, NOW_S - KEEP_S[kind] - 9 * 900)
        record.recall(kind, old, NOW_S)
        record.recall(kind, quarters([5.0] * 8, NOW_S), NOW_S)
        assert record.tracks[kind] == Track()
        record.recall(kind, quarters([5.0] * 8, NOW_S - 2 * 900), NOW_S + 899)
        assert (record.tracks[kind].start_s, record.tracks[kind].values) == (NOW_S - 1800, [5.0, 5.0])

    def test_values_are_as_precise_as_the_log_s(self) -> None:
        record = Record()
        record.recall("price", quarters([float(np.float32(87.123456))], NOW_S - 900), NOW_S)
        record.recall("load", quarters([1 / 3], NOW_S - 900), NOW_S)
        assert record.tracks["price"].values == [87.123]
        assert record.tracks["load"].values == [0.3]


@pytest.fixture(scope="module")
def model() -> LoadPredictor:
    made = LoadPredictor(PRAGUE, lead_s=2 * DAY_S, parameters=QUICK)
    made.train(Dataset(load_series(28)), 0)
    return made


def past(days: float = 20.0, end_s: int = NOW_S) -> Series:
    steps = int(days * 96)
    return quarters((200.0 + np.arange(steps) % 96).tolist(), end_s - steps * 900)


class TestContent:
    def test_it_is_in_the_content_and_the_model_is_the_same(self, model: LoadPredictor) -> None:
        bare, content = pack(model), pack(model, past())
        assert content == pack(model, past()) and name_of(content) != name_of(bare)
        assert name_of(content) != name_of(pack(model, past(19)))
        found = past_of(content)
        assert found is not None and found.start_s == past().start_s
        np.testing.assert_array_equal(found.values, past().values)
        assert past_of(bare) is None
        assert pack(unpack(content, PRAGUE)) == bare

    def test_pems_train_puts_the_end_of_the_file_in(self) -> None:
        series = load_series(24)
        verdict = consider("load", Dataset(series), PRAGUE, None, with_past=True)
        found = past_of(verdict.content)
        assert found is not None and found.end_s == series.end_s > verdict.trained_to_s
        np.testing.assert_allclose(found.values[::4], series.values, rtol=1e-6)
        assert past_of(consider("load", Dataset(series), PRAGUE, None).content) is None


def changed(content: bytes, part: bytes) -> bytes:
    """A packed model with other bytes for its memory."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, part if name == PAST else old.read(name))
    return out.getvalue()


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


class House:
    """The forecast service alone, told what it hears."""

    def __init__(self, site: SiteConfig, content: bytes) -> None:
        service = Forecast()
        service.models = {name_of(content): content}
        self.engine, self.sequence = Engine(service), 0
        self.say("system.config-loaded", "site",
                 ConfigLoaded(kind="site", content_hash=site.content_hash(), site=site))  # fmt: skip

    @property
    def state(self) -> ForecastState:
        return self.engine.state

    def say(self, type_: str, entity: str, data: Any) -> list[Event]:
        self.sequence += 1
        event = make_event(type_, entity, data, "test", key=str(self.sequence), sequence=self.sequence)
        said = self.engine.handle(event)
        for decided in said:
            if decided.type == "system.model-checked":
                self.say(decided.type, decided.entity, decided.data)
        return said

    def promote(self, content: bytes, quantity: Any = "load") -> ModelChecked:
        self.engine.service.models = {**self.engine.service.models, name_of(content): content}
        promoted = ModelPromoted(
            quantity=quantity, content_hash=name_of(content), method="test", trained_until=NOW,
        )  # fmt: skip
        [said] = self.say("system.model-promoted", quantity, promoted)
        assert isinstance(said.data, ModelChecked)
        return said.data

    def tick(self, at: datetime = NOW) -> None:
        self.say("clock.ticked", "site", Ticked(time=at, interval_s=60, number=self.sequence))


class TestService:
    def test_a_model_promoted_before_the_first_tick_fills_the_record_at_it(
        self, site: SiteConfig, model: LoadPredictor
    ) -> None:
        content = pack(model, past(20, NOW_S + 2 * DAY_S))
        house = House(site, content)
        assert house.promote(content).in_force
        assert house.state.record.tracks["load"].values == [] and house.state.unread == ["load"]
        snapshot = load(ForecastState, dump(house.state))
        house.tick()
        known = house.state.record.tracks["load"]
        assert known.series().end_s == NOW_S, "nothing of the future"
        assert known.known_days() == pytest.approx(18.0)
        assert house.state.unread == []
        house.engine.state = snapshot
        house.sequence = snapshot.sequence
        house.tick()
        assert house.state.record.tracks["load"] == known, "a snapshot in between loses nothing"

    def test_the_log_goes_on_and_a_nightly_model_without_memory_loses_nothing(
        self, site: SiteConfig, model: LoadPredictor
    ) -> None:
        content = pack(model, past())
        house = House(site, content)
        house.promote(content)
        house.tick()
        for minute in (0, 15, 30):
            at = NOW + timedelta(minutes=minute)
            sample = HouseSampled(
                time=at, pv_w=float(minute), load_w=None, grid_w=None, battery_w=None, soc=None
            )
            house.say("measurement.house.sampled", "house", sample)
        before = house.state.record.model_copy(deep=True)
        assert house.promote(pack(model)).in_force
        house.tick(NOW + timedelta(minutes=31))
        assert house.state.record == before
        assert before.tracks["pv"].values == [0.0, 15.0]
        house.promote(content)
        house.tick(NOW + timedelta(minutes=32))
        assert house.state.record == before, "rolled back: known already"

    def test_prices_on_the_log_win_and_the_first_forecast_waits_for_them(
        self, site: SiteConfig, model: LoadPredictor
    ) -> None:
        house = House(site, b"")
        house.engine.service.models = {}
        house.tick()
        house.state.record.recall("price", past(), NOW_S)
        day = PricesPublished(
            market="CZ", published=NOW, start=NOW - timedelta(days=1), step_s=3_600,
            eur_per_mwh=(70.0,) * 36,
        )  # fmt: skip
        ahead = (10.0,) * 48
        house.say("weather.forecast-issued", "site", WeatherForecastIssued(
            issued=NOW, start=NOW, step_s=3_600, source="test", temperature_c=ahead, ghi_w_m2=ahead,
        ))  # fmt: skip
        house.tick(NOW + timedelta(hours=1))
        assert not house.state.due and house.state.issued is None
        house.say("price.published", "market", day)
        house.tick(NOW + timedelta(hours=1, minutes=1))
        assert house.state.due
        known = house.state.record.tracks["price"].series()
        times = NOW_S + 900 * np.arange(-2 * 96, 48)
        values = known.at(times)
        assert (values[:96] == past().values[-192:-96]).all() and (values[96:] == 70.0).all()

    @pytest.mark.parametrize(
        ("part", "says"),
        [
            (b"no archive", "cannot be read"),
            (npz(start_s=0, step_s=900), "cannot be read"),
            (npz(start_s=0, step_s=3600, values=np.ones(3)), "is not in steps of 900 s"),
            (npz(start_s=10, step_s=900, values=np.ones(3)), "is not in steps of 900 s"),
            (npz(start_s=0, step_s=900, values=np.ones((3, 2))), "is not in steps of 900 s"),
            (npz(start_s=0, step_s=900, values=np.array([{}], dtype=object)), "cannot be read"),
        ],
        ids=["no archive", "half of it", "hours", "askew", "a table", "pickled"],
    )
    def test_a_damaged_memory_is_no_model(
        self, site: SiteConfig, model: LoadPredictor, part: bytes, says: str
    ) -> None:
        content = changed(pack(model, past()), part)
        house = House(site, content)
        answer = house.promote(content)
        assert not answer.in_force and says in answer.problem
        assert house.state.unread == []

    def test_numbers_that_are_none_are_missing(self, model: LoadPredictor) -> None:
        part = npz(start_s=0, step_s=900, values=np.array([1.0, np.inf, np.nan]))
        found = past_of(changed(pack(model, past()), part))
        assert found is not None
        np.testing.assert_array_equal(found.values, [1.0, np.nan, np.nan])

    def test_a_model_that_vanished_before_the_tick_leaves_the_record_empty(
        self, site: SiteConfig, model: LoadPredictor
    ) -> None:
        content = pack(model, past())
        house = House(site, content)
        house.promote(content)
        house.engine.service.models = {}
        house.tick()
        assert house.state.record.tracks["load"] == Track() and house.state.unread == []
