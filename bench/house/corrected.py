"""What the correction is worth in the running house: the dynamics that the service issues, with and without.

    python -m bench.house.corrected --history 15 --days 3 [--seed 7] [--json FILE]

A simulated house lives under the fallback controller. The trainer reads its first days; the service
then runs along the last ones twice, with the promoted model alone and with its correction, and every
hour's dynamics are followed with the heating that came (they were laid around another: no plan
foresees the thermostats). Weather as forecast. Errors against the sensors, how often the issued bands
held (`thermal.accuracy-scored`), CPU of one thread.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.house.learnt import prepared
from chassis.models import name_of
from chassis.service import Engine, dump
from contracts.envelope import Event
from contracts.events.thermal import AccuracyScored, DynamicsIssued, ModelIdentified
from contracts.thermal_model import HouseModel
from pems.trainer import read
from services.thermal.core.content import pack, unpack
from services.thermal.core.from_site import model_of
from services.thermal.core.history import History
from services.thermal.core.retrain import consider
from services.thermal.service import Thermal

LEADS_S = (3_600, 6 * 3_600, 24 * 3_600)


def issued(
    log: list[Event], since: dt.datetime, content: bytes, model: HouseModel
) -> tuple[list[DynamicsIssued], dict[str, Any]]:
    """What the service says after `since`, when the model comes into force, and what that costs."""
    engine = Engine(Thermal())
    engine.service.models = {name_of(content): content}
    said, scored, milliseconds = [], [], []
    adopted = ModelIdentified(
        time=since, model=model, model_hash=name_of(content), method="bench",
        corrected=unpack(content)[1] is not None,
    )  # fmt: skip
    for event in log:
        late = event.time is not None and event.time > since
        if late and engine.state.model_hash != name_of(content):
            first = Event(
                type="thermal.model-identified", version=1, site="home", entity="house", id="bench",
                source="thermal", data=adopted, time=since,
            )  # fmt: skip
            engine.service.fold(engine.state, first)
        began = time.process_time()
        decided = [e.data for e in engine.handle(event)]
        found = [data for data in decided if isinstance(data, DynamicsIssued)]
        if late and found:
            milliseconds.append(1e3 * (time.process_time() - began))
            said += found
        scored += [d for d in decided if isinstance(d, AccuracyScored) and d.since > since]
    return said, {
        "bands": {lead: bands(scored, lead) for lead in ("1h", "6h", "24h")},
        "cpu_ms_first": round(milliseconds[0]), "cpu_ms_median": round(float(np.median(milliseconds))),
        "snapshot_bytes": len(dump(engine.state)), "said": sorted({d.correction for d in said}),
    }  # fmt: skip


def bands(scored: list[AccuracyScored], lead: str) -> dict[str, float] | None:
    """Share of the temperatures that the issued bands held at a lead, and half their mean width in K."""
    found = [day.house[lead] for day in scored if lead in day.house]
    n = sum(scores.n for scores in found)
    if not n:
        return None
    return {
        "held": round(sum(s.n * s.coverage_90 for s in found) / n, 3),
        "half_width_k": round(sum(s.n * s.half_width_k for s in found) / n, 3),
    }


def errors(dynamics: DynamicsIssued, truth: History, power_w: dict[str, float]) -> dict[int, list[float]]:
    """Predicted minus measured by lead, all rooms, with the heating that came; as far as it is known."""
    start = int((dynamics.start.timestamp() - truth.epoch_s[0]) // truth.step_s)
    now = {name: (room.air_c, room.mass_c) for name, room in dynamics.rooms.items()}
    lead, result = 0, {}
    for k, seconds in enumerate(dynamics.step_s):
        rows = slice(start + lead // truth.step_s, start + (lead + seconds) // truth.step_s)
        if rows.stop >= len(truth.epoch_s):
            break
        after = {}
        for name, room in dynamics.rooms.items():
            heat = truth.heat_w.get(f"heat_{name}")
            duty = 0.0 if heat is None else float(np.nanmean(heat[rows])) / power_w[name]
            (air, mass), gains = now[name], room.gains[seconds]
            felt = [(now[other][0], gain[seconds]) for other, gain in room.neighbours.items()]
            after[name] = (
                gains.air_air * air + gains.mass_air * mass + gains.heat_air * duty
                + room.drift_air_k[k] + sum(t * gain[0] for t, gain in felt),
                gains.air_mass * air + gains.mass_mass * mass + gains.heat_mass * duty
                + room.drift_mass_k[k] + sum(t * gain[1] for t, gain in felt),
            )  # fmt: skip
        now, lead = after, lead + seconds
        if lead in LEADS_S:
            measured = truth.temperature_c[rows.stop]
            result[lead] = [now[name][0] - measured[i] for i, name in enumerate(truth.rooms)]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--history", type=float, default=15.0)
    parser.add_argument("--days", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    _, log = prepared(given.history + given.days, 1.0, given.seed)
    since = next(e.time for e in log if e.time is not None) + dt.timedelta(days=given.history)
    past = read(e for e in log if e.time is None or e.time <= since)
    assert past.site is not None
    prior = model_of(past.site)
    verdict = consider(past.rooms.history(past.site), past.memory, prior, prior)
    print(verdict.reason, flush=True)
    model = verdict.candidate
    truth = read(log).rooms.history(past.site)
    power_w = {room.id: room.heater_w for room in past.site.rooms}
    result: dict[str, Any] = {"judged": verdict.reason}
    contents = {"physics": pack(model), "corrected": verdict.content}
    for name, content in contents.items():
        said, figures = issued(log, since, content, model)
        found: dict[int, list[float]] = {}
        for dynamics in said:
            for lead, values in errors(dynamics, truth, power_w).items():
                found.setdefault(lead, []).extend(values)
        figures["mae_k"] = {
            f"{lead // 3600} h": round(float(np.nanmean(np.abs(v))), 3) for lead, v in found.items()
        }
        result[name] = figures
        print(name, json.dumps(figures), flush=True)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
