"""Whether nine of ten temperatures lie in the bands that the thermal service issues.

    python -m bench.house.bands --seeds 7 11 13 [--history 12] [--days 10] [--json FILE]

Each seed is a simulated house with weather, forecasts and people of its own under the fallback
controller. Its log is run through the service three times: with the site file's model, and from
`history` days on with a model learnt from them, without and with its correction. Every hour's forecast
is judged as in `thermal.accuracy-scored`: at the heating that came, with the weather as it was expected.
By lead: share of the temperatures inside the band, half its mean width in K, the interval score (width,
and 20 times what was outside; less is better), and how often the air was more than half a kelvin colder
than forecast beside the chance of it that the planner reckons with. Only forecasts issued in the last
`days` count.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from bench.house.learnt import Waiting as Asleep
from chassis.models import name_of
from chassis.service import Engine
from contracts.envelope import Event
from contracts.events.thermal import DynamicsIssued, ModelIdentified
from contracts.thermal_model import HouseModel
from pems import config
from pems.inprocess import SIGNER, Simulation
from pems.trainer import read
from services.dispatcher.service import Dispatcher
from services.optimizer.core.chances import chance_below
from services.safety.service import Safety
from services.thermal.core.accuracy import Waiting
from services.thermal.core.content import pack, unpack
from services.thermal.core.drive import drive_of
from services.thermal.core.dynamics import lead_s
from services.thermal.core.from_site import model_of
from services.thermal.core.hindcast import heating_c
from services.thermal.core.memory import ROW_S
from services.thermal.core.retrain import consider
from services.thermal.service import Thermal
from twin.generate import default_scenario

Array = NDArray[np.float64]

LEADS_S = (3_600, 6 * 3_600, 24 * 3_600, 48 * 3_600)
COLD_K = 0.5
WEATHER_DAYS = 5
"""By which the weather of one seed comes later in the year's than that of the one before."""


def lived(days: float, seed: int) -> list[Event]:
    """What the house of a seed says in so many days under the fallback controller."""
    site, limits = config.load_site(), config.load_safety()
    scenario = default_scenario(days=days, seed=seed, weather_shift_days=WEATHER_DAYS * seed)
    until = scenario.start + dt.timedelta(days=days)
    log: list[Event] = []
    house = Simulation(
        site, limits, scenario, seed, log.append, [Asleep(until), Dispatcher(), Safety(SIGNER)]
    )
    while house.house.time < until:
        house.advance()
    return log


def learnt(log: list[Event], until: dt.datetime) -> dict[str, bytes]:
    """A model of the days until then, and with its correction if that would be promoted."""
    past = read(e for e in log if e.time is None or e.time <= until)
    assert past.site is not None
    prior = model_of(past.site)
    verdict = consider(past.rooms.history(past.site), past.memory, prior, prior)
    print(verdict.reason, flush=True)
    alone = pack(verdict.candidate)
    return {"learnt": alone} | ({} if verdict.content == alone else {"corrected": verdict.content})


