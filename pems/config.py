"""The two files that describe a house: the site and the gate's own limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from contracts.site import SiteConfig, explain
from services.safety.core.limits import Limits

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
DEFAULT_SITE = DEPLOY / "site.yaml"
DEFAULT_SAFETY = DEPLOY / "safety.yaml"
LEAST_W, LEAST_WH = 10.0, 100.0
"""What `contracts.planning.series` takes for watts and watt-hours."""


class ConfigError(ValueError):
    """A file is wrong; every line names a field and the fix."""


def load_yaml(path: Path) -> Any:
    """Plain values of a YAML file; ConfigError when it is not there or not YAML."""
    try:
        return yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error


def load_site(path: Path = DEFAULT_SITE) -> SiteConfig:
    """Read and check the site file."""
    try:
        site = SiteConfig.model_validate(load_yaml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}:\n{explain(error)}") from error
    if found := unit_slips(site):
        raise ConfigError("\n".join([f"{path}:", *found]))
    return site


def unit_slips(site: SiteConfig) -> list[str]:
    """Ratings that can only be kilowatts and kilowatt-hours: the planner would refuse every problem.

    No rule of the contract, since logs of before may hold them.
    """
    powers = {f"rooms.{room.id}.heater_w": room.heater_w for room in site.rooms}
    powers |= {f"pv.{array.name}.peak_w": array.peak_w for array in site.pv}
    powers |= {
        "inverter.ac_limit_w": site.inverter.ac_limit_w,
        "grid.import_limit_w": site.grid.import_limit_w,
        "grid.phase_import_limit_w": site.grid.phase_import_limit_w or 0.0,
    }
    energies = {f"evs.{ev.id}.capacity_wh": ev.capacity_wh for ev in site.evs}
    if site.battery is not None:
        powers |= {
            "battery.charge_max_w": site.battery.charge_max_w,
            "battery.discharge_max_w": site.battery.discharge_max_w,
        }
        energies["battery.capacity_wh"] = site.battery.capacity_wh
    found = [f"{name}: must be watts; multiply by 1000 if it is kilowatts (given: {value:g})"
             for name, value in powers.items() if 0.0 < value < LEAST_W]  # fmt: skip
    return found + [
        f"{name}: must be watt-hours; multiply by 1000 if it is kilowatt-hours (given: {value:g})"
        for name, value in energies.items() if value < LEAST_WH
    ]  # fmt: skip


def load_safety(path: Path = DEFAULT_SAFETY) -> dict[str, Any]:
    """Read and check the gate's limits, as plain values."""
    content = load_yaml(path)
    try:
        Limits.from_dict(content)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path}: {error}") from error
    return dict(json.loads(json.dumps(content)))


def cross_check(site: SiteConfig, safety: dict[str, Any]) -> list[str]:
    """Where the two files disagree; the gate refuses what its own file does not know."""
    limits = Limits.from_dict(safety)
    known, wanted = set(limits.by_name), set(site.devices())
    found = [f"safety file: {name} is missing; its commands will be refused"
             for name in sorted(wanted - known)]  # fmt: skip
    found += [f"safety file: {name} is no device of the site" for name in sorted(known - wanted)]
    if limits.grid_import_limit_w > site.grid.import_limit_w:
        found.append(
            f"safety file: grid_import_limit_w {limits.grid_import_limit_w} is above the site's "
            f"{site.grid.import_limit_w:.0f} W"
        )
    return found
