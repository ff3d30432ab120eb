"""The dispatcher: every five minutes, plan and overrides become proposed commands.

It acts one minute after each five-minute mark, when the measurements, estimates and plans of that
mark are on the log. In ``degraded`` and ``safe`` it is silent: the safety service runs the house.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from pydantic import BaseModel

from chassis.service import Decision, Service, State, due
from contracts.envelope import Event
from contracts.events import command, override
from contracts.events.clock import Ticked
from contracts.events.measurement import EvSampled, HouseSampled
from contracts.events.plan import PlanComputed
from contracts.events.safety import ModeChanged
from contracts.planning import Plan
from contracts.wishes import Load
from services.dispatcher.core import overrides as wishes
from services.dispatcher.core import schedule

OFFSET_S = 60
EXPIRES_S = 180
RENEW_S = 420
DETECTED_MINUTES = 120
RETRIES = 3


class Held(BaseModel):
    """An override in force."""

    id: str
    target: str
    quantity: override.Quantity
    value: float
    since: datetime
    until: datetime
    actor: str
    source: str


class Sent(BaseModel):
    """The newest command of a device and what became of it."""

    value: int
    until: datetime
    status: str = "proposed"
    retries: int = 0


class DispatcherState(State):
    """Plan in force, overrides in force, commands under way, on-time carried between slots."""

    plan: Plan | None = None
    sell_eur_per_kwh: tuple[float, ...] = ()
    """What the plan took a kWh of export to bring, by its steps."""
    plan_event: str = ""
    plan_correlation: str = ""
    plan_trace: str = ""
    held: dict[str, Held] = {}
    sent: dict[str, Sent] = {}
    carry_cycles: dict[str, float] = {}
    carry_wh: dict[str, float] = {}
    plugged: dict[str, bool] = {}
    soc: float | None = None
    """The battery's state of charge as it was measured last, 0..1."""
    under_way: dict[str, datetime] = {}
    """Planned end of programmes that must not be interrupted, by load."""
    safety_mode: str = "safe"
    over: list[tuple[Held, override.EndReason]] = []
    """Overrides that ended with this event."""
    outbox: list[tuple[str, str, str]] = []
    """Proposals of this event: (device, JSON of the payload, plan id or override id)."""


