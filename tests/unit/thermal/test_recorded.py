"""Rows for identification out of the log, and models that are no model of this house."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from chassis.loop import Loop
from chassis.models import name_of
from chassis.service import Engine
from contracts.envelope import Event
from contracts.events.clock import Ticked
from contracts.events.measurement import OutdoorSampled, RoomSampled, SweepCompleted
from contracts.events.system import ConfigLoaded, ModelPromoted
from contracts.events.weather import WeatherForecastIssued
from contracts.site import SiteConfig
from contracts.thermal_model import Provenance, to_json
from services.thermal.core.from_site import model_of
from services.thermal.core.recorded import Recorder
from services.thermal.service import Thermal, _fits
from tests.conftest import make_event

START = datetime(2026, 1, 12, 12, 0, tzinfo=UTC)


def sample(seconds: float, on: bool | None, temperature: float | None = 20.0) -> RoomSampled:
    at = START + timedelta(seconds=seconds)
    return RoomSampled(room="living", time=at, temperature_c=temperature, relay_on=on)


class TestRecorder:
    def heat(self, site: SiteConfig, *samples: RoomSampled) -> list[float]:
        recorder = Recorder()
        for data in samples:
            recorder.take(data)
        rated = site.room("living").heater_w
        return [round(v / rated, 3) for v in recorder.history(site).heat_w["heat_living"]]

    def test_heat_is_the_confirmed_share_of_each_row(self, site: SiteConfig) -> None:
        found = self.heat(site, sample(0, True), sample(450, False), sample(900, True), sample(1_200, True))
        assert found[:4] == [1.0, 0.5, 0.0, 1.0]

    def test_unknown_relay_and_long_silence_have_no_heat(self, site: SiteConfig) -> None:
        found = self.heat(site, sample(0, None), sample(300, True), sample(600, True), sample(3_000, True))
        assert np.isnan(found[0])
        assert found[1] == 1.0
        assert np.isnan(found[2:10]).all()

    def test_an_overtaken_sample_counts_once(self, site: SiteConfig) -> None:
        found = self.heat(site, sample(0, True), sample(300, False), sample(150, True), sample(600, False))
        assert found[:2] == [1.0, 0.0]

    def test_missing_temperatures_stay_missing(self, site: SiteConfig) -> None:
        recorder = Recorder()
        for data in (sample(0, False), sample(300, False, None), sample(600, False, 21.0)):
            recorder.take(data)
        recorder.take(OutdoorSampled(time=START, temperature_c=None, ghi_w_m2=None))
        history = recorder.history(site)
        column = history.temperature_c[:, history.rooms.index("living")]
        assert [None if np.isnan(v) else v for v in column] == [20.0, None, 21.0]
        assert np.isnan(history.outside_c).all()
        assert history.ghi_w_m2 is None

    def test_an_empty_log_says_so(self, site: SiteConfig) -> None:
        with pytest.raises(ValueError, match="no room temperature"):
            Recorder().history(site)


class TestModelsOfOtherHouses:
    def test_are_refused_with_the_reason(self, site: SiteConfig) -> None:
        model = model_of(site)
        assert _fits(model, model) == ""
        assert "has rooms" in _fits(model.model_copy(update={"rooms": model.rooms[:-1]}), model)
        strong = model.rooms[0].model_copy(update={"heater_power_w": 9_000.0})
        assert "9000 W" in _fits(model.model_copy(update={"rooms": (strong, *model.rooms[1:])}), model)
        late = model.rooms[0].model_copy(update={"emitter_lag_s": 600.0})
        assert "emitter" in _fits(model.model_copy(update={"rooms": (late, *model.rooms[1:])}), model)


def test_a_model_promoted_before_the_clock_starts_comes_into_force_with_the_first_tick(
    site: SiteConfig,
) -> None:
    prior = model_of(site)
    learnt = prior.model_copy(
        update={"ground_temperature_c": 9.0, "provenance": Provenance(method="test")}
    )
    content = to_json(learnt).encode()
    promoted = ModelPromoted(
        quantity="thermal", content_hash=name_of(content), method="test", trained_until=START
    )
    loop = Loop("home", [Thermal()])
    loop.engines[0].service.models = {name_of(content): content}
    loaded = ConfigLoaded(kind="site", content_hash=site.content_hash(), site=site)
    loop.say("operator", "system.config-loaded", "site", loaded)
    loop.say("trainer", "system.model-promoted", "thermal", promoted)
    state = loop.engines[0].state
    assert state.model == prior
    assert list(loop.engines[0].service.needs(state)) == [name_of(content)]
    loop.say("twin", "clock.ticked", "site", Ticked(time=START, interval_s=60, number=0), START)
    assert state.model == learnt
    assert state.model_hash == name_of(content)
    # a new site file with the same rooms and heaters keeps what was learnt
    loop.say("operator", "system.config-loaded", "site", loaded)
    assert state.model == learnt


class TestMissingInput:
    def engine(self, site: SiteConfig) -> Engine:
        engine = Engine(Thermal())
        self.number = 0
        loaded = ConfigLoaded(kind="site", content_hash=site.content_hash(), site=site)
        self.fold(engine, make_event("system.config-loaded", "site", loaded, "operator"))
        return engine

    def fold(self, engine: Engine, event: Event) -> None:
        from dataclasses import replace

        self.number += 1
        engine.fold(replace(event, sequence=self.number))

    def test_stale_outdoor_and_no_irradiance_come_from_the_forecast(self, site: SiteConfig) -> None:
        engine = self.engine(site)
        state = engine.state
        model, noon = state.model, START
        intake = state.memory.intake
        clear = intake.ghi_of_step(model, noon, 300)
        assert clear > 50.0  # half of a clear winter noon, not darkness
        outdoor = OutdoorSampled(time=START - timedelta(hours=2), temperature_c=-9.0, ghi_w_m2=None)
        self.fold(engine, make_event("measurement.outdoor.sampled", "outdoor", outdoor, "gateway"))
        assert intake.outside_c(START) == -9.0
        run = WeatherForecastIssued(
            issued=START, start=START - timedelta(hours=1), step_s=3_600, source="test",
            temperature_c=(1.0, 2.0), ghi_w_m2=(120.0, 130.0),
        )  # fmt: skip
        self.fold(engine, make_event("weather.forecast-issued", "site", run, "gateway"))
        assert intake.outside_c(START) == 2.0
        assert intake.ghi_of_step(model, noon, 300) == 120.0
        assert intake.outside_c(START - timedelta(hours=1, minutes=30)) == -9.0

    def test_a_late_sample_counts_less(self, site: SiteConfig) -> None:
        spread = []
        for minutes in (0, 50):
            engine = self.engine(site)
            for at in (START, START + timedelta(hours=1)):
                outdoor = OutdoorSampled(time=at, temperature_c=0.0, ghi_w_m2=0.0)
                self.fold(engine, make_event("measurement.outdoor.sampled", "outdoor", outdoor, "gateway"))
                late = timedelta(minutes=minutes if at > START else 0)
                data = RoomSampled(room="living", time=at - late, temperature_c=20.0, relay_on=False)
                self.fold(engine, make_event("measurement.room.sampled", "room-living", data, "gateway"))
                sweep = SweepCompleted(time=at)
                self.fold(engine, make_event("measurement.sweep.completed", "house", sweep, "gateway"))
            index = [r.name for r in engine.state.model.rooms].index("living")
            spread.append(engine.state.filter.covariance_array()[index, index])
        assert spread[1] > 2 * spread[0]
