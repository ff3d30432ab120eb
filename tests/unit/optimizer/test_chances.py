"""The chance that a room is too cold where a plan takes it, and how a person is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import accumulate
from statistics import NormalDist

import numpy as np
import pytest

from contracts import grid
from contracts.events.command import Proposed
from contracts.events.override import Granted
from contracts.events.plan import PlanComputed
from contracts.events.system import ConfigLoaded
from contracts.events.thermal import DynamicsIssued
from pems.why import Log, explain
from services.optimizer.core.chances import chance_below, chances_below, limit_c
from services.optimizer.core.planner import plan
from services.optimizer.core.problem import build
from tests.conftest import make_event
from tests.unit.optimizer.small_site import NOW, Desk, dynamics, knowledge, small_site

HALF_K = tuple(0.2 + 0.01 * k for k in range(len(grid.STEPS_S)))


def with_bands(*rooms: str) -> DynamicsIssued:
    found = dynamics()
    bands = {
        name: room.model_copy(update={"half_width_k": HALF_K}) if name in rooms else room
        for name, room in found.rooms.items()
    }
    return found.model_copy(update={"rooms": bands})


def test_at_the_limit_it_is_even_and_at_the_band_s_ends_one_in_twenty() -> None:
    found = chance_below(np.array([20.0, 20.5, 19.5, 20.0]), np.array([0.5, 0.5, 0.5, 0.0]), np.full(4, 20.0))
    assert found == pytest.approx([0.5, 0.05, 0.95, 0.5])
    assert chance_below(np.array([20.1]), np.array([0.0]), np.array([20.0])) == pytest.approx([0.0])


@pytest.mark.parametrize("late_min", [0, 40])
def test_each_step_of_a_plan_has_its_own_band_and_the_limit_that_people_gave(late_min: int) -> None:
    now = NOW + timedelta(minutes=late_min)
    known = knowledge(dynamics=with_bands("living"))
    made = plan(build(known, now))
    first = len(grid.STEPS_S) - len(made.step_s)
    assert (first > 0) == (late_min > 0)
    found = chances_below(made, known.dynamics, known.site, ())
    assert list(found) == ["living"]
    (room,) = [r for r in made.rooms if r.name == "living"]
    zone = known.site.location.zone
    ends = [(made.start + timedelta(seconds=s)).astimezone(zone) for s in accumulate(made.step_s)]
    checked = 0
    for k, end in enumerate(ends[: 24 - first]):  # quarter hours
        low = 20.0 if 6 <= end.hour < 22 else 18.0
        normal = NormalDist(room.air_c[k + 1], HALF_K[first + k] / 1.6448536)
        assert found["living"][k] == pytest.approx(normal.cdf(low), abs=6e-4)
        checked += 0.001 < found["living"][k] < 0.999
    assert checked > 3


def test_a_wish_moves_the_limit_and_the_planner_s_margin_does_not() -> None:
    made = plan(build(knowledge(), NOW))
    wish = Granted(override="a", target="room-living", quantity="temperature_c", value=22.5, since=NOW,
                   until=NOW + timedelta(hours=1), actor="resident", source="app")  # fmt: skip
    away = wish.model_copy(update={"target": "house", "quantity": "away", "value": 1.0})
    assert limit_c(made, small_site(), "living", ())[0] == 20.0
    assert limit_c(made, small_site(), "living", (wish,))[:5].tolist() == [22.5] * 4 + [20.0]
    assert limit_c(made, small_site(), "living", (away,))[0] == 12.0


def test_the_service_says_it_with_the_plan() -> None:
    desk = Desk()
    desk.hour(NOW)
    (bare,) = [e.data for e in desk.said if isinstance(e.data, PlanComputed)]
    assert bare.chance_below == {}
    known = knowledge(dynamics=with_bands("living", "bath"))
    desk.engine.state.dynamics = known.dynamics
    desk.tell("override.granted", Granted(
        override="a", target="room-living", quantity="temperature_c", value=22.5, since=NOW,
        until=NOW + timedelta(hours=3), actor="resident", source="app"))  # fmt: skip
    desk.five_minutes(NOW + timedelta(minutes=5))
    made = [e.data for e in desk.said if isinstance(e.data, PlanComputed)][-1]
    assert {room: len(chance) for room, chance in made.chance_below.items()} == {
        "living": len(made.plan.step_s), "bath": len(made.plan.step_s)
    }  # fmt: skip
    assert made.chance_below["living"][0] > 0.99 > made.chance_below["bath"][0]


def test_why_says_where_a_room_comes_closest_to_being_too_cold() -> None:
    issued = make_event("thermal.dynamics-issued", "house", with_bands("living"), "thermal")
    known = knowledge(dynamics=with_bands("living"))
    made = plan(build(known, NOW))
    low = limit_c(made, known.site, "living", ())
    near, risky, tomorrow = 10, 40, 70  # a third of a half width away, a quarter, and too late
    air = [20.0, *(low + 1.0).tolist()]
    air[near + 1], air[risky + 1], air[tomorrow + 1] = low[near] + 0.1, low[risky] + 0.15, low[tomorrow]
    rooms = tuple(
        r.model_copy(update={"air_c": tuple(air)}) if r.name == "living" else r for r in made.rooms
    )
    made = made.model_copy(update={"rooms": rooms})
    chances = chances_below(made, known.dynamics, known.site, ())
    computed = PlanComputed(
        time=NOW, reason="hourly", plan=made, because=(issued.id,), chance_below=chances
    )
    planned = make_event("plan.computed", "house", computed, "optimizer")
    site = ConfigLoaded(kind="site", content_hash="x", site=known.site)
    loaded = make_event("system.config-loaded", "site", site, "operator")

    def why(device: str) -> str:
        proposed = Proposed(
            device=device, kind="relay", value=1, valid_from=NOW, expires=NOW + timedelta(minutes=5),
            until=NOW + timedelta(minutes=10), reason="plan", origin="optimizer",
        )  # fmt: skip
        event = replace(make_event("command.proposed", device, proposed, "dispatcher"), cause=planned.id)
        return explain(Log([loaded, issued, planned, event]), event).sentence

    said = why("relay-living")
    end = NOW + timedelta(seconds=sum(made.step_s[: risky + 1]))
    warm, half = low[risky] + 0.15, HALF_K[risky]
    assert (
        f"; living {warm:.1f} °C at {end.astimezone(known.site.location.zone):%H:%M}, "
        f"{warm - half:.1f} to {warm + half:.1f} in nine of ten cases, 34% chance below {low[risky]:.1f}. "
    ) in said
    assert "nine of ten" not in why("relay-bath")
