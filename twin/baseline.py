"""The rule-based baseline, and the meter that scores a house: both sides use the same one.

The baseline is the same `House` with no command ever: thermostats with hysteresis and a fixed
optimal-start lead, battery self-use, the car charges when plugged. Same seed, weather, sessions and
starting state as the controlled house.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any

from contracts.site import SiteConfig
from twin.calendar import epoch_s
from twin.house import House
from twin.scenario import QUARTER_S, Scenario
from twin.state import OWN_RULES, Observation, Truth


@dataclass(frozen=True)
class MeterReading:
    """Totals of a stretch. Energies kWh, money EUR (tariff of the site, VAT as the tariff says).

    cost_eur : import cost less export revenue; the monthly fee is not included
    self_consumption : share of the PV energy that was not exported (1 without PV); energy that the
        battery exports counts against it
    self_sufficiency : share of the consumption that was not imported
    battery_wear_eur : discharged energy times the site's wear price
    """

    cost_eur: float = 0.0
    import_eur: float = 0.0
    export_eur: float = 0.0
    import_kwh: float = 0.0
    export_kwh: float = 0.0
    pv_kwh: float = 0.0
    load_kwh: float = 0.0
    heating_kwh: float = 0.0
    ev_kwh: float = 0.0
    battery_discharge_kwh: float = 0.0
    battery_wear_eur: float = 0.0
    comfort_below_kh: float = 0.0
    comfort_above_kh: float = 0.0
    self_consumption: float = 1.0
    self_sufficiency: float = 0.0


class Meter:
    """Prices the energy between two observations of a house with the quarter hour's price."""

    def __init__(self, site: SiteConfig, scenario: Scenario, house: House) -> None:
        self._site, self._scenario = site, scenario
        self._price_of: dict[int, tuple[float, float]] = {}
        self._last = house.observe()
        self._first, self._first_truth = self._last, house.truth
        self._import_eur = 0.0
        self._export_eur = 0.0

    def price(self, time_s: int) -> tuple[float, float]:
        """(buy, sell) EUR/kWh of the quarter hour that holds an instant."""
        quarter = time_s // QUARTER_S * QUARTER_S
        if quarter not in self._price_of:
            prices = self._scenario.prices
            spot = float(prices["eur_per_mwh"][prices.index(quarter)])
            local = dt.datetime.fromtimestamp(quarter, self._site.location.zone)
            tariff = self._site.tariff
            self._price_of[quarter] = (
                tariff.buy_eur_per_kwh(spot, local),
                tariff.sell_eur_per_kwh(spot),
            )
        return self._price_of[quarter]

    def add(self, seen: Observation) -> None:
        """Count the energy since the last observation.

        ValueError when the stretch crosses a quarter hour: the price inside it would be unknown.
        """
        begin, end = epoch_s(self._last.time), epoch_s(seen.time)
        if end == begin:
            return
        if begin // QUARTER_S != (end - 1) // QUARTER_S:
            raise ValueError(
                f"{self._last.time.isoformat()} to {seen.time.isoformat()} crosses a quarter hour; "
                "step at least once every 15 minutes, on the quarter"
            )
        buy, sell = self.price(begin)
        self._import_eur += buy * (seen.import_wh - self._last.import_wh) / 1000.0
        self._export_eur += sell * (seen.export_wh - self._last.export_wh) / 1000.0
        self._last = seen

    def reading(self, truth: Truth) -> MeterReading:
        """Totals since the meter was made; `truth` is the house's at the same moment."""
        last, first, was = self._last, self._first, self._first_truth
        imported = (last.import_wh - first.import_wh) / 1000.0
        exported = (last.export_wh - first.export_wh) / 1000.0
        pv = (last.pv_wh - first.pv_wh) / 1000.0
        load = (last.load_wh - first.load_wh) / 1000.0
        discharged = (last.battery_discharge_wh - first.battery_discharge_wh) / 1000.0
        battery = self._site.battery
        return MeterReading(
            cost_eur=self._import_eur - self._export_eur,
            import_eur=self._import_eur,
            export_eur=self._export_eur,
            import_kwh=imported,
            export_kwh=exported,
            pv_kwh=pv,
            load_kwh=load,
            heating_kwh=(truth.heating_wh - was.heating_wh) / 1000.0,
            ev_kwh=(truth.ev_wh - was.ev_wh) / 1000.0,
            battery_discharge_kwh=discharged,
            battery_wear_eur=0.0 if battery is None else discharged * battery.wear_eur_per_kwh,
            comfort_below_kh=truth.comfort_below_kh - was.comfort_below_kh,
            comfort_above_kh=truth.comfort_above_kh - was.comfort_above_kh,
            self_consumption=1.0 if pv <= 0 else max(0.0, 1.0 - exported / pv),
            self_sufficiency=0.0 if load <= 0 else max(0.0, 1.0 - imported / load),
        )

    def save(self) -> dict[str, Any]:
        """State as a JSON-able dict: what was counted, relative to the house's counters."""
        return {"import_eur": self._import_eur, "export_eur": self._export_eur}

    def load(self, state: dict[str, Any], house: House) -> None:
        """Continue after `house.load(...)`: the meter must have been made at counters of zero."""
        self._import_eur = float(state["import_eur"])
        self._export_eur = float(state["export_eur"])
        self._last = house.observe()


class Baseline:
    """A house by its own rules with its meter."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.meter = Meter(house.site, house.scenario, house)

    @classmethod
    def warmed(
        cls, site: SiteConfig, scenario: Scenario, seed: int, start: dt.datetime
    ) -> Baseline:
        """Baseline from the same warmed start as `House.warmed` gives the controlled house."""
        return cls(House.warmed(site, scenario, seed, start))

    def advance(self, until: dt.datetime) -> Observation:
        """Step to `until` in pieces of at most a quarter hour, counting."""
        end = epoch_s(until)
        seen = self.house.observe()
        while epoch_s(self.house.time) < end:
            now = epoch_s(self.house.time)
            stop = min(end, (now // QUARTER_S + 1) * QUARTER_S)
            seen = self.house.step(dt.datetime.fromtimestamp(stop, dt.UTC), OWN_RULES)
            self.meter.add(seen)
        return seen

    @property
    def reading(self) -> MeterReading:
        """Totals so far."""
        return self.meter.reading(self.house.truth)


def as_dict(reading: MeterReading) -> dict[str, float]:
    """Plain numbers for a report."""
    return asdict(reading)
