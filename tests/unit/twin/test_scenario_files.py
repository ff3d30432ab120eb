from pathlib import Path

import numpy as np
import pytest

from twin.scenario import Scenario
from twin.scenario_files import read_folder


@pytest.fixture
def folder(winter: Scenario, tmp_path: Path) -> Path:
    return winter.save_folder(tmp_path / "scenario")


def test_round_trip_is_exact(winter: Scenario, folder: Path) -> None:
    again = Scenario.load_folder(folder)
    assert again.content_hash == winter.content_hash
    assert again.sessions == winter.sessions
    assert dict(again.provenance) == dict(winter.provenance)


def test_pv_and_forecast_files_are_optional_and_read(folder: Path) -> None:
    lines = (folder / "load.csv").read_text().splitlines()
    pv = ["time,w_per_kwp"] + [line.split(",")[0] + ",12.5" for line in lines[1:]]
    (folder / "pv.csv").write_text("\n".join(pv) + "\n")
    (folder / "weather_forecast.csv").write_text(
        "issued,time,temperature_c,ghi_w_m2,wind_m_s\n"
        "2026-01-12T00:00:00Z,2026-01-12T01:00:00+01:00,1,2,3\n"
    )
    scenario = Scenario.load_folder(folder)
    assert scenario.pv is not None
    assert set(scenario.pv["w_per_kwp"].tolist()) == {12.5}
    assert scenario.forecasts is not None
    assert scenario.forecasts.times_s.tolist() == [scenario.start_s + 3600]


def test_hourly_prices_become_quarters(winter: Scenario, folder: Path) -> None:
    rows = (folder / "prices.csv").read_text().splitlines()
    (folder / "prices.csv").write_text("\n".join([rows[0], *rows[1::4]]) + "\n")
    prices = Scenario.load_folder(folder).prices
    assert prices.step_s == 900
    np.testing.assert_array_equal(
        prices["eur_per_mwh"], np.repeat(winter.prices["eur_per_mwh"][::4], 4)
    )


def _edit(path: Path, line: int, old: str, new: str) -> None:
    rows = path.read_text().splitlines()
    assert old in rows[line - 1], rows[line - 1]
    rows[line - 1] = rows[line - 1].replace(old, new, 1)
    path.write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize(
    ("name", "line", "cell", "new", "message"),
    [
        ("weather.csv", 1, "wind_m_s", "wind", r"weather\.csv, row 1: the header must be time"),
        ("weather.csv", 5, 1, "nan", r"weather\.csv, column temperature_c, row 5: .*found 'nan'"),
        ("weather.csv", 6, 2, "-3", r"weather\.csv, column ghi_w_m2, row 6: .*0 to 1500"),
        ("prices.csv", 4, 1, "", r"prices\.csv, column eur_per_mwh, row 4: .*found ''"),
        ("load.csv", 9, 1, "12,5", r"load\.csv, row 9: needs 2 cells"),
        ("load.csv", 7, 0, "2026-01-05T00:00:00Z", r"load\.csv, column time, row 7: .*evenly"),
        ("load.csv", 3, 0, "2026-01-05", r"load\.csv, column time, row 3: must be an ISO time"),
        ("ev.csv", 2, 3, "lots", r"ev\.csv, column energy_wh, row 2"),
        ("ev.csv", 3, 1, "2026-01-01T00:00:00Z", r"ev\.csv, column plug_in, row 3: lies inside"),
        ("ev.csv", 2, 2, "2026-01-01T00:00:00Z", r"ev\.csv, column plug_out, row 2: must lie"),
    ],
)
def test_errors_name_file_column_and_row(
    folder: Path, name: str, line: int, cell: str | int, new: str, message: str
) -> None:
    row = (folder / name).read_text().splitlines()[line - 1]
    old = row.split(",")[cell] if isinstance(cell, int) else cell
    if isinstance(cell, int):
        cells = row.split(",")
        cells[cell] = new
        _edit(folder / name, line, row, ",".join(cells))
    else:
        _edit(folder / name, line, old, new)
    with pytest.raises(ValueError, match=message):
        read_folder(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"seed": 2026', '"seed": -1', "field seed"),
        ('"seed": 2026', '"sead": 1', "field seed: is missing"),
        ("Europe/Prague", "Europe/Prag", "field time_zone"),
        ('"latitude": 50.05', '"latitude": "north"', "field latitude"),
        ('"seed": 2026,', '"seed": 2026', r"scenario\.json, row \d+: is no JSON"),
    ],
)
def test_errors_in_the_description(folder: Path, old: str, new: str, message: str) -> None:
    path = folder / "scenario.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        read_folder(folder)


def test_missing_file_and_folder(folder: Path) -> None:
    (folder / "ev.csv").unlink()
    with pytest.raises(ValueError, match=r"ev\.csv: missing"):
        read_folder(folder)
    with pytest.raises(ValueError, match="is no folder"):
        read_folder(folder / "nowhere")
