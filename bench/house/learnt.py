"""What learnt models are worth: the same two days with and without them, after the same history.

    python -m bench.house.learnt --history 14 --days 2 [--json FILE] [--out FOLDER]

A simulated house lives `history` days under the fallback controller (no planner: fast), while its log
is written. The trainer reads that log and promotes what beats the untrained methods on the last days
of it. From the same instant the house then goes on twice with the planner: with the untrained
methods, and with what was promoted. The rule-based house on the same weather runs beside both.
"""

from __future__ import annotations

import argparse
import copy
import datetime as dt
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from chassis.service import Decision
from contracts.envelope import Event
from contracts.events.forecast import AccuracyScored
from pems import config, promotion
from pems.inprocess import Simulation, all_services
from pems.replay import pure_services, replay
from pems.trainer import KINDS, read, train_house
from services.historian.core.account import Account
from services.optimizer.service import Optimizer, OptimizerState
from twin.generate import default_scenario

SEED = 7


class Waiting(Optimizer):
    """The planner, asleep until an instant."""

    def __init__(self, wakes: dt.datetime) -> None:
        self.wakes = wakes

    def decide(self, state: OptimizerState, event: Event) -> Iterable[Decision]:
        if state.now is None or state.now < self.wakes:
            return ()
        return super().decide(state, event)


def prepared(history: float, days: float, seed: int = SEED) -> tuple[Simulation, list[Event]]:
    """A house after its history, and its log; the weather and prices go on for `days`."""
    site, limits = config.load_site(), config.load_safety()
    scenario = default_scenario(days=history + days)
    wakes = scenario.start + dt.timedelta(days=history)
    log: list[Event] = []
    house = Simulation(site, limits, scenario, seed, log.append, all_services(Waiting(wakes)))
    while house.house.time < wakes:
        house.advance()
    return house, log


def fork(house: Simulation) -> Simulation:
    """An independent copy; keys, which nothing changes, are shared."""
    memo: dict[int, Any] = {}
    for engine in house.loop.engines:
        for name in ("signer", "verifier", "_signer", "_verifier"):
            key = getattr(engine.service, name, None)
            if key is not None:
                memo[id(key)] = key
    memo[id(house.scenario)] = house.scenario
    return copy.deepcopy(house, memo)


def live(house: Simulation, before: list[Event], days: float) -> tuple[dict[str, Any], list[Event]]:
    """Go on for some days; the account of those days alone, and the whole log."""
    log = list(before)
    house.loop.sink = log.append
    first, until = len(before), house.house.time + dt.timedelta(days=days)
    began = time.process_time()
    while house.house.time < until:
        house.advance()
    account = Account()
    known = [e for e in before if e.type in ("system.config-loaded", "price.published")]
    for event in known + log[first:]:
        account.fold(event)
    figures: dict[str, Any] = dict(account.figures())
    figures["cpu_s"] = round(time.process_time() - began, 1)
    return figures, log


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--history", type=float, default=14.0)
    parser.add_argument("--days", type=float, default=2.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--out", type=Path, help="write the promoted models here, for pems run --models")
    parser.add_argument("--no-replay", action="store_true")
    given = parser.parse_args()
    house, log = prepared(given.history, given.days)
    print(f"history: {len(log)} events", flush=True)
    result: dict[str, Any] = {}
    untrained, trained = fork(house), fork(house)
    result["untrained"], _ = live(untrained, log, given.days)
    print(json.dumps(result["untrained"]), flush=True)
    whole = list(log)
    trained.loop.sink = whole.append
    outcomes = train_house(read(log), {}, KINDS)
    for outcome in outcomes:
        print(outcome.sentence, flush=True)
        if outcome.promoted is not None:
            trained.promote(outcome.promoted, outcome.content)
    if given.out:
        made = [(o.promoted, o.content) for o in outcomes if o.promoted is not None]
        promotion.save(given.out, made)
    result["training"] = [outcome.sentence for outcome in outcomes]
    result["learnt"], whole = live(trained, whole, given.days)
    print(json.dumps(result["learnt"]), flush=True)
    result["accuracy"] = [
        e.data.model_dump(mode="json") for e in whole if isinstance(e.data, AccuracyScored)
    ][-3:]
    if not given.no_replay:
        wakes = next(e.service.wakes for e in house.loop.engines if isinstance(e.service, Waiting))
        services = [Waiting(wakes) if s.name == "optimizer" else s for s in pure_services(trained.models)]
        replayed = replay(whole, services=services)
        result["replay"] = "identical" if replayed.identical else str(replayed.difference)
        print("replay:", result["replay"], flush=True)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
