"""The default scenario: no download, every number from documented parameters and a seed.

Prices: parameters below were estimated from OTE day-ahead prices of the Czech market, July 2023 to
December 2025 (published market data): for each season the mean of the day (working days, weekends),
the mean shape of the day around it, the day-to-day and hour-to-hour persistence and spread. On a
sunnier day than the season's mean the midday price falls further, and may turn negative. Hours are
joined by straight lines, which gives the quarter-hour ramps that the market has had since 2025-10.

Base load: a family of four without heating and car: a standing load, a daily shape that differs
between working days and free days (Czech holidays included), lights in the dark season, and single
appliance runs at drawn times. About 13 kWh a day.

EV sessions: on most working days the car comes home in the late afternoon and leaves next morning;
at weekends less often; energies are log-normal around 11 kWh. Four of five stays are
announced.
"""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import holidays
import numpy as np

from contracts.site import Location
from twin.calendar import epoch_s, local_day_start_s, local_seconds
from twin.climate import PROVENANCE, typical_weather
from twin.forecast_errors import ar1
from twin.scenario import QUARTER_S, EvSession, Scenario
from twin.sun import clear_ghi_means
from twin.tables import FloatArray, Table

DEFAULT_START = dt.datetime(2026, 1, 12, tzinfo=ZoneInfo("Europe/Prague"))
DEFAULT_SEED = 2026
DEFAULT_WEATHER_SHIFT_DAYS = 12
"""Puts two ordinary January days (-3 to 5 degC, one bright and one overcast) at the default start,
where the typical year has a cold spell."""
HISTORY_DAYS = 7
AFTER_DAYS = 5
"""Days of series beyond the run, for forecasts that look 72 h ahead at its end."""
PRAGUE = Location(
    latitude=50.05, longitude=14.65, altitude_m=290, timezone="Europe/Prague", country="CZ"
)

SEASON_OF_MONTH = (0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 0)
"""0 winter (December to February), 1 spring, 2 summer, 3 autumn."""
DAY_MEAN_EUR_MWH = ((109, 91), (83, 54), (93, 58), (107, 79))
"""By season: working days, weekends."""
DAY_SPREAD_EUR_MWH = (38, 21, 19, 27)
DAY_PERSISTENCE = 0.69
HOUR_SPREAD_EUR_MWH = (20, 17, 16, 20)
HOUR_PERSISTENCE = 0.78
SHAPE_SPREAD = 0.22
"""Relative spread of the daily swing around the mean shape."""
SUN_EFFECT_EUR_MWH = (25, 75, 70, 45)
"""Fall of the midday price for a clear-sky index 1 above the season's mean."""
# fmt: off
SHAPE_EUR_MWH = (
    # winter: working day, weekend; hours 0 to 23 local
    (-27, -28, -31, -34, -32, -23, -1, 20, 30, 19, 8, 1, -3, -1, 5, 16, 27, 34, 29, 22, 7, -6,
     -11, -22),
    (-7, -13, -14, -18, -18, -16, -12, -4, 2, 3, -1, -3, -7, -7, -1, 8, 18, 25, 26, 22, 17, 6,
     1, -7),
    # spring
    (-1, -6, -9, -9, -7, 2, 24, 35, 20, -3, -24, -36, -43, -47, -44, -31, -15, 8, 33, 52, 54,
     28, 14, 4),
    (26, 18, 16, 14, 14, 15, 14, 10, -3, -22, -36, -47, -58, -69, -68, -50, -30, 0, 38, 53, 57,
     46, 37, 26),
    # summer
    (1, -7, -11, -12, -11, -3, 20, 26, 15, -6, -23, -32, -39, -43, -43, -33, -20, 0, 19, 52, 74,
     46, 23, 7),
    (32, 24, 20, 17, 15, 13, 12, 3, -8, -25, -38, -46, -53, -61, -62, -53, -37, -8, 23, 44, 53,
     52, 48, 35),
    # autumn
    (-24, -28, -32, -34, -32, -21, 10, 36, 32, 11, -6, -15, -21, -22, -17, -4, 13, 35, 53, 67,
     27, 1, -8, -20),
    (0, -5, -8, -9, -8, -6, -1, 5, 3, -5, -19, -29, -35, -39, -32, -15, 5, 30, 44, 51, 37, 20,
     14, 3),
)
# fmt: on

STANDING_LOAD_W = 170.0
# fmt: off
WORKDAY_LOAD_W = (
    40, 30, 30, 30, 40, 90, 240, 300, 190, 130, 120, 130, 160, 140, 130, 150, 220, 330, 420,
    440, 400, 330, 220, 100,
)
# fmt: on
# fmt: off
FREE_DAY_LOAD_W = (
    60, 40, 30, 30, 30, 40, 80, 170, 290, 340, 330, 370, 400, 310, 240, 230, 250, 310, 370, 390,
    370, 320, 240, 130,
)
# fmt: on
APPLIANCES = (
    # name, power W, quarters, runs a day, local hours from, to
    ("dishwasher", 900, 4, 0.8, 18, 22),
    ("washing machine", 700, 5, 0.6, 8, 20),
    ("oven and hob", 1600, 3, 0.9, 16, 20),
    ("midday hob", 1200, 2, 0.4, 11, 13),
    ("kettle and toaster", 900, 1, 1.6, 6, 10),
)


