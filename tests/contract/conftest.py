"""Shared by the contract tests: the real site, and one example of every event."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.site import SiteConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def site_yaml() -> Any:
    """deploy/site.yaml as plain values; tests copy before they change it."""
    return yaml.safe_load((ROOT / "deploy" / "site.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def site_values(site_yaml: Any) -> Any:
    """A copy of the site file's values that a test may break."""
    return copy.deepcopy(site_yaml)


@pytest.fixture(scope="session")
def site(site_yaml: Any) -> SiteConfig:
    """The house of deploy/site.yaml."""
    return SiteConfig.model_validate(site_yaml)
