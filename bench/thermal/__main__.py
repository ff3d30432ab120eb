"""Figures of the thermal model: `python -m bench.thermal NAME [--json FILE]`, NAME as in the README.

Scores are out of sample: the model is identified on the part of a recording before a date and
tested on the part after it. CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from bench.thermal.floors import floor_k
from bench.thermal.recordings import belgium_csv, boptest_csv, moved_behind, twin_csv
from bench.thermal.recovery import recovery
from contracts.site import SiteConfig
from contracts.thermal_model import HouseModel
from services.thermal.core.filter import StepInputs, filter_step, initial_state
from services.thermal.core.identify import identify
from services.thermal.core.predict import Forecast, planner_matrices, predict
from services.thermal.core.prior import RoomFacts, prior_model
from services.thermal.evaluate import Evaluation, prior_for, run
from services.thermal.history_csv import read_history

TWIN_SEED = 3
SITE = Path(__file__).resolve().parents[2] / "deploy" / "site.yaml"
DATA = Path(os.environ.get("PEMS_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def sixteen_rooms() -> HouseModel:
    """A ring of 16 two-node rooms with lagging emitters: 64 states."""
    return prior_model(
        [
            RoomFacts(
                f"room{i}",
                heater_power_w=1500.0,
                neighbours=(f"room{(i + 1) % 16}",),
                window_azimuths_deg=(180.0,),
                emitter_lag_s=600.0,
            )
            for i in range(16)
        ]
    )


def speed() -> dict[str, float]:
    """Milliseconds of a filter step, a 48 h prediction and the planner's matrices; 16 rooms."""
    model = sixteen_rooms()
    state = initial_state(model, 0, [20.0] * 16, 5.0)
    inputs = StepInputs(300, 5.0, [500.0] * 16, [50.0] * 16, [20.0] * 16)
    steps = []
    for _ in range(300):
        began = time.process_time()
        state, _ = filter_step(model, state, inputs, [20.0] * 16)
        steps.append(time.process_time() - began)
    forecast = Forecast(
        np.full(576, 5.0), np.full((576, 16), 500.0), np.full((576, 16), 50.0), np.zeros((576, 16))
    )
    predictions = []
    for _ in range(20):
        began = time.process_time()
        predict(model, state, forecast, 300)
        predictions.append(time.process_time() - began)
    short = Forecast(*(values[:96] for values in (
        forecast.outside_c, forecast.heat_w, forecast.air_gain_w, forecast.mass_gain_w
    )))  # fmt: skip
    planner = []
    for _ in range(20):
        began = time.process_time()
        planner_matrices(model, state, short, [900] * 32 + [3600] * 64)
        planner.append(time.process_time() - began)
    return {
        "filter_step_ms": 1e3 * float(np.median(steps)),
        "prediction_48h_ms": 1e3 * float(np.median(predictions)),
        "planner_matrices_ms": 1e3 * float(np.median(planner)),
    }


def identification_seconds(folder: Path) -> dict[str, float]:
    """CPU seconds to identify the 16 rooms of the twin from four weeks at 5 minutes."""
    history, _ = read_history(twin_csv(folder, SITE, days=28, seed=TWIN_SEED, mixed=True))
    prior, known, _ = prior_for(history, SITE)
    began = time.process_time()
    found = identify(history, prior, pairs_known=known)
    return {
        "identification_s": time.process_time() - began,
        "evaluations": float(found.evaluations),
    }


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """Mean absolute errors and coverage by lead, and the worst room."""
    result: dict[str, Any] = {"findings": report["findings"], "leads": {}}
    for entry in report["leads"]:
        rooms = {n: r["ours"]["mae_c"] for n, r in entry["rooms"].items() if "ours" in r}
        worst = max(rooms, key=lambda name: rooms[name])
        result["leads"][f"{entry['lead_h']:.1f} h"] = {
            **{name: round(row["mae_c"], 3) for name, row in entry["mean"].items()},
            "coverage_90": round(entry["mean"]["ours"]["coverage_90"], 3),
            "half_width": round(entry["mean"]["ours"]["half_width_c"], 3),
            "bias": round(entry["mean"]["ours"]["bias_c"], 3),
            "worst": f"{worst} {rooms[worst]:.2f}",
        }
    return result


WINTERS = {
    "february": ("2016-02-01", "2016-03-16", 308, "2016-12-05", "2016-12-07", "2017-01-17"),
    "january": ("2016-01-01", "2016-02-20", 364, "2016-12-31", "2017-01-03", "2017-02-17"),
}
"""Belgian days moved behind the year: first, last, by so many days; taught until, tested from, to."""


def winter(folder: Path, name: str) -> Evaluation:
    """A Belgian winter, tested after everything else was learnt."""
    first, last, days, until, start, end = WINTERS[name]
    data = moved_behind(belgium_csv(DATA, folder), first, last, days=days)
    return run(data, until, start, end)


def floors(folder: Path) -> dict[str, Any]:
    """Beside ours, what trees say that were taught the days around the tested ones, too."""
    found: dict[str, Any] = {}
    for name, (*_, start, end) in WINTERS.items():
        done = winter(folder, name)
        stretch = [int(pd.Timestamp(day, tz="UTC").timestamp()) for day in (start, end)]
        ours = {row["lead_h"]: row["mean"]["ours"]["mae_c"] for row in done.report["leads"]}
        found[name] = {
            f"{hours} h": {
                "ours": round(ours[hours], 3),
                "taught around": round(floor_k(done, *stretch, hours * 3600), 3),
            }
            for hours in (6, 24)
        }
    return found


def evaluate(case: str, folder: Path) -> dict[str, Any]:
    """Scores of a recording after its first part; for the twin also what was identified over what is."""
    if case == "belgium":
        data = belgium_csv(DATA, folder)
        return summary(run(data, "2016-10-20", "2016-10-20", "2016-11-23").report)
    if case == "winter":
        return summary(winter(folder, "february").report)
    if case == "floors":
        return floors(folder)
    if case == "boptest":
        data = boptest_csv(DATA, folder)
        return summary(run(data, "2019-11-14", "2019-11-14", "2019-11-18").report)
    results = {}
    for mixed in (False, True):
        data = twin_csv(folder, SITE, days=28, seed=TWIN_SEED, mixed=mixed)
        first = pd.read_csv(data, nrows=1)["utc"].iloc[0]
        start = pd.Timestamp(first)
        until = (start + pd.Timedelta(days=14)).isoformat()
        end = (start + pd.Timedelta(days=28)).isoformat()
        done = run(data, until, until, end, site=SITE)
        name = "planned heating" if mixed else "thermostats"
        site = SiteConfig.model_validate(yaml.safe_load(SITE.read_text()))
        results[name] = summary(done.report) | {
            "identified over true": recovery(done.model, site, TWIN_SEED)
        }
    return results


def main() -> None:
    """Run the named benchmarks and print (or write) what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["speed", "twin", "belgium", "winter", "boptest", "floors"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.name == "speed":
            found: dict[str, Any] = speed() | identification_seconds(folder)
        else:
            found = evaluate(arguments.name, folder)
    text = json.dumps(found, indent=1)
    if arguments.json is not None:
        arguments.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
