"""The AsyncAPI 3.0 document of the house, from the catalogue."""

from __future__ import annotations

import inspect
import re
from typing import Any

from pydantic.json_schema import models_json_schema

from contracts import catalog, envelope
from contracts.catalog import CATALOG, Row
from contracts.generate import examples

Json = dict[str, Any]
PARAMETERS = {
    "site": "Name of the house.",
    "room": "Id of a room in the site file.",
    "ev": "Id of a car in the site file.",
    "load": "Id of a load that may wait in the site file.",
    "device": "relay-<room>, load-<id>, battery, inverter-export or ev-<id>.",
    "target": "What a person means: house, room-<id>, relay-<id>, load-<id>, battery or ev-<id>.",
    "service": "Name of the service that speaks.",
    "quantity": "What is forecast, or what a model is for.",
    "kind": "Which configuration: site or safety.",
}
INFO = """\
Every event of PEMS, a predictive energy management system for homes, on NATS JetStream.
CloudEvents 1.0 in binary mode: the context stands in `ce-` headers, the body is JSON.
Generated from contracts/catalog.py by `python -m contracts.generate`; do not edit."""


def document(rows: tuple[Row, ...] = CATALOG) -> Json:
    """The whole document as plain values."""
    refs, schemas = _schemas(rows)
    speakers = dict.fromkeys(user for row in rows for user in row.by)
    users = list(dict.fromkeys([*catalog.SERVICES, *speakers]))
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "PEMS events", "version": "1.0.0", "description": INFO},
        "defaultContentType": "application/json",
        "servers": {
            "embedded": {
                "host": "localhost:4222",
                "protocol": "nats",
                "description": "The embedded nats-server, JetStream on, one stream a site.",
            }
        },
        "channels": {row.type: _channel(row) for row in rows},
        "operations": {
            f"{user}-{action}-{row.type}": _operation(row, user, action)
            for user in users
            for action, rows_of_user in (
                ("sends", [row for row in rows if user in row.by]),
                ("receives", [row for row in rows if _hears(user, row)]),
            )
            for row in rows_of_user
        },
        "components": {
            "messages": {row.type: _message(row, refs[row.type]) for row in rows},
            "parameters": {name: {"description": text} for name, text in PARAMETERS.items()},
            "schemas": {"Envelope": envelope_schema(), **schemas},
        },
    }


def _hears(user: str, row: Row) -> bool:
    return user in catalog.SERVICES and (user == "historian" or user in row.heard_by)


def _channel(row: Row) -> Json:
    address = catalog.subject("{site}", row.type, row.entity)
    names = re.findall(r"{(\w+)}", address)
    return {
        "address": address,
        "title": row.type,
        "description": summary(row),
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in names},
        "messages": {"event": {"$ref": f"#/components/messages/{row.type}"}},
    }


def _operation(row: Row, user: str, action: str) -> Json:
    return {
        "action": "send" if action == "sends" else "receive",
        "title": f"{user} {action} {row.type}",
        "channel": {"$ref": f"#/channels/{row.type}"},
        "messages": [{"$ref": f"#/channels/{row.type}/messages/event"}],
    }


def _message(row: Row, payload: Json) -> Json:
    golden = examples.stored(row)
    return {
        "name": row.type,
        "title": f"{row.type} v{row.version}",
        "summary": summary(row),
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/Envelope"},
        "payload": payload,
        "examples": [{"name": "golden", "headers": golden["headers"], "payload": golden["body"]}],
        **_expectations(row),
    }


def _expectations(row: Row) -> Json:
    found: Json = {"x-version": row.version}
    if row.period_s is not None:
        found["x-expected-period-s"] = row.period_s
    if row.max_age_s is not None:
        found["x-max-age-s"] = row.max_age_s
    if row.bare:
        found["x-bare"] = True
    return found


def summary(row: Row) -> str:
    """First paragraph of the model's docstring, on one line."""
    text = inspect.cleandoc(row.model.__doc__ or "").split("\n\n")[0]
    return " ".join(text.replace("``", "`").split())


def _schemas(rows: tuple[Row, ...]) -> tuple[dict[str, Json], Json]:
    models = list(dict.fromkeys(row.model for row in rows))
    refs, root = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    by_model = {model: refs[(model, "validation")] for model in models}
    return {row.type: by_model[row.model] for row in rows}, root.get("$defs", {})


def envelope_schema() -> Json:
    """JSON Schema of the headers."""
    text = {"type": "string"}
    instant = {"type": "string", "format": "date-time"}
    fields: dict[str, Json] = {
        "ce-specversion": {"const": "1.0"},
        "ce-id": {**text, "description": "UUIDv5 of (trigger, source, type, index); also sent as "
                  "Nats-Msg-Id, so that a retry is the same event"},
        "ce-type": {**text, "description": "type of the catalogue"},
        "ce-source": {**text, "description": "pems/<site>/<user>"},
        "ce-subject": {**text, "description": "entity, the fourth token of the subject"},
        "ce-time": {**instant, "description": "event time, UTC"},
        "ce-dataschema": {
            **text, "pattern": f"^{envelope.SCHEMA_BASE}:.+:v[0-9]+$",
            "description": "type and version of the body",
        },
        "ce-datacontenttype": {"const": "application/json"},
        "ce-causationid": {**text, "description": "id of the event that this one follows from"},
        "ce-correlationid": {**text, "description": "id of the planning cycle"},
        "ce-expirytime": {**instant, "description": "of no use after this instant"},
        "ce-pemsasof": {**text, "description": "log sequence at which the decision was made"},
        "ce-pemsmode": {"enum": ["live", "shadow", "simulated", "replay", "whatif"]},
        "ce-pemscode": {**text, "description": "version of the code that decided"},
        "ce-pemsconfig": {**text, "description": "hash of the configuration in force"},
        "Nats-Msg-Id": {**text, "description": "the same as ce-id"},
        "traceparent": {**text, "description": "W3C trace context"},
    }  # fmt: skip
    return {
        "type": "object",
        "description": "CloudEvents context as NATS headers.",
        "required": ["ce-specversion", "ce-id", "ce-type", "ce-source", "ce-dataschema"],
        "properties": fields,
    }
