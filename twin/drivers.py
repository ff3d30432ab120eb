"""Everything that drives the house and does not depend on its state, minute by minute.

Made in blocks of four days, whole vectors at a time: weather, sun through every window, PV, base
load, people, window openings, and the noise of sensors. All randomness of the twin is drawn here,
from (seed, stream, block), so a block is the same whenever and in whatever order it is made, and a
restarted twin needs no generator state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.site import SiteConfig
from twin.calendar import all_away, comfort, local_seconds, look_ahead_max, minute_of_week
from twin.forecast_errors import ar1
from twin.rooms import GLASS_GAIN, ground_c
from twin.scenario import Scenario
from twin.sun import Sky, clear_ghi_means, plane_w_m2, pv_power_w, split_sky, sun_path
from twin.tables import FloatArray, IntArray

MINUTE_S = 60
BLOCK_MINUTES = 4 * 1440
PERSON_W = 75.0
APPLIANCE_HEAT_SHARE = 0.75
"""Share of the base load that ends as heat in the rooms (the rest leaves by drain and hood)."""
AT_HOME_WORKDAY = (4, 4, 4, 4, 4, 4, 4, 3, 1, 1, 1, 1, 1, 1, 1, 2, 3, 3, 4, 4, 4, 4, 4, 4)
AT_HOME_WEEKEND = (4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3, 3, 3, 3, 2, 2, 3, 3, 4, 4, 4, 4, 4, 4)
"""People in the house by local hour, before the draw of a visitor or an absence."""
SENSOR_NOISE_C = 0.04
PREHEAT_MINUTES = 180
"""The thermostat's own optimal start: it heats towards the next three hours' highest set-point."""


@dataclass(frozen=True, eq=False)
class Block:
    """Minutes [first, first + n) since the epoch; arrays of shape (n,) or (n, rooms)."""

    first_minute: int
    outdoor_c: FloatArray
    outdoor_sensor_c: FloatArray
    wind_m_s: FloatArray
    ghi_w_m2: FloatArray
    ground_c: FloatArray
    pv_w: FloatArray
    base_load_w: FloatArray
    sun_w: FloatArray
    gain_w: FloatArray
    opened: FloatArray
    sensor_error_c: FloatArray
    setpoint_c: FloatArray
    low_c: FloatArray
    high_c: FloatArray


class Drivers:
    """Blocks of a scenario for one house; keeps the newest two."""

    def __init__(self, site: SiteConfig, scenario: Scenario, seed: int) -> None:
        self.site, self.scenario, self.seed = site, scenario, seed
        lowest = {name: min(p.low_c for p in row) for name, row in site.comfort.items()}
        self._lowest = np.array([lowest[room.comfort] for room in site.rooms])
        weather = scenario.weather
        place = site.location
        self._clear = clear_ghi_means(
            weather.start_s,
            weather.step_s,
            len(weather),
            place.latitude,
            place.longitude,
            place.altitude_m,
        )
        self._blocks: dict[int, Block] = {}

    def block(self, minute: int) -> Block:
        """The block that holds a minute since the epoch."""
        number = minute // BLOCK_MINUTES
        found = self._blocks.get(number)
        if found is None:
            if len(self._blocks) > 1:
                self._blocks.pop(next(iter(self._blocks)))
            found = self._blocks[number] = self._make(number)
        return found

    def _rng(self, stream: int, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, stream, number])

    def _make(self, number: int) -> Block:
        first = number * BLOCK_MINUTES
        times = (first + np.arange(BLOCK_MINUTES, dtype=np.int64)) * MINUTE_S
        middle = times + MINUTE_S // 2
        scenario, site = self.scenario, self.site
        outdoor = scenario.weather.linear("temperature_c", middle)
        wind = scenario.weather.linear("wind_m_s", middle)
        wind *= np.exp(0.25 * ar1(self._rng(31, number).standard_normal(len(times)), 0.9) - 0.03)
        path = sun_path(
            middle, site.location.latitude, site.location.longitude, site.location.altitude_m
        )
        ghi = self._ghi(number, middle, path.clear_ghi_w_m2)
        sky = split_sky(path, ghi)
        if scenario.pv is None:
            pv = pv_power_w(sky, site.pv, site.inverter, outdoor, wind)
        else:
            pv = scenario.pv.linear("w_per_kwp", middle) * site.pv_peak_w / 1000.0
            pv = np.clip(pv, 0.0, site.inverter.ac_limit_w)
        local = local_seconds(times, site.location.zone)
        week = minute_of_week(local)
        after = times[-1] + MINUTE_S * (1 + np.arange(PREHEAT_MINUTES, dtype=np.int64))
        seen = np.concatenate([local, local_seconds(after, site.location.zone)])
        low, high = comfort(site, seen)
        setpoint, low, high = look_ahead_max(low, PREHEAT_MINUTES), low[:len(times)], high[:len(times)]
        load = self._base_load(number, times)
        noise = self._rng(32, number)
        count = len(site.rooms)
        wander = ar1(noise.standard_normal((len(times), count)), 0.97)
        outdoor_noise = 0.15 * ar1(noise.standard_normal(len(times)), 0.95)
        return Block(
            first_minute=first,
            outdoor_c=outdoor,
            outdoor_sensor_c=np.round(outdoor + outdoor_noise, 1),
            wind_m_s=wind,
            ghi_w_m2=ghi,
            ground_c=ground_c(times),
            pv_w=pv,
            base_load_w=load,
            sun_w=self._window_sun(sky),
            gain_w=self._gains(number, local, week, load, low),
            opened=self._openings(number, local, week),
            sensor_error_c=SENSOR_NOISE_C * wander,
            setpoint_c=setpoint,
            low_c=low,
            high_c=high,
        )

    def _ghi(self, number: int, middle: IntArray, clear: FloatArray) -> FloatArray:
        """Minute GHI: the table's clear-sky index between mid-intervals, with passing clouds.

        Cloud noise is a seeded AR(1) (memory 7 minutes), widest under a broken sky.
        """
        weather = self.scenario.weather
        day = self._clear > 15.0
        if not day.any():
            return np.zeros(len(middle))
        where = np.flatnonzero(day)
        index = np.clip(weather["ghi_w_m2"][where] / self._clear[where], 0.0, 1.15)
        centre = weather.times_s[where] + weather.step_s / 2
        smooth = np.interp(middle, centre, index)
        broken = np.clip(1 - np.abs(2 * smooth - 1.1), 0.0, 1.0)
        cloud = ar1(self._rng(33, number).standard_normal(len(middle)), 0.87)
        passing = np.exp(0.32 * broken * cloud - 0.5 * (0.32 * broken) ** 2)
        return np.asarray(np.clip(smooth * passing, 0.0, 1.2) * clear)

    def _base_load(self, number: int, times: IntArray) -> FloatArray:
        """The table's base load with 1-minute noise of mean 1 (memory 5 minutes, spread 20 %)."""
        noise = ar1(self._rng(34, number).standard_normal(len(times)), 0.8)
        return np.asarray(
            self.scenario.load.hold("base_load_w", times) * np.exp(0.2 * noise - 0.02)
        )

    def _window_sun(self, sky: Sky) -> FloatArray:
        """Solar heat behind each room's glass with open blinds, W, shape (n, rooms)."""
        facades = sorted({w.azimuth_deg for room in self.site.rooms for w in room.windows})
        through = {a: GLASS_GAIN * plane_w_m2(sky, 90.0, a, 0.1) for a in facades}
        sun = np.zeros((BLOCK_MINUTES, len(self.site.rooms)))
        for column, room in enumerate(self.site.rooms):
            for window in room.windows:
                sun[:, column] += window.area_m2 * through[window.azimuth_deg]
        return sun

    def _gains(
        self, number: int, local: IntArray, week: IntArray, load: FloatArray, low: FloatArray
    ) -> FloatArray:
        """Heat of people and appliances, W, shape (n, rooms).

        People sit where the comfort profile expects them (band above the room's lowest), spread
        by an hourly draw; appliances follow the base load, most of it in a few rooms.
        """
        rng = self._rng(35, number)
        count = len(self.site.rooms)
        hour_of = (local // 3600 - local[0] // 3600).astype(np.int64)
        hours = int(hour_of[-1]) + 1
        hour = (local // 3600) % 24
        weekend = week // 1440 >= 5
        present = np.where(
            weekend, np.array(AT_HOME_WEEKEND)[hour], np.array(AT_HOME_WORKDAY)[hour]
        )
        extra = rng.choice([-1, 0, 0, 0, 1], size=hours)[hour_of]
        people = np.where(all_away(self.site, local), 0, np.maximum(present + extra, 0))
        taste = rng.gamma(0.8, 1.0, size=(hours, count))[hour_of]
        area = np.array([room.floor_area_m2 for room in self.site.rooms])
        weight = np.where(low > self._lowest + 0.1, area, 0.02 * area) * taste + 1e-6
        weight /= weight.sum(axis=1, keepdims=True)
        fixed = np.random.default_rng([self.seed, 36]).gamma(0.7, 1.0, size=count) * area + 1e-6
        appliances = APPLIANCE_HEAT_SHARE * load[:, None] * (fixed / fixed.sum())
        return np.asarray(PERSON_W * people[:, None] * weight + appliances)

    def _openings(self, number: int, local: IntArray, week: IntArray) -> FloatArray:
        """Open windows, 0 or 1, shape (n, rooms): a few airings of 4-15 minutes on most mornings
        and some evenings, once in a while a window forgotten for an hour or two."""
        rng = self._rng(37, number)
        opened = np.zeros((BLOCK_MINUTES, len(self.site.rooms)))
        hour = (local % 86_400) / 3600
        for column, room in enumerate(self.site.rooms):
            for day in range(BLOCK_MINUTES // 1440):
                draws = rng.uniform(size=8)
                if not room.windows:
                    continue
                begin = day * 1440
                for k, (chance, at, spread, shortest, longest) in enumerate(
                    ((0.35, 7.0, 2.0, 4, 15), (0.15, 20.0, 2.0, 4, 12), (0.02, 10.0, 8.0, 60, 120))
                ):
                    if draws[k] < chance:
                        start_hour = at + spread * (draws[3 + k] - 0.5)
                        after = np.flatnonzero(hour[begin : begin + 1440] >= start_hour)
                        if len(after):
                            minute = begin + int(after[0])
                            length = int(shortest + (longest - shortest) * draws[6 + k % 2])
                            opened[minute : minute + length, column] = 1.0
        return opened
