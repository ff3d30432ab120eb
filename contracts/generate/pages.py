"""The generated files that follow the code and are rewritten each time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from contracts.generate import asyncapi, reference, yaml
from contracts.site import SiteConfig

Json = dict[str, Any]
LOCAL_TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$"


def pages() -> dict[str, str]:
    """Text of every generated page by its path from the project's root."""
    head = "# Written by `python -m contracts.generate` from contracts/catalog.py; do not edit.\n"
    return {
        "docs/events.md": reference.page(),
        "docs/asyncapi.yaml": head + yaml.dump(asyncapi.document()),
        "deploy/site.schema.json": json.dumps(site_schema(), indent=2, ensure_ascii=False) + "\n",
    }


def write(root: Path) -> list[Path]:
    """Write the pages that differ; returns those."""
    written = []
    for name, text in pages().items():
        path = root / name
        if _read(path) != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


def stale(root: Path) -> list[str]:
    """A line for every page that is absent or differs."""
    return [
        f"{name}: does not follow the contracts any more"
        for name, text in pages().items()
        if _read(root / name) != text
    ]


def site_schema() -> Json:
    """JSON Schema of the site file as editors understand it.

    Editors still read draft 07 best, and take its format ``time`` for a full time with an offset,
    while the site file says HH:MM; so that becomes a pattern.
    """
    schema = _for_editors(SiteConfig.model_json_schema())
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **schema,
        "title": "PEMS site file",
    }


def _for_editors(value: Any) -> Any:
    if isinstance(value, list):
        return [_for_editors(item) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {
        "definitions" if key == "$defs" else key: (
            item.replace("#/$defs/", "#/definitions/")
            if key == "$ref" and isinstance(item, str)
            else _for_editors(item)
        )
        for key, item in value.items()
    }
    if changed.get("format") == "time":
        del changed["format"]
        changed["pattern"] = LOCAL_TIME
    return changed


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
