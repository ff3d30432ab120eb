"""Does it pay to plan with several futures? A closed loop on recorded load, PV and prices.

    python -m bench.planner.stochastic --house france --days 14 --out results
    python -m bench.planner.stochastic --house konstanz --days 14 --out results

A battery and a car that is home by day (9 to 17 h local, 10 kWh wanted) beside a recorded house,
planned anew every hour with forecasts made of what was known then (load: calendar quantiles of the
last eight weeks; PV: the forecast published at the time where there is one, with the error bands of
the last four weeks; price: published day-ahead, then yesterday's), run against what really
happened. The same commands as in the house: where the plan wants what self-use does, the inverter
follows the true load.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from contracts.events.forecast import ForecastIssued
from contracts.planning import (
    Battery,
    EvSession,
    Grid,
    ObjectiveWeights,
    Plan,
    PlanningProblem,
    Scenario,
)
from services.dispatcher.core.schedule import HOLD_W, battery_wish
from services.forecast.core.load_seasonal import seasonal_load
from services.optimizer.core.on_grid import nowcast
from services.optimizer.core.planner import plan
from services.optimizer.core.scenarios import paths

DATA = Path(os.environ.get("PEMS_DATA", "../shared/data"))
HORIZON_H = 36
WEEKS_PV = 4
CAPACITY_KWH, POWER_W, EFFICIENCY, WEAR = 10.0, 5_000.0, 0.95, 0.01
FEES_EUR = 0.12
"""Distribution, system fees and VAT on top of the day-ahead price, EUR/kWh bought."""
BATTERY = SimpleNamespace(battery=SimpleNamespace(discharge_max_w=POWER_W, charge_max_w=POWER_W))


@dataclass(frozen=True)
class Tariff:
    """Share of the day-ahead price paid for export, and EUR per kW of the stretch's peak import."""

    sell_share: float
    peak_eur_per_kw: float = 0.0


TARIFFS = {
    "market price both ways": Tariff(0.9),
    "nothing for export": Tariff(0.0),
    "market price, 4 EUR per kW peak": Tariff(0.9, 4.0),
}
CAR_KWH, CAR_MIN_W, CAR_MAX_W, CAR_EFFICIENCY, CAR_UNMET_EUR = 10.0, 1_380.0, 3_680.0, 0.92, 1.0
CAR_FROM_H, CAR_TO_H = 9, 17
METHODS: dict[str, tuple[int, float, int]] = {
    # futures in the plan, weight of the worst fifth of them, seconds the battery is committed for
    "self-use": (0, 0.0, 0), "true future": (0, 0.0, 0), "median": (1, 0.0, 0),
    "mean": (1, 0.0, 0), "5 futures": (5, 0.0, 0), "5 futures, CVaR 0.5": (5, 0.5, 0),
    "5 futures, battery committed": (5, 0.0, 3_600),
}  # fmt: skip


@dataclass(frozen=True)
class House:
    """Recorded powers (W) and prices (EUR/kWh) on one grid; `forecast` is NaN where unknown."""

    start: dt.datetime
    step_s: int
    zone: str
    country: str
    load: np.ndarray
    pv: np.ndarray
    forecast: np.ndarray
    price: np.ndarray

    @property
    def per_day(self) -> int:
        """Steps of a day."""
        return 86_400 // self.step_s


