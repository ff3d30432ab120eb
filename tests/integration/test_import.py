"""From a real InfluxDB to models in force: a simulated house's past in the styles that recorders write."""

from __future__ import annotations

import asyncio
import gzip
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from contracts.events.system import ModelChecked
from contracts.events.thermal import ModelIdentified
from contracts.site import SiteConfig
from pems import commands_import, commands_models, config, importing  # noqa: F401  # they register commands
from pems.broker import Broker
from pems.cli import app
from pems.home import House, remember
from pems.importing import read_columns
from pems.influx_mapping import TOKEN as VARIABLE
from pems.influx_mapping import Mapping
from services.forecast.core.place import Place
from services.forecast.files import read_dataset
from services.gateway.devices.influx import InfluxHistory
from services.thermal.history_csv import read_history
from tests.conftest import eventually
from tests.integration import lived
from tests.integration.influx_server import TOKEN, influx_server, write_lines
from tests.integration.test_runner import _at_least, spawn, ticks
from twin.recording import Recording

DAYS = 14
STEP_S = 900
ZONE = ZoneInfo("Europe/Prague")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with influx_server(tmp_path_factory.mktemp("influx")) as address:
        yield address


@pytest.fixture(scope="module")
def past(url: str, site: SiteConfig) -> Recording:
    found = lived.recorded(site, DAYS)
    write_lines(url, lived.lines(found))
    return found


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, TOKEN)


def run(folder: Path, mapping: dict[str, Any], start: str, stop: str, *more: str) -> Result:
    folder.mkdir(exist_ok=True)
    path = folder / "influx.yaml"
    path.write_text(yaml.safe_dump(mapping, allow_unicode=True))
    arguments = ["import", "influx", str(path), "--from", start, "--to", stop, "--out", str(folder / "out")]
    return CliRunner().invoke(app, [*arguments, *more])


def said(result: Result) -> str:
    return " ".join(f"{result.output} {result.exception or ''}".split())


