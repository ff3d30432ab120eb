"""The mapping: where in a house's InfluxDB each column of a training file lies (deploy/influx.example.yaml).

Nothing here is needed by a running house. Every mistake is named with its field and the fix.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from contracts.base import Record
from contracts.site import explain
from pems.config import ConfigError, load_yaml
from services.forecast.evaluate import duration_s
from services.forecast.files import TARGETS, WEATHER
from services.gateway.devices.influx import Source

COLUMNS = (*TARGETS.values(), *WEATHER)
"""Columns with a name of their own; beside them T_<room>, heat_<room> and heat."""
TOKEN = "PEMS_INFLUX_TOKEN"
LONGEST_GAP_S = 3_600
"""Between two readings of a counter, when its mapping does not say."""

Text = Annotated[str, Field(min_length=1)]


def _duration(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError("is a duration; write for example 1h, 15min or 7d")
    return duration_s(value, "hold")


class Part(Record):
    """One series: where it lies, and how its values are to be read."""

    measurement: Text
    field: Text
    tags: dict[str, Text] = {}
    """Tag values that leave exactly one series."""
    bucket: Text | None = None
    """The mapping's own when not given."""
    kind: Literal["mean", "counter", "held"] = "mean"
    scale: float = 1.0
    """Onto W, degC, EUR/MWh, or of a counter onto Wh; below 0 it is subtracted."""
    hold_s: Annotated[int | None, BeforeValidator(_duration), Field(alias="hold")] = None
    """The longest that a state holds or a counter may be silent, s."""

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        if self.kind == "held" and self.hold_s is None:
            raise ValueError("hold is missing; say how long a value holds at most, for example hold: 1d")
        if self.kind == "mean" and self.hold_s is not None:
            raise ValueError("hold is for kind: held and kind: counter; leave it out, or say which it is")
        if self.scale == 0.0:
            raise ValueError("scale 0 leaves nothing; write 1, or leave it out")
        return self

    def source(self, bucket: str) -> Source:
        """As the reader of InfluxDB wants it; a counter's sign comes after its power."""
        scale = abs(self.scale) if self.kind == "counter" else self.scale
        return Source(self.bucket or bucket, self.measurement, self.field, self.tags, scale=scale)


def _listed(value: object) -> object:
    return [value] if isinstance(value, dict) else value


def _some(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    if not parts:
        raise ValueError("names no series; add one, or remove the column")
    return parts


Parts = Annotated[tuple[Part, ...], BeforeValidator(_listed), AfterValidator(_some)]


class Mapping(Record):
    """An InfluxDB, and the series of each column; the sum of them where there are several."""

    url: Text
    org: Text
    bucket: Text
    columns: dict[str, Parts]

    @model_validator(mode="before")
    @classmethod
    def _no_secret(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and "token" in raw:
            raise ValueError(f"token: a secret does not belong in a file; remove it and set {TOKEN}")
        return raw

    @field_validator("url")
    @classmethod
    def _web(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError("is no address; write for example http://192.168.1.5:8086")
        return url

    @field_validator("columns")
    @classmethod
    def _known(cls, columns: dict[str, tuple[Part, ...]]) -> dict[str, tuple[Part, ...]]:
        wrong = []
        rooms = {name[2:] for name in columns if name.startswith("T_") and len(name) > 2}
        for name in columns:
            if name.startswith("heat_") and name[5:] not in rooms:
                wrong.append(f"{name} heats no room; add T_{name[5:]}")
            elif not (name in (*COLUMNS, "heat") or name[2:] in rooms or name.startswith("heat_")):
                near = difflib.get_close_matches(name, COLUMNS, 1)
                known = f"known: {', '.join(COLUMNS)}, T_<room>, heat_<room>, heat"
                fix = f"did you mean {near[0]}?" if near else known
                wrong.append(f"{name} is no column of a training file; {fix}")
        if "heat" in columns and not rooms:
            wrong.append("heat heats no room; add a T_<room>")
        if rooms and "temp_air" not in columns:
            wrong.append("T_<room> needs temp_air, the temperature outside; add it")
        if not rooms and not set(TARGETS.values()) & set(columns):
            wrong.append(f"nothing to learn; add one of {', '.join(TARGETS.values())}, or T_<room>")
        if wrong:
            raise ValueError("; ".join(wrong))
        return columns


def load_mapping(path: Path) -> Mapping:
    """Read and check a mapping; ConfigError with a line for every mistake."""
    try:
        return Mapping.model_validate(load_yaml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}:\n{explain(error, whole='mapping')}") from error
