"""`pems evaluate thermal` and `pems train thermal` end to end on a small simulated house."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from contracts.site import SiteConfig
from contracts.thermal_model import HeatShare, content_hash, from_json
from pems.config import DEFAULT_SITE
from services.thermal import train
from services.thermal.core.drive import habit
from services.thermal.core.from_site import model_of
from services.thermal.core.identify import identify
from services.thermal.core.structure import FOR_THE_PLANNER
from services.thermal.evaluate import app as evaluate_app
from services.thermal.evaluate import parse_lead, parse_time, prior_for, run
from services.thermal.plots import hour_response_c
from services.thermal.service import _fits
from services.thermal.train import app as train_app
from tests.unit.thermal.house import simulate, true_house


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    history = simulate(true_house(2), days=12, step_s=1800, noise_c=0.03)
    columns: dict[str, object] = {
        "utc": pd.to_datetime(history.epoch_s, unit="s", utc=True).strftime("%Y-%m-%dT%H:%M:%SZ")
    }
    for i, name in enumerate(history.rooms):
        columns[f"T_{name}"] = history.temperature_c[:, i].round(2)
        columns[f"heat_{name}"] = history.heat_w[f"heat_{name}"]
    columns["temp_air"] = history.outside_c
    columns["ghi"] = history.ghi_w_m2
    path = tmp_path_factory.mktemp("thermal") / "house.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def report(recording: Path) -> dict[str, Any]:
    """What the command prints; the figure lies beside the recording."""
    result = CliRunner().invoke(
        evaluate_app,
        ["--data", str(recording), "--train-until", "2025-01-14", "--from", "2025-01-14",
         "--to", "2025-01-18", "--lead", "12h", "--json",
         "--plot", str(recording.parent / "fit.png")],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_evaluate_beats_every_baseline_and_its_bands_hold(
    report: dict[str, Any], recording: Path
) -> None:
    assert [entry["lead_h"] for entry in report["leads"]] == [1.0, 3.0, 6.0, 12.0]
    for entry in report["leads"][2:]:
        ours = entry["mean"]["ours"]["mae_c"]
        for other in ("persistence", "same time yesterday", "arx"):
            assert ours < entry["mean"][other]["mae_c"]
        # few days to learn from, and 56 forecasts of a lead to count
        assert entry["mean"]["ours"]["coverage_90"] >= 0.7
        assert "physics" in entry["mean"]
    for room in report["structure"].values():
        assert room["planner_can_hold"] == (room["emitter_lag_s"] == 0.0)
    assert (recording.parent / "fit.png").stat().st_size > 20_000


def test_train_writes_a_model_that_is_named_by_its_hash(recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.json"
    result = CliRunner().invoke(
        train_app,
        ["--data", str(recording), "--out", str(out), "--plot", str(tmp_path / "model.png")],
    )
    assert result.exit_code == 0, result.output
    model = from_json(out.read_text())
    assert content_hash(model)[:16] in result.output.replace("\n", "")
    assert model.room_names == ("room0", "room1")
    assert model.provenance.data_hash
    assert (tmp_path / "model.png").stat().st_size > 20_000


def test_with_its_site_file_the_model_is_one_that_the_house_takes(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The site's rooms in the site's order, its heating power, and no emitter that its planner loses."""
    raw = yaml.safe_load(DEFAULT_SITE.read_text())
    names = ("room1", "attic", "room0")
    for room, name in zip(raw["rooms"], names, strict=False):
        room |= {"id": name, "neighbours": [other for other in names if other != name]}
    raw["rooms"] = raw["rooms"][:3]
    site = tmp_path / "site.yaml"
    site.write_text(yaml.safe_dump(raw))
    asked: list[object] = []
    monkeypatch.setattr(
        train, "identify", lambda *given, **more: asked.append(more["candidates"]) or identify(*given, **more)
    )
    found, _ = train.train(recording, site)
    prior = model_of(SiteConfig.model_validate(raw))
    assert _fits(found.model, prior) == ""
    assert asked == [FOR_THE_PLANNER]
    measured, unseen = found.model.rooms[0], found.model.rooms[1]
    assert "air_capacity_j_per_k" in measured.identified
    assert "air_capacity_j_per_k" not in unseen.identified, "nobody measured there"
    site.write_text("latitude: [")
    with pytest.raises(ValueError, match=r"site.yaml: cannot be read"):
        train.train(recording, site)


