"""docs/events.md: what every event means, in tables."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from contracts import catalog
from contracts.catalog import CATALOG, Row
from contracts.generate import asyncapi, examples

Json = dict[str, Any]
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"

# By the ending of a field's name, longest first: the name always carries the unit.
UNITS = (
    ("_sd_c_per_sqrt_h", "°C/√h"), ("_w_per_k_per_m_s", "W/K per m/s"), ("_eur_per_mwh", "EUR/MWh"),
    ("eur_per_mwh", "EUR/MWh"), ("_eur_per_kwh", "EUR/kWh"), ("_eur_per_kh", "EUR/(K·h)"),
    ("_j_per_k", "J/K"), ("_w_per_k", "W/K"), ("_percent", "%"), ("_fraction", "0 to 1"),
    ("_epoch_s", "s since 1970"), ("_w_m2", "W/m²"), ("_bytes", "B"), ("minutes", "min"),
    ("_m_s", "m/s"), ("_kwh", "kWh"), ("_deg", "°"), ("_eur", "EUR"), ("_wh", "Wh"), ("_kh", "K·h"),
    ("_m2", "m²"), ("latitude", "° north"), ("longitude", "° east"), ("soc_min", "0 to 1"),
    ("soc_max", "0 to 1"), ("soc", "0 to 1"), ("_w", "W"), ("_c", "°C"), ("_s", "s"), ("_a", "A"),
    ("_v", "V"), ("_m", "m"), ("_k", "K"),
)  # fmt: skip
# A description that is only a unit says nothing that the unit column does not.
_ONLY_UNIT = re.compile(
    r"W|Wh|°C|K, a difference|0 to 1|EUR/kWh|EUR/MWh|W/m2|s|A per phase|s, length of one step"
    r"|0 \(empty\) to 1 \(full\)"
)
_SAID_UNIT = re.compile(r"^(W|Wh|s|K·h), ?|^s (?=since)|, Wh$|, W\.?$")

HEAD = """\
# Events

Everything that happens in the house stands on one log as one of the events below. This page is
written by `python -m contracts.generate` from `contracts/catalog.py` and the models it names;
change those, not this page. How to change an event: [contracts.md](contracts.md). The same for
machines: [asyncapi.yaml](asyncapi.yaml).

- **Subject**: `pems.<site>.<family>.<entity>.<event>`. Words in braces stand for names of the site
  file.
- **Period**: how often to expect the event. **Max age**: how old the newest one may be before
  nothing may be decided on it.
- **Heard by**: the services whose consumer delivers it. The historian hears every event and is not
  repeated.
- **Fields** marked `?` may be left out. `null` means *not known* and is never a zero.
- **Times** are UTC instants (RFC 3339).
"""

ENVELOPE_HEAD = """\
## Envelope

CloudEvents 1.0, binary mode: the context travels as NATS headers, the body is the payload alone.
Events marked *bare* may also be sent by people as plain JSON without any header.
"""


def page(rows: tuple[Row, ...] = CATALOG) -> str:
    """The whole page as Markdown."""
    families = dict.fromkeys(row.family for row in rows)
    shared = _Shared()
    parts = [HEAD, "## All events\n", _overview(rows), ENVELOPE_HEAD, _envelope()]
    for family in families:
        parts.extend(_family([row for row in rows if row.family == family], shared))
    parts.extend(shared.section())
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def table(head: tuple[str, ...], body: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table whose columns line up in plain text too."""
    rows = [head, *body]
    width = [max(len(row[column]) for row in rows) for column in range(len(head))]

    def line(row: tuple[str, ...]) -> str:
        cells = (cell.ljust(size) for cell, size in zip(row, width, strict=True))
        return f"| {' | '.join(cells)} |".rstrip()

    rule = f"|{'|'.join('-' * (size + 2) for size in width)}|"
    return "\n".join([line(head), rule, *(line(row) for row in rows[1:])]) + "\n"


def duration(seconds: int | None) -> str:
    """300 as ``5 min``, 86400 as ``24 h``; a dash for None."""
    if seconds is None:
        return DASH
    for size, name in ((3_600, "h"), (60, "min")):
        if seconds % size == 0 and seconds >= size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"


