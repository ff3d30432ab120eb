"""The folder of models that all services of a house share."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chassis import runner
from chassis.models import FolderStore, name_of, verified

CONTENT = bytes(range(256)) * 4_000


def test_services_that_fetch_the_same_model_at_once_all_get_it(tmp_path: Path) -> None:
    name = name_of(CONTENT)

    def fetch(_: int) -> bytes:
        store = FolderStore(tmp_path)
        store[name] = CONTENT
        return verified(store, name)

    with ThreadPoolExecutor(8) as services:
        found = list(services.map(fetch, range(200)))
    assert all(content == CONTENT for content in found)
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing is left aside"
    assert list(FolderStore(tmp_path)) == [name]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path)
    store["a"] = b"before"

    def full(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        store["a"] = b"after"
    assert store["a"] == b"before" and list(store) == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_or_a_broker_away_does_not_misjudge_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be fetched now is fetched later; the promotion is not set aside as if it were at fault."""
    monkeypatch.setattr(runner, "PROGRESS_S", 0.0)
    trouble: list[Exception] = [TimeoutError(), OSError("no space left on device")]

    class Store:
        async def get(self, digest: str) -> bytes:
            if trouble and isinstance(trouble[0], TimeoutError):
                raise trouble.pop(0)
            return CONTENT

    class Disk(dict[str, bytes]):
        def __setitem__(self, key: str, value: bytes) -> None:
            if trouble:
                raise trouble.pop(0)
            super().__setitem__(key, value)

    service: Any = object.__new__(runner.Runner)
    service.models, service.objects = Disk(), Store()
    name = name_of(CONTENT)
    asyncio.run(asyncio.wait_for(service._fetch(name), 20))
    assert verified(service.models, name) == CONTENT and not trouble
