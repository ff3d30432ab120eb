"""The 16-room house and one short scenario, shared by the twin's tests (both are immutable)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from contracts.site import SiteConfig
from twin.generate import default_scenario
from twin.scenario import Scenario

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def site() -> SiteConfig:
    return SiteConfig.model_validate(yaml.safe_load((ROOT / "deploy/site.yaml").read_text()))


@pytest.fixture(scope="session")
def winter() -> Scenario:
    return default_scenario()


@pytest.fixture(scope="session")
def data() -> Path:
    folder = Path(os.environ.get("PEMS_DATA", ROOT.parent / "shared/data"))
    if not (folder / "README.md").is_file():
        pytest.skip(f"recorded data not found at {folder}; set PEMS_DATA")
    return folder
