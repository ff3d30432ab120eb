"""From day-ahead prices and a tariff to what a kWh costs and earns in every planning step."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

from contracts.tariff import Tariff

SLICE_S = 900


def build_prices(
    tariff: Tariff,
    time_zone: dt.tzinfo,
    spot_start: dt.datetime,
    spot_step_s: int,
    spot_eur_per_mwh: Sequence[float],
    start: dt.datetime,
    step_s: Sequence[int],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(buy, sell) EUR per kWh of every step.

    Parameters
    ----------
    tariff : fees, distribution rates with cheap local hours (Czech HDO), VAT, selling fee
    time_zone : local zone; cheap hours are local wall-clock times, also on days of 23 and 25 h
    spot_start, spot_step_s, spot_eur_per_mwh : day-ahead prices, one per interval, UTC start
    start, step_s : the planning grid, UTC start and seconds

    A step longer than a quarter hour gets the mean over its quarter hours. Raises ValueError when a
    time zone is missing, a price is NaN or the prices do not cover the grid.
    """
    for name, moment in (("spot_start", spot_start), ("start", start)):
        if moment.tzinfo is None:
            raise ValueError(f"{name} has no time zone; give an aware UTC time")
    buy, sell = [], []
    moment = start
    for step, seconds in enumerate(step_s):
        slices = max(1, round(seconds / SLICE_S))
        width = seconds / slices
        bought = sold = 0.0
        for part in range(slices):
            at = moment + dt.timedelta(seconds=(part + 0.5) * width)
            index = math.floor((at - spot_start).total_seconds() / spot_step_s)
            if not 0 <= index < len(spot_eur_per_mwh):
                raise ValueError(
                    f"spot_eur_per_mwh ends before step {step} ({at.isoformat()}); "
                    "shorten the horizon or forecast the prices first"
                )
            spot = float(spot_eur_per_mwh[index])
            if not math.isfinite(spot):
                raise ValueError(
                    f"spot_eur_per_mwh[{index}] is not a number; fill the gap with a forecast"
                )
            bought += tariff.buy_eur_per_kwh(spot, at.astimezone(time_zone))
            sold += tariff.sell_eur_per_kwh(spot)
        buy.append(bought / slices)
        sell.append(sold / slices)
        moment += dt.timedelta(seconds=seconds)
    return tuple(buy), tuple(sell)