def _overview(rows: tuple[Row, ...]) -> str:
    return table(
        ("event", "v", "says"),
        (
            (f"[{row.type}](#{_anchor(row)})", str(row.version), _cell(asyncapi.summary(row)))
            for row in rows
        ),
    )


def _anchor(row: Row) -> str:
    return row.type.replace(".", "")


def _envelope() -> str:
    fields = asyncapi.envelope_schema()["properties"].items()
    return table(
        ("header", "meaning"),
        (
            (f"`{name}`", _cell(value.get("description") or _allowed(value)))
            for name, value in fields
        ),
    )


def _family(rows: list[Row], shared: _Shared) -> list[str]:
    modules: dict[ModuleType, None] = {}
    for row in rows:
        module = inspect.getmodule(row.model)
        assert module is not None
        modules[module] = None
    parts = [f"## {rows[0].family}\n"]
    parts.extend(_prose(module.__doc__) + "\n" for module in modules)
    parts.append(
        table(
            ("event", "subject", "said by", "heard by", "period", "max age", "bare"),
            (
                (
                    row.type,
                    f"`{catalog.subject('{site}', row.type, row.entity)}`",
                    ", ".join(row.by),
                    _listeners(row),
                    duration(row.period_s),
                    duration(row.max_age_s),
                    "yes" if row.bare else DASH,
                )
                for row in rows
            ),
        )
    )
    for row in rows:
        parts.extend(_event(row, shared))
    return parts


def _listeners(row: Row) -> str:
    if set(row.heard_by) == set(catalog.SERVICES):
        return "every service"
    return ", ".join(name for name in row.heard_by if name != "historian") or DASH


def _event(row: Row, shared: _Shared) -> list[str]:
    schema = row.model.model_json_schema(ref_template="#/$defs/{model}")
    golden = examples.stored(row)
    shared.collect(schema)
    return [
        f"### {row.type}\n",
        f"Version {row.version}. {_prose(row.model.__doc__)}\n",
        _fields(schema),
        f"Example, on `{golden['subject']}`:\n",
        f"```json\n{compact(golden['body'])}\n```\n",
    ]


def _fields(schema: Json) -> str:
    needed = set(schema.get("required", ()))
    head = ("field", "type", "unit", "meaning")
    rows = [
        (
            f"`{name}`" if name in needed else f"`{name}`?",
            _cell(_type(field)),
            _unit(name, field),
            _cell(_meaning(field)),
        )
        for name, field in schema.get("properties", {}).items()
    ]
    used = [column for column in range(4) if column < 2 or any(row[column] for row in rows)]
    return table(
        tuple(head[column] for column in used),
        (tuple(row[column] for column in used) for row in rows),
    )


def _unit(name: str, field: Json) -> str:
    kind = _type(field)
    if "instant" in kind:
        return "UTC"
    if "number" not in kind and "integer" not in kind:
        return ""
    return next((unit for ending, unit in UNITS if name.endswith(ending)), "")


def _meaning(field: Json) -> str:
    text = " ".join(str(field.get("description", "")).split())
    if _ONLY_UNIT.fullmatch(text):
        text = ""
    text = _SAID_UNIT.sub("", text)
    default = field.get("default")
    said = json.dumps(default, ensure_ascii=False)
    if default not in (None, "", [], {}) and len(said) <= 60:
        text = f"{text}; default {said}" if text else f"default {said}"
    return text