@pytest.fixture(scope="module")
def imported(
    url: str, past: Recording, site: SiteConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("imported")
    begin, end = (
        f"{datetime.fromtimestamp(int(s), UTC):%Y-%m-%dT%H:%MZ}"
        for s in (past.times_s[0] - 60, past.times_s[-1])
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, TOKEN)
        result = run(folder, lived.mapping(site, url), begin, end, "--site", str(config.DEFAULT_SITE))
    assert result.exit_code == 0, said(result)
    assert "pems train thermal --data" in said(result)
    return folder / "out"


def steps(minutes: np.ndarray) -> np.ndarray:
    """Means of quarter hours of what was simulated minute by minute."""
    return minutes.reshape(-1, 15).mean(axis=1)


def test_every_style_of_recorder_gives_what_the_house_did(imported: Path, past: Recording) -> None:
    first = int(past.times_s[0]) - 60
    for path in imported.iterdir():
        text = gzip.decompress(path.read_bytes()).decode()
        assert not re.search(r"\.\d{4}", text), f"{path.name} has more digits than anybody measures"
    load = read_dataset(imported / "load.csv.gz", "load", Place()).series
    assert (load.start_s, load.step_s) == (first, STEP_S)
    off = load.values - steps(past.base_w)
    # the meter of the car counts whole Wh: 4 W of a quarter hour
    assert np.abs(off).max() < 100.0 and abs(off.mean()) < 25.0
    pv = read_dataset(imported / "pv.csv.gz", "pv", Place()).series
    np.testing.assert_allclose(pv.values, steps(past.pv_w), atol=15.0, err_msg="a counter of Wh, and reset")
    prices = read_dataset(imported / "price.csv.gz", "price", Place()).series
    begin = first + STEP_S * np.arange(len(prices.values))
    np.testing.assert_allclose(prices.values, past.scenario.prices.hold("eur_per_mwh", begin), atol=0.002)
    history, notes = read_history(imported / "thermal.csv.gz")
    assert notes == () and history.metered_w == {}
    assert set(history.rooms) == {room.id for room in past.site.rooms}
    for k, room in enumerate(past.site.rooms):
        heat = steps(past.relay[:, k] * room.heater_w)
        np.testing.assert_allclose(history.heat_w[f"heat_{room.id}"], heat, atol=0.1)
        # what the room was when the step began, not through it: the planner's models read it so
        at_begin = past.air_c[14::15, k][:-1]
        assert np.abs(history.temperature_c[1:, history.rooms.index(room.id)] - at_begin).mean() < 0.02


async def test_the_files_hold_what_was_read_and_months_leave_no_seam(
    url: str, imported: Path, past: Recording, site: SiteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = Mapping.model_validate(lived.mapping(site, url))
    start = datetime.fromtimestamp(int(past.times_s[0]) - 60, UTC)
    history = InfluxHistory(url, TOKEN, "home")
    monkeypatch.setattr(importing, "CHUNK", timedelta(hours=7))
    values, notes = await read_columns(history, where, start, start + timedelta(days=DAYS), STEP_S)
    await history.close()
    assert not any(notes.values())
    for kind, target in (("pv", "pv_w"), ("load", "load_w"), ("price", "price_eur_mwh")):
        found = read_dataset(imported / f"{kind}.csv.gz", kind, Place()).series.values
        np.testing.assert_array_equal(found, values[target])
    rooms, _ = read_history(imported / "thermal.csv.gz")
    for k, room in enumerate(rooms.rooms):
        np.testing.assert_array_equal(rooms.temperature_c[:, k], values[f"T_{room}"])
        np.testing.assert_array_equal(rooms.heat_w[f"heat_{room}"], values[f"heat_{room}"])


@pytest.fixture
def services(house: Broker) -> Iterator[None]:
    started = [spawn(house.settings, name) for name in ("thermal", "forecast")]
    yield
    for process in started:
        process.send_signal(signal.SIGTERM)
    for process in started:
        process.wait(30)


@pytest.mark.slow
@pytest.mark.usefixtures("services")
async def test_models_learnt_from_it_come_into_force_in_a_running_house(
    house: Broker, imported: Path, tmp_path: Path
) -> None:
    """By the very commands that the import prints, on a house that knows nothing yet."""
    ports = house.ports
    remember(tmp_path, house.settings.home, House("home", ports.nats, ports.mqtt, ports.monitor))
    await ticks(house.settings, 0, 2)
    kinds = ("thermal", "pv", "load", "price")
    for kind in kinds:
        model = str(tmp_path / f"{kind}.model")
        for command in (
            ["train", kind, "--data", str(imported / f"{kind}.csv.gz"), "--site", str(config.DEFAULT_SITE),
             "--out", model],
            ["model", "promote", kind, model, "--home", str(house.settings.home)],
        ):  # fmt: skip
            done = await asyncio.to_thread(
                subprocess.run, [sys.executable, "-m", "pems", *command], capture_output=True, text=True,
                timeout=240,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
    checks = await eventually(lambda: _at_least(house.settings, ModelChecked, 4), 60)
    answers = {e.data.quantity: (e.data.in_force, e.data.problem) for e in checks}
    assert answers == {kind: (True, "") for kind in kinds}
    found = await eventually(lambda: _at_least(house.settings, ModelIdentified, 2), 10)
    assert found[-1].data.model.provenance.trained_to_epoch_s is not None


PART = {"measurement": "switch", "field": "on"}


def one(url: str, column: str = "load_w", **part: Any) -> dict[str, Any]:
    return {"url": url, "org": "home", "bucket": "home", "columns": {column: PART | part}}


def noon(day: int, minute: float = 0.0) -> int:
    return int(datetime(2025, 6, day, 12, tzinfo=UTC).timestamp() + 60 * minute)


def test_what_is_not_there_or_not_one_names_the_column_and_the_fix(url: str, tmp_path: Path) -> None:
    write_lines(url, [
        *(f"twice,phase={p},box=a power=1 {noon(1, m)}" for p in ("L1", "L2") for m in (0, 1)),
        f'words state="open" {noon(1)}', f"flags on=true {noon(1)}",
    ])  # fmt: skip
    for part, says in (
        ({"measurement": "twice", "field": "power"},
         "load_w: home: twice.power: 2 series match; add tags until one is left: phase: L1 or L2"),
        ({"measurement": "twice", "field": "power", "tags": {"phase": "L3"}},
         "load_w: home: twice.power, phase=L3: nothing was written from 2025-06-01 to 2025-06-02; check"),
        ({"measurement": "flags"}, "load_w: home: flags.on: True is no number but a state; write kind: held"),
        ({"measurement": "words", "field": "state", "kind": "held", "hold": "1d"},
         "load_w: words.state: open: wanted numbers, on or off"),
        ({"bucket": "cellar"}, "load_w: influxdb at"),
    ):  # fmt: skip
        result = run(tmp_path / "x", one(url, **part), "2025-06-01", "2025-06-02")
        assert result.exit_code == 1 and says in said(result), said(result)
        assert not (tmp_path / "x" / "out").exists(), "nothing was written"
    assert "check the bucket's name" in said(result)


def test_a_wrong_token_or_address_is_named(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "wrong")
    result = run(tmp_path, one(url), "2025-06-01", "2025-06-02")
    assert result.exit_code == 1 and "the token is not known there" in said(result)
    assert "wrong" not in said(result).replace("wrong token", "")
    monkeypatch.delenv(VARIABLE)
    assert f"{VARIABLE} is not set" in said(run(tmp_path, one(url), "2025-06-01", "2025-06-02"))
    monkeypatch.setenv(VARIABLE, TOKEN)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    day = ("2025-06-01", "2025-06-02")
    assert f"influxdb at {nobody}: does not answer" in said(run(tmp_path, one(nobody), *day))
    mistaken = one(url) | {"org": "elsewhere"}
    assert "check the name of the organisation" in said(run(tmp_path, mistaken, *day))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("2025-06-02", "2025-06-01"), "--from 2025-06-02 00:00 is not before --to"),
        (("soon", "2025-06-01"), "--from: 'soon' is not a time"),
        (("2025-06-01", "2025-06-02", "--step", "7min"), "'7min' is no part of an hour"),
        (("2025-06-01", "2025-06-02", "--step", "1d"), "'1d' is no part of an hour"),
        (("2025-06-01", "2025-06-02", "--site", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    result = run(tmp_path, one("http://127.0.0.1:9"), *arguments)
    assert result.exit_code == 1 and says in said(result), said(result)


@pytest.mark.parametrize("how", [{}, {"kind": "held", "hold": "5min"}], ids=["mean", "held"])
def test_a_sensor_that_was_renamed_goes_on(url: str, tmp_path: Path, how: dict[str, str]) -> None:
    """Home Assistant writes the friendly name as a tag: a new name is a new series."""
    write_lines(url, [
        *(f"W,entity_id=meter,friendly_name=Old value={300 + m} {noon(3, m)}" for m in range(60)),
        *(f"W,entity_id=meter,friendly_name=New value={400 + m} {noon(3, m)}" for m in range(60, 120)),
    ])  # fmt: skip
    mapping = one(url, measurement="W", field="value", tags={"entity_id": "meter"}, **how)
    result = run(tmp_path, mapping, "2025-06-03T12:00Z", "2025-06-03T14:00Z")
    assert result.exit_code == 0, said(result)
    assert "friendly_name: Old or New" in said(result)
    found = read_dataset(tmp_path / "out" / "load.csv.gz", "load", Place()).series.values
    np.testing.assert_allclose(found, [307, 322, 337, 352, 467, 482, 497, 512])


def test_what_was_written_before_the_beginning_and_after_the_end_counts(url: str, tmp_path: Path) -> None:
    """A relay that has been on since the day before, and counters whose readings lie across both ends."""
    write_lines(url, [
        f"resting on=1 {noon(7, -1_000)}",
        *(f"early energy={1_000 + 1_000 * (m + 5) / 60} {noon(7, m)}" for m in range(-5, 60, 15)),
        *(f"late energy={1_000 + 1_000 * (m + 10) / 60} {noon(7, m)}" for m in range(-10, 70, 15)),
    ])  # fmt: skip
    parts = {
        "load_w": {"measurement": "resting", "field": "on", "kind": "held", "hold": "1d", "scale": 500},
        "pv_w": {"measurement": "early", "field": "energy", "kind": "counter"},
        "price_eur_mwh": {"measurement": "late", "field": "energy", "kind": "counter"},
    }
    mapping = {"url": url, "org": "home", "bucket": "home", "columns": parts}
    result = run(tmp_path, mapping, "2025-06-07T12:00Z", "2025-06-07T13:00Z")
    assert result.exit_code == 0, said(result)
    for kind, expected in (("load", 500), ("pv", 1_000), ("price", 1_000)):
        found = read_dataset(tmp_path / "out" / f"{kind}.csv.gz", kind, Place()).series.values
        np.testing.assert_allclose(found, [expected] * 4, err_msg=kind)


@pytest.mark.parametrize("kind", ["mean", "held", "counter"])
def test_what_is_missing_in_one_is_missing_in_the_sum(url: str, tmp_path: Path, kind: str) -> None:
    write_lines(url, [
        *(f"{kind} house=900 {noon(5, m)}" for m in range(60)),
        *(f"{kind} other={500 + 15 * m} {noon(5, m)}" for m in range(60) if not 20 <= m < 45),
    ])  # fmt: skip
    hold = {} if kind == "mean" else {"hold": "3min"}
    parts = [
        {"measurement": kind, "field": "house"},
        {"measurement": kind, "field": "other", "kind": kind, "scale": -1, **hold},
    ]
    mapping = {"url": url, "org": "home", "bucket": "home", "columns": {"load_w": parts}}
    result = run(tmp_path, mapping, "2025-06-05T12:00Z", "2025-06-05T13:00Z")
    assert result.exit_code == 0, said(result)
    found = read_dataset(tmp_path / "out" / "load.csv.gz", "load", Place()).series.values
    # 15 Wh a minute are 900 W
    expected = [0.0, 0.0] if kind == "counter" else [900 - (500 + 15 * 7), 900 - (500 + 15 * 52)]
    unknown = kind == "held"
    np.testing.assert_allclose(found[[0, -1]], expected, atol=0.1)
    assert np.isnan(found[2]) and np.isnan(found[1]) == (unknown or kind == "counter")


@pytest.mark.parametrize(("day", "hours"), [("2025-03-30", 23), ("2025-10-26", 25), ("2025-06-15", 24)])
def test_hourly_prices_on_days_that_change_the_clock(
    url: str, tmp_path: Path, day: str, hours: int
) -> None:
    """A local day of 23 or 25 hours: every quarter hour has the price of its own hour, and no other."""
    begin = datetime.fromisoformat(day).replace(tzinfo=ZONE)
    until = (begin + timedelta(days=1)).replace(tzinfo=ZONE)
    first = int(begin.timestamp())
    assert int(until.timestamp()) - first == hours * 3_600
    write_lines(url, [f"market price={0.05 + 0.001 * h} {first + 3_600 * h}" for h in range(-2, hours)])
    part = {"measurement": "market", "field": "price", "kind": "held", "hold": "1h", "scale": 1000}
    result = run(tmp_path, one(url, "price_eur_mwh", **part), day, f"{until:%Y-%m-%d}",
                 "--site", str(config.DEFAULT_SITE))  # fmt: skip
    assert result.exit_code == 0, said(result)
    found = read_dataset(tmp_path / "out" / "price.csv.gz", "price", Place()).series
    assert (found.start_s, found.step_s) == (first, STEP_S)
    np.testing.assert_allclose(found.values, np.repeat(50.0 + np.arange(hours), 4), atol=1e-3)
