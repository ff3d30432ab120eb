"""The golden files: one stored example and one frozen shape of every event type and version.

They stand for the logs that exist somewhere. What they say is never changed to fit the code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from contracts import envelope, evolution
from contracts.catalog import Row
from contracts.generate import examples

Json = dict[str, Any]
NAME = re.compile(
    r"(?P<type>[a-z-]+(?:\.[a-z-]+)+)\.v(?P<version>[1-9][0-9]*)(?P<schema>\.schema)?"
)


def example_path(row: Row, folder: Path, version: int | None = None) -> Path:
    """Where the example of a row's version (the newest when not given) lies."""
    return folder / f"{row.type}.v{version or row.version}.json"


def schema_path(row: Row, folder: Path, version: int | None = None) -> Path:
    """Where the frozen shape of a row's version (the newest when not given) lies."""
    return folder / f"{row.type}.v{version or row.version}.schema.json"


def text(value: Json) -> str:
    """How golden files are written: readable, keys in their order, a line feed at the end."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def decode(stored: Json) -> envelope.Event:
    """Read a stored example as it would come from the log."""
    return envelope.decode(
        stored["subject"], stored["headers"], json.dumps(stored["body"]).encode()
    )


def missing(rows: Iterable[Row], folder: Path) -> list[str]:
    """Golden files that ``write`` would make or grow."""
    lines = []
    for row in rows:
        for path in (example_path(row, folder), schema_path(row, folder)):
            if not path.exists():
                lines.append(f"{row.type} v{row.version}: {path.name} does not exist yet")
        if _grew(row, folder):
            lines.append(
                f"{row.type} v{row.version}: gained an optional field that "
                f"{schema_path(row, folder).name} does not hold yet"
            )
    return lines


def problems(rows: Iterable[Row], folder: Path) -> list[str]:
    """What no generation can mend: changed events, unreadable or orphaned golden files."""
    by_type = {row.type: row for row in rows}
    lines = []
    for row in by_type.values():
        lines.extend(_changed(row, folder))
        lines.extend(_versions_without_example(row, folder))
    for path in sorted(folder.glob("*.json")):
        lines.extend(_unreadable(path, by_type))
    return lines


def write(rows: Iterable[Row], folder: Path) -> list[Path]:
    """Write what is absent and grow shapes that only gained optional fields."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for row in rows:
        if not example_path(row, folder).exists():
            written.append(_save(example_path(row, folder), examples.stored(row)))
        if not schema_path(row, folder).exists() or _grew(row, folder):
            written.append(_save(schema_path(row, folder), present(row)))
    return written


def rewrite(rows: Iterable[Row], folder: Path) -> list[Path]:
    """Write example and shape of the newest version although they exist. Never after a release."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for row in rows:
        written.append(_save(example_path(row, folder), examples.stored(row)))
        written.append(_save(schema_path(row, folder), present(row)))
    return written


def present(row: Row) -> Json:
    """The shape of an event as the code has it now."""
    return evolution.shape(row.model.model_json_schema())


def _save(path: Path, value: Json) -> Path:
    path.write_text(text(value), encoding="utf-8")
    return path


def _load(path: Path) -> Json:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} must hold a JSON object")
    return found


def _grew(row: Row, folder: Path) -> bool:
    path = schema_path(row, folder)
    return path.exists() and evolution.grew(_load(path), present(row))


def _changed(row: Row, folder: Path) -> list[str]:
    path = schema_path(row, folder)
    if not path.exists():
        return []
    return [
        f"{row.type} v{row.version}: {change}. Undo it, or make it v{row.version + 1} with an "
        "upcaster (docs/contracts.md)"
        for change in evolution.changes(_load(path), present(row))
    ]


def _versions_without_example(row: Row, folder: Path) -> list[str]:
    return [
        f"{row.type} v{version}: {path.name} is gone; restore it, logs still hold this version"
        for version in range(1, row.version)
        for path in (example_path(row, folder, version), schema_path(row, folder, version))
        if not path.exists()
    ]


def _unreadable(path: Path, by_type: dict[str, Row]) -> list[str]:
    match = NAME.fullmatch(path.name.removesuffix(".json"))
    if match is None:
        return [f"{path.name}: is not named <type>.v<n>.json or <type>.v<n>.schema.json"]
    row = by_type.get(match["type"])
    if row is None:
        return [f"{path.name}: {match['type']} left the catalogue; put it back, logs still hold it"]
    if int(match["version"]) > row.version:
        return [f"{path.name}: the catalogue says v{row.version}; it may never go down"]
    if match["schema"]:
        return []
    try:
        event = decode(_load(path))
    except KeyError as error:
        return [f"{path.name}: lacks {error}; restore the file"]
    except ValueError as error:
        return [f"{path.name}: today's code cannot read it: {error}"]
    return [] if event.type == row.type else [f"{path.name}: holds a {event.type}"]
