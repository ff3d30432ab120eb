"""Day-ahead prices, by quarter hour or hour: energy-charts.info, or the Czech market operator OTE.

Sources: https://api.energy-charts.info (``/price``, Fraunhofer ISE; JSON with ``unix_seconds``,
``price``, ``unit``) and the chart data that OTE publishes for each day at
https://www.ote-cr.cz/en/short-term-markets/electricity/day-ahead-market (``@@chart-data``).

Prices are never guessed: a gap, a null or a change of the step ends a stretch, and the stretch
that reaches furthest into the future is what is returned; the rest is counted in ``faults()``.
A local day is taken only if it is complete, with its 23, 24 or 25 hours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from contracts.events.price import PricesPublished
from services.gateway.devices.base import parse_number
from services.gateway.devices.web import WebService

ENERGY_CHARTS = "https://api.energy-charts.info"
OTE = "https://www.ote-cr.cz/en/short-term-markets/electricity/day-ahead-market/@@chart-data"
EUR_PER_MWH = (-10_000.0, 10_000.0)
PRAGUE = ZoneInfo("Europe/Prague")
STEPS_S = (900, 3_600)
Points = dict[int, float]  # epoch seconds of the interval's start -> EUR/MWh


class EnergyCharts(WebService):
    """Prices of a bidding zone.

    Parameters
    ----------
    zone : as energy-charts names it, for example CZ or DE-LU
    market : the event's name of the market; the zone when not given
    url : base address
    market_zone : time zone of the market's day; the coupled European market uses CET
    """

    def __init__(
        self,
        zone: str = "CZ",
        market: str | None = None,
        url: str = ENERGY_CHARTS,
        *,
        market_zone: ZoneInfo = PRAGUE,
    ) -> None:
        super().__init__("energy-charts", f"{url}/price")
        self._zone = zone
        self._market = market or zone
        self._market_zone = market_zone
        self._faults: Counter[str] = Counter()

    async def prices(
        self, now: datetime, since: datetime, until: datetime | None = None
    ) -> PricesPublished | None:
        """What is published from ``since`` to ``until``, else to the end of tomorrow.

        None when there is nothing. Raises DeviceUnavailable when the service does not answer,
        ValueError when it answers something else than documented.
        """
        tomorrow = now.astimezone(self._market_zone).date() + timedelta(days=1)
        end = until or _day_start(tomorrow + timedelta(days=1), self._market_zone)
        body = await self.get(
            {
                "bzn": self._zone,
                "start": str(int(since.timestamp())),
                "end": str(int(end.timestamp())),
            }
        )
        if body is None:
            return None
        points = read_energy_charts(body)
        kept = {t: p for t, p in points.items() if since.timestamp() <= t < end.timestamp()}
        return newest_stretch(kept, self._market, now, self._market_zone, self._faults)

    def faults(self) -> dict[str, int]:
        """Gaps and other oddities met so far."""
        return dict(self._faults)


class OteCz(WebService):
    """Prices of the Czech market, one request a day. Quarter hours since 2025-10-01."""

    market_zone = PRAGUE

    def __init__(self, url: str = OTE) -> None:
        super().__init__("ote-cz", url)
        self._days: dict[date, Points] = {}
        self._faults: Counter[str] = Counter()

    async def prices(
        self, now: datetime, since: datetime, until: datetime | None = None
    ) -> PricesPublished | None:
        """As ``EnergyCharts.prices``. Days that were read once are not asked for again."""
        day = since.astimezone(self.market_zone).date()
        tomorrow = now.astimezone(self.market_zone).date() + timedelta(days=1)
        points: Points = {}
        while day <= tomorrow:
            if day not in self._days:
                body = await self.get({"report_date": day.isoformat()})
                read = {} if body is None else read_ote(body, day)
                if read:
                    self._days[day] = read
            points.update(self._days.get(day, {}))
            day += timedelta(days=1)
        last = float("inf") if until is None else until.timestamp()
        kept = {t: price for t, price in points.items() if since.timestamp() <= t < last}
        return newest_stretch(kept, "CZ", now, self.market_zone, self._faults)

    def faults(self) -> dict[str, int]:
        """Gaps and other oddities met so far."""
        return dict(self._faults)


def read_energy_charts(body: Mapping[str, Any]) -> Points:
    """An answer of ``/price``; null prices are left out. ValueError names what is wrong."""
    unit = body.get("unit")
    if not isinstance(unit, str) or unit.replace(" ", "") != "EUR/MWh":
        raise ValueError(f"unit: {unit!r}, wanted 'EUR / MWh'")
    times, prices = body.get("unix_seconds"), body.get("price")
    if not isinstance(times, list) or not isinstance(prices, list) or len(times) != len(prices):
        raise ValueError("unix_seconds and price: wanted two lists of one length")
    points: Points = {}
    last = None
    for at, value in zip(times, prices, strict=True):
        if isinstance(at, bool) or not isinstance(at, int) or at % 900:
            raise ValueError(f"unix_seconds: {at!r} is not the start of a quarter hour")
        if last is not None and at <= last:
            raise ValueError(f"unix_seconds: {at} after {last}; wanted rising times")
        last = at
        price = parse_number(value, *EUR_PER_MWH, "price")
        if price is not None:
            points[at] = price
    return points


def read_ote(body: Mapping[str, Any], day: date) -> Points:
    """OTE's chart data of one local day; empty when the day is not published.

    Raises ValueError when the number of points is not that of the day (92, 96, 100 quarter hours
    or 23, 24, 25 hours), or a value is no price.
    """
    try:
        lines = body["data"]["dataLine"]
        titles = [str(line["title"]).lower() for line in lines]
    except (KeyError, TypeError) as error:
        raise ValueError("data.dataLine: missing; is it OTE's chart data?") from error
    wanted = [
        i for i, title in enumerate(titles) if "price (eur/mwh)" in title and "60" not in title
    ]
    if not wanted:
        if not lines:
            return {}
        raise ValueError(f"data.dataLine: no price in EUR/MWh among {titles}")
    points = lines[wanted[0]].get("point")
    if not isinstance(points, list):
        raise ValueError("data.dataLine.point: wanted a list")
    if not points:
        return {}
    zone = OteCz.market_zone
    start = int(_day_start(day, zone).timestamp())
    length_s = int(_day_start(day + timedelta(days=1), zone).timestamp()) - start
    step_s = next((step for step in STEPS_S if len(points) * step == length_s), None)
    if step_s is None:
        raise ValueError(
            f"data.dataLine.point: {len(points)} points, but {day} has {length_s // 3_600} hours"
        )
    prices: Points = {}
    for i, point in enumerate(points):
        if not isinstance(point, Mapping) or str(point.get("x")) != str(i + 1):
            raise ValueError(f"data.dataLine.point: number {i + 1} is {point!r}, wanted x={i + 1}")
        price = parse_number(point.get("y"), *EUR_PER_MWH, "data.dataLine.point.y")
        if price is not None:
            prices[start + i * step_s] = price
    return prices


def newest_stretch(
    points: Points, market: str, now: datetime, zone: ZoneInfo, faults: Counter[str]
) -> PricesPublished | None:
    """The last run of points without a gap or a change of step, up to its last complete day.

    None when no point is left. Gaps and days that end too early are counted in ``faults``.
    """
    times = sorted(points)
    if len(times) < 2:
        return None
    step_s = times[-1] - times[-2]
    if step_s not in STEPS_S:
        raise ValueError(f"prices: {step_s} s between the last two; wanted 900 or 3600 s")
    first = len(times) - 1
    while first > 0 and times[first] - times[first - 1] == step_s:
        first -= 1
    if first > 0:
        faults["gap or change of step"] += 1
    stretch = times[first:]
    end = datetime.fromtimestamp(stretch[-1] + step_s, UTC)
    midnight = _day_start(end.astimezone(zone).date(), zone)
    if end != midnight:
        # An unfinished day is a day in publication: wait for the rest of it.
        faults["day not complete"] += 1
        stretch = [t for t in stretch if t < midnight.timestamp()]
    if not stretch:
        return None
    return PricesPublished(
        market=market,
        published=now,
        start=datetime.fromtimestamp(stretch[0], UTC),
        step_s=step_s,
        eur_per_mwh=tuple(points[t] for t in stretch),
    )


def _day_start(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(0), zone).astimezone(UTC)