def default_scenario(
    start: dt.datetime = DEFAULT_START,
    days: float = 2,
    seed: int = DEFAULT_SEED,
    *,
    location: Location = PRAGUE,
    ev_ids: tuple[str, ...] = ("car",),
    history_days: int = HISTORY_DAYS,
    weather_shift_days: int = DEFAULT_WEATHER_SHIFT_DAYS,
) -> Scenario:
    """A documented, seeded world for a house near Prague.

    Parameters
    ----------
    start : aware time of the run's start; the default is Monday 2026-01-12 00:00 in Prague
    days : length of the run, days of 24 h
    seed : of prices, load, sessions, cloud and sensor noise, forecast errors
    location : where the house stands; the climate stays that of Prague's normals
    ev_ids : cars that get sessions
    history_days : days of series before the start
    weather_shift_days : other weather of the same climate, see twin/climate.py
    """
    zone = location.zone
    start_s = epoch_s(start)
    end_s = start_s + round(days * 86_400)
    first_day = start.astimezone(zone).date() - dt.timedelta(days=history_days)
    last_day = dt.datetime.fromtimestamp(end_s, zone).date() + dt.timedelta(days=AFTER_DAYS)
    from_s = local_day_start_s(first_day, zone)
    to_s = local_day_start_s(last_day, zone)
    weather = typical_weather(
        from_s, to_s, location.latitude, location.longitude, location.altitude_m, weather_shift_days
    )
    load = base_load(from_s, to_s, location, seed)
    return Scenario(
        name="default",
        seed=seed,
        start_s=start_s,
        end_s=end_s,
        time_zone=location.timezone,
        latitude=location.latitude,
        longitude=location.longitude,
        altitude_m=location.altitude_m,
        weather=weather,
        prices=day_ahead_prices(from_s, to_s, location, seed, weather),
        load=load,
        sessions=ev_sessions(from_s, to_s, location, seed, ev_ids),
        provenance={
            "weather": PROVENANCE,
            "prices": "seeded generator with statistics of the Czech day-ahead market 2023-07 to "
            "2025-12 (twin/generate.py); no day of it ever happened",
            "load": "seeded generator of a family of four (twin/generate.py)",
            "ev": "seeded generator (twin/generate.py)",
            "weather_forecast": "seeded error model (twin/forecast_errors.py)",
        },
    )


def day_ahead_prices(
    from_s: int, to_s: int, location: Location, seed: int, weather: Table
) -> Table:
    """Seeded day-ahead prices, quarter hours, EUR/MWh, column `eur_per_mwh`."""
    rng = np.random.default_rng([seed, 11])
    zone = location.zone
    times = np.arange(from_s, to_s, QUARTER_S, dtype=np.int64)
    local = local_seconds(times, zone)
    day_index = local // 86_400 - local[0] // 86_400
    day_count = int(day_index[-1]) + 1
    first = dt.datetime.fromtimestamp(from_s, zone).date()
    dates = [first + dt.timedelta(days=k) for k in range(day_count)]
    season = np.array([SEASON_OF_MONTH[day.month - 1] for day in dates])
    free = _free_days(dates, location.country)
    level = np.array(DAY_MEAN_EUR_MWH, dtype=np.float64)[season, free]
    level += (
        ar1(rng.standard_normal(day_count), DAY_PERSISTENCE) * np.array(DAY_SPREAD_EUR_MWH)[season]
    )
    swing = np.exp(SHAPE_SPREAD * ar1(rng.standard_normal(day_count), 0.5))
    sun = _daily_sky_index(weather, day_index, times, location)
    drop = np.array(SUN_EFFECT_EUR_MWH)[season] * (sun - np.array((0.5, 0.62, 0.68, 0.6))[season])

    hour = (local % 86_400) / 3600
    shape = np.array(SHAPE_EUR_MWH, dtype=np.float64)
    around = np.concatenate((shape[:, -1:], shape, shape[:, :1]), axis=1)
    rows = 2 * season + free
    positions = hour + 0.125 + 0.5  # the quarter's middle among hour middles
    left = positions.astype(np.int64)
    part = positions - left
    row = rows[day_index]
    profile = around[row, left] * (1 - part) + around[row, left + 1] * part
    hours = len(times) // 4 + 2
    ripple = ar1(rng.standard_normal(hours), HOUR_PERSISTENCE)
    ripple = np.interp(np.arange(len(times)) / 4, np.arange(hours), ripple)
    midday = np.exp(-(((hour - 13.0) / 2.8) ** 2))
    price = (
        level[day_index]
        + profile * swing[day_index]
        + ripple * np.array(HOUR_SPREAD_EUR_MWH)[season][day_index]
        - drop[day_index] * midday
        + rng.normal(0.0, 2.0, len(times))
    )
    return Table(from_s, QUARTER_S, {"eur_per_mwh": np.round(np.clip(price, -500, 4000), 2)})