class Dispatcher(Service[DispatcherState]):
    """Plan + overrides -> proposed commands; grants, refuses and ends overrides."""

    name = "dispatcher"
    state_type = DispatcherState

    def fold(self, state: DispatcherState, event: Event) -> None:
        state.outbox, state.over = [], []
        data = event.data
        if isinstance(data, PlanComputed):
            state.plan, state.plan_event = data.plan, event.id
            state.sell_eur_per_kwh = data.inputs.sell_eur_per_kwh if data.inputs else ()
            state.plan_correlation, state.plan_trace = event.correlation, event.traceparent
        elif isinstance(data, ModeChanged):
            state.safety_mode = data.after
            state.sent, state.under_way = {}, {}
        elif isinstance(data, EvSampled):
            state.plugged[data.ev] = bool(data.plugged)
        elif isinstance(data, HouseSampled):
            state.soc = data.soc
        elif isinstance(data, override.Requested):
            self._grant(state, event, _as_asked(data))
        elif isinstance(data, override.Detected):
            self._grant(state, event, _as_request(data))
        elif isinstance(data, override.CancelRequested):
            self._end(state, data.override, "cancelled")
        elif isinstance(data, Ticked):
            for key in [k for k, h in state.held.items() if h.until <= data.time]:
                self._end(state, key, "time is up")
            if due(data, schedule.CYCLE_S, OFFSET_S):
                self._cycle(state, data.time)
        elif isinstance(data, command.Verified):
            self._status(state, data.device, "verified")
        elif isinstance(data, command.Failed):
            self._retry(state, data.device)
        elif isinstance(data, command.Rejected | command.Expired):
            state.sent.pop(data.device, None)
            state.under_way.pop(data.device.removeprefix("load-"), None)

    def decide(self, state: DispatcherState, event: Event) -> Iterable[Decision]:
        data = event.data
        if isinstance(data, override.Requested | override.Detected):
            yield from self._answer(state, event, data)
        for held, reason in state.over:
            ended = override.Ended(
                override=held.id, target=held.target, time=_now(state), reason=reason
            )
            yield Decision("override.ended", held.target, ended, cause=held.id)
        for device, payload, cause in state.outbox:
            proposed = command.Proposed.model_validate_json(payload)
            from_plan = cause == state.plan_event
            yield Decision(
                "command.proposed",
                device,
                proposed,
                cause=cause,
                correlation=state.plan_correlation if from_plan else "",
                traceparent=state.plan_trace if from_plan else "",
                expiry=proposed.expires,
            )

    # overrides

    def _grant(self, state: DispatcherState, event: Event, wish: override.Requested) -> None:
        if _problem(state, wish):
            return
        now = _now(state)
        key = (wish.target, wish.quantity)
        for other in [h for h in state.held.values() if (h.target, h.quantity) == key]:
            self._end(state, other.id, "replaced")
        held = Held(
            id=event.id, target=wish.target, quantity=wish.quantity, value=wish.value, since=now,
            until=wishes.end_of(wish, now), actor=wish.actor, source=wish.source,
        )  # fmt: skip
        state.held[event.id] = held
        for wanted in self._direct(state, held):
            self._propose(state, wanted, "override", held.id)

    def _answer(
        self, state: DispatcherState, event: Event, data: override.Requested | override.Detected
    ) -> Iterable[Decision]:
        held = state.held.get(event.id)
        if held is None:
            wish = _as_asked(data) if isinstance(data, override.Requested) else _as_request(data)
            why = _problem(state, wish) or "another override took its place"
            yield Decision(
                "override.refused",
                wish.target,
                override.Refused(override=event.id, target=wish.target, reason=why),
            )
            return
        granted = override.Granted(
            override=held.id, target=held.target, quantity=held.quantity, value=held.value,
            since=held.since, until=held.until, actor=held.actor, source=held.source,
        )  # fmt: skip
        yield Decision("override.granted", held.target, granted)

    @staticmethod
    def _end(state: DispatcherState, key: str, reason: override.EndReason) -> None:
        held = state.held.pop(key, None)
        if held is None:
            return
        state.over.append((held, reason))
        if held.quantity in ("relay", "power_w", "current_a"):
            state.sent.pop(held.target, None)

    def _direct(self, state: DispatcherState, held: Held) -> list[schedule.Wish]:
        """Overrides that name a device act at once; the others bend the next plan."""
        who = f"{held.actor} asked for it until {held.until:%Y-%m-%d %H:%M} UTC"
        if held.quantity == "relay":
            kind = "load" if held.target.startswith("load-") else "relay"
            return [schedule.Wish(held.target, kind, int(held.value), who)]
        if held.quantity == "power_w":
            return [schedule.Wish(held.target, "battery", round(held.value), who)]
        if held.quantity == "current_a":
            return [schedule.Wish(held.target, "ev", round(held.value * 1000), who)]
        return []

    # the five-minute cycle

    def _cycle(self, state: DispatcherState, now: datetime) -> None:
        if state.site is None or state.safety_mode != "normal":
            return
        forced = [(wish, held) for held in state.held.values() for wish in self._direct(state, held)]
        taken = {wish.device for wish, _ in forced}
        wishes: list[tuple[schedule.Wish, Held | None]] = [*forced]
        wishes += [(wish, None) for wish in self._planned(state, now) if wish.device not in taken]
        # the gate judges one after another: what gives way makes room for what comes
        wishes.sort(key=lambda pair: not _gives_way(pair[0], state.sent.get(pair[0].device)))
        for wish, held in wishes:
            if held is not None:
                self._propose(state, wish, "override", held.id)
            else:
                self._propose(state, wish, "optimizer", state.plan_event)

    def _planned(self, state: DispatcherState, now: datetime) -> list[schedule.Wish]:
        plan, site = state.plan, state.site
        assert site is not None
        mark = now - timedelta(seconds=OFFSET_S)
        step = schedule.step_at(plan, mark) if plan else None
        if plan is None or step is None:
            return []
        result: list[schedule.Wish] = []
        cycle = int(mark.timestamp()) % 900 // schedule.CYCLE_S
        for room in plan.rooms:
            on, state.carry_cycles[room.name] = schedule.relay_wish(
                room.relay[step], state.carry_cycles.get(room.name, 0.0), cycle
            )
            target = room.air_c[step + 1]
            reason = (
                f"heat to {target:.1f} °C by the plan" if on else f"{target:.1f} °C is enough"
            )
            result.append(schedule.Wish(f"relay-{room.name}", "relay", int(on), reason))
        for load in site.loads:
            result += self._waiting(state, load, plan, step, mark)
        if site.battery is not None and plan.battery_charge_w:
            result.append(schedule.battery_wish(plan, step, site, state.soc))
        if site.inverter.curtailable and state.sell_eur_per_kwh:
            limit = schedule.export_wish(state.sell_eur_per_kwh[step], site)
            own = int(site.grid.export_limit_w)
            if limit.value < own or _to_be_lifted(state.sent.get(limit.device), own):
                result.append(limit)
        cars = {ev.id: ev for ev in site.evs}
        for car in plan.evs:
            ev = cars.get(car.name)
            if ev is None or not state.plugged.get(ev.id):
                continue
            current, state.carry_wh[ev.id] = schedule.ev_wish(
                car.power_w[step], state.carry_wh.get(ev.id, 0.0), ev
            )
            reason = f"charge at {current / 1000:.1f} A" if current else "wait for cheaper energy"
            result.append(schedule.Wish(f"ev-{ev.id}", "ev", current, reason))
        return result

    @staticmethod
    def _waiting(
        state: DispatcherState, load: Load, plan: Plan, step: int, mark: datetime
    ) -> list[schedule.Wish]:
        assert state.site is not None
        device, under_way = f"load-{load.id}", state.under_way.get(load.id)
        wish = schedule.load_wish(load, plan, step, mark, state.site, under_way)
        if wish is not None:
            if wish.until is not None:
                state.under_way[load.id] = wish.until
            return [schedule.Wish(device, "load", int(wish.on), wish.reason)]
        if load.interruptible and _to_be_lifted(state.sent.get(device), 0):
            return [schedule.Wish(device, "load", 0, "it has had its time")]
        return []

    def _propose(
        self, state: DispatcherState, wish: schedule.Wish, origin: command.Origin, cause: str
    ) -> None:
        now = _now(state)
        sent = state.sent.get(wish.device)
        if (
            sent is not None
            and sent.value == wish.value
            and sent.until - now > timedelta(seconds=RENEW_S)
            and sent.status != "failed"
        ):
            return
        until = schedule.lease(now)
        held = state.held.get(cause)
        if held is not None:
            until = min(until, held.until)
        retries = sent.retries if sent is not None and sent.value == wish.value else 0
        state.sent[wish.device] = Sent(value=wish.value, until=until, retries=retries)
        proposed = command.Proposed(
            device=wish.device,
            kind=wish.kind,
            value=wish.value,
            valid_from=now,
            expires=now + timedelta(seconds=EXPIRES_S),
            until=until,
            origin=origin,
            reason=wish.reason,
            plan=cause if origin == "optimizer" else None,
            because=(cause, state.tick) if cause else (state.tick,),
        )
        state.outbox.append((wish.device, proposed.model_dump_json(), cause))

    @staticmethod
    def _status(state: DispatcherState, device: str, status: str) -> None:
        if device in state.sent:
            state.sent[device].status = status
            state.sent[device].retries = 0

    @staticmethod
    def _retry(state: DispatcherState, device: str) -> None:
        """A failed command is proposed again in the next cycle, three times; then it rests until
        the plan wants something else or its lease ends."""
        sent = state.sent.get(device)
        if sent is None:
            return
        sent.retries += 1
        sent.status = "failed" if sent.retries <= RETRIES else "given up"


