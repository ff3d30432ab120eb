"""The life of the system itself: configuration, health, quarantine, reports."""

from __future__ import annotations

import json
from hashlib import sha256
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue

from contracts.base import Record
from contracts.site import SiteConfig
from contracts.units import Name, UtcTime


def _finite(value: JsonValue) -> JsonValue:
    """Refuse NaN and infinities at any depth: JSON has no such numbers."""
    if isinstance(value, float) and not isfinite(value):
        raise ValueError("must be a finite number")
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _finite(inner)
    return value


FiniteJson = Annotated[JsonValue, AfterValidator(_finite)]


class ConfigLoaded(Record):
    """A configuration came into force.

    The content stands in the event itself: a log alone is then enough to replay.
    """

    kind: Literal["site", "safety"]
    content_hash: str
    site: SiteConfig | None = None
    safety: dict[str, FiniteJson] | None = None


def config_hash(content: dict[str, Any]) -> str:
    """SHA-256 of a configuration's canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


class ModelPromoted(Record):
    """A trained model came into force; the content lies in the object store under its hash."""

    quantity: Literal["pv", "load", "price", "thermal"]
    content_hash: str
    method: str
    trained_until: UtcTime
    score: Annotated[float | None, Field(description="out-of-sample, see metric")] = None
    metric: str = ""
    reason: str = ""
    """Why: what it was compared with on which days, or who rolled back."""


class ModelChecked(Record):
    """A service has fetched a promoted model by its hash: it is in force, or why it is not.

    A missing, damaged or unfitting model leaves the previous one in force.
    """

    quantity: Literal["pv", "load", "price", "thermal"]
    content_hash: str
    in_force: bool
    problem: str = ""


class Heartbeat(Record):
    """A service has handled the log up to ``handled`` at this tick."""

    service: Name
    time: UtcTime
    handled: Annotated[int, Field(ge=0, description="log sequence")]


class MessageQuarantined(Record):
    """A message that cannot be handled was set aside; the log keeps it, the service goes on."""

    service: Name
    sequence: int
    subject: str
    error: str
    action: str = "left on the log, skipped by this service"


class LimitsReported(Record):
    """Disk and log health of the broker, from the gateway."""

    time: UtcTime
    disk_free_bytes: Annotated[int, Field(ge=0)]
    log_bytes: Annotated[int, Field(ge=0)]


class ReportIssued(Record):
    """The historian's account of a stretch of time."""

    time: UtcTime
    since: UtcTime
    until: UtcTime
    figures: dict[str, float | None]
    notes: tuple[str, ...] = ()
