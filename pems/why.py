"""Why a command: the causation ids walked back to prices, forecasts and temperatures, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from contracts import grid
from contracts.envelope import Event
from contracts.events import command
from contracts.events.forecast import ForecastIssued
from contracts.events.measurement import EvSampled, HouseSampled, RoomSampled
from contracts.events.override import Granted
from contracts.events.plan import PlanComputed
from contracts.events.price import PricesPublished
from contracts.events.system import ConfigLoaded
from contracts.events.thermal import DynamicsIssued, StateEstimated
from contracts.planning import Plan
from contracts.site import SiteConfig
from pems.replay import chain
from services.optimizer.core.chances import half_width_k, limit_c


@dataclass(frozen=True, slots=True)
class Line:
    """One event of the explanation and what it contributed."""

    event: Event
    says: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A sentence that a person understands, and the events behind it, newest first."""

    sentence: str
    lines: tuple[Line, ...]


class Log:
    """A log with the look-ups that an explanation needs."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.by_id = {event.id: event for event in events}

    def site(self) -> SiteConfig:
        """The newest site configuration; LookupError when the log has none."""
        for event in reversed(self.events):
            if isinstance(event.data, ConfigLoaded) and event.data.site is not None:
                return event.data.site
        raise LookupError("the log holds no site configuration")

    def proposal(self, wanted: str, at: datetime | None = None) -> Event:
        """The proposal that a word means: an id (or its beginning) of any event of a command, or
        a device, then its newest proposal not later than ``at``.

        Raises
        ------
        LookupError
            when nothing fits; names the devices that have commands.
        """
        devices = set()
        for event in reversed(self.events):
            data = event.data
            if not event.type.startswith("command."):
                continue
            devices.add(event.entity)
            fits = event.id.startswith(wanted) if len(wanted) >= 6 else False
            if fits and event.type != "command.proposed":
                found = self.by_id.get(getattr(data, "proposal", ""))
                if found is not None:
                    return found
            early = at is None or event.time is None or event.time <= at
            if event.type == "command.proposed" and (fits or (event.entity == wanted and early)):
                return event
        raise LookupError(
            f"no command {wanted!r} on the log; devices with commands: "
            f"{', '.join(sorted(devices)) or 'none'}"
        )

    def before(self, kind: type, sequence: int, entity: str = "") -> Event | None:
        """The newest event of a payload type at or before a place of the log."""
        for event in reversed(self.events[: sequence + 1]):
            early = event.sequence <= sequence and isinstance(event.data, kind)
            if early and (not entity or event.entity == entity):
                return event
        return None

    def outcome(self, proposal: Event) -> list[Event]:
        """What became of a proposal, in log order."""
        return [
            event
            for event in self.events
            if event.type.startswith("command.") and getattr(event.data, "proposal", "") == proposal.id
        ]


def explain(log: Log, proposal: Event) -> Explanation:
    """Explain one command from its proposal."""
    data = proposal.data
    assert isinstance(data, command.Proposed)
    outcome = log.outcome(proposal)
    lines = [Line(event, _outcome(event)) for event in reversed(outcome)]
    lines.append(Line(proposal, f"{data.device}: {_value(data.kind, data.value)}, {data.reason}"))
    cause = log.by_id.get(proposal.cause)
    site = log.site()
    if cause is not None and isinstance(cause.data, PlanComputed):
        sentence, more = _planned(log, site, proposal, data, cause)
    elif cause is not None and isinstance(cause.data, Granted):
        sentence, more = _wished(site, data, cause.data), [Line(cause, _granted(site, cause.data))]
    elif data.origin == "override":
        asked = log.by_id.get(proposal.cause)
        sentence = f"{_did(site, data)} because {data.reason}."
        more = [Line(asked, "the wish itself")] if asked is not None else []
    else:
        sentence = f"{_did(site, data)} because of the {data.reason}."
        more = []
    seen = {line.event.id for line in (*lines, *more)}
    tail = [Line(e, _short(e)) for e in chain(log.by_id, proposal) if e.id not in seen]
    verdicts = [e for e in outcome if e.type in ("command.approved", "command.rejected")]
    sentence += _gate(verdicts[-1]) if verdicts else " The safety service has not judged it yet."
    return Explanation(sentence, tuple([*lines, *more, *tail]))


def _planned(
    log: Log, site: SiteConfig, proposal: Event, data: command.Proposed, cause: Event
) -> tuple[str, list[Line]]:
    """A command that implements a plan: prices, forecasts and temperatures that drove it."""
    planned = cause.data
    assert isinstance(planned, PlanComputed)
    plan = planned.plan
    now = data.valid_from
    step = _step(plan, now)
    lines = [Line(cause, f"plan made because: {planned.reason}; {_quality(plan)}")]
    forecasts: dict[str, Event] = {}
    for event_id in planned.because:
        event = log.by_id.get(event_id)
        if event is None:
            continue
        if isinstance(event.data, ForecastIssued):
            forecasts[event.data.quantity] = event
        lines.append(Line(event, _input(site, event, data, now)))
    buy, ahead = _prices(site, forecasts.get("price"), plan, now)
    words = _price_words(buy, ahead)
    worth = f"{plan.marginal_price_eur_per_kwh[step]:.3f} EUR/kWh"
    room_id = data.device.removeprefix("relay-")
    if data.kind == "relay":
        estimate = log.before(StateEstimated, cause.sequence)
        air = None
        if estimate is not None and isinstance(estimate.data, StateEstimated):
            known = estimate.data.rooms.get(room_id)
            air = known.air_c if known else None
        low, high = site.comfort_band(room_id, now.astimezone(site.location.zone))
        next_low = _next_band(site, room_id, now, low)
        because = f"it was {air:.1f} °C, the band is {low:.1f} to {high:.1f} °C" if air else ""
        if next_low:
            because += f" and rises to {next_low[0]:.1f} °C at {next_low[1]}"
        sentence = (
            f"{_did(site, data)} because {because}; {words}, "
            f"and a kWh is worth {worth} to the house{_risk(log, site, planned, room_id, now)}."
        )
    elif data.kind == "battery":
        pv, load = plan_forecast(forecasts.get("pv"), now), plan_forecast(forecasts.get("load"), now)
        soc = plan.battery_soc_fraction
        sentence = (
            f"{_did(site, data)} because {words} and a kWh is worth {worth} to the house; "
            f"the battery is at {soc[step]:.0%} and the plan takes it to {soc[min(step + 4, len(soc) - 1)]:.0%}"
            f"; expected now: {_w(pv)} of sun, {_w(load)} of load besides heating and car."
        )
    elif data.kind == "load":
        sentence = f"{_did(site, data)} because {data.reason}; {words}."
    elif data.kind == "inverter-export":
        sentence = f"{_did(site, data)} because {data.reason}."
    else:
        sentence = f"{_did(site, data)} because {words}, and a kWh is worth {worth} to the house."
    return sentence, lines


def _prices(
    site: SiteConfig, event: Event | None, plan: Plan, now: datetime
) -> tuple[float | None, list[float]]:
    """Buying price now and over the next 24 hours, EUR/kWh."""
    if event is None or not isinstance(event.data, ForecastIssued):
        return None, []
    forecast = event.data
    zone = site.location.zone
    values = []
    for i, spot in enumerate(forecast.p50):
        start = forecast.start + timedelta(seconds=i * forecast.step_s)
        if start + timedelta(seconds=forecast.step_s) > now and start < now + timedelta(hours=24):
            values.append(site.tariff.buy_eur_per_kwh(spot, start.astimezone(zone)))
    return (values[0] if values else None), values


def _price_words(buy: float | None, ahead: list[float]) -> str:
    if buy is None or not ahead:
        return "the price is not known"
    cheaper = sum(v < buy for v in ahead) / len(ahead)
    place = (
        "among the cheapest" if cheaper < 0.25
        else "among the dearest" if cheaper > 0.75
        else "in the middle"
    )  # fmt: skip
    return (
        f"buying costs {buy:.3f} EUR/kWh now, {place} of the next 24 hours "
        f"({min(ahead):.3f} to {max(ahead):.3f})"
    )


def plan_forecast(event: Event | None, now: datetime) -> float | None:
    """Median of a forecast at an instant; None when it does not reach there."""
    if event is None or not isinstance(event.data, ForecastIssued):
        return None
    index = int((now - event.data.start).total_seconds() // event.data.step_s)
    return event.data.p50[index] if 0 <= index < len(event.data.p50) else None


def _next_band(
    site: SiteConfig, room: str, now: datetime, low: float
) -> tuple[float, str] | None:
    """The next higher low edge within 12 hours and its local time."""
    mark = grid.floor(now, grid.QUARTER_S)
    for quarter in range(1, 49):
        local = (mark + timedelta(minutes=15 * quarter)).astimezone(site.location.zone)
        found = site.comfort_band(room, local)[0]
        if found > low:
            return found, f"{local:%H:%M}"
    return None


def _risk(
    log: Log, site: SiteConfig, planned: PlanComputed, room_id: str, now: datetime
) -> str:
    """Where a room comes closest to being too cold within a day, measured in half widths of its band."""
    plan = planned.plan
    rests_on = (log.by_id.get(event_id) for event_id in planned.because)
    dynamics = [e.data for e in rests_on if e is not None and isinstance(e.data, DynamicsIssued)]
    room = next((room for room in plan.rooms if room.name == room_id), None)
    if room is None or room_id not in planned.chance_below or not dynamics:
        return ""
    wishes = [e.data for e in log.events if isinstance(e.data, Granted)]
    low = limit_c(plan, site, room_id, [w for w in wishes if w.override in planned.overrides])
    half = half_width_k(plan, dynamics[0], room_id)
    ends = [plan.start + timedelta(seconds=s) for s in accumulate(plan.step_s)]
    ahead = [i for i, end in enumerate(ends) if now < end <= now + timedelta(hours=24)]
    if not ahead:
        return ""
    step = min(ahead, key=lambda i: (room.air_c[i + 1] - low[i]) / half[i])
    air, off = room.air_c[step + 1], half[step]
    return (
        f"; {room_id} {air:.1f} °C at {ends[step].astimezone(site.location.zone):%H:%M}, "
        f"{air - off:.1f} to {air + off:.1f} in nine of ten cases, "
        f"{planned.chance_below[room_id][step]:.0%} chance below {low[step]:.1f}"
    )


def _step(plan: Plan, now: datetime) -> int:
    passed = (now - plan.start).total_seconds()
    for index, end in enumerate(accumulate(plan.step_s)):
        if passed < end:
            return index
    return len(plan.step_s) - 1


def _did(site: SiteConfig, data: command.Proposed) -> str:
    local = data.valid_from.astimezone(site.location.zone)
    return f"At {local:%H:%M on %d %B} {_name(site, data.device)} was asked to {_verb(data)}"


def _name(site: SiteConfig, device: str) -> str:
    for room in site.rooms:
        if device == f"relay-{room.id}":
            return f"the heating of {room.name}"
    if device == "inverter-export":
        return "the inverter"
    return f"the {device.removeprefix('load-').replace('-', ' ')}"


def _verb(data: command.Proposed) -> str:
    if data.kind == "relay":
        return "heat" if data.value else "rest"
    if data.kind == "load":
        return "run" if data.value else "wait"
    if data.kind == "battery":
        if data.value == 0:
            return "run in self-use"
        if abs(data.value) < 150:
            return "hold its charge"
        return f"{'charge' if data.value > 0 else 'discharge'} at {abs(data.value)} W"
    if data.kind == "inverter-export":
        return f"feed in {data.value} W at most" if data.value else "feed nothing in"
    return f"charge at {data.value / 1000:.1f} A" if data.value else "wait"


def _value(kind: str, value: int) -> str:
    if kind in ("relay", "load"):
        return "on" if value else "off"
    return f"{value} W" if kind != "ev" else f"{value} mA"


def _wished(site: SiteConfig, data: command.Proposed, wish: Granted) -> str:
    until = wish.until.astimezone(site.location.zone)
    return f"{_did(site, data)} because {wish.actor} asked for it until {until:%H:%M on %d %B}."


def _granted(site: SiteConfig, wish: Granted) -> str:
    return f"{wish.actor} ({wish.source}) wants {wish.quantity} {wish.value:g} for {wish.target}"


def _gate(event: Event) -> str:
    data = event.data
    if isinstance(data, command.Approved):
        clamped = f", granting {data.value} instead of {data.asked}" if data.value != data.asked else ""
        return f" The safety service checked {len(data.evidence)} rules and approved it{clamped}."
    assert isinstance(data, command.Rejected)
    return f" The safety service refused it: {data.reason}."


def _outcome(event: Event) -> str:
    data = event.data
    if isinstance(data, command.Approved):
        rules = ", ".join(item.rule for item in data.evidence)
        return f"value {data.value} in mode {data.mode}; rules: {rules}"
    if isinstance(data, command.Rejected):
        return data.reason
    if isinstance(data, command.Verified):
        return f"read-back {data.observed} (expected {data.expected})"
    if isinstance(data, command.Failed):
        return data.reason
    return _short(event)


def _quality(plan: Plan) -> str:
    gap = f", within {plan.gap_fraction:.2%} of the best" if plan.gap_fraction is not None else ""
    if plan.frozen_gap_fraction is not None:
        gap += f" ({plan.frozen_gap_fraction:.2%} while neighbours stay as warm)"
    return f"{plan.rung} plan for {sum(plan.step_s) // 3600} h{gap}, {plan.cost.total_eur:.2f} EUR"


def _input(site: SiteConfig, event: Event, data: command.Proposed, now: datetime) -> str:
    payload = event.data
    if isinstance(payload, ForecastIssued):
        unit = "EUR/MWh" if payload.quantity == "price" else "W"
        value = plan_forecast(event, now)
        text = f"{value:.0f} {unit}" if value is not None else "not known"
        return f"{payload.quantity} now: {text} ({payload.method})"
    if isinstance(payload, StateEstimated):
        room = payload.rooms.get(data.device.removeprefix("relay-"))
        inside = f"{room.air_c:.1f} °C in the room, " if room else ""
        return f"{inside}{payload.outdoor_c} °C outside"
    if isinstance(payload, HouseSampled):
        return f"battery {payload.soc:.0%}, grid {_w(payload.grid_w)}" if payload.soc is not None else "meters"
    if isinstance(payload, EvSampled):
        return "plugged in" if payload.plugged else "not plugged in"
    if isinstance(payload, PricesPublished):
        return f"{len(payload.eur_per_mwh)} prices of the {payload.market} market"
    return _short(event)


def _short(event: Event) -> str:
    data = event.data
    if isinstance(data, RoomSampled):
        return f"{data.room} {data.temperature_c} °C"
    time = f"{event.time:%H:%M}" if event.time else ""
    return f"{event.type} {time}".strip()


def _w(value: float | None) -> str:
    return "an unknown amount" if value is None else f"{value:.0f} W"