def _gives_way(wish: schedule.Wish, sent: Sent | None) -> bool:
    """Whether a device is asked to draw less than it was asked for last, or nothing."""
    return wish.value <= 0 or (sent is not None and wish.value < sent.value)


def _to_be_lifted(sent: Sent | None, own: int) -> bool:
    """Whether what we set still stands: then it is put back once, not renewed for ever."""
    return sent is not None and (sent.value != own or sent.status == "failed")


def _as_asked(wish: override.Requested) -> override.Requested:
    """Only the gateway can know that somebody is at the device; a client's word is an app's."""
    return wish.model_copy(update={"source": "app"}) if wish.source == "device" else wish


def _as_request(found: override.Detected) -> override.Requested:
    return override.Requested(
        target=found.target, quantity=found.quantity, value=found.value,
        minutes=DETECTED_MINUTES, actor="person at the device", source="device",
    )  # fmt: skip


def _now(state: DispatcherState) -> datetime:
    if state.now is None:
        raise ValueError("no clock.ticked on the log yet: time is unknown")
    return state.now


def _problem(state: DispatcherState, wish: override.Requested) -> str | None:
    """Why not; None when it can be granted."""
    if state.now is None or state.site is None:
        return "the house has not started yet (no clock or no configuration on the log)"
    why = wishes.problem(wish, state.now, state.site)
    if why:
        return why
    mine = wishes.PRIORITY[wish.source]
    for held in state.held.values():
        same = (held.target, held.quantity) == (wish.target, wish.quantity)
        if same and wishes.PRIORITY[held.source] > mine:
            return f"{held.actor} has priority until {held.until.isoformat()}"
    return None
