"""The stored examples stand for logs that exist: today's code must read every one of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from contracts import catalog, envelope, evolution
from contracts.generate import __main__ as command
from contracts.generate import examples, golden

FOLDER = Path(__file__).resolve().parents[2] / "contracts" / "golden"
EXAMPLES = sorted(p for p in FOLDER.glob("*.json") if not p.name.endswith(".schema.json"))
VERSIONS = [(row, n) for row in catalog.CATALOG for n in range(1, row.version + 1)]


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("row", "version"), VERSIONS, ids=[f"{row.type}.v{n}" for row, n in VERSIONS]
)
def test_every_version_of_every_event_has_its_golden_files(row: catalog.Row, version: int) -> None:
    assert golden.example_path(row, FOLDER, version).exists()
    assert golden.schema_path(row, FOLDER, version).exists()


def holds(now: Any, then: Any) -> bool:
    """Whether everything that was said then is said now, at any depth; new optional fields may be more."""
    if isinstance(then, dict):
        return isinstance(now, dict) and all(k in now and holds(now[k], v) for k, v in then.items())
    if isinstance(then, list):
        return (
            isinstance(now, list) and len(now) == len(then)
            and all(holds(a, b) for a, b in zip(now, then, strict=True))
        )  # fmt: skip
    return bool(now == then)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_decodes_and_encodes_to_the_same_values(path: Path) -> None:
    stored = load(path)
    event = golden.decode(stored)
    subject, headers, body = envelope.encode(event)
    assert event.type == path.name.rsplit(".v", 1)[0]
    assert subject == stored["subject"]
    if f".v{event.version}." not in path.name:
        pytest.skip("an older version is lifted, so its body may differ by design")
    assert holds(json.loads(body), stored["body"])
    assert headers == stored["headers"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_agrees_with_its_frozen_schema(path: Path) -> None:
    schema = load(path.with_suffix(".schema.json"))
    jsonschema.Draft202012Validator(schema).validate(load(path)["body"])


@pytest.mark.parametrize("row", catalog.CATALOG, ids=lambda row: row.type)
def test_no_event_changed_without_a_new_version(row: catalog.Row) -> None:
    stored = load(golden.schema_path(row, FOLDER))
    assert evolution.changes(stored, row.model.model_json_schema()) == []


@pytest.mark.parametrize("row", catalog.CATALOG, ids=lambda row: row.type)
def test_example_builder_is_deterministic(row: catalog.Row) -> None:
    assert examples.stored(row) == examples.stored(row)


def test_nothing_is_stale(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--check"]) == 0, capsys.readouterr().out


def with_past(root: Path) -> Path:
    """A root that holds what logs still hold: the golden files of older versions."""
    folder = root / "contracts" / "golden"
    folder.mkdir(parents=True)
    for row, version in VERSIONS:
        if version < row.version:
            for path in (golden.example_path, golden.schema_path):
                shutil.copy(path(row, FOLDER, version), folder)
    return root


def test_a_lost_golden_file_of_the_past_is_not_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([], root=tmp_path) == 1
    assert "command.proposed v1: command.proposed.v1.json is gone; restore it" in capsys.readouterr().err


def test_check_names_what_is_stale_and_generation_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_past(tmp_path)
    assert command.main(["--check"], root=tmp_path) == 1
    said = capsys.readouterr().out
    assert "docs/events.md" in said
    assert "clock.ticked v1: clock.ticked.v1.json does not exist yet" in said
    assert command.main([], root=tmp_path) == 0
    assert command.main(["--check"], root=tmp_path) == 0


def test_a_changed_event_fails_the_command_and_nothing_hides_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main([], root=with_past(tmp_path))
    path = tmp_path / "contracts" / "golden" / "price.published.v1.schema.json"
    schema = load(path)
    schema["properties"]["currency"] = {"type": "string"}
    path.write_text(json.dumps(schema))
    for arguments in (["--check"], [], ["--check"]):
        capsys.readouterr()
        assert command.main(arguments, root=tmp_path) == 1
        said = capsys.readouterr()
        assert "price.published v1: currency: was removed" in said.out + said.err
    assert command.main(["--regenerate-unreleased", "price.published"], root=tmp_path) == 0
    assert command.main(["--check"], root=tmp_path) == 0


def test_regenerating_an_unknown_type_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--regenerate-unreleased", "price.publishd"], root=tmp_path) == 2
    assert "price.publishd is not in the catalogue" in capsys.readouterr().err
