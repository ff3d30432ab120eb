"""On a real broker: a house whose first forecast is a learnt model's, from what the model remembers."""

from __future__ import annotations

import asyncio
import shutil
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from chassis.models import name_of
from contracts.base import Record
from contracts.events.forecast import ForecastIssued
from contracts.events.price import PricesPublished
from contracts.events.system import ModelChecked, ModelPromoted
from contracts.events.weather import WeatherForecastIssued
from contracts.site import SiteConfig
from pems.broker import Broker
from pems.home import House, load_log, load_models, models_named, remember
from pems.promotion import promote
from pems.replay import replay
from services.forecast.core.history import place_of
from services.forecast.core.load import LoadPredictor
from services.forecast.core.registry import pack
from services.forecast.core.series import Dataset, Series
from services.forecast.service import Forecast
from tests.conftest import START, eventually, make_event
from tests.integration.test_runner import _at_least, as_user, spawn, ticks
from tests.unit.forecast.made import QUICK, load_series

DAYS = 28


def content_of(site: SiteConfig) -> bytes:
    """A small load model, and four weeks up to the start beside it."""
    values = np.repeat(load_series(DAYS).values, 4)
    past = Series(int(START.timestamp()) - DAYS * 86_400, 900, values)
    model = LoadPredictor(place_of(site), lead_s=2 * 86_400, parameters=QUICK)
    model.train(Dataset(past), 0)
    return pack(model, past)


async def say(house: Broker, type_: str, entity: str, data: Record, user: str = "gateway") -> None:
    async with as_user(house.settings, user) as bus:
        await bus.append([make_event(type_, entity, data, user)])


async def loads(house: Broker, count: int) -> list[Any]:
    async def enough() -> list[Any] | None:
        found = await _at_least(house.settings, ForecastIssued, 1) or []
        mine = [e.data for e in found if e.data.quantity == "load"]
        return mine if len(mine) >= count else None

    return await eventually(enough, 60)


async def test_the_first_forecast_is_learnt_and_a_rebuilt_state_knows_the_same(
    house: Broker, site: SiteConfig, tmp_path: Path
) -> None:
    content, home, ports = content_of(site), house.settings.home, house.ports
    remember(tmp_path, home, House("home", ports.nats, ports.mqtt, ports.monitor))
    promoted = ModelPromoted(
        quantity="load", content_hash=name_of(content), method="test",
        trained_until=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    await promote(house.settings, promoted, content)  # before the first tick, as `pems up --models` does
    process = spawn(house.settings, "forecast")
    try:
        hours = (10.0,) * 60
        [answer] = await eventually(lambda: _at_least(house.settings, ModelChecked, 1), 60)
        assert answer.data.in_force, answer.data.problem
        await ticks(house.settings, 0, 2)
        await say(house, "weather.forecast-issued", "site", WeatherForecastIssued(
            issued=START, start=START, step_s=3_600, source="test", temperature_c=hours, ghi_w_m2=hours,
        ))  # fmt: skip
        await say(house, "price.published", "market", PricesPublished(
            market="CZ", published=START, start=START - timedelta(days=1), step_s=3_600, eur_per_mwh=hours,
        ))  # fmt: skip
        await ticks(house.settings, 2, 4)
        [first] = await loads(house, 1)
        assert first.method == "learnt LoadPredictor" and first.model_hash == name_of(content)
        assert first.flags == ()
        # its folder is lost, snapshot and copies of models with it: the broker has both log and store
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 30)
        for part in ("snapshots", "models"):
            shutil.rmtree(home / part)
        process = spawn(house.settings, "forecast")
        await ticks(house.settings, 4, 61)
        second = (await loads(house, 2))[-1]
        assert second.method == "learnt LoadPredictor" and second.flags == ()
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 30)

    def again(models: bool) -> Any:
        events, _ = load_log(home)
        found = load_models(home, models_named(events)) if models else {}
        service = Forecast()
        service.models = found
        return replay(events, services=[service])

    outcome = await asyncio.to_thread(again, True)
    assert outcome.identical and outcome.decisions["forecast"] >= 4, outcome.difference
    assert not (await asyncio.to_thread(again, False)).identical
