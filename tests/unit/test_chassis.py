"""Due times, ticks, traces, settings: the small parts of the chassis and the twin's clock."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis import health, tracing
from chassis.service import Decision, Engine, Service, State, due
from chassis.settings import Settings
from chassis.snapshots import Snapshots
from contracts.events.clock import Ticked
from tests.conftest import START, tick
from twin.lockstep import next_tick


@given(
    st.lists(st.sampled_from([60, 240, 300, 600]), min_size=1, max_size=60),
    st.sampled_from([300, 900, 3_600]),
    st.sampled_from([0, 60]),
)
def test_due_comes_once_a_period_whatever_the_tick(
    steps: list[int], period: int, offset: int
) -> None:
    now, count = START, 0
    for seconds in steps:
        now += dt.timedelta(seconds=seconds)
        count += due(Ticked(time=now, interval_s=seconds, number=0), period, offset)
    first, last = int(START.timestamp()) - offset, int(now.timestamp()) - offset
    crossed = last // period - first // period
    assert count <= crossed
    assert count >= crossed * period / max(*steps, period) - 1


def test_the_coarse_clock_ticks_on_the_mark_and_a_minute_later() -> None:
    now, seen = START, []
    for _ in range(6):
        now = next_tick(now, every_minute=False)
        seen.append(now.minute)
    assert seen == [1, 5, 6, 10, 11, 15]
    assert next_tick(START, every_minute=True) == START + dt.timedelta(minutes=1)


class Chatty(Service[State]):
    """Says something that is not its to say."""

    name = "forecast"
    state_type = State

    def decide(self, state: State, event: object) -> list[Decision]:
        beat = tick(0).data
        return [Decision("clock.ticked", "site", beat)]


def test_a_service_cannot_say_what_the_catalogue_does_not_give_it() -> None:
    engine = Engine(Chatty())
    with pytest.raises(PermissionError, match="forecast may not say clock"):
        engine.handle(tick(0))


def test_an_event_folded_twice_is_folded_once() -> None:
    from dataclasses import replace

    engine = Engine(Chatty())
    engine.fold(replace(tick(1), sequence=5))
    engine.fold(replace(tick(0), sequence=5))
    assert engine.state.now == tick(1).time


def test_traceparents_round_trip_and_refuse_rubbish() -> None:
    good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    context = tracing.context_of(good)
    assert context is not None
    assert tracing.traceparent_of(context) == good
    zero = f"00-{'0' * 32}-{'0' * 16}-01"
    for bad in ("", "00-xyz", zero, f"00-{'g' * 32}-{'1' * 16}-01"):
        assert tracing.context_of(bad) is None


def test_snapshots_are_atomic_and_belong_to_their_code(tmp_path: Path) -> None:
    state = State(sequence=7)
    Snapshots(tmp_path, "forecast", "old").save(state)
    new = Snapshots(tmp_path, "forecast", "new")
    assert new.load(State) is None
    new.save(state)
    assert new.load(State) == state
    assert [p.name for p in (tmp_path / "snapshots").iterdir()] == ["forecast-new.json"]
    new.path.write_text("{")
    assert new.load(State) is None


def test_health_is_a_fresh_report(tmp_path: Path) -> None:
    settings = Settings("home", "", tmp_path, "")
    assert "has not reported" in str(health.problem("safety", settings, 0.0))
    path = tmp_path / "health" / "safety.json"
    path.parent.mkdir()
    path.write_text('{"time": 1000.0}')
    assert health.problem("safety", settings, 1_010.0) is None
    assert "60 s ago" in str(health.problem("safety", settings, 1_060.0))
    path.write_text("x")
    assert "does not read" in str(health.problem("safety", settings, 1_060.0))
