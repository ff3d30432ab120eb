"""The forecast service: PV, uncontrolled load and price for the next 48 hours, every hour."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from chassis.service import Decision, Service, State
from contracts import grid
from contracts.envelope import Event
from contracts.events.clock import Ticked
from contracts.events.forecast import ForecastIssued
from contracts.events.measurement import EvSampled, HouseSampled, RoomSampled
from contracts.events.price import PricesPublished
from contracts.events.weather import WeatherForecastIssued
from contracts.site import SiteConfig
from services.forecast.core.bands import Bands
from services.forecast.core.load_seasonal import seasonal_load
from services.forecast.core.price_seasonal import seasonal_price
from services.forecast.core.pv_physics import PvArray, pv_physics
from services.forecast.core.solar import Location
from services.forecast.core.weather import Weather

STEP_S = grid.QUARTER_S
STEPS = 192
PERIOD_S = 3_600
PRICE_HISTORY_S = 28 * 86_400
LOAD_HISTORY_S = 56 * 86_400


class ForecastState(State):
    """History by quarter hour (epoch seconds of the start -> mean), and the newest weather run."""

    load_w: dict[int, float] = {}
    load_sum: float = 0.0
    load_count: int = 0
    load_slot: int = 0
    price: dict[int, float] = {}
    price_event: str = ""
    weather: WeatherForecastIssued | None = None
    weather_event: str = ""
    relay_on: dict[str, bool] = {}
    ev_w: dict[str, float] = {}
    issued: datetime | None = None
    due: bool = False


class Forecast(Service[ForecastState]):
    """Weather, prices and history -> P10, P50, P90."""

    name = "forecast"
    state_type = ForecastState

    def fold(self, state: ForecastState, event: Event) -> None:
        data = event.data
        state.due = False
        if isinstance(data, RoomSampled):
            state.relay_on[data.room] = bool(data.relay_on)
        elif isinstance(data, EvSampled):
            state.ev_w[data.ev] = data.power_w or 0.0
        elif isinstance(data, HouseSampled):
            _learn_load(state, data)
        elif isinstance(data, PricesPublished):
            _learn_prices(state, data)
            state.price_event = event.id
        elif isinstance(data, WeatherForecastIssued):
            newer = state.weather is None or data.issued >= state.weather.issued
            if newer:
                state.weather, state.weather_event = data, event.id
        elif isinstance(data, Ticked):
            state.due = _due(state, data.time)
            if state.due:
                state.issued = data.time

    def decide(self, state: ForecastState, event: Event) -> Iterable[Decision]:
        if not state.due or state.site is None or state.now is None:
            return
        now = state.now
        start = grid.floor(now, STEP_S)
        times = int(start.timestamp()) + STEP_S * np.arange(STEPS, dtype=np.int64)
        known = sum(1 for t in times.tolist() if t in state.price)
        for quantity, bands, method, because in (
            ("pv", _pv(state, state.site, times), "pvlib physics", state.weather_event),
            ("load", _load(state, state.site, times), "seasonal by kind of day", ""),
            ("price", _price(state, state.site, times), "published, then last week",
             state.price_event),
        ):
            if bands is None or not np.isfinite(bands.p50).all():
                continue
            digits = 3 if quantity == "price" else 1
            yield Decision(
                "forecast.issued",
                quantity,
                ForecastIssued(
                    quantity=quantity,
                    issued=now,
                    start=start,
                    step_s=STEP_S,
                    p10=_rounded(bands.p10, digits),
                    p50=_rounded(bands.p50, digits),
                    p90=_rounded(bands.p90, digits),
                    known_steps=known if quantity == "price" else 0,
                    method=method,
                    flags=bands.flags,
                    because=(because,) if because else (),
                ),
            )


def _due(state: ForecastState, now: datetime) -> bool:
    """Every full hour, once weather and prices are there to make the first."""
    if state.weather is None or not state.price or state.site is None:
        return False
    if state.issued is None:
        return True
    return grid.floor(now, PERIOD_S) > grid.floor(state.issued, PERIOD_S)


def _learn_load(state: ForecastState, data: HouseSampled) -> None:
    """Mean of the uncontrolled load by quarter hour: total less heating and EV."""
    if data.load_w is None or state.site is None:
        return
    heating = sum(room.heater_w for room in state.site.rooms if state.relay_on.get(room.id))
    load = max(0.0, data.load_w - heating - sum(state.ev_w.values()))
    slot = int(grid.floor(data.time, STEP_S).timestamp())
    if slot != state.load_slot:
        if state.load_count:
            state.load_w[state.load_slot] = state.load_sum / state.load_count
        state.load_slot, state.load_sum, state.load_count = slot, 0.0, 0
        for old in [t for t in state.load_w if t < slot - LOAD_HISTORY_S]:
            del state.load_w[old]
    state.load_sum += load
    state.load_count += 1


def _learn_prices(state: ForecastState, data: PricesPublished) -> None:
    start = int(data.start.timestamp())
    for i, value in enumerate(data.eur_per_mwh):
        for quarter in range(0, data.step_s, STEP_S):
            state.price[start + i * data.step_s + quarter] = value
    newest = max(state.price)
    for old in [t for t in state.price if t < newest - PRICE_HISTORY_S]:
        del state.price[old]


def _pv(state: ForecastState, site: SiteConfig, times: NDArray[np.int64]) -> Bands | None:
    run = state.weather
    if run is None or not site.pv:
        return None
    at = np.array(
        [run.start.timestamp() + (i + 0.5) * run.step_s for i in range(len(run.temperature_c))]
    )
    middle = times + STEP_S / 2

    def column(values: tuple[float | None, ...]) -> NDArray[np.float64] | None:
        if not values:
            return None
        array = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
        known = np.isfinite(array)
        if not known.any():
            return None
        found: NDArray[np.float64] = np.interp(
            middle, at[known], array[known], left=np.nan, right=np.nan
        )
        return found

    weather = Weather(
        ghi=column(run.ghi_w_m2),
        dni=column(run.dni_w_m2),
        dhi=column(run.dhi_w_m2),
        temp_air=column(run.temperature_c),
        wind_speed=column(run.wind_m_s),
        cloud_cover=column(run.cloud_cover_percent),
    )
    place = site.location
    arrays = [PvArray(array.tilt_deg, array.azimuth_deg, array.peak_w) for array in site.pv]
    return pv_physics(
        times,
        Location(place.latitude, place.longitude, place.altitude_m),
        arrays,
        weather,
        step_s=STEP_S,
        inverter_limit_w=site.inverter.ac_limit_w,
    )


def _load(state: ForecastState, site: SiteConfig, times: NDArray[np.int64]) -> Bands:
    known = sorted(state.load_w)
    return seasonal_load(
        times,
        np.array(known, dtype=np.int64),
        np.array([state.load_w[t] for t in known], dtype=np.float64),
        step_s=STEP_S,
        time_zone=site.location.timezone,
        country=site.location.country,
    )


def _price(state: ForecastState, site: SiteConfig, times: NDArray[np.int64]) -> Bands:
    known = sorted(state.price)
    return seasonal_price(
        times,
        np.array(known, dtype=np.int64),
        np.array([state.price[t] for t in known], dtype=np.float64),
        step_s=STEP_S,
        time_zone=site.location.timezone,
        country=site.location.country,
    )


def _rounded(values: NDArray[np.float64], digits: int) -> tuple[float, ...]:
    return tuple(np.round(values, digits).tolist())
