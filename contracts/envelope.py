"""The envelope: CloudEvents 1.0 in binary mode over NATS, with deterministic ids.

Headers carry the context (``ce-`` prefix, CloudEvents NATS protocol binding), the body is the
payload's JSON. The id is a UUIDv5 of (trigger id, source, type, index): a service that decides
again on the same trigger makes the same event, so a retry is recognised and never doubled.

Four event types that people send may come *bare*, as plain JSON without headers (see
``catalog.Row.bare``); their id then follows from their place in the log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args
from uuid import UUID, uuid5

from pydantic import ValidationError

from contracts import catalog, upcast
from contracts.base import Record
from contracts.site import explain

Mode = Literal["live", "shadow", "simulated", "replay", "whatif"]
NAMESPACE = UUID("6d1f0d3e-5a54-5a0e-9d52-7d3b2f1c6a10")
SCHEMA_BASE = "urn:pems:event"


class PoisonError(ValueError):
    """A message that no service can understand. Says which field and how to mend it."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the log.

    Attributes
    ----------
    type, version, entity : what happened to whom; together with ``site`` they make the subject
    time : event time, UTC; None for a bare message, whose time is the log's clock
    cause : id of the event that this one follows from
    correlation : id of the planning cycle (the plan, or the tick that began the cycle)
    as_of : log sequence at which the decision was made
    sequence : own place in the log, 0 while not yet appended
    """

    type: str
    version: int
    site: str
    entity: str
    id: str
    source: str
    data: Record
    time: datetime | None = None
    cause: str = ""
    correlation: str = ""
    as_of: int = 0
    sequence: int = 0
    mode: str = "live"
    code: str = ""
    config: str = ""
    expiry: datetime | None = None
    traceparent: str = ""

    @property
    def subject(self) -> str:
        """``pems.{site}.{family}.{entity}.{verb}``."""
        return catalog.subject(self.site, self.type, self.entity)


def event_id(trigger: str, source: str, type_: str, index: int) -> str:
    """The deterministic id of the index-th event of a type that a source decides on a trigger."""
    return str(uuid5(NAMESPACE, f"{trigger}/{source}/{type_}/{index}"))


def stamp(instant: datetime) -> str:
    """RFC 3339 in UTC with a Z."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def encode(event: Event) -> tuple[str, dict[str, str], bytes]:
    """Subject, headers and body of an event."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": event.id,
        "ce-type": event.type,
        "ce-source": f"pems/{event.site}/{event.source}",
        "ce-subject": event.entity,
        "ce-dataschema": f"{SCHEMA_BASE}:{event.type}:v{event.version}",
        "ce-datacontenttype": "application/json",
        "ce-pemsasof": str(event.as_of),
        "ce-pemsmode": event.mode,
        "Nats-Msg-Id": event.id,
    }
    if event.time:
        headers["ce-time"] = stamp(event.time)
    if event.expiry:
        headers["ce-expirytime"] = stamp(event.expiry)
    for name, value in (
        ("ce-causationid", event.cause),
        ("ce-correlationid", event.correlation),
        ("ce-pemscode", event.code),
        ("ce-pemsconfig", event.config),
        ("traceparent", event.traceparent),
    ):
        if value:
            headers[name] = value
    return event.subject, headers, event.data.model_dump_json().encode()


def decode(
    subject: str, headers: Mapping[str, str] | None, body: bytes, sequence: int = 0
) -> Event:
    """Read one message of the log.

    Raises
    ------
    PoisonError
        when it is no event of the catalogue: unknown type, wrong subject, a newer version than
        this code knows, or a payload that breaks its model (each field named).
    """
    head = headers or {}
    parts = subject.split(".")
    if len(parts) != 5 or parts[0] != "pems":
        raise PoisonError(f"subject {subject!r} is not pems.<site>.<family>.<entity>.<verb>")
    site, entity = parts[1], parts[3]
    if "ce-type" not in head:
        return _decode_bare(subject, body, sequence)
    row = catalog.BY_TYPE.get(head["ce-type"])
    if row is None:
        raise PoisonError(f"type {head['ce-type']!r} is not in the catalogue")
    if catalog.subject(site, row.type, entity) != subject:
        raise PoisonError(f"type {row.type} does not belong on subject {subject}")
    if head.get("ce-specversion") != "1.0":
        raise PoisonError(f"{row.type}: header ce-specversion is malformed; write 1.0")
    if not head.get("ce-id"):
        raise PoisonError(f"{row.type}: header ce-id is missing")
    mode = head.get("ce-pemsmode", "live")
    if mode not in get_args(Mode):
        raise PoisonError(f"{row.type}: header ce-pemsmode is malformed: {mode!r}")
    version = _count(row, head, "ce-dataschema", f"{SCHEMA_BASE}:{row.type}:v", "")
    data = _payload(row, version, body)
    if catalog.entity_of(row, data) not in (None, entity):
        raise PoisonError(f"type {row.type} does not belong on subject {subject}: see its body")
    return Event(
        type=row.type,
        version=row.version,
        site=site,
        entity=entity,
        id=head["ce-id"],
        source=head.get("ce-source", "").rsplit("/", 1)[-1],
        data=data,
        time=_instant(row, head, "ce-time"),
        cause=head.get("ce-causationid", ""),
        correlation=head.get("ce-correlationid", ""),
        as_of=_count(row, head, "ce-pemsasof", "", "0"),
        sequence=sequence,
        mode=mode,
        code=head.get("ce-pemscode", ""),
        config=head.get("ce-pemsconfig", ""),
        expiry=_instant(row, head, "ce-expirytime"),
        traceparent=head.get("traceparent", ""),
    )


def _count(
    row: catalog.Row, head: Mapping[str, str], name: str, prefix: str, absent: str
) -> int:
    text = head.get(name, absent)
    digits = text.removeprefix(prefix)
    if not (text.startswith(prefix) and digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise PoisonError(
            f"{row.type}: header {name} is malformed: {text[:80]!r}; write {prefix}<number>"
        )
    return int(digits)


def _instant(row: catalog.Row, head: Mapping[str, str], name: str) -> datetime | None:
    if name not in head:
        return None
    try:
        value = datetime.fromisoformat(head[name])
        if value.tzinfo is None:
            raise ValueError("it has no offset; write it in UTC with a Z")
        return value.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise PoisonError(f"{row.type}: header {name} is malformed: {error}") from error


def _decode_bare(subject: str, body: bytes, sequence: int) -> Event:
    _, site, family, entity, verb = subject.split(".")
    row = catalog.BY_TYPE.get(f"{family}.{verb}")
    if row is None or not row.bare:
        raise PoisonError(
            f"{subject}: header ce-type is missing (only people's requests may be bare)"
        )
    data = _payload(row, row.version, body)
    if catalog.entity_of(row, data) not in (None, entity):
        raise PoisonError(f"type {row.type} does not belong on subject {subject}: see its body")
    return Event(
        type=row.type,
        version=row.version,
        site=site,
        entity=entity,
        id=str(uuid5(NAMESPACE, f"{subject}/{sequence}")),
        source="client",
        data=data,
        sequence=sequence,
    )


def _payload(row: catalog.Row, version: int, body: bytes) -> Record:
    try:
        if version == row.version:
            return row.model.model_validate_json(body)
        # Through JSON again, so that old and new bodies are judged by the same rules.
        lifted = upcast.to_newest(row.type, version, row.version, body)
        return row.model.model_validate_json(json.dumps(lifted))
    except ValidationError as error:
        raise PoisonError(f"{row.type} v{version}: {explain(error, 'body')}") from error
    except upcast.UnknownVersionError as error:
        raise PoisonError(str(error)) from error


def payload(event: Event) -> Any:
    """The payload as plain JSON values."""
    return event.data.model_dump(mode="json")