def _daily_sky_index(
    weather: Table, day_index: np.ndarray, times: np.ndarray, location: Location
) -> FloatArray:
    ghi = weather.hold("ghi_w_m2", times)
    clear_hours = clear_ghi_means(
        weather.start_s,
        weather.step_s,
        len(weather),
        location.latitude,
        location.longitude,
        location.altitude_m,
    )
    clear = Table(weather.start_s, weather.step_s, {"clear": clear_hours}).hold("clear", times)
    return np.asarray(np.bincount(day_index, ghi) / np.maximum(np.bincount(day_index, clear), 1.0))


def _free_days(dates: list[dt.date], country: str) -> np.ndarray:
    years = range(dates[0].year, dates[-1].year + 1)
    try:
        known = set(holidays.country_holidays(country, years=years))
    except NotImplementedError:  # a country without a known calendar has weekends only
        known = set()
    return np.array([int(day.weekday() >= 5 or day in known) for day in dates])


def base_load(from_s: int, to_s: int, location: Location, seed: int) -> Table:
    """Seeded base load without heating and car, quarter-hour means, column `base_load_w`."""
    rng = np.random.default_rng([seed, 12])
    zone = location.zone
    times = np.arange(from_s, to_s, QUARTER_S, dtype=np.int64)
    local = local_seconds(times, zone)
    day_index = local // 86_400 - local[0] // 86_400
    day_count = int(day_index[-1]) + 1
    first = dt.datetime.fromtimestamp(from_s, zone).date()
    dates = [first + dt.timedelta(days=k) for k in range(day_count)]
    free = _free_days(dates, location.country)
    hour = (local % 86_400) / 3600
    shapes = np.array((WORKDAY_LOAD_W, FREE_DAY_LOAD_W), dtype=np.float64)
    position = hour.astype(np.int64)
    part = hour - position
    row = free[day_index]
    shape = shapes[row, position] * (1 - part) + shapes[row, (position + 1) % 24] * part
    lively = np.exp(0.15 * ar1(rng.standard_normal(day_count), 0.3) - 0.01)
    season = np.cos(2 * np.pi * (day_index + dates[0].timetuple().tm_yday - 15) / 365.25)
    light = 1.0 + 0.12 * season * ((hour >= 16) | (hour < 8))
    wobble = np.exp(0.25 * ar1(rng.standard_normal(len(times)), 0.7) - 0.03)
    load = STANDING_LOAD_W + shape * lively[day_index] * light * wobble
    day_start = np.searchsorted(day_index, np.arange(day_count))
    for _, power_w, quarters, runs, hour_from, hour_to in APPLIANCES:
        for day in range(day_count):
            for _ in range(int(rng.poisson(runs * (1.3 if free[day] else 0.9)))):
                begin = day_start[day] + int(rng.uniform(4 * hour_from, 4 * hour_to))
                load[begin : begin + quarters] += power_w * rng.uniform(0.8, 1.1)
    return Table(from_s, QUARTER_S, {"base_load_w": np.round(load, 1)})


def ev_sessions(
    from_s: int, to_s: int, location: Location, seed: int, ev_ids: tuple[str, ...]
) -> tuple[EvSession, ...]:
    """Seeded stays of every car, in time order, never overlapping."""
    zone = location.zone
    first = dt.datetime.fromtimestamp(from_s, zone).date()
    day_count = (dt.datetime.fromtimestamp(to_s, zone).date() - first).days
    sessions = []
    for number, ev_id in enumerate(ev_ids):
        rng = np.random.default_rng([seed, 13, number])
        busy_to = from_s
        for k in range(day_count):
            day = first + dt.timedelta(days=k)
            draws = rng.uniform(size=2)
            arrive_h, leave_h, energy = rng.normal(17.6, 1.0), rng.normal(7.0, 0.4), rng.normal()
            weekend = day.weekday() >= 5
            if draws[0] > (0.45 if weekend else 0.75):
                continue
            if weekend:
                arrive_h -= 1.0
            if day.weekday() in (4, 5):
                leave_h += 2.0
            plug_in = local_day_start_s(day, zone) + round(arrive_h * 60) * 60
            leave = local_day_start_s(day + dt.timedelta(days=1), zone) + round(leave_h * 60) * 60
            if plug_in < busy_to or leave > to_s:
                continue
            wanted = round(float(np.clip(11_000 * np.exp(0.5 * energy), 2_000, 40_000)), -2)
            announced = draws[1] < 0.8
            sessions.append(
                EvSession(
                    ev_id,
                    plug_in,
                    leave,
                    wanted,
                    wanted if announced else None,
                    leave // 900 * 900 if announced else None,
                )
            )
            busy_to = leave + 3600
    return tuple(sorted(sessions, key=lambda session: (session.plug_in_s, session.ev_id)))
