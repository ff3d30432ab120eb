"""Spoilt recordings through the commands: every fault is named, none crashes, none spoils a neighbour."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from services.thermal.evaluate import app as evaluate_app
from services.thermal.train import app as train_app
from tests.unit.thermal.house import simulate, true_house

STEP_S, DAY = 1800, 48
DAYS, TRAINED = 18, 13
AUTUMN = pd.Timestamp("2025-10-17", tz="UTC")
"""Day 9 of a recording that begins here is the day the clocks go back."""


def clean() -> pd.DataFrame:
    history = simulate(true_house(3), days=DAYS, step_s=STEP_S, noise_c=0.03)
    frame = pd.DataFrame(
        {"utc": AUTUMN + pd.to_timedelta(STEP_S * np.arange(DAYS * DAY), unit="s")}
    )
    for i, name in enumerate(history.rooms):
        frame[f"T_{name}"] = history.temperature_c[:, i].round(2)
        frame[f"heat_{name}"] = history.heat_w[f"heat_{name}"]
    frame["temp_air"] = history.outside_c
    frame["ghi"] = history.ghi_w_m2
    return frame


def stuck(frame: pd.DataFrame) -> None:
    frame.loc[4 * DAY : 8 * DAY, "T_room0"] = 21.3


def stuck_in_the_test(frame: pd.DataFrame) -> None:
    frame.loc[14 * DAY :, "T_room0"] = 21.3


def swapped(frame: pd.DataFrame) -> None:
    rows = frame.index >= 8 * DAY
    frame.loc[rows, ["T_room0", "T_room2"]] = frame.loc[rows, ["T_room2", "T_room0"]].to_numpy()


def a_week_missing(frame: pd.DataFrame) -> None:
    frame.drop(index=frame.index[3 * DAY : 10 * DAY], inplace=True)


def one_room_missing_a_week(frame: pd.DataFrame) -> None:
    frame.loc[3 * DAY : 10 * DAY - 1, "T_room0"] = np.nan


def heater_never_runs(frame: pd.DataFrame) -> None:
    frame["heat_room0"] = 0.0


def error_codes(frame: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    frame.loc[rng.random(len(frame)) < 0.1, "T_room0"] = -127.0


def another_scale(frame: pd.DataFrame) -> None:
    frame["T_room0"] += 273.15


def local_clock(frame: pd.DataFrame) -> None:
    frame["utc"] = pd.DatetimeIndex(frame["utc"]).tz_convert("Europe/Prague").tz_localize(None)


WEEK = "room0: 1 gaps longer than 12 h, the longest 168 h"
ALL = ("room0", "room1", "room2")
FAULTS: dict[str, tuple[Callable[[pd.DataFrame], None], str, tuple[str, ...]]] = {
    "stuck": (stuck, "room0: sensor stuck", ALL[1:]),
    "stuck while tested": (stuck_in_the_test, "while tested, room0: sensor stuck", ALL[1:]),
    "swapped": (swapped, "its sensor follows the heater of room2", ALL[1:2]),
    "a week missing": (a_week_missing, WEEK, ALL),
    "one room missing": (one_room_missing_a_week, WEEK, ALL[1:]),
    "heater never runs": (heater_never_runs, "room0: the heater ran 0.0 %", ALL[2:]),
    "error codes": (error_codes, "readings outside -10..50 degC; removed", ALL),
    "kelvin": (another_scale, "readings outside -10..50 degC; removed", ALL[1:]),
    "daylight saving": (local_clock, "daylight saving", ALL),
}
"""By name: the fault, words that name it, the rooms that must stay right."""


def write(frame: pd.DataFrame, path: Path) -> Path:
    stamps = pd.DatetimeIndex(frame["utc"]).strftime("%Y-%m-%dT%H:%M:%S")
    frame.assign(utc=stamps).to_csv(path, index=False)
    return path


def evaluate(frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
    begin = AUTUMN + pd.Timedelta(days=TRAINED)
    result = CliRunner().invoke(
        evaluate_app,
        ["--data", str(write(frame, folder / "house.csv")), "--train-until", begin.isoformat(),
         "--from", begin.isoformat(), "--to", (AUTUMN + pd.Timedelta(days=DAYS)).isoformat(),
         "--lead", "6h", "--json"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def errors(report: dict[str, Any]) -> dict[str, float]:
    """Mean absolute error by room at the longest lead."""
    rooms = report["leads"][-1]["rooms"]
    return {name: room["ours"]["mae_c"] for name, room in rooms.items() if "ours" in room}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    return errors(evaluate(clean(), tmp_path_factory.mktemp("clean")))


@pytest.mark.parametrize("name", FAULTS)
def test_evaluate_names_the_fault_and_other_rooms_stay_right(
    name: str, healthy: dict[str, float], tmp_path: Path
) -> None:
    spoil, words, others = FAULTS[name]
    frame = clean()
    spoil(frame)
    report = evaluate(frame, tmp_path)
    assert any(words in text for text in report["findings"]), report["findings"]
    tested = [text for text in report["findings"] if text.startswith("while tested")]
    assert not any("removed" in text for text in tested)  # what is tested stays in
    found = errors(report)
    for room in others:
        assert found[room] < 1.2 * healthy[room] + 0.02, (room, found, healthy)


def test_train_names_all_faults_of_one_recording(tmp_path: Path) -> None:
    frame = clean()
    stuck(frame)
    frame["heat_room2"] = 0.0
    frame.loc[2 * DAY : 9 * DAY, "T_room1"] = np.nan
    local_clock(frame)
    out = tmp_path / "model.json"
    result = CliRunner().invoke(
        train_app, ["--data", str(write(frame, tmp_path / "house.csv")), "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    for words in ("room0: sensor stuck", "room2: the heater ran", "room1: 1 gaps", "daylight"):
        assert words in said, said
    assert out.stat().st_size > 1000
