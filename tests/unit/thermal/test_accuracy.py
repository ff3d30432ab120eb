"""What issued forecasts are said to have been worth: each once, at the heating that came, by its own model."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest

from chassis.service import Engine
from contracts.envelope import Event
from contracts.events.thermal import AccuracyScored, DynamicsIssued
from services.thermal.core.accuracy import KEPT_S, LEADS_S, Due, Issued, Waiting, scored
from services.thermal.core.content import pack
from services.thermal.core.history import History
from services.thermal.core.memory import ROW_S
from tests.unit.thermal.house import simulate, true_house
from tests.unit.thermal.test_in_service import engine_with, identified, wire

DAYS = 5
ROOMS = ("room0", "room1")


def lived(silent: bool = False) -> History:
    """A house without noise; when `silent` a sensor and a relay's read-back fail for some hours."""
    history = simulate(true_house(2), days=DAYS, step_s=ROW_S, seed=4, noise_c=0.0)
    if not silent:
        return history
    temperature, heat = history.temperature_c.copy(), history.heat_w["heat_room1"].copy()
    day = 3 * 86_400 // ROW_S
    temperature[day + 10 : day + 15, 0] = np.nan  # 05:00 to 07:30
    heat[day + 24 : day + 28] = np.nan  # 12:00 to 14:00
    return replace(history, temperature_c=temperature, heat_w={**history.heat_w, "heat_room1": heat})


def run(history: History, wrong_k: float = 0.0) -> tuple[Engine, list[AccuracyScored], list[datetime]]:
    """The engine after a log of a house whose model is known, its scores, and when forecasts began."""
    engine = engine_with(true_house(2), pack(true_house(2)), False)
    said = [e.data for event in wire(history, wrong_k=wrong_k) for e in engine.handle(event)]
    starts = [d.start for d in said if isinstance(d, DynamicsIssued)]
    return engine, [d for d in said if isinstance(d, AccuracyScored)], starts


def pairs(starts: list[datetime], last: datetime, lead_s: int) -> list[datetime]:
    """Starts of the kept forecasts whose truth at a lead is known by the last scores."""
    return [
        s for s in starts
        if s.timestamp() % KEPT_S == 0 and s.timestamp() + lead_s <= last.timestamp()
    ]  # fmt: skip


def count(said: list[AccuracyScored], room: str, lead_s: int) -> int:
    found = [day.rooms.get(room, {}).get(f"{lead_s // 3_600}h") for day in said]
    return sum(scores.n for scores in found if scores)


def test_a_true_model_is_right_at_the_heating_that_came_and_every_forecast_counts_once() -> None:
    engine, said, starts = run(lived())
    assert [day.time.hour for day in said] == [0] * (DAYS - 1)
    assert said[-1].until > said[-1].since and said[-1].model_hash == engine.state.model_hash
    for lead in LEADS_S:
        wanted = len(pairs(starts, said[-1].time, lead))
        assert wanted > 12
        assert [count(said, room, lead) for room in ROOMS] == [wanted, wanted]
        last = said[-1].house[f"{lead // 3_600}h"]
        assert last.mae_k < 0.05 and last.coverage_90 == 1.0  # relays move the rooms by kelvins
    kept = engine.state.waiting.forecasts
    assert min(kept) * ROW_S > said[-1].time.timestamp() - LEADS_S[-1]


def test_the_weather_is_judged_as_it_was_expected() -> None:
    """2 K too warm: unknown at first, and less and less of it is left as it is found out."""
    _, right, _ = run(lived())
    _, wrong, _ = run(lived(), wrong_k=2.0)
    for lead, least, most in (("1h", 0.0, 0.1), ("24h", 0.3, 2.0)):
        both = zip(wrong, right, strict=True)
        added = [w.house[lead].bias_k - r.house[lead].bias_k for w, r in both if lead in w.house]
        assert least < added[0] < most
        assert all(later < earlier for earlier, later in pairwise(added))
        assert 0.0 < added[-1] < 0.4 * added[0]


