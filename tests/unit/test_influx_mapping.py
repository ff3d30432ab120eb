"""The mapping of an InfluxDB, what is said of odd columns, and the files that come of them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from pems import importing
from pems.commands_import import next_steps
from pems.config import DEPLOY, ConfigError
from pems.importing import tables, write
from pems.influx_hints import hints
from pems.influx_mapping import COLUMNS, load_mapping
from services.forecast.core.place import Place
from services.forecast.core.solar import Location, sun_path
from services.forecast.files import read_dataset
from services.thermal.history_csv import read_history

POWER = {"measurement": "meter", "field": "power"}
PRAGUE = Place(latitude=50.05, longitude=14.65)
STEP_S = 900
DAY = 96


def mapping(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "influx.yaml"
    content = {"url": "http://127.0.0.1:8086", "org": "home", "bucket": "house", "columns": {"load_w": POWER}}
    path.write_text(yaml.safe_dump(content | changes))
    return path


def test_the_example_is_a_mapping_and_names_every_kind_of_column() -> None:
    found = load_mapping(DEPLOY / "influx.example.yaml")
    assert {part.kind for parts in found.columns.values() for part in parts} == {"mean", "counter", "held"}
    assert len(found.columns["load_w"]) == 4 and found.columns["load_w"][1].scale == -2400
    assert found.columns["pv_w"][0].tags == {"string": "1"}
    assert found.columns["price_eur_mwh"][0].hold_s == 3_600
    text = (DEPLOY / "influx.example.yaml").read_text()
    assert all(column in text for column in COLUMNS), "what may be mapped stands there"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"columns": {"loadw": POWER}}, "columns: loadw is no column of a training file; did you mean load_w?"),
        ({"columns": {"noise": POWER}}, "noise is no column of a training file; known: pv_w, load_w"),
        ({"columns": {"T_": POWER, "load_w": POWER}}, "T_ is no column"),
        ({"columns": {"load_w": POWER | {"mesurement": "x"}}}, "load_w.0.mesurement: is not a known field"),
        ({"columns": {"load_w": {"field": "x"}}}, "columns.load_w.0.measurement: is missing; add it"),
        ({"columns": {"load_w": POWER | {"kind": "held"}}}, "load_w.0: hold is missing; say how long"),
        ({"columns": {"load_w": POWER | {"hold": "1h"}}}, "hold is for kind: held and kind: counter"),
        ({"columns": {"load_w": POWER | {"kind": "held", "hold": 60}}}, "hold: is a duration; write for"),
        ({"columns": {"load_w": POWER | {"kind": "held", "hold": "soon"}}}, "'soon' is not a duration"),
        ({"columns": {"load_w": POWER | {"kind": "total"}}}, "kind: Input should be 'mean', 'counter' or"),
        ({"columns": {"load_w": POWER | {"scale": 0}}}, "scale 0 leaves nothing"),
        ({"columns": {"load_w": POWER | {"tags": {"room": 1}}}}, "tags.room: .* put it in quotes"),
        ({"columns": {"load_w": []}}, "columns.load_w: names no series; add one"),
        ({"columns": {"load_w": POWER, "heat_hall": POWER}}, "heat_hall heats no room; add T_hall"),
        ({"columns": {"load_w": POWER, "heat": POWER}}, "heat heats no room; add a T_<room>"),
        ({"columns": {"T_hall": POWER}}, "T_<room> needs temp_air"),
        ({"columns": {"ghi": POWER}}, "nothing to learn; add one of pv_w, load_w, price_eur_mwh, or T_<room>"),
        ({"token": "secret"}, "does not belong in a file; remove it and set PEMS_INFLUX_TOKEN"),
        ({"url": "localhost:8086"}, "url: is no address; write for example http"),
        ({"bucket": ""}, "bucket: "),
    ],
)  # fmt: skip
def test_every_mistake_is_named_with_its_field_and_the_fix(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        load_mapping(mapping(tmp_path, **changes))


def test_a_secret_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as found:
        load_mapping(mapping(tmp_path, token="my-secret"))
    assert "my-secret" not in str(found.value)


SUNNY = np.arange(1_748_736_000, 1_748_736_000 + 14 * 86_400, STEP_S)
"""The first half of June 2025."""


def sunny(late_s: int = 0) -> np.ndarray:
    path = sun_path(SUNNY - late_s, STEP_S, Location(50.05, 14.65))
    return np.where(path.up, 8.0 * path.clear_ghi_wm2, 0.0)


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("load_w", np.linspace(0.2, 3.1, 500)[::-1], "kW? scale 1000"),
        ("load_w", np.cumsum(np.full(500, 200.0)), "kind: counter?"),
        ("load_w", np.tile([500.0, 900.0, -300.0], 99), "below 0 in 33 % of the steps: what is fed in"),
        ("load_w", np.tile([500.0, 3e6], 99), "more than a house draws"),
        ("heat_hall", np.zeros(99), "never above 0"),
        ("pv_w", np.full(99, 300.0), "never changes"),
        ("pv_w", -sunny(), "another sign?"),
        ("pv_w", sunny(2 * 3_600), "times that are not UTC; it fits the sun best 2 h earlier"),
        ("pv_w", sunny(-3_600), "it fits the sun best 1 h later"),
        ("price_eur_mwh", np.tile([0.05, 0.11], 99), "EUR/kWh? scale 1000"),
        ("price_eur_mwh", np.tile([5.0, 11.0], 99), "cents a kWh? scale 10"),
        ("price_eur_mwh", np.tile([2000.0, 2500.0], 99), "another currency?"),
        ("T_hall", np.tile([292.0, 294.0], 99), "Kelvin?"),
        ("temp_air", np.tile([60.0, 64.0], 99), "Fahrenheit?"),
        ("ghi", np.tile([0.0, 0.8], 99), "kW/m2? scale 1000"),
        ("cloud_cover", np.tile([0.0, 1.0], 99), "a share? scale 100"),
        ("T_hall", np.where(np.arange(99) % 4, np.nan, np.arange(99) % 8 + 18.0), "is missing"),
        ("T_hall", np.full(99, np.nan), "nothing known"),
    ],
)
def test_what_looks_wrong_is_said(name: str, values: np.ndarray, says: str) -> None:
    assert says in "; ".join(hints(name, values, SUNNY[: len(values)], STEP_S, PRAGUE))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("load_w", np.tile([180.0, 400.0, 2500.0], 99)), ("pv_w", sunny()),
        ("heat_hall", np.tile([0.0, 0.0, 900.0], 99)), ("price_eur_mwh", np.tile([-20.0, 80.0, 110.0], 99)),
        ("T_hall", np.tile([19.5, 21.0], 99)), ("temp_air", np.tile([-12.0, 33.0], 99)),
        ("ghi", np.tile([0.0, 800.0], 99)), ("cloud_cover", np.tile([0.0, 100.0], 99)),
    ],
)  # fmt: skip
def test_what_is_right_is_left_alone(name: str, values: np.ndarray) -> None:
    assert hints(name, values, SUNNY[: len(values)], STEP_S, PRAGUE) == []


def columns(*names: str) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(3)
    found = {name: np.round(20.0 + chance.random(4 * DAY), 2) for name in names}
    for values in found.values():
        values[:5] = np.nan
        values[50:60] = np.nan
        values[-3:] = np.nan
    return found


def test_each_file_has_the_columns_that_its_training_reads_and_only_those(tmp_path: Path) -> None:
    values = columns("pv_w", "load_w", "price_eur_mwh", "pv_forecast_w", "tclw", "cloud_cover", "ghi",
                     "temp_air", "wind_speed", "T_hall", "heat_hall")  # fmt: skip
    frames = tables(values, SUNNY[: 4 * DAY])
    found = {kind: list(frame.columns[1:]) for kind, frame in frames.items()}
    weather = ["ghi", "temp_air", "wind_speed", "cloud_cover"]
    assert found["pv"] == ["pv_w", *weather, "tclw", "pv_forecast_w"]
    assert found["load"] == ["load_w", *weather]
    assert found["price"] == ["price_eur_mwh", *weather]
    # whatever else stood there would be taken for a metered gain of heat
    assert found["thermal"] == ["T_hall", "heat_hall", "temp_air", "ghi", "wind"]
    assert set(tables(columns("load_w"), SUNNY[: 4 * DAY])) == {"load"}
    paths = write(frames, tmp_path / "new")
    lines = next_steps(paths, tmp_path / "new", None)
    for command in ("pems train ", "pems model promote "):
        assert sum(line.startswith(command) for line in lines) == 4


def test_training_reads_back_what_was_written(tmp_path: Path) -> None:
    values = columns("pv_w", "load_w", "price_eur_mwh", "temp_air", "wind_speed", "T_hall", "heat_hall")
    values["heat_hall"] *= 40.0
    times = SUNNY[: 4 * DAY]
    paths = write(tables(values, times), tmp_path)
    inside = slice(5, -3)
    for kind, target in (("pv", "pv_w"), ("load", "load_w"), ("price", "price_eur_mwh")):
        found = read_dataset(paths[kind], kind, Place())
        assert (found.series.start_s, found.series.step_s) == (times[5], STEP_S)
        expected = values[target][inside]
        if kind == "price":  # a gap in prices is the market's own question
            expected, read = expected[:45], found.series.values[:45]
        else:
            read = found.series.values
        np.testing.assert_array_equal(read, expected)
        assert found.weather is not None
    history, notes = read_history(paths["thermal"])
    assert notes == ()
    np.testing.assert_array_equal(history.epoch_s, times[inside])
    np.testing.assert_array_equal(history.temperature_c[:, 0], values["T_hall"][inside])
    np.testing.assert_array_equal(history.heat_w["heat_hall"], values["heat_hall"][inside])
    np.testing.assert_array_equal(history.outside_c, values["temp_air"][inside])
    assert history.wind_m_s is not None
    np.testing.assert_array_equal(history.wind_m_s, values["wind_speed"][inside])
    assert history.metered_w == {}


def test_a_file_that_cannot_be_written_leaves_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = tables(columns("pv_w", "load_w"), SUNNY[: 4 * DAY])
    before = {kind: path.read_bytes() for kind, path in write(frames, tmp_path).items()}
    to_csv, written = pd.DataFrame.to_csv, []

    def full(frame: pd.DataFrame, path: Path, **more: Any) -> None:
        written.append(path)
        to_csv(frame, path, **more)
        if len(written) == 2:
            raise OSError("no space left")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OSError, match="no space"):
        write({kind: frame.iloc[:9] for kind, frame in frames.items()}, tmp_path)
    assert len(written) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"pv.csv.gz", "load.csv.gz"}
    assert {kind: (tmp_path / f"{kind}.csv.gz").read_bytes() for kind in before} == before


def test_the_same_history_gives_the_same_bytes(tmp_path: Path) -> None:
    frames = tables(columns("load_w"), SUNNY[: 4 * DAY])
    one, other = write(frames, tmp_path / "a")["load"], write(frames, tmp_path / "b")["load"]
    assert one.read_bytes() == other.read_bytes()
    assert one.read_bytes()[4:8] == bytes(4), "no time of day in it"


def test_half_a_step_is_enough_to_know_a_room() -> None:
    nan = np.nan
    found = importing._mean_of_known(np.array([[19.0, 20.0], [19.0, nan], [nan, 20.0], [nan, nan]]))
    np.testing.assert_array_equal(found, [19.5, 19.0, 20.0, nan])


def test_months_follow_each_other_to_the_end() -> None:
    start, stop = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 3, 15, tzinfo=UTC)
    found = list(importing.chunks(start, stop))
    assert found[0][0] == start and found[-1][1] == stop and len(found) == 3
    assert all(a[1] == b[0] for a, b in itertools.pairwise(found))