class Kept(Waiting):
    """Forecasts that wait for the truth, of every hour and at all leads, with when each was made."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    every: list[tuple[dt.datetime, Any, Any]] = []
    model: HouseModel | None = None

    def keep(
        self, start: dt.datetime, issued: dt.datetime, model_hash: str, air_c: Array,
        half_width_k: Array, *more: Array,
    ) -> None:  # fmt: skip
        self.every.append((start, air_c, half_width_k))
        super().keep(start, issued, model_hash, air_c, half_width_k, *more)


def issued(
    log: list[Event], since: dt.datetime, contents: dict[str, bytes | None]
) -> dict[str, tuple[Kept, int]]:
    """What is issued from `since` on with the site file's model, or with one adopted then, and the CPU of
    an hour in ms."""
    until = next(k for k, event in enumerate(log) if event.time is not None and event.time > since)
    before = Engine(Thermal())
    for event in log[:until]:
        before.handle(event)
    found = {}
    for name, content in contents.items():
        engine, milliseconds = Engine(Thermal()), []
        engine.state = before.state.model_copy(deep=True)
        if content is not None:
            engine.service.models = {name_of(content): content}
            engine.service.fold(engine.state, adopted(content, since))
        kept = Kept(**dict(engine.state.waiting))
        kept.model, engine.state.waiting = engine.state.model, kept
        for event in log[until:]:
            began = time.process_time()
            if any(isinstance(said.data, DynamicsIssued) for said in engine.handle(event)):
                milliseconds.append(1e3 * (time.process_time() - began))
        found[name] = kept, round(float(np.median(milliseconds)))
    return found


def adopted(content: bytes, at: dt.datetime) -> Event:
    """A model comes into force."""
    model, correction = unpack(content)
    said = ModelIdentified(
        time=at, model=model, model_hash=name_of(content), method="bench",
        corrected=correction is not None,
    )  # fmt: skip
    return Event(
        type="thermal.model-identified", version=1, site="home", entity="house", id="bench",
        source="thermal", data=said, time=at,
    )  # fmt: skip


def followed(kept: Kept, log: list[Event]) -> dict[int, tuple[Array, Array]]:
    """By lead, errors (forecasts, rooms) at the heating that came and half widths of their bands, K."""
    model = kept.model
    assert model is not None
    history = read(log).memory.history(model)
    rows = np.array([(int(start.timestamp()) - history.epoch_s[0]) // ROW_S for start, *_ in kept.every])
    leads = np.array(LEADS_S) // ROW_S
    heated = heating_c(model, drive_of(model, history), ROW_S, rows, leads)
    found = {}
    for n, lead in enumerate(LEADS_S):
        step, ends = lead_s().index(lead), rows + leads[n]
        known = ends < len(history.epoch_s)
        said = np.array([air[step] for *_, air, _ in kept.every])[known]
        half = np.array([half[step] for *_, half in kept.every])[known]
        found[lead] = said + heated[known, n] - history.temperature_c[ends[known]], half
    return found


def figures(off: Array, half: Array) -> dict[str, float]:
    """What is said of one lead."""
    known = np.isfinite(off)
    room = [np.mean(np.abs(e[k]) <= h[k]) for e, h, k in zip(off.T, half.T, known.T, strict=True)]
    error, width = off[known], half[known]
    outside = np.maximum(np.abs(error) - width, 0.0)
    chance = chance_below(np.zeros_like(width), width, np.full_like(width, -COLD_K))
    return {
        "held": float(np.mean(np.abs(error) <= width)), "half_width_k": float(width.mean()),
        "score_k": float(np.mean(2.0 * width + 20.0 * outside)), "mae_k": float(np.abs(error).mean()),
        "worst_room": float(np.min(room)), "best_room": float(np.max(room)),
        "chance_cold": float(chance.mean()), "cold": float(np.mean(error > COLD_K)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7])
    parser.add_argument("--history", type=float, default=12.0)
    parser.add_argument("--days", type=float, default=10.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    every: dict[str, dict[int, list[tuple[Array, Array]]]] = {}
    for seed in given.seeds:
        log = lived(given.history + given.days, seed)
        since = next(e.time for e in log if e.time is not None) + dt.timedelta(days=given.history)
        contents: dict[str, bytes | None] = {"site file": None, **learnt(log, since)}
        for name, (kept, cpu_ms) in issued(log, since, contents).items():
            print(f"seed {seed}, {name}: {cpu_ms} ms CPU an hour", flush=True)
            for lead, pair in followed(kept, log).items():
                every.setdefault(name, {}).setdefault(lead, []).append(pair)
                print(f"  {lead // 3_600} h {text(figures(*pair))}", flush=True)
    result: dict[str, Any] = {}
    for name, by_lead in every.items():
        print(f"all seeds, {name}")
        for lead, pairs in by_lead.items():
            off, half = (np.vstack(part) for part in zip(*pairs, strict=True))
            found = result.setdefault(name, {})[f"{lead // 3_600}h"] = figures(off, half)
            print(f"  {lead // 3_600} h {text(found)}")
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


def text(found: dict[str, float]) -> str:
    """One line of figures."""
    return (
        f"held {found['held']:.1%} in {found['half_width_k']:.2f} K (rooms {found['worst_room']:.0%} to "
        f"{found['best_room']:.0%}), score {found['score_k']:.2f} K, error {found['mae_k']:.3f} K, "
        f"colder by {COLD_K} K {found['cold']:.1%}, said {found['chance_cold']:.1%}"
    )


if __name__ == "__main__":
    main()
