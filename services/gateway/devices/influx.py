"""History out of InfluxDB 2: Flux queries of one series, onto an even grid of UTC times or as written.

Sources: InfluxDB 2.7 documentation of ``/api/v2/query`` and of Flux ``aggregateWindow`` (windows
are left-closed, and ``timeSrc: "_start"`` labels them by their beginning; empty windows are left
out here and become NaN). ``timeWeightedAvg`` draws a line from value to value, and what is written on
change stands until the next: such states are read as they were written (``core/steps.py`` makes means
of them). Import runs when somebody asks for it, never in the control loop.

Time-out: 30 s without a word, by default; queries run in a thread of their own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import pandas as pd
from influxdb_client import Dialect, InfluxDBClient
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.rest import ApiException
from numpy.typing import NDArray
from urllib3.exceptions import HTTPError

from services.gateway.devices.base import DeviceUnavailable, write_time

TIMEOUT_S = 30.0
Join = Literal["mean", "last", "sum", "max", "min"]
WORDS = {"on": 1.0, "off": 0.0, "true": 1.0, "false": 0.0, "unavailable": np.nan, "unknown": np.nan}
"""What recorders write for a state in words; Home Assistant the last two for none."""
LOOK = (
    ("unauthorized", "the token is not known there; set it as the server's page of tokens shows it"),
    ("could not find bucket", "check the bucket's name, and that the token may read it"),
    ("organization", "check the name of the organisation"),
    ("timed out", "it takes too long; ask for a shorter time or a longer step"),
)
"""What InfluxDB says, and what to look at."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a series lies.

    Attributes
    ----------
    bucket, measurement, field : names in InfluxDB
    tags : tag values that select exactly one series
    join : how the values of one step become one
    scale : multiplied onto every value, to reach the house's unit (1000 for kW to W)
    joined : the tags select several series that follow each other, and they are one
    """

    bucket: str
    measurement: str
    field: str
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    join: Join = "mean"
    scale: float = 1.0
    joined: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """A series: ``times_s`` epoch seconds of each step's start, ``values`` NaN where unknown."""

    times_s: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Piece:
    """A series that a source matches: its tags, when it began and ended, and its first value."""

    tags: Mapping[str, str]
    first: datetime
    last: datetime
    example: object