def _type(field: Json) -> str:
    if "anyOf" in field:
        return " or ".join(_type(branch) for branch in field["anyOf"])
    if "$ref" in field:
        name = field["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "enum" in field or "const" in field:
        return _allowed(field)
    match field.get("type"):
        case "array" if "prefixItems" in field:
            return "(" + ", ".join(_type(item) for item in field["prefixItems"]) + ")"
        case "array":
            return f"list of {_type(field['items'])}"
        case "object":
            values = [*field.get("patternProperties", {}).values()]
            inner = values[0] if values else field.get("additionalProperties")
            return f"by name: {_type(inner)}" if isinstance(inner, dict) else "free mapping"
        case "string" if field.get("format") == "date-time":
            return "instant"
        case "string" if field.get("format") == "time":
            return "local time"
        case "string":
            return "name" if "pattern" in field and "maxLength" in field else "text"
        case "number" | "integer" as kind:
            return f"{kind}{_bounds(field)}"
        case "boolean":
            return "true or false"
        case "null":
            return "null"
        case _:
            return "anything"


def _bounds(field: Json) -> str:
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum", field.get("exclusiveMaximum"))
    if low is None and high is None:
        return ""
    more = "> " if "exclusiveMinimum" in field else "≥ "
    less = "< " if "exclusiveMaximum" in field else "≤ "
    if low is not None and high is not None and more == "≥ " and less == "≤ ":
        return f" {_figure(low)} … {_figure(high)}"
    said = [f"{more}{_figure(low)}"] if low is not None else []
    if high is not None:
        said.append(f"{less}{_figure(high)}")
    return " " + ", ".join(said)


def _figure(value: float) -> str:
    if abs(value) >= 1e9:
        return f"{value:.0e}".replace("e+", "e").replace("e0", "e").replace("-", MINUS)
    return f"{value:,.10g}".replace("-", MINUS)


def _allowed(field: Json) -> str:
    values = field.get("enum", [field.get("const")])
    return " / ".join(f"`{value}`" for value in values)


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|").replace("\n", " ")


def _prose(docstring: str | None) -> str:
    """A docstring as Markdown: single backquotes, and its simple tables as Markdown tables."""
    lines = inspect.cleandoc(docstring or "").replace("``", "`").splitlines()
    rules = [index for index, line in enumerate(lines) if re.fullmatch(r"=+( +=+)+", line)]
    while len(rules) >= 3:
        top, middle, bottom = rules[:3]
        body = [_columns(line) for line in lines[middle + 1 : bottom]]
        made = table(_columns(lines[top + 1]), body).splitlines()
        lines[top : bottom + 1] = made
        rules = [index + len(made) - (bottom + 1 - top) for index in rules[3:]]
    return "\n".join(lines)


def _columns(line: str) -> tuple[str, ...]:
    return tuple(re.split(r" {2,}", line.strip()))


def compact(value: Any, width: int = 96, depth: int = 0, key: int = 0) -> str:
    """JSON with every list and object on one line that fits on one."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + 2 * depth + key <= width or not isinstance(value, dict | list) or not value:
        return flat
    pad, end = "  " * (depth + 1), "  " * depth
    if isinstance(value, list):
        if not any(isinstance(item, dict | list) for item in value):
            words = [json.dumps(item, ensure_ascii=False) for item in value]
            return _wrapped(words, pad, end, width)
        lines = [f"{pad}{compact(item, width, depth + 1)}" for item in value]
        return "[\n" + ",\n".join(lines) + f"\n{end}]"
    lines = [
        f'{pad}"{name}": {compact(item, width, depth + 1, len(name) + 4)}'
        for name, item in value.items()
    ]
    return "{\n" + ",\n".join(lines) + f"\n{end}}}"


def _wrapped(items: list[str], pad: str, end: str, width: int) -> str:
    """A long list of scalars, as many on a line as fit."""
    lines = [pad]
    for index, item in enumerate(items):
        text = item + (", " if index < len(items) - 1 else "")
        if len(lines[-1]) + len(text) > width and lines[-1].strip():
            lines.append(pad)
        lines[-1] += text
    return "[\n" + "\n".join(line.rstrip() for line in lines) + f"\n{end}]"


class _Shared:
    """Records that stand inside events, described once at the end of the page."""

    def __init__(self) -> None:
        self.seen: dict[str, Json] = {}

    def collect(self, schema: Json) -> None:
        for name, definition in schema.get("$defs", {}).items():
            known = self.seen.setdefault(name, definition)
            if known != definition:
                raise ValueError(f"two models named {name} stand inside events; rename one")

    def section(self) -> list[str]:
        if not self.seen:
            return []
        parts = ["## Parts of events\n", "Records that stand inside the events above.\n"]
        for name in sorted(self.seen):
            words = _prose(str(self.seen[name].get("description", "")))
            parts.extend([f"### {name}\n", f"{words}\n", _fields(self.seen[name])])
        return parts
