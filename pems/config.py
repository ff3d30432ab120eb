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
        return SiteConfig.model_validate(load_yaml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}:\n{explain(error)}") from error


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
