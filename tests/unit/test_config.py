"""The site file as it is read: slips of units that the contract bears and the planner would not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from contracts.planning import series
from pems.config import DEFAULT_SITE, LEAST_W, LEAST_WH, ConfigError, load_site

RATINGS = {
    "rooms.living.heater_w": ("rooms", 0, "heater_w"),
    "pv.south.peak_w": ("pv", 0, "peak_w"),
    "inverter.ac_limit_w": ("inverter", "ac_limit_w"),
    "grid.import_limit_w": ("grid", "import_limit_w"),
    "battery.charge_max_w": ("battery", "charge_max_w"),
    "battery.discharge_max_w": ("battery", "discharge_max_w"),
    "battery.capacity_wh": ("battery", "capacity_wh"),
    "evs.car.capacity_wh": ("evs", 0, "capacity_wh"),
}


def written(tmp_path: Path, place: tuple[str | int, ...], value: float) -> Path:
    raw: Any = yaml.safe_load(DEFAULT_SITE.read_text())
    raw["evs"][0]["id"], raw["pv"][0]["name"] = "car", "south"
    inner = raw
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump(raw))
    return file


@pytest.mark.parametrize(("name", "place"), RATINGS.items(), ids=RATINGS)
def test_kilowatts_are_named_with_the_fix(name: str, place: tuple[str | int, ...], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"(?m)^{name}: must be watt.*1000.*given: 9\.5"):
        load_site(written(tmp_path, place, 9.5))


def test_a_fuse_of_one_phase_counts_and_a_room_without_a_heater_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"grid\.phase_import_limit_w: must be watts"):
        load_site(written(tmp_path, ("grid", "phase_import_limit_w"), 5.0))
    assert load_site(written(tmp_path, ("rooms", 0, "heater_w"), 0.0)).rooms[0].heater_w == 0.0


def test_the_bounds_are_the_planner_s() -> None:
    for kind, least in ((series.DeviceW, LEAST_W), (series.CapacityWh, LEAST_WH)):
        assert TypeAdapter(kind).validate_python(least) == least
        with pytest.raises(ValidationError):
            TypeAdapter(kind).validate_python(0.999 * least)
