"""What is no event of the house is poison, and the error says which field and how to mend it.

Anything but ``PoisonError`` here would stop a service for good: it would read the same message
again after each restart.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import catalog, envelope
from contracts.generate import examples

SUBJECT, HEADERS, BODY = envelope.encode(examples.event(catalog.BY_TYPE["price.published"]))


def body(**changes: Any) -> bytes:
    """The example of price.published with changes; a value of ``...`` removes the field."""
    values = {**json.loads(BODY), **changes}
    return json.dumps({k: v for k, v in values.items() if v is not ...}).encode()


def headers(**changes: str | None) -> dict[str, str]:
    """The example's headers with changes (``_`` for ``-``); None removes one."""
    merged = {**HEADERS, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return {name: value for name, value in merged.items() if value is not None}


def poison(subject: str = SUBJECT, head: dict[str, str] | None = None, raw: bytes = BODY) -> str:
    with pytest.raises(envelope.PoisonError) as caught:
        envelope.decode(subject, HEADERS if head is None else head, raw)
    return str(caught.value)


def test_the_unchanged_message_is_fine() -> None:
    assert envelope.decode(SUBJECT, HEADERS, BODY).type == "price.published"


BODIES = {
    "NaN": (BODY.replace(b"84.12", b"NaN"), "eur_per_mwh.0: Input should be a finite number"),
    "infinity": (BODY.replace(b"84.12", b"Infinity"), "eur_per_mwh.0: Input should be a finite"),
    "overflowing number": (BODY.replace(b"84.12", b"1e999"), "eur_per_mwh.0: Input should be"),
    "too large": (body(eur_per_mwh=[10_001]), "less than or equal to 10000 (given: 10001)"),
    "too small": (body(eur_per_mwh=[-10_001]), "greater than or equal to -10000"),
    "step too long": (body(step_s=86_401), "step_s: Input should be less than or equal to 86400"),
    "integer of many digits": (body(step_s=10**40), "step_s: "),
    "fraction for integer": (body(step_s=900.5), "step_s: Input should be a valid integer"),
    "unknown field": (body(currency="EUR"), "currency: is not a known field; check the spelling"),
    "missing field": (body(market=...), "market: is missing; add it"),
    "naive datetime": (body(start="2026-01-15T11:00:00"), "start: Input should have timezone info"),
    "no datetime": (body(start="tomorrow"), "start: "),
    "null": (body(start=None), "start: "),
    "empty list": (body(eur_per_mwh=[]), "eur_per_mwh: "),
    "not JSON": (b"hello", "price.published v1: "),
    "empty": (b"", "price.published v1: "),
    "cut off": (BODY[:-1], "price.published v1: "),
    "not UTF-8": (b'{"market": "\xff"}', "price.published v1: "),
    "a list": (b"[]", "price.published v1: "),
    "a number": (b"3", "price.published v1: "),
    "deeply nested": (b"[" * 100_000, "price.published v1: "),
}


@pytest.mark.parametrize(("raw", "said"), BODIES.values(), ids=BODIES.keys())
def test_broken_body(raw: bytes, said: str) -> None:
    message = poison(raw=raw)
    assert message.startswith("price.published v1: ")
    assert said in message


def test_every_broken_field_is_named() -> None:
    message = poison(raw=body(market=..., step_s=5, colour="red"))
    for field in ("market", "step_s", "colour"):
        assert f"{field}: " in message


SUBJECTS = {
    "too short": "pems.home.price.published",
    "too long": "pems.home.price.market.now.published",
    "another system": "other.home.price.market.published",
}


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS.keys())
def test_subject_of_another_form(subject: str) -> None:
    assert poison(subject) == f"subject {subject!r} is not pems.<site>.<family>.<entity>.<verb>"


@pytest.mark.parametrize(
    "subject", ["pems.home.price.market.issued", "pems.home.weather.market.published"]
)
def test_subject_of_another_type(subject: str) -> None:
    assert poison(subject) == f"type price.published does not belong on subject {subject}"


def test_unknown_type() -> None:
    assert "type 'price.guessed' is not in the catalogue" in poison(
        head=headers(ce_type="price.guessed")
    )


HEAD = {
    "newer version": (headers(ce_dataschema="urn:pems:event:price.published:v2"), "update this"),
    "version 0": (headers(ce_dataschema="urn:pems:event:price.published:v0"), "v0 is not known"),
    "version in words": (headers(ce_dataschema="urn:pems:event:price.published:vtwo"), "malformed"),
    "no version": (headers(ce_dataschema="urn:pems:event:price.published"), "malformed"),
    "no dataschema": (headers(ce_dataschema=None), "malformed"),
    "no id": (headers(ce_id=None), "header ce-id is missing"),
    "empty id": (headers(ce_id=""), "header ce-id is missing"),
    "as-of in words": (headers(ce_pemsasof="now"), "malformed"),
    "time in words": (headers(ce_time="noon"), "malformed"),
    "expiry in words": (headers(ce_expirytime="soon"), "malformed"),
}


