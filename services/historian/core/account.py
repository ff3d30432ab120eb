"""What a stretch of the log cost, kept warm and commanded: one fold, used for every report. Pure.

Money is energy between two meter readings times the price of the quarter hour it began in, by the
site's tariff; the monthly fee is left out on both sides. Comfort is K·h below the band, summed over
rooms: from true temperatures when the twin gives them, else from the samples. A saving is reckoned
after both houses' stores (car, loads that waited, battery, warm floors) are made even at the
rule-based house's mean price: what was only postponed is not saved.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from pydantic import BaseModel

from contracts import grid
from contracts.envelope import Event
from contracts.events import command, measurement
from contracts.events.price import PricesPublished
from contracts.events.safety import ModeChanged
from contracts.events.system import ConfigLoaded, MessageQuarantined
from contracts.events.thermal import AccuracyScored
from contracts.site import SiteConfig

LONGEST_STEP = timedelta(minutes=30)
"""A longer hole between two meter readings is priced at its beginning and counted as a gap."""
PRICES_KEPT = timedelta(days=10)


class Meter(BaseModel):
    """Energy and money of one house between its first and newest reading."""

    at: datetime | None = None
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    import_eur: float = 0.0
    export_eur: float = 0.0
    gaps: int = 0

    def energy_kwh(self, counter: str) -> float | None:
        """What a counter moved, None when it was never read."""
        if counter not in self.first or counter not in self.last:
            return None
        return (self.last[counter] - self.first[counter]) / 1_000


class Account(BaseModel):
    """The running account; ``fold`` takes events in log order."""

    site: SiteConfig | None = None
    since: datetime | None = None
    until: datetime | None = None
    price: dict[int, float] = {}
    house: Meter = Meter()
    baseline: Meter = Meter()
    comfort_kh: float | None = None
    baseline_comfort_kh: float | None = None
    comfort_from: tuple[float, float] | None = None
    sampled_comfort_kh: float = 0.0
    stores_from: dict[str, float] = {}
    behind_kwh: dict[str, float] = {}
    """What the house has less in store than the rule-based one, since the first reading."""
    counts: dict[str, int] = {}
    clamped: int = 0
    bands: dict[str, tuple[int, float]] = {}
    """By lead, temperatures that a 90 % band was issued for and how many of these it held."""
    modes: list[tuple[datetime, str, str]] = []
    events: int = 0
    unpriced_kwh: float = 0.0

    def fold(self, event: Event) -> None:
        """Take one event in."""
        data = event.data
        self.events += 1
        if event.type == "clock.ticked" and event.time is not None:
            self.since = self.since or event.time
            self.until = event.time
        elif isinstance(data, ConfigLoaded) and data.site is not None:
            self.site = data.site
        elif isinstance(data, PricesPublished):
            self._prices(data)
        elif isinstance(data, measurement.HouseSampled):
            self._meter(self.house, data, data.time)
        elif isinstance(data, measurement.BaselineSampled):
            self._meter(self.baseline, data, data.time)
            now = (data.house_comfort_deficit_kh, data.comfort_deficit_kh)
            self.comfort_from = self.comfort_from or now
            self.comfort_kh = now[0] - self.comfort_from[0]
            self.baseline_comfort_kh = now[1] - self.comfort_from[1]
            less = {
                "ev": data.ev_wh - data.house_ev_wh,
                "battery": data.battery_stored_wh - data.house_battery_stored_wh,
                "heat": data.heat_stored_wh - data.house_heat_stored_wh,
            }
            if data.loads_wh is not None and data.house_loads_wh is not None:
                less["loads"] = data.loads_wh - data.house_loads_wh
            self.stores_from = {**less, **self.stores_from}
            self.behind_kwh = {k: (v - self.stores_from[k]) / 1_000 for k, v in less.items()}
        elif isinstance(data, measurement.RoomSampled):
            self._comfort(data)
        elif isinstance(data, ModeChanged):
            self.modes.append((data.time, data.after, ", ".join(data.reasons)))
        elif isinstance(data, AccuracyScored):
            for lead, scores in data.house.items():
                n, held = self.bands.get(lead, (0, 0.0))
                self.bands[lead] = n + scores.n, held + scores.n * scores.coverage_90
        elif isinstance(data, command.Approved) and data.value != data.asked:
            self.clamped += 1
        if event.type.startswith(("command.", "plan.", "override.")) or isinstance(
            data, MessageQuarantined
        ):
            self.counts[event.type] = self.counts.get(event.type, 0) + 1

    def _prices(self, data: PricesPublished) -> None:
        start = int(data.start.timestamp())
        for i, value in enumerate(data.eur_per_mwh):
            for quarter in range(0, data.step_s, grid.QUARTER_S):
                self.price[start + i * data.step_s + quarter] = value
        kept = int((data.published - PRICES_KEPT).timestamp())
        for old in [t for t in self.price if t < kept]:
            del self.price[old]

    def _meter(
        self,
        meter: Meter,
        data: measurement.HouseSampled | measurement.BaselineSampled,
        now: datetime,
    ) -> None:
        names = ("import_wh", "export_wh", "pv_wh", "load_wh", "battery_discharge_wh")
        seen = {name: v for name in names if (v := getattr(data, name)) is not None}
        if meter.at is not None and {"import_wh", "export_wh"} <= seen.keys() & meter.last.keys():
            imported = (seen["import_wh"] - meter.last["import_wh"]) / 1_000
            exported = (seen["export_wh"] - meter.last["export_wh"]) / 1_000
            spot = self.price.get(int(grid.floor(meter.at, grid.QUARTER_S).timestamp()))
            if spot is None or self.site is None:
                self.unpriced_kwh += imported
            else:
                local = meter.at.astimezone(self.site.location.zone)
                meter.import_eur += imported * self.site.tariff.buy_eur_per_kwh(spot, local)
                meter.export_eur += exported * self.site.tariff.sell_eur_per_kwh(spot)
            meter.gaps += now - meter.at > LONGEST_STEP
        meter.first = {**seen, **meter.first}
        meter.last = {**meter.last, **seen}
        meter.at = now

    def _comfort(self, data: measurement.RoomSampled) -> None:
        if self.site is None or data.temperature_c is None:
            return
        low, _ = self.site.comfort_band(data.room, data.time.astimezone(self.site.location.zone))
        self.sampled_comfort_kh += max(0.0, low - data.temperature_c) * 300 / 3_600

    def figures(self) -> dict[str, float | None]:
        """The report's numbers; None where the log does not hold them."""
        house, base = self.house, self.baseline
        cost = house.import_eur - house.export_eur if house.at else None
        base_cost = base.import_eur - base.export_eur if base.at else None
        behind = self._behind_eur()
        evened = cost + behind if cost is not None and behind is not None else cost
        return {
            "cost_eur": cost,
            "behind_eur": behind,
            **{f"behind_{name}_kwh": value for name, value in self.behind_kwh.items()},
            "evened_cost_eur": evened,
            "baseline_cost_eur": base_cost,
            "saving_fraction": 1 - evened / base_cost
            if evened is not None and base_cost
            else None,
            "self_consumption": _self_consumption(house),
            "baseline_self_consumption": _self_consumption(base),
            "comfort_below_kh": self.comfort_kh
            if self.comfort_kh is not None
            else self.sampled_comfort_kh,
            "baseline_comfort_below_kh": self.baseline_comfort_kh,
            **{
                f"{who}{name}_kwh": meter.energy_kwh(f"{name}_wh")
                for who, meter in (("", house), ("baseline_", base))
                for name in ("import", "export", "pv", "load", "battery_discharge")
            },
            **{
                f"commands_{verb}": float(self.counts.get(f"command.{verb}", 0))
                for verb in ("proposed", "approved", "rejected", "executed", "verified", "failed",
                             "expired", "superseded")
            },
            "commands_clamped": float(self.clamped),
            "plans": float(self.counts.get("plan.computed", 0)),
            "ladder_steps": float(self.counts.get("plan.ladder-descended", 0)),
            "events": float(self.events),
            "unpriced_kwh": self.unpriced_kwh,
            **{f"bands_held_{lead}": held / n for lead, (n, held) in self.bands.items()},
        }  # fmt: skip


    def _behind_eur(self) -> float | None:
        """What it will cost to catch up with the rule-based house's stores, at its mean price."""
        bought = self.baseline.energy_kwh("import_wh")
        if not self.behind_kwh or not bought:
            return None
        return sum(self.behind_kwh.values()) * self.baseline.import_eur / bought


def _self_consumption(meter: Meter) -> float | None:
    """Share of the PV energy that did not leave the house; None without PV."""
    pv, exported = meter.energy_kwh("pv_wh"), meter.energy_kwh("export_wh")
    if not pv or exported is None:
        return None
    return max(0.0, 1 - exported / pv)


def account_of(events: Iterable[Event]) -> Account:
    """The account of a whole stretch."""
    account = Account()
    for event in events:
        account.fold(event)
    return account
