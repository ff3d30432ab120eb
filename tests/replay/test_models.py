"""Learnt models in a running house: what follows from them is on the log and replays exactly."""

from __future__ import annotations

import datetime as dt
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from chassis.models import name_of
from chassis.service import Engine, dump, load
from contracts.envelope import Event, encode
from contracts.events.forecast import ForecastIssued
from contracts.events.plan import PlanComputed
from contracts.events.system import ModelChecked, ModelPromoted
from contracts.events.thermal import DynamicsIssued, ModelIdentified, StateEstimated
from contracts.site import SiteConfig
from pems.inprocess import Simulation
from pems.replay import replay
from services.forecast.core.history import place_of
from services.forecast.core.pv import PvPredictor
from services.forecast.core.registry import pack, unpack
from services.forecast.core.series import Dataset, Series, weather_runs
from services.forecast.service import Forecast
from services.thermal.core.content import pack as pack_thermal
from services.thermal.core.correction import Correction, lead_grid
from services.thermal.core.from_site import model_of
from services.thermal.core.hindsight import TOO_SHORT
from services.thermal.core.memory import ROW_S
from services.thermal.service import Thermal
from twin.generate import default_scenario

DAY_S = 86_400


def promotion(quantity: Any, content: bytes, digest: str = "") -> ModelPromoted:
    return ModelPromoted(
        quantity=quantity, content_hash=digest or name_of(content), method="test",
        trained_until=datetime(2026, 1, 11, tzinfo=UTC),
    )  # fmt: skip


def pv_model(site: SiteConfig, seed: int = 1) -> bytes:
    """A small PV model, trained on twelve days of sun made here."""
    start = int(datetime(2025, 12, 30, tzinfo=UTC).timestamp())
    times = start + 900 * np.arange(12 * 96, dtype=np.int64)
    ghi = np.maximum(0.0, 400 * np.sin((times % DAY_S / DAY_S - 0.25) * 2 * np.pi))
    rng = np.random.default_rng(seed)
    hourly = slice(None, None, 4)
    calm, cold = np.full(len(times), 1.5), np.full(len(times), 2.0)
    columns = {"temp_air": cold[hourly], "ghi": ghi[hourly], "wind_speed": calm[hourly]}
    weather = weather_runs(times[hourly], columns)
    model = PvPredictor(place_of(site), lead_s=2 * DAY_S, parameters={"rounds": 10})
    haze = np.repeat(rng.uniform(0.7, 1.1, 12), 96)  # a day at a time
    model.train(Dataset(Series(start, 900, 8 * ghi * haze), weather), 0)
    return pack(model)


def thermal_content(site: SiteConfig) -> bytes:
    """The house's model with another ground, and a correction that has learnt nothing yet."""
    model = model_of(site).model_copy(update={"ground_temperature_c": 12.0})
    leads = lead_grid(ROW_S, 2 * DAY_S)
    nothing = tuple((None,) * len(model.rooms) for _ in leads)
    return pack_thermal(model, Correction(ROW_S, leads, nothing))


@pytest.fixture(scope="module")
def run(site: SiteConfig, safety_limits: dict[str, Any]) -> tuple[list[Event], dict[str, bytes]]:
    """Three hours: models promoted after one, damaged and unknown ones in between."""
    log: list[Event] = []
    models: dict[str, bytes] = {}
    scenario = default_scenario()
    house = Simulation(site, safety_limits, scenario, seed=7, sink=log.append, models=models)
    thermal = thermal_content(site)
    steps = {
        1: [("pv", pv_model(site), ""), ("thermal", thermal, "")],
        2: [
            ("pv", b"damaged", name_of(b"whole")), ("load", b"no model", ""), ("thermal", b"{}", ""),
            ("price", pv_model(site, 2), ""),
        ],
    }
    for hour in (1, 2, 3):
        while house.house.time < scenario.start + dt.timedelta(hours=hour):
            house.advance()
        for quantity, content, digest in steps.get(hour, []):
            house.promote(promotion(quantity, content, digest), content)
    return log, models


