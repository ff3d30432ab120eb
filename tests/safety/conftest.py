"""Make the project and this folder's helpers importable however pytest is started."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parents[1]):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker of the long mutation run."""
    config.addinivalue_line("markers", "slow: takes more than a minute; run with -m slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave slow tests of this folder out of the default run, by name and with the reason."""
    if not config.getoption("-m"):
        for item in items:
            if HERE in item.path.parents and item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: run with -m slow"))
