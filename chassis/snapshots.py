"""Snapshots: a shortcut to a state, never a source of truth. Any of them may be deleted."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from chassis.service import State

LOG = logging.getLogger("pems.snapshots")
S = TypeVar("S", bound=State)


class Snapshots:
    """The newest snapshot of one service; other code than the one that wrote it ignores it."""

    def __init__(self, home: Path, service: str, code: str) -> None:
        self.folder = home / "snapshots"
        self.path = self.folder / f"{service}-{code}.json"
        self.service = service

    def load(self, state_type: type[S]) -> S | None:
        """The stored state; None when there is none for this code or it does not read."""
        try:
            return state_type.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            LOG.warning("snapshot %s does not read and is rebuilt from the log: %s",
                        self.path.name, error)  # fmt: skip
            return None

    def save(self, state: State) -> None:
        """Replace the snapshot atomically and drop those of older code."""
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(state.model_dump_json().encode())
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        for old in self.folder.glob(f"{self.service}-*.json"):
            if old != self.path:
                old.unlink(missing_ok=True)