def read_house(name: str) -> House:
    """A recorded house with Czech day-ahead prices of the same hours."""
    if name == "france":
        frame = pd.read_csv(
            DATA / "house_france/load_pv_forecast_30min.csv.gz", index_col=0, parse_dates=True
        ).iloc[6:]  # the recorder starts with zeros
        load, step, zone, country = frame["load_no_var_loads_w"], 1_800, "Europe/Paris", "FR"
        pv, known = frame["pv_w"].fillna(0.0), frame["pv_forecast_w"]
        # the recorder omits zeros: where a day has some forecast, the rest of it is darkness
        known = known.fillna(known.groupby(known.index.date).transform("count").gt(4).map(
            {True: 0.0, False: np.nan}))  # fmt: skip
    else:
        frame = pd.read_csv(
            DATA / "house_konstanz/hourly_kwh.csv.gz", index_col=0, parse_dates=True
        )
        frame.index = frame.index - pd.Timedelta(hours=1)
        load, step, zone, country = frame["load_total_kwh"] * 1e3, 3_600, "Europe/Berlin", "DE"
        pv = frame["pv_kwh"] * 1e3
        known = pv * np.nan
    prices = pd.read_csv(DATA / "prices/ote_cz_1h.csv.gz", index_col=0, parse_dates=True)
    price = prices["price_eur_mwh"].reindex(load.index, method="ffill") / 1e3
    return House(
        load.index[0].to_pydatetime(), step, zone, country, load.clip(lower=0.0).to_numpy(float),
        pv.clip(lower=0.0).to_numpy(float), known.clip(lower=0.0).to_numpy(float),
        price.to_numpy(float),
    )  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What could be known at one step about the next ones."""

    load: ForecastIssued
    mean_load_w: np.ndarray
    pv: ForecastIssued
    price: np.ndarray


class Forecaster:
    """Forecasts from the past alone; every method gets the same ones."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.times = int(house.start.timestamp()) + house.step_s * np.arange(house.load.size)
        self.steps = HORIZON_H * 3_600 // house.step_s
        self._made: dict[int, Known] = {}

    def at(self, now: int) -> Known:
        """Load, PV and price of the horizon that begins with a step."""
        if now not in self._made:
            house, day = self.house, self.house.per_day
            past = np.arange(max(0, now - 56 * day), now)
            past = past[np.isfinite(house.load[past])]
            load = seasonal_load(
                self.times[now : now + self.steps], self.times[past], house.load[past],
                step_s=house.step_s, time_zone=house.zone, country=house.country,
            )  # fmt: skip
            self._made[now] = Known(
                self._issued("load", now, load.p10, load.p50, load.p90), load.expected,
                self._issued("pv", now, *self._pv(now, self.steps)), self._price(now, self.steps),
            )  # fmt: skip
        return self._made[now]

    def _pv(self, now: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        house, day = self.house, self.house.per_day
        at = np.arange(now, now + steps)
        back = [at - k * day for k in range(2, 7 * WEEKS_PV + 1)]
        measured = np.stack([house.pv[b] for b in back])
        told = np.stack([house.forecast[b] for b in back])
        plain = np.nanquantile(np.where(np.isfinite(measured), measured, 0.0), (0.1, 0.5, 0.9), 0)
        missed = measured - told
        some = np.isfinite(missed).sum(axis=0) >= 5
        errors = np.nanquantile(np.where(some, missed, 0.0), (0.1, 0.5, 0.9), axis=0)
        errors = np.nan_to_num(errors)
        fresh = house.forecast[at]
        bands = np.where(np.isfinite(fresh) & some, fresh + errors, plain)
        bands = np.sort(np.maximum(bands, 0.0), axis=0)
        return bands[0], bands[1], bands[2]

    def _price(self, now: int, steps: int) -> np.ndarray:
        """Day-ahead prices known at 13:00 local for the next day; beyond, those of a day before."""
        house, day = self.house, self.house.per_day
        local = dt.datetime.fromtimestamp(int(self.times[now]), ZoneInfo(house.zone))
        days = 2 if local.hour >= 13 else 1
        end = local.replace(hour=0, minute=0) + dt.timedelta(days=days)
        known = int((end.timestamp() - self.times[now]) // house.step_s)
        price = house.price[now : now + steps].copy()
        for step in range(known, steps):
            price[step] = price[step - day] if step >= day else house.price[now + step - day]
        return price

    def _issued(
        self, quantity: str, now: int, low: np.ndarray, middle: np.ndarray, high: np.ndarray
    ) -> ForecastIssued:
        start = dt.datetime.fromtimestamp(int(self.times[now]), dt.UTC)
        return ForecastIssued(
            quantity=quantity, issued=start, start=start, step_s=self.house.step_s,
            p10=tuple(low), p50=tuple(middle), p90=tuple(high), method="bench",
        )  # fmt: skip


def _sessions(house: House, start: dt.datetime, given_kwh: float) -> tuple[EvSession, ...]:
    """The car's stays inside the horizon; what it got today is taken off today's wish."""
    zone, end = ZoneInfo(house.zone), start + dt.timedelta(hours=HORIZON_H)
    found = []
    for day in range(3):
        date = start.astimezone(zone).date() + dt.timedelta(days=day)
        comes = dt.datetime.combine(date, dt.time(CAR_FROM_H), zone).astimezone(dt.UTC)
        goes = dt.datetime.combine(date, dt.time(CAR_TO_H), zone).astimezone(dt.UTC)
        left = CAR_KWH - (given_kwh if day == 0 else 0.0)
        if goes > start and goes <= end and left > 1e-3:
            found.append(EvSession(
                name=f"day {day}", arrival=max(comes, start), departure=goes, target_kwh=left,
                max_kwh=left, min_power_w=CAR_MIN_W, max_power_w=CAR_MAX_W,
                efficiency=CAR_EFFICIENCY, unmet_penalty_eur_per_kwh=CAR_UNMET_EUR,
            ))  # fmt: skip
    return tuple(found)


def _problem(
    seer: Forecaster, tariff: Tariff, method: str, now: int, soc: float, peak_w: float,
    error_w: float, given_kwh: float,
) -> PlanningProblem:  # fmt: skip
    house, steps, known = seer.house, seer.steps, seer.at(now)
    load_band, pv_band, price = known.load, known.pv, known.price
    count, cvar, committed_s = METHODS[method]
    start = load_band.start
    edges = [start + dt.timedelta(seconds=house.step_s * k) for k in range(steps + 1)]
    middle = known.mean_load_w if method == "mean" else np.array(load_band.p50)
    load, pv = nowcast(middle, edges, error_w), np.array(pv_band.p50)
    if method == "true future":
        load, pv = house.load[now : now + steps], house.pv[now : now + steps]
        price = house.price[now : now + steps]
    futures = ()
    if count > 1:
        loads = [nowcast(path, edges, error_w) for path in paths(load_band, count)]
        futures = tuple(
            Scenario(probability=1 / count, base_load_w=tuple(one), pv_w=tuple(two))
            for one, two in zip(loads, paths(pv_band, count), strict=True)
        )
    buy = price + FEES_EUR
    return PlanningProblem(
        start=start, step_s=(house.step_s,) * steps, base_load_w=tuple(load), pv_w=tuple(pv),
        pv_curtailable=False, duty_from_step_s=86_400,
        grid=Grid(
            buy_price_eur_per_kwh=tuple(buy),
            sell_price_eur_per_kwh=tuple(price * tariff.sell_share),
            peak_price_eur_per_kw=tariff.peak_eur_per_kw, peak_so_far_w=peak_w,
        ),
        battery=Battery(
            capacity_wh=CAPACITY_KWH * 1e3, initial_soc_fraction=min(1.0, max(0.0, soc)),
            charge_limit_w=POWER_W, discharge_limit_w=POWER_W, charge_efficiency=EFFICIENCY,
            discharge_efficiency=EFFICIENCY, wear_eur_per_kwh=WEAR,
            terminal_value_eur_per_kwh=0.9 * float(buy.mean()) * EFFICIENCY,
        ),
        evs=_sessions(house, start, given_kwh),
        scenarios=futures, here_and_now_s=committed_s,
        weights=ObjectiveWeights(cvar_weight=cvar),
    )  # fmt: skip


def _possible(power_w: float, soc: float, hours: float) -> float:
    """The power that the battery can give or take over a step (W, charging positive)."""
    room = max(0.0, 0.9 - soc) * CAPACITY_KWH * 1e3 / EFFICIENCY / hours
    left = max(0.0, soc - 0.1) * CAPACITY_KWH * 1e3 * EFFICIENCY / hours
    return float(np.clip(power_w, -min(POWER_W, left), min(POWER_W, room)))


def _car(
    made: Plan | None, part: int, given_kwh: float, local: dt.datetime, hours: float
) -> float:
    """Power of the car in this step, W; without a plan it charges at once."""
    if not CAR_FROM_H <= local.hour < CAR_TO_H:
        return 0.0
    left_w = max(0.0, CAR_KWH - given_kwh) / CAR_EFFICIENCY / hours * 1e3
    if made is None:
        return min(CAR_MAX_W, left_w)
    today = [ev.power_w[part] for ev in made.evs if ev.name == "day 0"]
    return min(sum(today), left_w)


@dataclass(frozen=True)
class Outcome:
    """Costs by day (stored energy at the end is paid for), the peak charge and the work."""

    costs_eur: np.ndarray
    peak_eur: float
    cpu_s: float

    @property
    def total_eur(self) -> float:
        """All of it."""
        return float(self.costs_eur.sum()) + self.peak_eur


def run(seer: Forecaster, tariff: Tariff, method: str, first: int, days: int) -> Outcome:
    """Live through the stretch with one method."""
    house = seer.house
    soc, peak_w, error_w = 0.5, 0.0, 0.0
    hours, costs, given_kwh = house.step_s / 3_600, np.zeros(days), 0.0
    zone = ZoneInfo(house.zone)
    made: Plan | None = None
    spent = 0.0
    per_plan = max(1, 3_600 // house.step_s)
    for step in range(days * house.per_day):
        now, part = first + step, step % per_plan
        load, pv, price = house.load[now], house.pv[now], house.price[now]
        local = dt.datetime.fromtimestamp(int(seer.times[now]), zone)
        if local.hour == 0:
            given_kwh = 0.0
        if method != "self-use" and part == 0:
            begun = time.process_time()
            made = plan(_problem(seer, tariff, method, now, soc, peak_w, error_w, given_kwh))
            spent += time.process_time() - begun
        wish = 0 if made is None else battery_wish(made, part, BATTERY).value
        car_w = _car(made, part, given_kwh, local, hours)
        given_kwh += car_w / 1e3 * hours * CAR_EFFICIENCY
        if local.hour == CAR_TO_H and local.minute == 0:
            costs[step // house.per_day] += max(0.0, CAR_KWH - given_kwh) * CAR_UNMET_EUR
        power = _possible(
            pv - load - car_w if wish == 0 else 0.0 if wish == HOLD_W else float(wish), soc, hours
        )
        stored_kw = (power * EFFICIENCY if power > 0 else power / EFFICIENCY) / 1e3
        soc += stored_kw * hours / CAPACITY_KWH
        grid_kw = (load + car_w - pv + power) / 1e3
        peak_w = max(peak_w, grid_kw * 1e3)
        cost = max(grid_kw, 0) * (price + FEES_EUR) - max(-grid_kw, 0) * price * tariff.sell_share
        costs[step // house.per_day] += hours * (cost + abs(stored_kw) * WEAR)
        expected = seer.at(now - part).load.p50[part]
        error_w += min(1.0, hours) * (load - expected - error_w)
    worth = float(np.mean(house.price[first : first + days * house.per_day])) + FEES_EUR
    costs[-1] -= (soc - 0.5) * CAPACITY_KWH * worth * EFFICIENCY
    return Outcome(costs, peak_w / 1e3 * tariff.peak_eur_per_kw, spent)


def interval(days_eur: np.ndarray, seed: int = 1) -> tuple[float, float]:
    """95 % interval of a sum of daily differences, by drawing blocks of three days."""
    rng = np.random.default_rng(seed)
    blocks = -(-days_eur.size // 3)
    begin = rng.integers(0, max(1, days_eur.size - 2), (2_000, blocks))
    picks = (begin[:, :, None] + np.arange(3)).reshape(2_000, -1)[:, : days_eur.size]
    low, high = np.quantile(days_eur[np.minimum(picks, days_eur.size - 1)].sum(axis=1),
                            (0.025, 0.975))  # fmt: skip
    return float(low), float(high)


def stretch(house: House, days: int, begin: str | None) -> int:
    """First step of the stretch: local days without a gap in load and price, at least 35 in."""
    if begin is not None:
        first = dt.datetime.fromisoformat(begin).replace(tzinfo=dt.UTC)
        return int((first - house.start).total_seconds() // house.step_s)
    length = (days + 2) * house.per_day
    whole = np.isfinite(house.load) & np.isfinite(house.price) & np.isfinite(house.pv)
    for day in range(35, house.load.size // house.per_day - days - 2):
        first = day * house.per_day
        if whole[first : first + length].all():
            return first
    raise ValueError(f"no stretch of {days} days without a gap; ask for fewer")


def rows(
    house: House, days: int, first: int, methods: list[str], tariffs: list[str]
) -> Iterator[dict[str, object]]:
    """One row per tariff and method, with the paired difference to the plan by medians."""
    seer = Forecaster(house)
    for name in tariffs:
        tariff = TARIFFS[name]
        found: dict[str, Outcome] = {}
        for method in methods:
            found[method] = run(seer, tariff, method, first, days)
        base, best = found["self-use"].total_eur, found["true future"].total_eur
        for method, one in found.items():
            low, high = interval(one.costs_eur - found["median"].costs_eur)
            yield {
                "tariff": name, "method": method, "cost_eur": round(one.total_eur, 2),
                "peak_eur": round(one.peak_eur, 2),
                "of_possible_saving": round((base - one.total_eur) / max(1e-9, base - best), 3),
                "less_median_eur": round(one.total_eur - found["median"].total_eur, 2),
                "energy_low_eur": round(low, 2), "energy_high_eur": round(high, 2),
                "cpu_ms_a_plan": round(1e3 * one.cpu_s / (days * 24), 1),
            }  # fmt: skip


def draw(found: list[dict[str, object]], path: Path, title: str) -> None:
    """Share of the possible saving by tariff and method."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    methods = [m for m in METHODS if any(r["method"] == m for r in found)]
    methods = [m for m in methods if m not in ("self-use", "true future")]
    figure, axis = pyplot.subplots(figsize=(8, 3.6))
    for index, method in enumerate(methods):
        values = [r["of_possible_saving"] for r in found if r["method"] == method]
        axis.bar(np.arange(len(values)) + 0.15 * index, values, 0.14, label=method)
    names = list(dict.fromkeys(str(r["tariff"]) for r in found))
    axis.set_xticks(np.arange(len(names)) + 0.3, names)
    axis.set_ylabel("share of the saving that\nforesight would bring")
    axis.set_title(title)
    axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--house", choices=("france", "konstanz"), default="france")
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--begin", help="first UTC day, YYYY-MM-DD; default: the first whole one")
    parser.add_argument("--methods", default=";".join(METHODS), help="separated by ;")
    parser.add_argument("--tariffs", default=";".join(TARIFFS), help="separated by ;")
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    house = read_house(options.house)
    first = stretch(house, options.days, options.begin)
    begin = house.start + dt.timedelta(seconds=house.step_s * first)
    title = f"{options.house}, {options.days} days from {begin:%Y-%m-%d}"
    wanted = options.methods.split(";")
    found = list(rows(house, options.days, first, wanted, options.tariffs.split(";")))
    table = Table(title=title)
    for name in found[0]:
        table.add_column(name.replace("_", " "), justify="left" if name == "method" else "right")
    for row in found:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=150).print(table)
    stem = f"stochastic-{options.house}-{begin:%Y-%m-%d}"
    with (options.out / f"{stem}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    draw(found, options.out / f"{stem}.png", title)


if __name__ == "__main__":
    main()
