"""Plain values as YAML, enough for generated documents and without another package."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

# Words that a YAML 1.1 reader takes for something other than text, and what looks like a number.
_PLAIN = re.compile(r"[A-Za-z_$/][A-Za-z0-9_$/.\- ]*[A-Za-z0-9_$/]|[A-Za-z_]")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})


def dump(value: Any) -> str:
    """YAML text of nested dicts, lists and scalars; keys stay in their order."""
    return "\n".join(_lines(value, 0)) + "\n"


def _lines(value: Any, depth: int) -> Iterator[str]:
    pad = "  " * depth
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _entry(f"{pad}{_scalar(str(key))}:", item, depth)
    else:
        for item in value:
            if isinstance(item, dict | list) and item and not _is_short(item):
                first, *rest = _lines(item, depth + 1)
                yield f"{pad}- {first.lstrip()}"
                yield from rest
            else:
                yield f"{pad}- {_flow(item)}"


def _entry(head: str, item: Any, depth: int) -> Iterator[str]:
    if isinstance(item, dict | list) and item and not _is_short(item):
        yield head
        yield from _lines(item, depth + 1)
    elif isinstance(item, str) and "\n" in item.strip():
        yield f"{head} |-"
        for line in item.strip().splitlines():
            yield f"{'  ' * (depth + 1)}{line}".rstrip()
    else:
        yield f"{head} {_flow(item)}"


def _is_short(value: Any) -> bool:
    """A list of scalars that fits on the line."""
    return (
        isinstance(value, list)
        and not any(isinstance(item, dict | list) for item in value)
        and len(_flow(value)) <= 80
    )


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(str(k))}: {_flow(v)}" for k, v in value.items()) + "}"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if not isinstance(value, str):
        text = json.dumps(value)
        # YAML 1.1 reads 1e-09 as text; it wants a point in a number with an exponent.
        return text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