class InfluxHistory:
    """Read-only access to one InfluxDB; the token needs no more than read permission."""

    def __init__(self, url: str, token: str, org: str, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._client = InfluxDBClient(
            url=url, token=token, org=org, timeout=int(1_000 * timeout_s), enable_gzip=True
        )

    async def connect(self) -> None:
        """DeviceUnavailable when no InfluxDB answers."""
        if not await asyncio.to_thread(self._client.ping):
            raise self._lost("does not answer /ping")

    async def close(self) -> None:
        """Close idle connections."""
        await asyncio.to_thread(self._client.close)

    async def series(self, source: Source, start: datetime, stop: datetime, step_s: int) -> History:
        """The series on ``[start, stop)`` in steps of ``step_s``.

        Raises DeviceUnavailable when InfluxDB does not answer or refuses the query, ValueError
        when the source matches several series or holds something else than numbers.
        """
        rows = await self._ask(self._rows, flux(source, start, stop, step_s))
        return onto_grid(rows, source, start, stop, step_s)

    async def matches(self, source: Source, start: datetime, stop: datetime) -> list[Piece]:
        """The series that the source selects on ``[start, stop)``, by their beginnings."""
        chosen = selection(source, start, stop)
        first = await self._ask(self._rows, f"{chosen}  |> first()\n")
        last = {
            _tags(row): row["_time"] for row in await self._ask(self._rows, f"{chosen}  |> last()\n")
        }
        found = [
            Piece(dict(tags), row["_time"], last.get(tags, row["_time"]), row["_value"])
            for row in first
            for tags in (_tags(row),)
        ]
        return sorted(found, key=lambda piece: piece.first)

    async def written(
        self, source: Source, start: datetime, stop: datetime, thin_s: int = 0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Epoch seconds and values on ``[start, stop)`` as written, times ``scale``, in order.

        With `thin_s` the last of every so many seconds only. On and off count as 1 and 0, and what is
        unavailable as NaN; ValueError for other words.
        """
        thin = f"  |> window(every: {thin_s}s)\n  |> last()\n" if thin_s else ""
        query = f'{selection(source, start, stop)}{thin}  |> keep(columns: ["_time", "_value"])\n'
        times_s, values = as_written(await self._ask(self._text, query), source)
        order = np.argsort(times_s, kind="stable")
        return times_s[order], values[order]

    async def _ask(self, how: Callable[[str], Any], query: str) -> Any:
        try:
            return await asyncio.to_thread(how, query)
        except (ApiException, InfluxDBError, HTTPError, OSError) as error:
            message = getattr(error, "message", None) or getattr(error, "body", None) or error
            raise self._lost(str(message)) from error

    def _text(self, query: str) -> bytes:
        """The answer as CSV."""
        dialect = Dialect(header=True, annotations=[])
        return bytes(self._client.query_api().query_raw(query, dialect=dialect).data)

    def _rows(self, query: str) -> list[Mapping[str, Any]]:
        return [record.values for record in self._client.query_api().query_stream(query)]

    def _lost(self, reason: str) -> DeviceUnavailable:
        fix = next((f" ({look})" for said, look in LOOK if said in reason), "")
        return DeviceUnavailable("influxdb", self._url, reason + fix)


def flux(source: Source, start: datetime, stop: datetime, step_s: int) -> str:
    """The query; names are quoted, so that none can become code. ValueError for a bad range."""
    if step_s <= 0 or start >= stop or int(start.timestamp()) % step_s:
        raise ValueError(
            f"start {start}, stop {stop}, step {step_s} s: wanted start before stop, and a start "
            "on the grid of steps since 1970"
        )
    return (
        f"{selection(source, start, stop)}"
        f"  |> aggregateWindow(every: {step_s}s, fn: {source.join}, "
        'timeSrc: "_start", createEmpty: false)\n' + ("  |> group()\n" if source.joined else "")
    )


def selection(source: Source, start: datetime, stop: datetime) -> str:
    """The beginning of every query: which series, and of when."""
    conditions = {"_measurement": source.measurement, "_field": source.field, **source.tags}
    chosen = " and ".join(f"r[{_text(k)}] == {_text(v)}" for k, v in conditions.items())
    return (
        f"from(bucket: {_text(source.bucket)})\n"
        f"  |> range(start: {write_time(start)}, stop: {write_time(stop)})\n"
        f"  |> filter(fn: (r) => {chosen})\n"
    )


def onto_grid(
    rows: Iterable[Mapping[str, Any]], source: Source, start: datetime, stop: datetime, step_s: int
) -> History:
    """Rows of the query as arrays; a step without a row is NaN."""
    first, last = int(start.timestamp()), int(stop.timestamp())
    times_s = np.arange(first, last, step_s, dtype=np.int64)
    values = np.full(len(times_s), np.nan)
    tables = set()
    for row in rows:
        tables.add(row.get("table"))
        if len(tables) > 1:
            raise ValueError(
                f"{source.measurement}.{source.field}: several series match; "
                "add tags until one is left"
            )
        at, value = row.get("_time"), row.get("_value")
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{source.measurement}.{source.field}: {value!r} is not a number")
        if not isinstance(at, datetime):
            raise ValueError(f"{source.measurement}.{source.field}: a row has no time")
        index, rest = divmod(int(at.astimezone(UTC).timestamp()) - first, step_s)
        if rest or not 0 <= index < len(values):
            raise ValueError(f"{source.measurement}.{source.field}: {at} is not on the grid")
        values[index] = value * source.scale
    return History(times_s, values)


def as_written(
    answer: bytes, source: Source
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times and values of an answer in CSV; ValueError when it holds words that are no states."""
    if not answer.strip():
        return np.empty(0), np.empty(0)
    frame = pd.read_csv(io.BytesIO(answer), float_precision="round_trip")
    if "_time" not in frame.columns:
        raise ValueError(f"{source.measurement}.{source.field}: InfluxDB says {answer[:300]!r}")
    times = pd.to_datetime(frame["_time"], utc=True, format="ISO8601").dt.tz_localize(None)
    given = frame["_value"]
    if not pd.api.types.is_numeric_dtype(given) or pd.api.types.is_bool_dtype(given):
        words = given.astype(str).str.strip().str.lower()
        if strange := sorted(set(words) - set(WORDS))[:3]:
            raise ValueError(
                f"{source.measurement}.{source.field}: {', '.join(strange)}: wanted numbers, on or off"
            )
        given = words.map(WORDS)
    return (
        times.to_numpy().astype("datetime64[ms]").astype(np.int64) / 1e3,
        given.to_numpy(dtype=np.float64) * source.scale,
    )


def _tags(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    kept = {k: v for k, v in row.items() if not k.startswith("_") and k not in ("result", "table")}
    return tuple(sorted(kept.items()))


def _text(value: str) -> str:
    """A Flux string literal: JSON's escapes are Flux's too, except that ``${`` interpolates."""
    if re.search(r"[\x00-\x1f]", value):
        raise ValueError(f"{value!r}: a name in InfluxDB has no control characters")
    return json.dumps(value, ensure_ascii=False).replace("${", "\\${")
