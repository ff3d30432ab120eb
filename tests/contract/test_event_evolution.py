"""The guard itself: it must see every change that needs a new version, and name the field."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field

from contracts import catalog, evolution
from contracts.base import Record
from contracts.generate import golden


class Part(Record):
    name: str
    amount: float


class Stored(Record):
    count: int
    level: float = Field(ge=0, le=10)
    mode: Literal["a", "b"]
    note: str = "none"
    maybe: float | None = None
    parts: tuple[Part, ...] = ()
    by_name: dict[str, Part] = Field(default_factory=dict)
    pair: tuple[float, str] = (0.0, "")


def changed(**fields: Any) -> type[Record]:
    """``Stored`` with some fields replaced; a value of None removes the field."""
    kept = {
        name: (field.annotation, field)
        for name, field in Stored.model_fields.items()
        if name not in fields
    }
    added = {name: value for name, value in fields.items() if value is not None}
    from pydantic import create_model

    return create_model("Present", __base__=Record, **kept, **added)


class PartWithLess(Record):
    name: str


class PartWithMore(Record):
    name: str
    amount: float
    colour: str | None = None


class PartWithDemand(Record):
    name: str
    amount: float
    colour: str


UNLAWFUL = [
    ("removed", {"count": None}, "count: was removed"),
    ("type changed", {"count": (str, ...)}, 'count: type was "integer", is "string"'),
    ("type widened", {"count": (float, ...)}, 'count: type was "integer", is "number"'),
    ("bound narrowed", {"level": (float, Field(ge=0, le=5))}, "level: maximum was 10, is 5"),
    ("bound widened", {"level": (float, Field(ge=0))}, "level: maximum was 10, is not set"),
    ("optional made required", {"note": (str, ...)}, "note: was optional, is required"),
    ("required made optional", {"count": (int, 3)}, "count: was required, is optional"),
    ("default changed", {"note": (str, "other")}, 'note: default was "none", is "other"'),
    ("new and required", {"fresh": (bool, ...)}, "fresh: is new and required"),
    ("value dropped", {"mode": (Literal["a"], ...)}, 'mode: value "b" is no longer allowed'),
    ("value added", {"mode": (Literal["a", "b", "c"], ...)}, 'mode: value "c" is newly allowed'),
    ("null dropped", {"maybe": (float, 0.0)}, "maybe: null is no longer allowed"),
    ("null added", {"count": (int | None, ...)}, "count: null is newly allowed"),
    ("inside a union", {"maybe": (int | None, None)}, 'maybe: type was "number", is "integer"'),
    ("inside a list", {"parts": (tuple[PartWithLess, ...], ())}, "parts[].amount: was removed"),
    (
        "inside a mapping",
        {"by_name": (dict[str, PartWithDemand], Field(default_factory=dict))},
        "by_name{}.colour: is new and required",
    ),
    ("a fixed place", {"pair": (tuple[float, int], (0.0, 0))}, "pair[1]: type was"),
    ("places", {"pair": (tuple[float, str, str], (0.0, "", ""))}, "pair: "),
]


@pytest.mark.parametrize(
    ("fields", "line"), [row[1:] for row in UNLAWFUL], ids=[row[0] for row in UNLAWFUL]
)
def test_every_other_change_is_named(fields: dict[str, Any], line: str) -> None:
    found = evolution.changes(Stored.model_json_schema(), changed(**fields).model_json_schema())
    assert any(problem.startswith(line) for problem in found), found


def test_a_new_optional_field_is_allowed() -> None:
    stored, present = (
        Stored.model_json_schema(),
        changed(extra=(float | None, None)).model_json_schema(),
    )
    assert evolution.changes(stored, present) == []
    assert evolution.grew(stored, present)


def test_a_new_optional_field_inside_a_part_is_allowed() -> None:
    present = changed(parts=(tuple[PartWithMore, ...], ())).model_json_schema()
    assert evolution.changes(Stored.model_json_schema(), present) == []


def test_the_same_event_is_the_same() -> None:
    schema = Stored.model_json_schema()
    assert evolution.changes(schema, changed().model_json_schema()) == []
    assert not evolution.grew(schema, changed().model_json_schema())


def test_words_may_be_mended() -> None:
    present = changed(count=(int, Field(description="how many", title="Number")))
    assert evolution.changes(Stored.model_json_schema(), present.model_json_schema()) == []


def test_a_field_may_be_called_like_a_word_of_the_schema() -> None:
    class Tricky(Record):
        title: str
        description: float

    kept = evolution.shape(Tricky.model_json_schema())
    assert sorted(kept["properties"]) == ["description", "title"]
    assert evolution.changes(kept, Record.model_json_schema()) == [
        "description: was removed",
        "title: was removed",
    ]


def test_recursive_schemas_come_to_an_end() -> None:
    schema = {
        "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
        "$ref": "#/$defs/Node",
    }
    assert evolution.changes(schema, schema) == []


@pytest.mark.parametrize("row", catalog.CATALOG, ids=lambda row: row.type)
def test_shape_and_schema_are_equal_in_the_eyes_of_the_guard(row: catalog.Row) -> None:
    schema = row.model.model_json_schema()
    assert evolution.changes(evolution.shape(schema), schema) == []
    assert evolution.changes(schema, evolution.shape(schema)) == []


class TestPlantedInTheCatalogue:
    """The same at the level of the files: a planted change in a real event must be caught."""

    def plant(self, folder: Path, version: int = 1, **fields: Any) -> tuple[list[str], list[str]]:
        row = dataclasses.replace(catalog.BY_TYPE["clock.ticked"], model=Stored)
        golden_row = dataclasses.replace(row, model=catalog.BY_TYPE["clock.ticked"].model)
        golden.write([golden_row], folder)
        golden.schema_path(row, folder).write_text(golden.text(golden.present(row)))
        after = dataclasses.replace(row, model=changed(**fields), version=version)
        return golden.problems([after], folder), golden.missing([after], folder)

    def test_removed_field(self, tmp_path: Path) -> None:
        problems, _ = self.plant(tmp_path, count=None)
        assert (
            "clock.ticked v1: count: was removed. Undo it, or make it v2 with an upcaster "
            "(docs/contracts.md)" in problems
        )

    def test_new_optional_field_asks_only_for_a_grown_shape(self, tmp_path: Path) -> None:
        problems, missing = self.plant(tmp_path, extra=(float | None, None))
        assert not [line for line in problems if "Undo" in line]
        assert any("gained an optional field" in line for line in missing)

    def test_new_optional_field_may_not_be_removed_later(self, tmp_path: Path) -> None:
        row = dataclasses.replace(catalog.BY_TYPE["clock.ticked"], model=Stored)
        golden.schema_path(row, tmp_path).write_text(golden.text(golden.present(row)))
        golden.example_path(row, tmp_path).write_text("{}")
        golden.write([dataclasses.replace(row, model=changed(extra=(float, 1.0)))], tmp_path)
        problems = golden.problems([row], tmp_path)
        assert any("clock.ticked v1: extra: was removed" in line for line in problems)

    def test_new_version_asks_for_its_own_golden_files(self, tmp_path: Path) -> None:
        problems, missing = self.plant(tmp_path, version=2, count=None)
        assert not [line for line in problems if "Undo" in line]
        assert "clock.ticked v2: clock.ticked.v2.json does not exist yet" in missing

    def test_old_example_may_not_be_lost(self, tmp_path: Path) -> None:
        self.plant(tmp_path)
        (tmp_path / "clock.ticked.v1.json").unlink()
        row = dataclasses.replace(catalog.BY_TYPE["clock.ticked"], version=2)
        assert any(
            "v1: clock.ticked.v1.json is gone" in line for line in golden.problems([row], tmp_path)
        )

    def test_type_may_not_leave_the_catalogue(self, tmp_path: Path) -> None:
        golden.write([catalog.BY_TYPE["clock.ticked"]], tmp_path)
        assert any("left the catalogue" in line for line in golden.problems([], tmp_path))

    def test_golden_files_are_never_rewritten(self, tmp_path: Path) -> None:
        row = catalog.BY_TYPE["clock.ticked"]
        golden.write([row], tmp_path)
        path = golden.example_path(row, tmp_path)
        path.write_text(path.read_text().replace("4320", "1"))
        assert golden.write([row], tmp_path) == []
        assert '"number": 1' in path.read_text()
        assert path in golden.rewrite([row], tmp_path)
        assert '"number": 4320' in path.read_text()
