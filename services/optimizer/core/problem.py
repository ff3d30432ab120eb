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
from contracts.planning import Plan
from contracts.site import Room, SiteConfig
from contracts.wishes import PowerAtCharge
from services.optimizer.core.changes import previous_relays
from services.optimizer.core.on_grid import nowcast, prices, step_means
from services.optimizer.core.phases import shares
from services.optimizer.core.scenarios import paths
from services.optimizer.core.waiting_loads import open_loads
from services.optimizer.core.watch import Watch

Array = NDArray[np.float64]

COMFORT_MARGIN_K = 0.2
"""Kept above the band's low edge: relays switch whole kilowatts and sensors read in tenths."""
FUSE_RESERVE_W = 1_000.0
"""Kept free below the main fuse: plans know means over a step, kettles do not."""
SWITCH_COST_EUR = 0.002
DUTY_FROM_S = 3_600
"""Steps this long (the second day of ``contracts.grid``) carry a duty: relays are decided for 24 h."""
MONTH_S = 365.25 * 86_400 / 12
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
    watch: Watch
    last: Plan | None = None
    last_id: str = ""


def build(known: Knowledge, now: datetime) -> planning.PlanningProblem:
    """The problem from the quarter hour that holds ``now`` to the end of the dynamics' grid.

    Raises
    ------
    ValueError
        when the dynamics or a forecast do not reach over the horizon.
    """
    site, dynamics, watch = known.site, known.dynamics, known.watch
    first = _first_step(dynamics, now)
    steps = dynamics.step_s[first:]
    start = dynamics.start + timedelta(seconds=sum(dynamics.step_s[:first]))
    edges = [start + timedelta(seconds=s) for s in (0, *accumulate(steps))]
    middle = {name: np.array(found.p50) for name, found in known.forecasts.items()}
    nominal = _future(known, middle, edges)
    mean_buy = float(np.mean(nominal.buy))
    loads, running = open_loads(site, edges, watch.loads, watch.ran_s, known.overrides)
    weights = site.planner
    return planning.PlanningProblem(
        start=start,
        step_s=steps,
        base_load_w=_listed(nominal.load + running),
        pv_w=_listed(nominal.pv),
        pv_curtailable=site.inverter.curtailable,
        pv_phase_shares=shares(site.inverter.phase),
        grid=_grid(known, nominal, sum(steps)),
        rooms=tuple(
            _room(site, room, known, dynamics.rooms[room.id], first, edges, mean_buy)
            for room in site.rooms
            if room.id in dynamics.rooms
        ),
        heating_groups=tuple(
            planning.HeatingGroup(name=group.name, capacity_w=group.capacity_w)
            for group in site.heating_groups
        ),
        battery=_battery(site, known, edges, mean_buy),
        evs=_sessions(site, known, edges),
        deferrable_loads=loads,
        weights=planning.ObjectiveWeights(
            self_consumption_eur_per_kwh=weights.self_consumption_eur_per_kwh,
            peak_eur_per_kw=weights.peak_eur_per_kw,
            churn_eur_per_change=weights.churn_eur_per_change,
            cvar_weight=weights.cvar_weight,
            cvar_tail=weights.cvar_tail,
        ),
        scenarios=_scenarios(known, edges, running),
        # the inverter follows the true load, so the battery is never committed beforehand
        here_and_now_s=0,
        previous=previous_relays(known.last, known.last_id, start, steps, DUTY_FROM_S)
        if known.last is not None
        else None,
        duty_from_step_s=DUTY_FROM_S,
    )


@dataclass(frozen=True)
class _Future:
    """One course of load, PV (W) and prices (EUR/kWh) on the planning grid."""

    load: Array
    pv: Array
    buy: Array
    sell: Array


def _future(known: Knowledge, values: Mapping[str, Array], edges: Sequence[datetime]) -> _Future:
    found = known.forecasts
    load = step_means(values["load"], found["load"], edges)
    pv = np.zeros(len(edges) - 1)
    if "pv" in found:
        pv = np.maximum(step_means(values["pv"], found["pv"], edges), 0.0)
    buy, sell = prices(known.site, values["price"], found["price"], known.watch.published, edges)
    return _Future(nowcast(load, edges, known.watch.load_error_w), pv, buy, sell)


def _scenarios(
    known: Knowledge, edges: Sequence[datetime], running: Array
) -> tuple[planning.Scenario, ...]:
    """Futures drawn from the forecast bands; none when the site file asks for the median alone."""
    count = known.site.planner.scenarios
    if count < 2:
        return ()
    drawn = {name: paths(found, count) for name, found in known.forecasts.items()}
    futures = [
        _future(known, {name: path[k] for name, path in drawn.items()}, edges) for k in range(count)
    ]
    return tuple(
        planning.Scenario(
            probability=1.0 / count,
            pv_w=_listed(future.pv),
            base_load_w=_listed(future.load + running),
            buy_price_eur_per_kwh=_listed(future.buy),
            sell_price_eur_per_kwh=_listed(future.sell),
        )
        for future in futures
    )