@pytest.mark.parametrize(("head", "said"), HEAD.values(), ids=HEAD.keys())
def test_broken_header(head: dict[str, str], said: str) -> None:
    message = poison(head=head)
    assert message.startswith("price.published")
    assert said in message


@pytest.mark.parametrize("name", ["ce_time", "ce_expirytime"])
@pytest.mark.parametrize("value", ["2026-01-15T11:00:00", "2026-01-15"])
def test_naive_time_in_a_header(name: str, value: str) -> None:
    assert name.replace("_", "-") in poison(head=headers(**{name: value}))


@pytest.mark.parametrize("name", ["ce_time", "ce_expirytime"])
@pytest.mark.parametrize("value", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
def test_time_in_a_header_that_utc_cannot_hold(name: str, value: str) -> None:
    assert name.replace("_", "-") in poison(head=headers(**{name: value}))


@pytest.mark.parametrize("value", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
def test_instant_that_utc_cannot_hold(value: str) -> None:
    assert "start: " in poison(raw=body(start=value))


@pytest.mark.parametrize(
    "change",
    [{"start": 1_768_474_800}, {"start": "1768474800"}, {"step_s": "900"}, {"step_s": True},
     {"eur_per_mwh": ["84.12"]}, {"eur_per_mwh": [True]}],
    ids=str,
)  # fmt: skip
def test_what_the_published_schema_refuses_is_refused(change: dict[str, Any]) -> None:
    assert next(iter(change)) in poison(raw=body(**change))


def test_dataschema_of_another_type() -> None:
    assert "ce-dataschema" in poison(
        head=headers(ce_dataschema="urn:pems:event:command.approved:v1")
    )


@pytest.mark.parametrize("mode", ["", "dry", "LIVE"])
def test_unknown_mode(mode: str) -> None:
    assert "ce-pemsmode" in poison(head=headers(ce_pemsmode=mode))


def test_negative_as_of() -> None:
    assert "ce-pemsasof" in poison(head=headers(ce_pemsasof="-1"))


@pytest.mark.parametrize("version", [None, "0.3", "2.0"])
def test_another_envelope_version(version: str | None) -> None:
    assert "ce-specversion" in poison(head=headers(ce_specversion=version))


WRONG_ENTITIES = {
    "measurement.room.sampled": "pems.home.measurement.baseline.sampled",
    "measurement.house.sampled": "pems.home.measurement.room-living.sampled",
    "command.approved": "pems.home.command.battery.approved",
    "system.heartbeat": "pems.home.system.safety.heartbeat",
    "forecast.issued": "pems.home.forecast.load.issued",
}


@pytest.mark.parametrize(("type_", "subject"), WRONG_ENTITIES.items(), ids=WRONG_ENTITIES.keys())
def test_body_and_subject_speak_of_the_same_thing(type_: str, subject: str) -> None:
    _, head, raw = envelope.encode(examples.event(catalog.BY_TYPE[type_]))
    with pytest.raises(envelope.PoisonError, match="does not belong on subject"):
        envelope.decode(subject, head, raw)


def test_the_error_is_short_even_where_the_body_is_not() -> None:
    assert len(poison(raw=b"x" * 200_000)) < 2_000
    assert len(poison(raw=body(start="x" * 200_000))) < 2_000


def test_the_error_does_not_speak_of_a_site_file() -> None:
    request = b'{"target": "house", "quantity": "away", "value": 1, "actor": "resident"}'
    message = poison("pems.home.override.house.requested", {}, request)
    assert "give exactly one of until (UTC instant) and minutes" in message
    assert "site file" not in message


def test_free_mapping_holds_no_nan() -> None:
    _, head, _ = envelope.encode(examples.event(catalog.BY_TYPE["system.config-loaded"]))
    raw = b'{"kind": "safety", "content_hash": "x", "safety": {"limit_w": NaN}}'
    with pytest.raises(envelope.PoisonError, match="safety"):
        envelope.decode("pems.home.system.safety.config-loaded", head, raw)


TOKENS = st.sampled_from(["pems", "home", "price", "market", "published", "", "*", ">", "\x00"])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    subject=st.just(SUBJECT) | st.lists(TOKENS, min_size=1, max_size=6).map(".".join) | st.text(),
    head=st.none()
    | st.dictionaries(st.sampled_from(sorted(HEADERS)), st.text(max_size=12)).map(
        lambda changed: {**HEADERS, **changed}
    ),
    raw=st.just(BODY) | st.binary(max_size=60) | st.text(max_size=60).map(str.encode),
)
def test_nothing_but_poison_is_ever_raised(
    subject: str, head: dict[str, str] | None, raw: bytes
) -> None:
    with contextlib.suppress(envelope.PoisonError):
        assert envelope.decode(subject, head, raw).subject == subject