def test_forecasts_estimates_and_plans_name_the_model(
    run: tuple[list[Event], dict[str, bytes]], site: SiteConfig
) -> None:
    log = run[0]
    checked = {e.data.content_hash: e for e in log if isinstance(e.data, ModelChecked)}
    ours = {e.data.quantity: e.data.content_hash for e in checked.values() if e.data.in_force}
    assert set(ours) == {"pv", "thermal"}
    last: dict[str, Any] = {}
    for event in log:
        if isinstance(event.data, ForecastIssued):
            last[event.data.quantity] = event.data
        elif isinstance(event.data, PlanComputed | DynamicsIssued | StateEstimated):
            last[event.type] = event.data
    assert last["pv"].model_hash == ours["pv"]
    assert last["pv"].method == "learnt PvPredictor"
    assert last["pv"].correlation_h is not None
    assert last["pv"].correlation_h == unpack(pv_model(site), place_of(site)).correlation_h
    assert (last["load"].model_hash, last["load"].correlation_h) == ("", None)
    assert last["thermal.dynamics-issued"].model_hash == ours["thermal"]
    assert last["thermal.dynamics-issued"].correction == TOO_SHORT
    assert last["thermal.state-estimated"].model_hash == ours["thermal"]
    assert last["plan.computed"].models == {"thermal": ours["thermal"], "pv": ours["pv"]}


def test_what_cannot_be_used_is_named_and_the_one_before_stays(
    run: tuple[list[Event], dict[str, bytes]]
) -> None:
    problems = [e.data.problem for e in run[0] if isinstance(e.data, ModelChecked) and e.data.problem]
    assert "damaged" in problems[0]
    assert "not a packed forecast model" in problems[1]
    assert problems[-1] == "is a model of pv"
    assert len(problems) == 4


def test_it_replays_exactly_with_its_models(run: tuple[list[Event], dict[str, bytes]]) -> None:
    log, models = run
    outcome = replay(log, models=models)
    assert outcome.identical, outcome.difference
    assert outcome.decisions["forecast"] > 10


def test_without_the_models_the_replay_says_so(run: tuple[list[Event], dict[str, bytes]]) -> None:
    outcome = replay(run[0])
    assert outcome.difference is not None
    assert outcome.difference.trigger.type == "system.model-promoted"


def test_a_snapshot_holds_the_hash_and_not_the_model(run: tuple[list[Event], dict[str, bytes]]) -> None:
    log, models = run
    first = next(i for i, e in enumerate(log) if isinstance(e.data, ModelChecked)) + 200
    whole, service = Engine(Forecast()), Forecast()
    whole.service.models = service.models = models
    for event in log[:first]:
        whole.fold(event)
    snapshot = dump(whole.state)
    assert len(snapshot) < 200_000
    assert set(service.needs(load(service.state_type, snapshot))) <= set(models)
    resumed = Engine(service, load(service.state_type, snapshot))
    for event in log[first:]:
        assert [encode(e) for e in resumed.handle(event)] == [encode(e) for e in whole.handle(event)]


def test_a_model_that_vanished_is_flagged_and_the_untrained_method_speaks(
    run: tuple[list[Event], dict[str, bytes]]
) -> None:
    log = run[0]
    engine = Engine(Forecast())
    said: list[Event] = []
    for event in log:
        said += engine.handle(event)
        if isinstance(event.data, ModelPromoted) or event.type == "clock.ticked":
            engine.service.models = {}
    pv = [e.data for e in said if isinstance(e.data, ForecastIssued) and e.data.quantity == "pv"]
    assert pv[-1].model_hash == ""
    assert "model-missing" in pv[-1].flags


def test_the_filter_keeps_what_it_knows_when_the_model_changes(
    run: tuple[list[Event], dict[str, bytes]]
) -> None:
    log, models = run
    engine = Engine(Thermal())
    engine.service.models = models
    before = None
    for event in log:
        engine.fold(event)
        if isinstance(event.data, ModelIdentified) and event.data.method == "test":
            assert engine.state.filter == before
            assert engine.state.model_hash == event.data.model_hash
            assert list(engine.service.needs(engine.state)) == [event.data.model_hash]
            break
        before = engine.state.filter
    else:
        pytest.fail("no learnt model came into force")
