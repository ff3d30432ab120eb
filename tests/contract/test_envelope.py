"""Whatever the models allow goes onto the log and comes back the same."""

from __future__ import annotations

import copy
import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts import catalog, envelope
from contracts.generate import examples

ROWS = catalog.CATALOG
Json = dict[str, Any]


def resolve(schema: Json, root: Json) -> Json:
    return (
        resolve(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
        if "$ref" in schema
        else schema
    )


def nodes(schema: Json, value: Any, root: Json, path: tuple[Any, ...] = ()) -> list[Any]:
    """Every scalar of an example: its path and its schema."""
    found = resolve(schema, root)
    if isinstance(value, dict) and "properties" in found:
        return [
            node
            for name, item in value.items()
            for node in nodes(found["properties"][name], item, root, (*path, name))
        ]
    if isinstance(value, list) and "items" in found:
        return [
            node
            for index, item in enumerate(value)
            for node in nodes(found["items"], item, root, (*path, index))
        ]
    return [(path, found)]


def drawn(schema: Json, root: Json) -> st.SearchStrategy[Any]:
    """Values of a scalar schema, its bounds included."""
    found = resolve(schema, root)
    if "anyOf" in found:
        return st.one_of([drawn(branch, root) for branch in found["anyOf"]])
    if "enum" in found or "const" in found:
        return st.sampled_from(found.get("enum", [found.get("const")]))
    kind = found.get("type")
    low, high = found.get("minimum"), found.get("maximum")
    if kind == "number":
        return st.floats(low, high, allow_nan=False, allow_infinity=False)
    if kind == "integer":
        least, most = -(2**53), 2**53
        return st.integers(least if low is None else low, most if high is None else high)
    if kind == "boolean":
        return st.booleans()
    if kind == "string" and found.get("format") == "date-time":
        zones = st.sampled_from([timezone(timedelta(hours=h)) for h in (-11, 0, 1, 14)])
        return st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1), timezones=zones).map(str)
    if kind == "string" and found.get("format") == "time":
        return st.times().map(lambda t: t.isoformat("minutes"))
    if kind == "string" and "pattern" in found:
        return st.from_regex(re.compile(found["pattern"], re.ASCII), fullmatch=True)
    if kind == "string":
        return st.text(max_size=60)
    return st.none()


def put(value: Any, path: tuple[Any, ...], item: Any) -> None:
    for step in path[:-1]:
        value = value[step]
    value[path[-1]] = item


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.type)
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(data=st.data())
def test_round_trip(row: catalog.Row, data: st.DataObject) -> None:
    schema = row.model.model_json_schema()
    body = copy.deepcopy(BODIES[row.type])
    leaves = nodes(schema, body, schema)
    for index in data.draw(st.lists(st.integers(0, len(leaves) - 1), max_size=3, unique=True)):
        path, leaf = leaves[index]
        put(body, path, data.draw(drawn(leaf, schema)))
    try:
        payload = row.model.model_validate_json(json.dumps(body))
    except ValidationError:
        assume(False)
    entity = examples.entity(row, payload.model_dump(mode="json"))
    assume(re.fullmatch(r"[a-z0-9-]{1,60}", entity))
    event = envelope.Event(
        type=row.type,
        version=row.version,
        site="home",
        entity=entity,
        id=data.draw(st.uuids().map(str)),
        source=row.by[0],
        data=payload,
        time=data.draw(st.none() | st.datetimes(timezones=st.just(UTC))),
        cause=data.draw(st.sampled_from(["", "11111111-1111-5111-8111-111111111111"])),
        correlation=data.draw(st.sampled_from(["", "cycle"])),
        as_of=data.draw(st.integers(0, 2**63 - 1)),
        mode=data.draw(st.sampled_from(["live", "shadow", "simulated", "replay", "whatif"])),
        code=data.draw(st.sampled_from(["", "2026.1.0"])),
        config=data.draw(st.sampled_from(["", "5f0c"])),
        expiry=data.draw(st.none() | st.datetimes(timezones=st.just(UTC))),
        sequence=7,
    )
    subject, headers, encoded = envelope.encode(event)
    again = envelope.decode(subject, headers, encoded, sequence=7)
    assert again == event
    assert envelope.encode(again) == (subject, headers, encoded)


