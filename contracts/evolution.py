"""Did an event change without a new version? Compares a stored JSON Schema with today's.

The rule: a new optional field keeps the version, anything else is version + 1. So every
difference but that one is reported, also those that would only widen what is accepted: a service
that still runs yesterday's code would refuse the wider message.

Titles, descriptions and examples are words, not shape, and are never compared. Rules that stand
outside the schema (validators that look at several fields) cannot be seen here; the golden
examples of every version watch over those.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
WORDS = frozenset({"title", "description", "examples", "deprecated"})
_APART = WORDS | {
    "$defs", "$ref", "anyOf", "oneOf", "default", "properties", "required", "items", "prefixItems",
    "additionalProperties", "patternProperties", "propertyNames", "enum", "const",
}  # fmt: skip
_NAMED = frozenset({"properties", "patternProperties", "$defs"})
MISSING = object()


def shape(schema: Schema) -> Schema:
    """The schema without words: what is frozen, with keys in a fixed order."""
    found = _without_words(schema)
    assert isinstance(found, dict)
    return found


def changes(stored: Schema, present: Schema) -> list[str]:
    """Every change that needs a new version; empty when there is none.

    Parameters
    ----------
    stored, present : JSON Schemas (draft 2020-12, as pydantic writes them) of the same version

    Returns
    -------
    Lines ``field: what changed``, the field as a dotted path, ``[]`` for the items of a list
    and ``{}`` for the values of a mapping. Sorted, without repetition.
    """
    return sorted(set(_Comparison(stored, present).run()))


def grew(stored: Schema, present: Schema) -> bool:
    """Whether ``present`` only adds optional fields to ``stored`` (and adds at least one)."""
    return not changes(stored, present) and bool(changes(present, stored))


def _without_words(value: Any, inside_names: bool = False) -> Any:
    if isinstance(value, list):
        return [_without_words(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for key in sorted(value):
        if key in WORDS and not inside_names:
            continue
        if key in ("default", "const", "enum") and not inside_names:
            kept[key] = value[key]
            continue
        # Below `properties` and the like the keys are names that people chose, never keywords.
        kept[key] = _without_words(value[key], inside_names=key in _NAMED and not inside_names)
    return kept


class _Comparison:
    """One walk through two schemas, side by side."""

    def __init__(self, stored: Schema, present: Schema) -> None:
        self.stored, self.present = stored, present
        self.open: set[tuple[str, str]] = set()

    def run(self) -> list[str]:
        return list(self.compare(self.stored, self.present, ""))

    def compare(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        pair = (str(old.get("$ref", "")), str(new.get("$ref", "")))
        if all(pair):
            # A pair of definitions that is being compared further out is not entered again.
            if pair in self.open:
                return
            self.open.add(pair)
        try:
            yield from self._compare(_resolve(old, self.stored), _resolve(new, self.present), path)
        finally:
            self.open.discard(pair)

    def _compare(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        here = path or "the event"
        if _branches(old) or _branches(new):
            yield from self._unions(old, new, path)
            return
        for key in sorted((old.keys() | new.keys()) - _APART):
            before, after = old.get(key, MISSING), new.get(key, MISSING)
            if before != after:
                yield f"{here}: {key} was {_say(before)}, is {_say(after)}"
        yield from _values(old, new, here)
        yield from self._properties(old, new, path)
        for key, mark in (("items", "[]"), ("additionalProperties", "{}"), ("propertyNames", "{}")):
            yield from self._below(old, new, key, path + mark)
        yield from self._tuples(old, new, path)
        yield from self._patterns(old, new, path)

    def _below(self, old: Schema, new: Schema, key: str, path: str) -> Iterator[str]:
        before, after = old.get(key, MISSING), new.get(key, MISSING)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from self.compare(before, after, path)
        elif before != after:
            yield f"{path}: {key} was {_say(before)}, is {_say(after)}"

    def _patterns(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        """Mappings whose keys must match a pattern: what pydantic makes of ``dict[Name, X]``."""
        before, after = old.get("patternProperties", {}), new.get("patternProperties", {})
        if before.keys() != after.keys():
            yield f"{path}{{}}: names matched {_say(sorted(before))}, match {_say(sorted(after))}"
            return
        for pattern in sorted(before):
            yield from self.compare(before[pattern], after[pattern], f"{path}{{}}")

    def _tuples(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        before, after = old.get("prefixItems", []), new.get("prefixItems", [])
        if len(before) != len(after):
            yield f"{path or 'the event'}: had {len(before)} places, has {len(after)}"
            return
        for index, (left, right) in enumerate(zip(before, after, strict=True)):
            yield from self.compare(left, right, f"{path}[{index}]")

    def _properties(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        had, has = set(old.get("required", ())), set(new.get("required", ()))
        for name in sorted(before.keys() | after.keys()):
            place = f"{path}.{name}" if path else name
            if name not in after:
                yield f"{place}: was removed"
            elif name not in before:
                if name in has:
                    yield f"{place}: is new and required; give it a default"
            else:
                if name in had and name not in has:
                    yield f"{place}: was required, is optional"
                if name not in had and name in has:
                    yield f"{place}: was optional, is required"
                yield from self._defaults(before[name], after[name], place)
                yield from self.compare(before[name], after[name], place)

    def _defaults(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        before, after = old.get("default", MISSING), new.get("default", MISSING)
        # Where the field became required that is said already.
        if before is not MISSING and after is not MISSING and before != after:
            yield f"{place}: default was {_say(before)}, is {_say(after)}"

    def _unions(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        before = _branches(old) or [old]
        after = _branches(new) or [new]
        gone = []
        for branch in before:
            same = next((b for b in after if not list(self.compare(branch, b, ""))), None)
            if same is None:
                gone.append(branch)
            else:
                after = [b for b in after if b is not same]
        if len(gone) == len(after) == 1:
            yield from self.compare(gone[0], after[0], path)
            return
        here = path or "the event"
        yield from (f"{here}: {_kind(b, self.stored)} is no longer allowed" for b in gone)
        yield from (f"{here}: {_kind(b, self.present)} is newly allowed" for b in after)


def _values(old: Schema, new: Schema, here: str) -> Iterator[str]:
    before, after = _allowed(old), _allowed(new)
    if before == after:
        return
    if before is None or after is None:
        yield f"{here}: values were {_names(before)}, are {_names(after)}"
        return
    for value in sorted(before - after):
        yield f"{here}: value {value} is no longer allowed"
    for value in sorted(after - before):
        yield f"{here}: value {value} is newly allowed"


def _names(values: set[str] | None) -> str:
    return "free" if values is None else " | ".join(sorted(values))


def _allowed(schema: Schema) -> set[str] | None:
    if "const" in schema:
        return {json.dumps(schema["const"])}
    return {json.dumps(value) for value in schema["enum"]} if "enum" in schema else None


def _branches(schema: Schema) -> list[Schema]:
    found = schema.get("anyOf") or schema.get("oneOf") or []
    return list(found)


def _resolve(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        target = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
        schema = {**target, **beside}
    return schema


def _kind(schema: Schema, root: Schema) -> str:
    found = _resolve(schema, root)
    return str(found.get("title") or found.get("type") or _say(found))


def _say(value: object) -> str:
    return "not set" if value is MISSING else json.dumps(value, sort_keys=True)
