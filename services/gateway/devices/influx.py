"""History out of InfluxDB 2: one Flux query a series, onto an even grid of UTC times.

Sources: InfluxDB 2.7 documentation of ``/api/v2/query`` and of Flux ``aggregateWindow`` (windows
are left-closed, and ``timeSrc: "_start"`` labels them by their beginning; empty windows are left
out here and become NaN). Import runs when somebody asks for it, never in the control loop.

Time-out: 30 s a query, which runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from influxdb_client import InfluxDBClient
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.rest import ApiException
from numpy.typing import NDArray
from urllib3.exceptions import HTTPError

from services.gateway.devices.base import DeviceUnavailable, write_time

TIMEOUT_S = 30.0
Join = Literal["mean", "last", "sum", "max", "min"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a series lies.

    Attributes
    ----------
    bucket, measurement, field : names in InfluxDB
    tags : tag values that select exactly one series
    join : how the values of one step become one
    scale : multiplied onto every value, to reach the house's unit (1000 for kW to W)
    """

    bucket: str
    measurement: str
    field: str
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    join: Join = "mean"
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class History:
    """A series: ``times_s`` epoch seconds of each step's start, ``values`` NaN where unknown."""

    times_s: NDArray[np.int64]
    values: NDArray[np.float64]


class InfluxHistory:
    """Read-only access to one InfluxDB; the token needs no more than read permission."""

    def __init__(self, url: str, token: str, org: str) -> None:
        self._url = url
        self._client = InfluxDBClient(
            url=url, token=token, org=org, timeout=int(1_000 * TIMEOUT_S), enable_gzip=True
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
        query = flux(source, start, stop, step_s)
        try:
            rows = await asyncio.to_thread(self._rows, query)
        except (ApiException, InfluxDBError, HTTPError, OSError) as error:
            message = getattr(error, "message", None) or getattr(error, "body", None) or error
            raise self._lost(str(message)) from error
        return onto_grid(rows, source, start, stop, step_s)

    def _rows(self, query: str) -> list[Mapping[str, Any]]:
        return [record.values for record in self._client.query_api().query_stream(query)]

    def _lost(self, reason: str) -> DeviceUnavailable:
        return DeviceUnavailable("influxdb", self._url, reason)


def flux(source: Source, start: datetime, stop: datetime, step_s: int) -> str:
    """The query; names are quoted, so that none can become code. ValueError for a bad range."""
    if step_s <= 0 or start >= stop or int(start.timestamp()) % step_s:
        raise ValueError(
            f"start {start}, stop {stop}, step {step_s} s: wanted start before stop, and a start "
            "on the grid of steps since 1970"
        )
    conditions = {"_measurement": source.measurement, "_field": source.field, **source.tags}
    chosen = " and ".join(f"r[{_text(k)}] == {_text(v)}" for k, v in conditions.items())
    return (
        f"from(bucket: {_text(source.bucket)})\n"
        f"  |> range(start: {write_time(start)}, stop: {write_time(stop)})\n"
        f"  |> filter(fn: (r) => {chosen})\n"
        f"  |> aggregateWindow(every: {step_s}s, fn: {source.join}, "
        'timeSrc: "_start", createEmpty: false)\n'
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


def _text(value: str) -> str:
    """A Flux string literal: JSON's escapes are Flux's too, except that ``${`` interpolates."""
    if re.search(r"[\x00-\x1f]", value):
        raise ValueError(f"{value!r}: a name in InfluxDB has no control characters")
    return json.dumps(value, ensure_ascii=False).replace("${", "\\${")
