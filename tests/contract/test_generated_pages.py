"""The generated documents: structure, references, and that they say what the catalogue says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml as pyyaml
from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import catalog
from contracts.catalog import CATALOG
from contracts.generate import asyncapi, reference, yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def document() -> Any:
    return asyncapi.document()


@pytest.fixture(scope="module")
def page() -> str:
    return reference.page()


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for key, item in value.items():
            if key != "examples":
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def follow(document: Any, pointer: str) -> Any:
    for token in pointer.removeprefix("#/").split("/"):
        document = document[token]
    return document


class TestAsyncApi:
    def test_the_stored_yaml_is_the_document(self, document: Any) -> None:
        text = (ROOT / "docs" / "asyncapi.yaml").read_text(encoding="utf-8")
        assert pyyaml.safe_load(text) == json.loads(json.dumps(document))

    def test_has_the_structure_of_version_3(self, document: Any) -> None:
        assert document["asyncapi"] == "3.0.0"
        assert set(document) == {"asyncapi", "info", "defaultContentType", "servers", "channels",
                                 "operations", "components"}  # fmt: skip
        assert {"title", "version"} <= set(document["info"])
        for server in document["servers"].values():
            assert {"host", "protocol"} <= set(server)
        assert set(document["components"]) <= {"messages", "parameters", "schemas"}

    def test_is_read_by_another_implementation_of_the_format(self, document: Any) -> None:
        plain = json.loads(json.dumps(document))
        for server in plain["servers"].values():
            server["pathname"] = ""  # optional in the specification, required by this reader
        read = ApplicationSchema.model_validate(plain)
        assert set(read.channels) == {row.type for row in CATALOG}
        assert len(read.operations) == len(document["operations"])

    def test_ids_are_allowed(self, document: Any) -> None:
        parts = [document["channels"], document["operations"], *document["components"].values()]
        for part in parts:
            for key in part:
                assert re.fullmatch(r"[\w.-]+", key), key

    def test_every_reference_leads_somewhere(self, document: Any) -> None:
        found = set(references(document))
        assert len(found) > 100
        for pointer in found:
            assert pointer.startswith("#/")
            assert isinstance(follow(document, pointer), dict), pointer

    def test_nothing_stands_unused_in_the_components(self, document: Any) -> None:
        used = set(references(document))
        for part, entries in document["components"].items():
            for key in entries:
                assert f"#/components/{part}/{key}" in used, key

    def test_channels_declare_the_parameters_of_their_address(self, document: Any) -> None:
        for channel in document["channels"].values():
            assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel["parameters"])

    def test_addresses_are_unique(self, document: Any) -> None:
        addresses = [channel["address"] for channel in document["channels"].values()]
        assert len(set(addresses)) == len(addresses) == len(CATALOG)

    def test_operations_speak_of_messages_of_their_channel(self, document: Any) -> None:
        for operation in document["operations"].values():
            assert set(operation) == {"action", "title", "channel", "messages"}
            assert operation["action"] in ("send", "receive")
            channel = operation["channel"]["$ref"]
            for message in operation["messages"]:
                assert message["$ref"].startswith(f"{channel}/messages/")

    def test_operations_are_those_of_the_catalogue(self, document: Any) -> None:
        def types(user: str, verb: str) -> set[str]:
            prefix = f"{user}-{verb}-"
            return {k.removeprefix(prefix) for k in document["operations"] if k.startswith(prefix)}

        for service in catalog.SERVICES:
            assert types(service, "sends") == catalog.says(service)
            assert types(service, "receives") == catalog.hears(service)
        for user in ("client", "operator", "twin"):
            assert types(user, "sends") == catalog.says(user)
            assert types(user, "receives") == set()

    @pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.type)
    def test_examples_fit_their_own_schemas(self, document: Any, row: catalog.Row) -> None:
        message = document["components"]["messages"][row.type]
        for part, schema in (("payload", message["payload"]), ("headers", message["headers"])):
            whole = {"components": document["components"], **schema}
            for example in message["examples"]:
                jsonschema.Draft7Validator(whole).validate(example[part])


class TestReference:
    def test_the_stored_page_is_the_page(self, page: str) -> None:
        assert (ROOT / "docs" / "events.md").read_text(encoding="utf-8") == page

    @pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.type)
    def test_describes_every_event(self, page: str, row: catalog.Row) -> None:
        assert f"\n### {row.type}\n" in page
        section = page.split(f"\n### {row.type}\n")[1].split("\n### ")[0]
        assert f"Version {row.version}." in section
        for field in row.model.model_fields:
            assert re.search(rf"^\| `{field}`", section, re.MULTILINE), field
        line = next(ln for ln in page.splitlines() if ln.startswith(f"| {row.type} "))
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[1] == f"`{catalog.subject('{site}', row.type, row.entity)}`"
        assert cells[2] == ", ".join(row.by)
        assert cells[4:6] == [reference.duration(row.period_s), reference.duration(row.max_age_s)]

    def test_examples_are_json_that_the_models_accept(self, page: str) -> None:
        blocks = re.findall(r"```json\n(.*?)\n```", page, re.DOTALL)
        assert len(blocks) == len(CATALOG)
        for row, block in zip(CATALOG, blocks, strict=True):
            row.model.model_validate_json(block)

    def test_tables_are_aligned(self, page: str) -> None:
        prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
        tables = re.findall(r"(?:^\|.*\n)+", prose, re.MULTILINE)
        assert len(tables) > len(CATALOG)
        for table in tables:
            assert len({len(line) for line in table.splitlines()}) == 1, table

    def test_links_inside_the_page_lead_to_headings(self, page: str) -> None:
        headings = {
            re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
            for line in page.splitlines()
            if line.startswith("#")
        }
        for anchor in set(re.findall(r"\]\(#([^)]+)\)", page)):
            assert anchor in headings, anchor

    def test_links_to_files_exist(self, page: str) -> None:
        for name in set(re.findall(r"\]\(([a-z.]+)\)", page)):
            assert (ROOT / "docs" / name).exists(), name

    def test_no_line_ends_in_blanks(self, page: str) -> None:
        assert not [line for line in page.splitlines() if line != line.rstrip()]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "\N{EN DASH}"), (60, "1 min"), (90, "90 s"), (300, "5 min"), (86_400, "24 h")],
)
def test_duration(seconds: int | None, said: str) -> None:
    assert reference.duration(seconds) == said


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=12)
    | st.sampled_from(["yes", "No", "on", "1.0", "1e3", "~", "null", "a: b", "# x", "- y", "22:00"])
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        st.text("abcdefgh$-/.{} ", min_size=1, max_size=8),
        st.recursive(
            SCALARS,
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(st.text("abcxyz:#'\"", min_size=1, max_size=6), inner, max_size=4)
            ),
            max_leaves=12,
        ),
        min_size=1,
    )
)
def test_yaml_is_read_back_by_another_reader(value: Any) -> None:
    assert pyyaml.safe_load(yaml.dump(value)) == value


def test_yaml_of_several_lines() -> None:
    text = "First line.\nSecond: line # with marks\n\n  indented"
    assert pyyaml.safe_load(yaml.dump({"description": text})) == {"description": text}
