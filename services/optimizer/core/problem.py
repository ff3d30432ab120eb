"""From what is known of the house to a PlanningProblem. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from contracts import planning
from contracts.events.forecast import ForecastIssued
from contracts.events.measurement import EvSampled
from contracts.events.override import Granted
from contracts.events.thermal import DynamicsIssued, RoomDynamics, StateEstimated
from contracts.site import Room, SiteConfig

Array = NDArray[np.float64]

COMFORT_MARGIN_K = 0.2
"""Kept above the band's low edge: relays switch whole kilowatts and sensors read in tenths."""
FUSE_RESERVE_W = 1_000.0
"""Kept free below the main fuse: plans know means over a step, kettles do not."""
SWITCH_COST_EUR = 0.002
MIN_RELAY_S = 900
EV_UNMET_EUR_PER_KWH = 2.0
STORED_VALUE = 0.9
"""Share of the mean buying price that energy left in store at the end is worth."""


@dataclass(frozen=True)
class Knowledge:
    """All that a plan rests on."""

    site: SiteConfig
    dynamics: DynamicsIssued
    estimate: StateEstimated
    forecasts: Mapping[str, ForecastIssued]
    soc: float | None
    evs: Mapping[str, EvSampled]
    overrides: Sequence[Granted]


def build(known: Knowledge, now: datetime) -> planning.PlanningProblem:
    """The problem from the quarter hour that holds ``now`` to the end of the dynamics' grid.

    Raises
    ------
    ValueError
        when the dynamics or a forecast do not reach over the horizon.
    """
    site, dynamics = known.site, known.dynamics
    first = _first_step(dynamics, now)
    steps = dynamics.step_s[first:]
    start = dynamics.start + timedelta(seconds=sum(dynamics.step_s[:first]))
    edges = [start + timedelta(seconds=s) for s in (0, *accumulate(steps))]
    buy, sell = prices(site, known.forecasts["price"], edges)
    battery = None
    if site.battery is not None and known.soc is not None:
        battery = _battery(site, known, edges, float(np.mean(buy)))
    rooms = tuple(
        _room(site, room, known, dynamics.rooms[room.id], first, edges, float(np.mean(buy)))
        for room in site.rooms
        if room.id in dynamics.rooms
    )
    return planning.PlanningProblem(
        start=start,
        step_s=steps,
        base_load_w=_listed(np.maximum(on_grid(known.forecasts["load"], edges), 0.0)),
        pv_w=_listed(np.maximum(on_grid(known.forecasts["pv"], edges), 0.0))
        if "pv" in known.forecasts
        else (0.0,) * len(steps),
        pv_curtailable=False,
        grid=planning.Grid(
            buy_price_eur_per_kwh=_listed(buy),
            sell_price_eur_per_kwh=_listed(sell),
            import_limit_w=max(1_000.0, site.grid.import_limit_w - FUSE_RESERVE_W),
            export_limit_w=site.grid.export_limit_w,
        ),
        rooms=rooms,
        battery=battery,
        evs=_sessions(site, known, edges),
    )


def _first_step(dynamics: DynamicsIssued, now: datetime) -> int:
    """Index of the step that holds now; steps already over are dropped."""
    for index, end in enumerate(accumulate(dynamics.step_s)):
        if dynamics.start + timedelta(seconds=end) > now:
            return index
    raise ValueError("thermal.dynamics-issued is older than its own horizon")