def test_training_does_not_see_the_test_stretch(
    report: dict[str, Any], recording: Path, tmp_path: Path
) -> None:
    frame = pd.read_csv(recording, float_precision="round_trip")
    late = pd.to_datetime(frame["utc"]) >= pd.Timestamp("2025-01-14", tz="UTC")
    frame.loc[late, "T_room0"] = 99.0
    spoiled = tmp_path / "spoiled.csv"
    frame.to_csv(spoiled, index=False)
    dirty = run(spoiled, "2025-01-14", "2025-01-14", "2025-01-18", "6h").report
    assert dirty["model_hash"] == report["model_hash"]


def test_errors_are_said_and_the_exit_code_is_two(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("time,T_a\n1,2\n")
    arguments = ["--data", str(bad), "--train-until", "2025-01-14", "--from", "2025-01-14",
                 "--to", "2025-01-18"]  # fmt: skip
    result = CliRunner().invoke(evaluate_app, arguments)
    assert result.exit_code == 2
    assert "no column 'utc'" in result.output


def test_a_site_file_may_say_no_more_than_the_place(tmp_path: Path) -> None:
    history, site = simulate(true_house(2), days=4), tmp_path / "site.yaml"
    site.write_text("latitude: 59.9\nlongitude: 10.7\ntime_zone: Europe/Oslo\n")
    prior, pairs_known, notes = prior_for(history, site)
    assert (prior.latitude_deg, prior.longitude_deg, prior.time_zone) == (59.9, 10.7, "Europe/Oslo")
    assert (prior.room_names, pairs_known, notes) == (history.rooms, False, ())
    for text, says in (
        ("latitude: 590\nlongitude: 10.7\n", "latitude: 590"),
        ("latitude: 59\n", "longitude: None"),
        ("latitude: 59\nlongitude: 10\ntime_zone: Oslo\n", "time_zone: 'Oslo'"),
        ("latitude: [\n", "site.yaml: cannot be read"),
    ):
        site.write_text(text)
        with pytest.raises(ValueError, match=says):
            prior_for(history, site)


def test_times_and_leads_are_parsed() -> None:
    assert parse_time("1970-01-02", "--from") == 86400
    assert parse_time("1970-01-01T01:00+01:00", "--from") == 0
    assert parse_lead("24h") == 86400
    assert parse_lead("90min") == 5400
    with pytest.raises(ValueError, match="--from"):
        parse_time("soon", "--from")
    with pytest.raises(ValueError, match="--lead"):
        parse_lead("a day")


def test_habit_uses_only_the_past() -> None:
    history = simulate(true_house(1), days=6)
    values = np.tile(np.concatenate([np.zeros(48), np.full(48, 200.0)]), 6)
    before = habit(history, values)
    values[5 * 96 :] = 1e4
    np.testing.assert_array_equal(habit(history, values)[96 : 5 * 96], before[96 : 5 * 96])
    assert before[3 * 96 + 80] == pytest.approx(200.0)


def test_the_plotted_response_is_the_rooms_own_heater_or_the_shared_one() -> None:
    own = true_house(2)
    alone = hour_response_c(own, 0)
    assert alone is not None
    assert 0.5 < alone[11] < 10.0 and alone[-1] < alone[11]
    half = HeatShare(source="heat", fraction=0.5)
    shared = own.model_copy(
        update={
            "rooms": (
                own.rooms[0].model_copy(update={"heater_power_w": 0.0, "heat_shares": (half,)}),
                own.rooms[1].model_copy(update={"heater_power_w": 0.0, "heat_shares": ()}),
            )
        }
    )
    both = hour_response_c(shared, 0)
    assert both is not None
    assert both == pytest.approx(alone * 500.0 / own.rooms[0].heater_power_w)
    assert hour_response_c(shared, 1) is None
