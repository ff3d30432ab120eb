"""A house that lives through anything: modes, gate, withdrawals and fallback together.

Hypothesis plays ticks, measurements, silences, stops, clears, mismatches, restarts and proposals of
all origins in any order, and after each looks at the whole house from outside.
"""

from __future__ import annotations

import json

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from safety_house import LIMITS, NOW, SERVICES
from safety_oracle import consumption_w, wrongs

from services.safety.core.fallback import fallback
from services.safety.core.gate import granted, judge, withdrawals
from services.safety.core.limits import BASE_LOAD, BATTERY_SOC, PV_POWER, ROOM_TEMPERATURE
from services.safety.core.modes import Signals, rank, step
from services.safety.core.rules import Proposal
from services.safety.core.state import (
    SafetyState,
    with_heartbeat,
    with_read_back,
    with_reading,
    with_relay_seen,
)

RELAYS = ("relay-a", "relay-b", "relay-c")
DEVICES = tuple(sorted(LIMITS.by_name))


class House(RuleBasedStateMachine):
    """The safety service without its shell."""

    @initialize()
    def start(self) -> None:
        self.state = SafetyState(context="live")
        self.now_s = NOW
        self.sequence = 0
        self.silent: set[str] = set()
        self.switches: dict[str, list[int]] = {name: [] for name in RELAYS}
        """When the gate let a relay be switched on."""
        self.stopped = False
        self.bad_since_s = NOW
        """The last instant at which something spoke against normal."""

    def settle(self, proposal: Proposal) -> bool:
        verdict = judge(proposal, self.state, LIMITS, self.now_s)
        assert wrongs(verdict, proposal, self.state, LIMITS, self.now_s) == []
        relay = self.state.relays.get(proposal.device)
        if verdict.kind == "relay" and verdict.value == 1 and (relay is None or relay.value == 0):
            self.switches[proposal.device].append(self.now_s)
        self.state = granted(self.state, verdict)
        return verdict.approved

    def move(self, signals: Signals) -> None:
        before = self.state.mode
        self.state, changes = step(self.state, signals, LIMITS, self.now_s)
        assert rank(self.state.mode) >= rank(before) - 1
        assert len(changes) == (self.state.mode != before)
        if self.state.reasons:
            self.bad_since_s = self.now_s
        for proposal in withdrawals(self.state, LIMITS, self.now_s):
            assert self.settle(proposal)
        self.look_at_the_house()

    def look_at_the_house(self) -> None:
        """True right after each step: only what may run does run."""
        active = []
        for name, lease in self.state.leases.items():
            if lease.until_s > self.now_s and lease.value != LIMITS.by_name[name].inactive:
                active.append(name)
                assert f"mismatch:{name}" not in self.state.latches
                assert self.state.mode != "safe" or lease.value == LIMITS.by_name[name].safe
                assert not lease.boost or self.state.mode == "normal"
        draws = [name for name in active if name != "export"]
        if draws and not (draws == ["battery"] and self.state.leases["battery"].value < 0):
            used_w = consumption_w(self.state, LIMITS, self.now_s, "")
            assert used_w <= LIMITS.grid_import_limit_w + 1e-6

    @rule(seconds=st.sampled_from((30, 60, 300, 300, 600)))
    def tick(self, seconds: int) -> None:
        self.now_s += seconds
        for service in SERVICES:
            if service not in self.silent:
                self.state = with_heartbeat(self.state, service, self.now_s)
        self.move(Signals())

    @rule(milli_c=st.lists(st.integers(15_000, 27_000), min_size=3, max_size=3))
    def measure_rooms(self, milli_c: list[int]) -> None:
        for room, value in zip("abc", milli_c, strict=True):
            self.state = with_reading(self.state, ROOM_TEMPERATURE, room, value, self.now_s)

    @rule(base_w=st.integers(-500, 9_000), pv_w=st.integers(0, 9_000), soc=st.integers(0, 1_000))
    def measure_house(self, base_w: int, pv_w: int, soc: int) -> None:
        self.state = with_reading(self.state, BASE_LOAD, "", base_w, self.now_s)
        self.state = with_reading(self.state, PV_POWER, "", pv_w, self.now_s)
        self.state = with_reading(self.state, BATTERY_SOC, "battery", soc, self.now_s)

    @rule(hours=st.integers(1, 3))
    def quiet_hours(self, hours: int) -> None:
        """A good stretch: everything is measured and heard; the house climbs back."""
        self.silent.clear()
        for _ in range(hours * 6):
            self.now_s += 600
            self.measure_rooms([20_000, 20_000, 20_000])
            self.measure_house(500, 2_000, 500)
            for service in SERVICES:
                self.state = with_heartbeat(self.state, service, self.now_s)
            self.move(Signals())
        assert self.state.mode == "normal" or self.state.latches

    @rule(service=st.sampled_from(SERVICES), dies=st.booleans())
    def fall_silent(self, service: str, dies: bool) -> None:
        (self.silent.add if dies else self.silent.discard)(service)

    @rule(device=st.sampled_from(DEVICES), matched=st.booleans())
    def read_back(self, device: str, matched: bool) -> None:
        self.state = with_read_back(self.state, device, matched)

    @rule(device=st.sampled_from(RELAYS), value=st.integers(0, 1))
    def see_relay(self, device: str, value: int) -> None:
        self.state = with_relay_seen(self.state, LIMITS, device, value, self.now_s)

    @rule()
    def stop(self) -> None:
        self.stopped = True
        self.move(Signals(estop=True))
        assert self.state.mode == "safe"

    @precondition(lambda self: self.stopped or self.state.latches)
    @rule()
    def clear(self) -> None:
        self.stopped = False
        self.move(Signals(cleared=True))

    @rule(step_s=st.sampled_from((-86_400, -600, 2_000, 86_400)))
    def clock_jumps(self, step_s: int) -> None:
        self.now_s += step_s
        if step_s < 0:  # the gate forgets, and so must we
            self.switches = {name: [] for name in RELAYS}
        self.move(Signals())
        assert self.state.mode == "safe"
        self.bad_since_s = self.now_s

    @rule(
        wish=st.one_of(
            st.tuples(st.sampled_from(RELAYS), st.just(1)),
            st.tuples(st.just("battery"), st.integers(-6_000, 6_000)),
            st.tuples(st.just("ev-car"), st.integers(0, 17_000)),
            st.tuples(st.just("export"), st.integers(0, 10_000)),
        ),
        origin=st.sampled_from(("optimizer", "override")),
        boost=st.booleans(),
        lease_s=st.integers(1, 2_000),
    )
    def propose(self, wish: tuple[str, int], origin: str, boost: bool, lease_s: int) -> None:
        device, value = wish
        self.sequence += 1
        self.settle(
            Proposal(
                device=device,
                kind=LIMITS.by_name[device].kind,
                value=value,
                valid_from_s=self.now_s,
                expires_s=self.now_s + 300,
                until_s=self.now_s + lease_s,
                sequence=self.sequence,
                context="live",
                origin=origin,
                boost=boost,
            )
        )

    @rule(need_wh=st.integers(0, 1), setpoint=st.integers(17_000, 22_000))
    def fall_back(self, need_wh: int, setpoint: int) -> None:
        self.sequence += 1
        for proposal in fallback(
            self.state,
            LIMITS,
            self.now_s,
            self.sequence,
            setpoints_milli_c=dict.fromkeys("abc", setpoint),
            ev_need_wh={"ev-car": need_wh},
        ):
            assert self.settle(proposal)

    @rule()
    def restart_from_snapshot(self) -> None:
        again = SafetyState.from_dict(json.loads(json.dumps(self.state.to_dict())))
        assert again == self.state
        self.state = again

    @invariant()
    def stop_holds_until_cleared(self) -> None:
        if self.stopped:
            assert self.state.mode == "safe"
            assert "estop" in self.state.latches

    @invariant()
    def latched_is_never_normal(self) -> None:
        assert not (self.state.latches and self.state.mode == "normal")

    @invariant()
    def normal_is_earned(self) -> None:
        if self.state.mode == "normal":
            assert self.now_s - self.bad_since_s >= LIMITS.degraded_hold_s

    @invariant()
    def relays_switch_only_so_often(self) -> None:
        for name, times in self.switches.items():
            recent = [at for at in times if at > self.now_s - 3_600]
            assert len(recent) <= LIMITS.by_name[name].maximum_switches_per_hour


TestHouse = House.TestCase
TestHouse.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True
)