BODIES = {row.type: examples.body(row) for row in ROWS}


class TestHeaders:
    def test_are_cloudevents_in_binary_mode(self) -> None:
        approved = examples.event(catalog.BY_TYPE["command.approved"])
        subject, headers, body = envelope.encode(approved)
        assert subject == "pems.home.command.relay-living.approved"
        assert headers["ce-specversion"] == "1.0"
        assert headers["ce-type"] == "command.approved"
        assert headers["ce-source"] == "pems/home/safety"
        assert headers["ce-subject"] == "relay-living"
        assert headers["ce-dataschema"] == "urn:pems:event:command.approved:v2"
        assert headers["ce-time"] == "2026-01-15T11:00:00Z"
        assert headers["ce-expirytime"] == "2026-01-15T11:02:00Z"
        assert json.loads(body)["device"] == "relay-living"

    def test_the_id_is_also_the_deduplication_id(self) -> None:
        _, headers, _ = envelope.encode(examples.event(catalog.BY_TYPE["clock.ticked"]))
        assert headers["Nats-Msg-Id"] == headers["ce-id"]

    def test_nothing_empty_is_sent(self) -> None:
        for row in ROWS:
            _, headers, _ = envelope.encode(examples.event(row))
            assert all(headers.values()), row.type

    def test_another_offset_is_the_same_instant_in_utc(self) -> None:
        subject, headers, body = envelope.encode(examples.event(catalog.BY_TYPE["clock.ticked"]))
        shifted = {**headers, "ce-time": "2026-01-15T12:00:00+01:00"}
        assert envelope.encode(envelope.decode(subject, shifted, body))[1] == headers


class TestIds:
    def test_are_deterministic(self) -> None:
        # Written down once: a log made yesterday must be recognised tomorrow.
        assert (
            envelope.event_id("trigger", "optimizer", "plan.computed", 0)
            == "ecb8a9db-a948-5131-8378-0ee6a296a149"
        )

    @given(st.tuples(*[st.sampled_from(["a", "b", "c"])] * 3, st.integers(0, 3)))
    @example(("a", "b", "c", 0))
    def test_depend_on_every_part(self, parts: tuple[str, str, str, int]) -> None:
        trigger, source, type_, index = parts
        base = envelope.event_id(trigger, source, type_, index)
        assert base == envelope.event_id(trigger, source, type_, index)
        others = {
            envelope.event_id(f"{trigger}x", source, type_, index),
            envelope.event_id(trigger, f"{source}x", type_, index),
            envelope.event_id(trigger, source, f"{type_}x", index),
            envelope.event_id(trigger, source, type_, index + 1),
        }
        assert len(others) == 4
        assert base not in others


class TestBare:
    REQUEST = b'{"target": "room-living", "quantity": "temperature_c", "value": 22, ' + (
        b'"minutes": 60, "actor": "resident"}'
    )
    SUBJECT = "pems.home.override.room-living.requested"

    def test_request_without_headers(self) -> None:
        for headers in (None, {}, {"Nats-Msg-Id": "x"}):
            event = envelope.decode(self.SUBJECT, headers, self.REQUEST, sequence=12)
            assert (event.type, event.entity, event.source) == (
                "override.requested",
                "room-living",
                "client",
            )
            assert event.time is None
            assert event.sequence == 12

    def test_id_follows_from_the_place_in_the_log(self) -> None:
        def id_at(sequence: int) -> str:
            return envelope.decode(self.SUBJECT, None, self.REQUEST, sequence).id

        assert id_at(12) == id_at(12) != id_at(13)

    @pytest.mark.parametrize("row", ROWS, ids=lambda row: row.type)
    def test_only_where_the_catalogue_allows(self, row: catalog.Row) -> None:
        subject, _, body = envelope.encode(examples.event(row))
        if row.bare:
            assert envelope.decode(subject, None, body).data == examples.event(row).data
        else:
            with pytest.raises(envelope.PoisonError, match="ce-type is missing"):
                envelope.decode(subject, None, body)
