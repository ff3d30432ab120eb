"""What a scenario and the two houses say, as events."""

from __future__ import annotations

import datetime as dt

from contracts.events.measurement import BaselineSampled
from contracts.events.price import PricesPublished
from contracts.events.weather import WeatherForecastIssued
from twin.baseline import Baseline
from twin.house import House
from twin.scenario import Scenario


def weather_of(scenario: Scenario, now: dt.datetime) -> WeatherForecastIssued:
    """The forecast a house holds at an instant, as an event."""
    run = scenario.weather_forecast(now)
    start = dt.datetime.fromtimestamp(int(run.times_s[0]), dt.UTC)
    return WeatherForecastIssued(
        issued=run.issued, start=start, step_s=3_600, source=f"scenario {scenario.name}",
        temperature_c=tuple(round(float(v), 2) for v in run.temperature_c),
        ghi_w_m2=tuple(round(max(0.0, float(v)), 1) for v in run.ghi_w_m2),
        wind_m_s=tuple(round(max(0.0, float(v)), 2) for v in run.wind_m_s),
    )  # fmt: skip


def prices_of(
    scenario: Scenario, market: str, now: dt.datetime, since: dt.datetime
) -> PricesPublished | None:
    """Published prices from an instant on, as an event."""
    table = scenario.published_prices(now)
    first = max(0, int((since.timestamp() - table.start_s) // table.step_s))
    values = table["eur_per_mwh"][first:]
    if not len(values):
        return None
    start = dt.datetime.fromtimestamp(table.start_s + first * table.step_s, dt.UTC)
    return PricesPublished(
        market=market, published=now, start=start, step_s=table.step_s,
        eur_per_mwh=tuple(round(float(v), 3) for v in values),
    )  # fmt: skip


def baseline_event(baseline: Baseline, house: House) -> BaselineSampled:
    """The rule-based twin's meters beside the true comfort of both houses."""
    seen, own, ours = baseline.house.observe(), baseline.house.truth, house.truth
    return BaselineSampled(
        time=seen.time, import_wh=seen.import_wh, export_wh=seen.export_wh, pv_wh=seen.pv_wh,
        load_wh=seen.load_wh, battery_discharge_wh=seen.battery_discharge_wh, soc=seen.soc,
        comfort_deficit_kh=own.comfort_below_kh, ev_wh=own.ev_wh,
        battery_stored_wh=own.battery_stored_wh, heat_stored_wh=own.stored_wh,
        house_comfort_deficit_kh=ours.comfort_below_kh, house_ev_wh=ours.ev_wh,
        house_battery_stored_wh=ours.battery_stored_wh, house_heat_stored_wh=ours.stored_wh,
        loads_wh=own.loads_wh, house_loads_wh=ours.loads_wh,
    )  # fmt: skip