def test_what_was_not_measured_or_not_known_to_be_heated_is_left_out() -> None:
    _, said, starts = run(lived(silent=True))
    day = datetime(2025, 1, 9, tzinfo=UTC).timestamp()
    for lead in LEADS_S:
        due = pairs(starts, said[-1].time, lead)
        silent = [s for s in due if day + 5 * 3_600 <= s.timestamp() + lead < day + 7.5 * 3_600]
        dark = [s for s in due if day + 12 * 3_600 - lead < s.timestamp() < day + 14 * 3_600]
        assert silent and dark
        assert count(said, "room0", lead) == len(due) - len(silent)
        assert count(said, "room1", lead) == len(due) - len(dark)


def test_forecasts_of_a_model_that_went_are_judged_by_it() -> None:
    _, unchanged, _ = run(lived())
    log: list[Event] = list(wire(lived(), wrong_k=0.0))
    engine = engine_with(true_house(2), pack(true_house(2)), False)
    at = datetime(2025, 1, 9, 12, tzinfo=UTC)
    noon = next(k for k, e in enumerate(log) if getattr(e.data, "time", None) == at)
    for event in log[:noon]:
        engine.handle(event)
    other = true_house(2)
    rooms = tuple(r.model_copy(update={"mass_capacity_j_per_k": 1e6}) for r in other.rooms)
    other = other.model_copy(update={"rooms": rooms})
    engine.service.fold(engine.state, identified(other, pack(other), False))
    state = engine.state
    assert len(state.waiting.forecasts) > 5 and state.waiting.models
    said = [e.data for event in log[noon:] for e in engine.handle(event)]
    first = next(d for d in said if isinstance(d, AccuracyScored))
    assert first.model_hash == ""
    assert first.house["24h"] == next(d for d in unchanged if d.time == first.time).house["24h"]
    assert engine.state.waiting.models  # until the last of them has come due


def issued() -> Issued:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    table = ((1.0,) * 2,) * len(LEADS_S)
    return Issued(
        issued=at, model_hash="m", air_c=table, half_width_k=table, weather_k=table, rest_k=table
    )


def test_scores_are_of_what_is_known_and_none_without() -> None:
    error = np.full((len(LEADS_S), 2, 2), np.nan)
    half = np.full((len(LEADS_S), 2, 2), 1.0)
    half[0, 0, 1] = 0.5
    now = datetime(2026, 1, 3, tzinfo=UTC)
    due = Due(np.array([0, 6]), (issued(), issued()), error, half, half, half)
    assert scored(due, ROOMS, now) is None
    error[0] = [[1.0, -2.0], [0.5, np.nan]]
    found = scored(due, ROOMS, now)
    assert found is not None and list(found.house) == ["1h"]
    house = found.house["1h"]
    assert (house.n, house.mae_k, house.bias_k) == (3, 1.167, -0.167)
    assert house.rmse_k == pytest.approx(np.sqrt(5.25 / 3), abs=1e-3)
    assert (house.coverage_90, house.half_width_k) == (0.6667, 0.833)
    assert [found.rooms[room]["1h"].n for room in ROOMS] == [2, 1]
    assert found.rooms["room0"]["1h"].coverage_90 == 1.0
    assert found.rooms["room1"]["1h"].half_width_k == 0.5


def test_scores_are_said_with_the_sweep_even_if_the_filter_made_no_step() -> None:
    engine, said, _ = run(lived())
    engine.state.scored, engine.state.stepped = said[-1], False
    sweep = next(e for e in reversed(list(wire(lived()))) if e.type == "measurement.sweep.completed")
    assert [d.data for d in engine.service.decide(engine.state, sweep)] == [said[-1]]


def test_nothing_waits_nothing_is_due() -> None:
    engine, _, _ = run(simulate(true_house(2), days=1))
    due = Waiting().come_due(engine.state.memory, true_house(2), "m")
    assert due.error_k.shape == (len(LEADS_S), 0, 2)
