"""What importing years of history costs: a real InfluxDB filled with a house's samples, and read back.

    PEMS_INFLUX_TOKEN=... python -m bench.influx http://127.0.0.1:8086 --days 365 [--every 60]

Writes, into a bucket `bench` of its organisation `home`, 16 rooms (temperatures every `--every` seconds,
relays on change), a house meter and a wallbox as powers, PV and a heat pump as kWh counters, weather and
prices by the hour; then runs `pems import influx` and prints its time, CPU time and peak memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import yaml
from numpy.typing import NDArray

from pems.config import load_site
from pems.influx_mapping import TOKEN

START_S = 1_704_067_200
"""2024-01-01."""
DAY_S = 86_400
BATCH = 200_000

Numbers = NDArray[np.float64]


def series(days: int, every_s: int) -> Iterator[tuple[str, NDArray[np.int64], Numbers, dict[str, object]]]:
    """Line protocol's head, times, values, and the mapping's part, of every series."""
    random = np.random.default_rng(1)
    often = np.arange(START_S, START_S + days * DAY_S, every_s, dtype=np.int64)
    hourly = np.arange(START_S, START_S + days * DAY_S, 3_600, dtype=np.int64)
    sun = np.maximum(0.0, np.sin(2 * np.pi * (often % DAY_S / DAY_S - 0.25)))

    def counted(power_w: Numbers) -> Numbers:
        return np.round(np.cumsum(power_w) * every_s / 3.6e6, 3)

    for room in load_site().rooms:
        warm = np.round(21.0 + sun + 0.1 * random.standard_normal(len(often)), 2)
        yield f"room,room={room.id} temperature", often, warm, {"column": f"T_{room.id}"}
        changes = np.sort(random.choice(often, 20 * days, replace=False))
        state = (np.arange(len(changes)) % 2).astype(np.float64)
        held = {"kind": "held", "hold": "7d"}
        heat = {"column": f"heat_{room.id}", **held, "scale": room.heater_w}
        yield f"relay,room={room.id} state", changes, state, heat
    load = np.round(400.0 + 200.0 * random.random(len(often)), 1)
    yield "meter load", often, load, {"column": "load_w"}
    yield "wallbox power", often, 0.0 * load, {"column": "load_w", "scale": -1}
    yield "pump energy", often, counted(0.3 * load), {"column": "load_w", "kind": "counter", "scale": -1000}
    yield "pv energy", often, counted(5_000.0 * sun), {"column": "pv_w", "kind": "counter", "scale": 1000}
    for name, field in (("temp_air", "temperature"), ("ghi", "ghi")):
        told = {"column": name, "kind": "held", "hold": "1h"}
        yield f"weather {field}", hourly, 10.0 * random.random(len(hourly)), told
    prices = {"column": "price_eur_mwh", "kind": "held", "hold": "1h", "scale": 1000}
    yield "market price", hourly, random.random(len(hourly)), prices


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--every", type=int, default=60)
    parser.add_argument("--step", default="15min")
    given = parser.parse_args()
    web = httpx.Client(base_url=given.url, headers={"Authorization": f"Token {os.environ[TOKEN]}"}, timeout=120)
    orgs = web.get("/api/v2/orgs", params={"org": "home"}).json()["orgs"]
    made = web.post("/api/v2/buckets", json={"orgID": orgs[0]["id"], "name": "bench", "retentionRules": []})
    columns: dict[str, list[dict[str, object]]] = {}
    points = 0
    for head, times, values, part in series(given.days, given.every):
        measurement, field = head.split(" ")
        name, *tags = measurement.split(",")
        where = {"measurement": name, "field": field, "tags": dict(tag.split("=") for tag in tags)}
        columns.setdefault(str(part.pop("column")), []).append(where | part)
        points += len(times)
        for k in range(0, len(times) if made.status_code == 201 else 0, BATCH):
            pairs = zip(values[k : k + BATCH].tolist(), times[k : k + BATCH].tolist(), strict=True)
            body = "\n".join(f"{head}={value} {at}" for value, at in pairs)
            query = {"org": "home", "bucket": "bench", "precision": "s"}
            web.post("/api/v2/write", params=query, content=body.encode()).raise_for_status()
    print(f"{points / 1e6:.1f} million points in {sum(map(len, columns.values()))} series", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        mapping = Path(folder) / "influx.yaml"
        content = {"url": given.url, "org": "home", "bucket": "bench", "columns": columns}
        mapping.write_text(yaml.safe_dump(content))
        ends = (START_S, START_S + given.days * DAY_S)
        begin, end = (time.strftime("%Y-%m-%d", time.gmtime(s)) for s in ends)
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "pems", "import", "influx", mapping, "--from", begin, "--to", end,
             "--step", given.step, "--out", folder], check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        size = sum(path.stat().st_size for path in Path(folder).glob("*.gz"))
    print(
        f"imported in {time.monotonic() - began:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of CPU here, "
        f"peak memory {used.ru_maxrss / 1024:.0f} MB, files of {size / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
