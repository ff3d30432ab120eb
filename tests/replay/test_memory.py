"""A house that moves in with a past: files, training, promotion, first forecasts, and the log replays."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from contracts.envelope import Event
from contracts.events.forecast import ForecastIssued
from contracts.events.system import ModelChecked
from contracts.site import SiteConfig
from pems import commands_models, config, promotion  # noqa: F401  # it registers commands
from pems.cli import app
from pems.inprocess import Simulation
from pems.replay import replay
from tests.unit.forecast.made import load_series, price_series
from twin.generate import default_scenario

HISTORY_DAYS = 40
HOURS = 3


def write(path: Path, column: str, values: np.ndarray, end: dt.datetime) -> None:
    """Hours that end where the house begins, with weather that a house hears less of, and more."""
    index = pd.date_range(end=end, periods=len(values) + 1, freq="1h", inclusive="left")
    warm, damp = 5.0 + index.hour / 4, 90.0 - index.hour
    columns = {column: values, "temp_air": warm, "relative_humidity": damp}
    pd.DataFrame({"utc": index.strftime("%Y-%m-%dT%H:%M:%SZ"), **columns}).to_csv(path, index=False)


def run(*arguments: str) -> None:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, (result.output, result.exception)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Learnt load and price as the commands after an import make them, in a folder for `pems up --models`."""
    folder = tmp_path_factory.mktemp("history")
    end = default_scenario().start.astimezone(dt.UTC)
    made = (
        ("load", "load_w", load_series(HISTORY_DAYS)),
        ("price", "price_eur_mwh", price_series(HISTORY_DAYS)),
    )
    for kind, column, series in made:
        data, model = folder / f"{kind}.csv.gz", folder / f"{kind}.model"
        write(data, column, series.values, end)
        run("train", kind, "--data", str(data), "--site", str(config.DEFAULT_SITE), "--out", str(model))
        run("model", "promote", kind, str(model), "--out", str(folder / "models"))
    return folder / "models"


@pytest.fixture(scope="module")
def lived(
    models: Path, site: SiteConfig, safety_limits: dict[str, Any]
) -> tuple[list[Event], dict[str, bytes]]:
    log: list[Event] = []
    contents: dict[str, bytes] = {}
    scenario = default_scenario()
    house = Simulation(site, safety_limits, scenario, seed=7, sink=log.append, models=contents)
    for promoted, content in promotion.load(models):
        house.promote(promoted, content)
    while house.house.time < scenario.start + dt.timedelta(hours=HOURS):
        house.advance()
    return log, contents


def test_the_first_forecasts_after_the_promotion_are_the_learnt_models_own(
    lived: tuple[list[Event], dict[str, bytes]]
) -> None:
    log = lived[0]
    checked = {e.data.quantity: e.data for e in log if isinstance(e.data, ModelChecked)}
    assert {kind: answer.problem for kind, answer in checked.items()} == {"load": "", "price": ""}
    last = max(e.sequence for e in log if isinstance(e.data, ModelChecked))
    for kind, method in (("load", "learnt LoadPredictor"), ("price", "learnt PricePredictor")):
        said = [
            e.data for e in log
            if isinstance(e.data, ForecastIssued) and e.data.quantity == kind and e.sequence > last
        ]  # fmt: skip
        assert len(said) >= HOURS - 1
        for forecast in said:
            assert forecast.method == method and "history-short" not in forecast.flags
            assert forecast.model_hash == checked[kind].content_hash


def test_it_replays_exactly_and_not_without_what_was_remembered(
    lived: tuple[list[Event], dict[str, bytes]]
) -> None:
    log, contents = lived
    outcome = replay(log, models=contents)
    assert outcome.identical, outcome.difference
    assert outcome.decisions["forecast"] > 10