def _grid(known: Knowledge, nominal: _Future, horizon_s: int) -> planning.Grid:
    connection, tariff = known.site.grid, known.site.tariff
    phase = connection.phase_import_limit_w
    return planning.Grid(
        buy_price_eur_per_kwh=_listed(nominal.buy),
        sell_price_eur_per_kwh=_listed(nominal.sell),
        import_limit_w=max(1_000.0, connection.import_limit_w - FUSE_RESERVE_W),
        export_limit_w=connection.export_limit_w,
        phase_import_limit_w=None if phase is None else max(300.0, phase - FUSE_RESERVE_W / 3),
        export_min_price_eur_per_kwh=connection.export_min_price_eur_per_kwh,
        peak_price_eur_per_kw=tariff.peak_eur_per_kw * (1 + tariff.vat),
        peak_so_far_w=round(known.watch.peak_w, 1),
        fixed_fee_eur=round(tariff.monthly_fee_eur * (1 + tariff.vat) * horizon_s / MONTH_S, 6),
    )


def _first_step(dynamics: DynamicsIssued, now: datetime) -> int:
    """Index of the step that holds now; steps already over are dropped."""
    for index, end in enumerate(accumulate(dynamics.step_s)):
        if dynamics.start + timedelta(seconds=end) > now:
            return index
    raise ValueError("thermal.dynamics-issued is older than its own horizon")


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
    seen = known.watch.relays.get(room.id)
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
            neighbours=tuple(
                planning.NeighbourGain(
                    room=other,
                    gain_air=tuple(felt[s][0] for s in steps),
                    gain_mass=tuple(felt[s][1] for s in steps),
                )
                for other, felt in dynamics.neighbours.items()
                if other in known.dynamics.rooms
            ),
        ),
        initial_air_c=air,
        initial_mass_c=mass,
        low_c=_listed(low),
        high_c=_listed(high),
        penalty_low_eur_per_k_h=site.comfort_price_eur_per_kh,
        penalty_high_eur_per_k_h=site.comfort_price_eur_per_kh,
        min_on_s=room.min_on_s,
        min_off_s=room.min_off_s,
        switch_cost_eur=SWITCH_COST_EUR,
        initial_on=seen is not None and seen.on,
        initial_in_state_s=86_400
        if seen is None
        else max(0, int((edges[0] - seen.since).total_seconds())),
        heating_group=room.heating_group,
        phase_shares=shares(room.phase),
        fixed_relay=tuple(None if v is None else (1 if v > 0 else 0) for v in forced)
        if any(v is not None for v in forced)
        else (),
        terminal_target_c=target if value else (),
        terminal_value_eur_per_k=value or (),
    )


def comfort(
    site: SiteConfig, room: str, edges: Sequence[datetime], overrides: Sequence[Granted],
    margin_k: float = COMFORT_MARGIN_K,
) -> tuple[Array, Array]:  # fmt: skip
    """Comfort band at the end of each step, °C: the strictest low edge inside the step.

    `margin_k` is kept above the low edge. Overrides bend it: a temperature raises or lowers the low
    edge, away drops it to the room's `away_low_c`.
    """
    zone = site.location.zone
    low, high = np.empty(len(edges) - 1), np.empty(len(edges) - 1)
    for i, (begin, end) in enumerate(pairwise(edges)):
        quarters = max(1, int((end - begin).total_seconds() // 900))
        points = [begin + timedelta(seconds=900 * (k + 1)) for k in range(quarters)]
        bands = [site.comfort_band(room, p.astimezone(zone)) for p in points]
        low[i] = max(b[0] for b in bands) + margin_k
        high[i] = max(b[1] for b in bands)
        for wish in overrides:
            if not (wish.since < end and wish.until > begin):
                continue
            if wish.quantity == "away" and wish.value:
                low[i] = min(low[i], site.away_c(site.room(room)))
            elif wish.quantity == "temperature_c" and wish.target in ("house", f"room-{room}"):
                low[i] = wish.value + margin_k
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
) -> planning.Battery | None:
    battery = site.battery
    if battery is None or known.soc is None:
        return None
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
        standby_w=battery.standby_w,
        daily_cycle_limit=battery.daily_cycle_limit,
        charge_limit_points=_points(battery.charge_limit_points),
        discharge_limit_points=_points(battery.discharge_limit_points),
        phase_shares=shares(site.inverter.phase),
        fixed_power_w=forced if any(v is not None for v in forced) else (),
    )


def _points(points: Sequence[PowerAtCharge]) -> tuple[planning.PowerPoint, ...]:
    return tuple(planning.PowerPoint(soc_fraction=p.soc, power_w=p.power_w) for p in points)


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
                price_cap_eur_per_kwh=ev.price_cap_eur_per_kwh,
                initial_on=(seen.power_w or 0.0) > 0.5 * ev.min_w,
                phase_shares=shares((ev.phase or 1) if ev.phases == 1 else None),
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