def on_grid(forecast: ForecastIssued, edges: Sequence[datetime]) -> Array:
    """Median of a forecast as the mean over each step; its last day is repeated beyond its end.

    Raises
    ------
    ValueError
        when the forecast begins after the first step or is shorter than a day.
    """
    day = 86_400 // forecast.step_s
    values = np.array(forecast.p50, dtype=np.float64)
    offset = (edges[0] - forecast.start).total_seconds() / forecast.step_s
    if offset < 0 or len(values) < day:
        raise ValueError(f"forecast {forecast.quantity} does not cover the horizon")
    result = np.empty(len(edges) - 1)
    for i, (begin, end) in enumerate(pairwise(edges)):
        low = int((begin - forecast.start).total_seconds() // forecast.step_s)
        high = max(low + 1, int((end - forecast.start).total_seconds() // forecast.step_s))
        index = np.arange(low, high)
        beyond = np.maximum(0, -(-(index - len(values) + 1) // day))
        result[i] = float(np.mean(values[index - beyond * day]))
    return result


def prices(
    site: SiteConfig, forecast: ForecastIssued, edges: Sequence[datetime]
) -> tuple[Array, Array]:
    """Buying and selling price of each step, EUR/kWh, tariff hours by quarter hour."""
    zone = site.location.zone
    buy, sell = np.empty(len(edges) - 1), np.empty(len(edges) - 1)
    for i, (begin, end) in enumerate(pairwise(edges)):
        count = max(1, int((end - begin).total_seconds() // forecast.step_s))
        parts = [begin + k * timedelta(seconds=forecast.step_s) for k in range(count)]
        spots = [float(on_grid(forecast, [p, p + timedelta(seconds=forecast.step_s)])[0])
                 for p in parts]  # fmt: skip
        buy[i] = np.mean(
            [site.tariff.buy_eur_per_kwh(s, p.astimezone(zone))
             for s, p in zip(spots, parts, strict=True)]
        )  # fmt: skip
        sell[i] = np.mean([site.tariff.sell_eur_per_kwh(s) for s in spots])
    return buy, sell


def _room(
    site: SiteConfig,
    room: Room,
    known: Knowledge,
    dynamics: RoomDynamics,
    first: int,
    edges: Sequence[datetime],
    mean_buy: float,
) -> planning.Room:
    steps = known.dynamics.step_s[first:]
    gains = [dynamics.gains[s] for s in steps]
    low, high = comfort(site, room.id, edges, known.overrides)
    estimate = known.estimate.rooms.get(room.id)
    air = estimate.air_c if estimate else dynamics.air_c
    mass = estimate.mass_c if estimate and estimate.mass_c is not None else dynamics.mass_c
    hour = dynamics.gains.get(3_600)
    kw = room.heater_w / 1_000
    value = (0.0, STORED_VALUE * mean_buy * kw / hour.heat_mass) if hour and hour.heat_mass else None
    target = (low[-1], low[-1] + max(0.0, dynamics.mass_c - dynamics.air_c))
    forced = tuple(_forced(f"relay-{room.id}", "relay", known.overrides, edges))
    return planning.Room(
        name=room.id,
        heater_w=room.heater_w,
        dynamics=planning.RoomDynamics(
            decay_air=tuple(g.air_air for g in gains),
            heat_air_k=tuple(g.heat_air for g in gains),
            drift_air_k=dynamics.drift_air_k[first:],
            mass_to_air=tuple(g.mass_air for g in gains),
            air_to_mass=tuple(g.air_mass for g in gains),
            decay_mass=tuple(g.mass_mass for g in gains),
            heat_mass_k=tuple(g.heat_mass for g in gains),
            drift_mass_k=dynamics.drift_mass_k[first:],
        ),
        initial_air_c=air,
        initial_mass_c=mass,
        low_c=_listed(low),
        high_c=_listed(high),
        penalty_low_eur_per_k_h=site.comfort_price_eur_per_kh,
        penalty_high_eur_per_k_h=site.comfort_price_eur_per_kh,
        min_on_s=MIN_RELAY_S,
        min_off_s=MIN_RELAY_S,
        switch_cost_eur=SWITCH_COST_EUR,
        fixed_relay=tuple(None if v is None else (1 if v > 0 else 0) for v in forced)
        if any(v is not None for v in forced)
        else (),
        terminal_target_c=target if value else (),
        terminal_value_eur_per_k=value or (),
    )


def comfort(
    site: SiteConfig, room: str, edges: Sequence[datetime], overrides: Sequence[Granted]
) -> tuple[Array, Array]:
    """Comfort band at the end of each step, °C: the strictest low edge inside the step.

    Overrides bend it: a temperature raises or lowers the low edge, away drops it to the room's `away_low_c`.
    """
    zone = site.location.zone
    low, high = np.empty(len(edges) - 1), np.empty(len(edges) - 1)
    for i, (begin, end) in enumerate(pairwise(edges)):
        quarters = max(1, int((end - begin).total_seconds() // 900))
        points = [begin + timedelta(seconds=900 * (k + 1)) for k in range(quarters)]
        bands = [site.comfort_band(room, p.astimezone(zone)) for p in points]
        low[i] = max(b[0] for b in bands) + COMFORT_MARGIN_K
        high[i] = max(b[1] for b in bands)
        for wish in overrides:
            if not (wish.since < end and wish.until > begin):
                continue
            if wish.quantity == "away" and wish.value:
                low[i] = min(low[i], site.away_c(site.room(room)))
            elif wish.quantity == "temperature_c" and wish.target in ("house", f"room-{room}"):
                low[i] = wish.value + COMFORT_MARGIN_K
                high[i] = max(high[i], wish.value + 1.5)
    return low, np.maximum(high, low)


def _forced(
    target: str, quantity: str, overrides: Sequence[Granted], edges: Sequence[datetime]
) -> list[float | None]:
    """Values that an override dictates, by step; None where it leaves the plan free."""
    found: list[float | None] = [None] * (len(edges) - 1)
    for wish in overrides:
        if (wish.target, wish.quantity) == (target, quantity):
            for i, (begin, end) in enumerate(pairwise(edges)):
                if wish.since < end and wish.until > begin:
                    found[i] = wish.value
    return found


def _battery(
    site: SiteConfig, known: Knowledge, edges: Sequence[datetime], mean_buy: float
) -> planning.Battery:
    battery = site.battery
    assert battery is not None
    assert known.soc is not None
    forced = tuple(_forced("battery", "power_w", known.overrides, edges))
    return planning.Battery(
        capacity_wh=battery.capacity_wh,
        initial_soc_fraction=known.soc,
        min_soc_fraction=battery.soc_min,
        max_soc_fraction=battery.soc_max,
        charge_limit_w=battery.charge_max_w,
        discharge_limit_w=battery.discharge_max_w,
        charge_efficiency=battery.charge_efficiency,
        discharge_efficiency=battery.discharge_efficiency,
        wear_eur_per_kwh=battery.wear_eur_per_kwh / 2,
        terminal_value_eur_per_kwh=STORED_VALUE * mean_buy * battery.discharge_efficiency,
        allow_grid_charging=battery.grid_charge,
        fixed_power_w=forced if any(v is not None for v in forced) else (),
    )


def _sessions(
    site: SiteConfig, known: Knowledge, edges: Sequence[datetime]
) -> tuple[planning.EvSession, ...]:
    sessions = []
    for ev in site.evs:
        seen = known.evs.get(ev.id)
        if seen is None or not seen.plugged:
            continue
        target_wh = seen.target_wh if seen.target_wh is not None else ev.default_energy_kwh * 1_000
        left_kwh = max(0.0, target_wh - (seen.session_wh or 0.0)) / 1_000 * ev.efficiency
        departure = seen.departure or _next_local(site, ev.default_departure, edges[0])
        if departure <= edges[0] + timedelta(minutes=15) or left_kwh <= 0.05:
            continue
        forced = tuple(
            None if v is None else v * ev.voltage_v * ev.phases
            for v in _forced(f"ev-{ev.id}", "current_a", known.overrides, edges)
        )
        sessions.append(
            planning.EvSession(
                name=ev.id,
                arrival=edges[0],
                departure=min(departure, edges[-1]),
                target_kwh=left_kwh,
                max_kwh=left_kwh,
                min_power_w=ev.min_w,
                max_power_w=ev.max_w,
                efficiency=ev.efficiency,
                unmet_penalty_eur_per_kwh=EV_UNMET_EUR_PER_KWH,
                fixed_power_w=forced if any(v is not None for v in forced) else (),
            )
        )
    return tuple(sessions)


def _next_local(site: SiteConfig, at: time, after: datetime) -> datetime:
    """The next instant at which local clocks show a time of day."""
    local = after.astimezone(site.location.zone)
    candidate = local.replace(hour=at.hour, minute=at.minute, second=0, microsecond=0)
    if candidate <= local:
        candidate = candidate + timedelta(days=1)
    return candidate.astimezone(UTC)


def _listed(values: Array) -> tuple[float, ...]:
    return tuple(round(float(v), 6) for v in values)
