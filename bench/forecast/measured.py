"""PV from irradiance that was truly measured at the step's own resolution, and with the clock set wrong.

    PYTHONPATH=. python bench/forecast/measured.py

A pyranometer in Valencia (SML2010, 15 min) is turned into PV power by another chain than ours (DIRINT, Perez,
SAPM cell temperature, a horizon in east and west, 2 % noise). The weather counts as known in advance; modules
and horizon are unknown: two weeks after five weeks of history. Reads the folder named by PEMS_DATA.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pvlib

from bench.forecast.prepare import read
from services.forecast.core.calendar import DAY_S
from services.forecast.core.place import Place
from services.forecast.core.rolling import report, rolling_origin
from services.forecast.core.series import Dataset, regular, weather_runs

PLACE = Place(latitude=39.48, longitude=-0.38, altitude_m=15.0, capacity_w=3600.0)
QUARTER_S = 900
TEST_DAYS = 14


def recorded() -> pd.DataFrame:
    """Measured weather by UTC beginning of each quarter hour, and the power of 4 kWp on a roof."""
    house = read("thermal_sml2010/sml2010_15min")
    house.index = (house.index - pd.Timedelta(minutes=15)).tz_localize("UTC")  # by the pyranometer
    middle = house.index + pd.Timedelta(seconds=QUARTER_S / 2)
    sun = pvlib.solarposition.get_solarposition(middle, PLACE.latitude, PLACE.longitude)
    ghi = pd.Series(house.Meteo_Exterior_Piranometro.clip(lower=0).to_numpy(), index=middle)
    air = house.Temperature_Exterior_Sensor.to_numpy()
    wind = house.Meteo_Exterior_Viento.to_numpy()
    dni = pvlib.irradiance.dirint(ghi, sun.zenith, middle).fillna(0.0).clip(upper=1100.0)
    dhi = (ghi - dni * np.cos(np.radians(sun.zenith))).clip(lower=0.0)
    hills = np.where(sun.azimuth > 230, 22.0, np.where(sun.azimuth < 110, 12.0, 0.0))
    poa = pvlib.irradiance.get_total_irradiance(
        32, 205, sun.apparent_zenith, sun.azimuth, dni.where(sun.apparent_elevation > hills, 0.0),
        ghi, dhi, model="perez", dni_extra=pvlib.irradiance.get_extra_radiation(middle),
        airmass=pvlib.atmosphere.get_relative_airmass(sun.apparent_zenith),
    )  # fmt: skip
    aoi = pvlib.irradiance.aoi(32, 205, sun.apparent_zenith, sun.azimuth)
    light = (poa.poa_direct * pvlib.iam.physical(aoi) + poa.poa_diffuse).fillna(0.0)
    cell = pvlib.temperature.sapm_cell(poa.poa_global, air, wind, -3.47, -0.0594, 3)
    power = pvlib.inverter.pvwatts(pvlib.pvsystem.pvwatts_dc(light, cell, 3600.0, -0.004), 3600.0)
    noise = 1 + np.random.default_rng(0).normal(0, 0.02, len(power))
    power = np.where(ghi.isna(), np.nan, np.maximum(np.nan_to_num(power) * noise, 0.0))
    return pd.DataFrame(
        {
            "pv_w": power,
            "ghi": ghi.to_numpy(),
            "dni": dni.to_numpy(),
            "dhi": dhi.to_numpy(),
            "temp_air": air,
            "wind_speed": wind,
        },
        index=house.index,
    )


def main() -> None:
    frame = recorded()
    names = ["ghi", "dni", "dhi", "temp_air", "wind_speed"]
    right_s = frame.index.as_unit("s").asi8.astype(np.int64)
    for clock, late_s, columns in (
        ("right", 0, names),
        ("right, GHI only", 0, ["ghi", "temp_air", "wind_speed"]),
        ("an hour late", 3600, names),
        ("half an hour early", -1800, names),
    ):
        times = right_s + late_s
        weather = weather_runs(times, {k: frame[k].to_numpy() for k in columns})
        data = Dataset(regular(times, frame.pv_w.to_numpy()), weather)
        last = data.series.end_s // DAY_S * DAY_S
        issues = np.arange(last - TEST_DAYS * DAY_S, last, DAY_S, dtype=np.int64)
        rolled = rolling_origin("pv", data, PLACE, issues, DAY_S, 28 * DAY_S)
        ours = report(rolled, DAY_S)["ours"]
        assert isinstance(ours, dict)
        share = {k: f"{100 * ours[k] / PLACE.capacity_w:.2f} %" for k in ("rmse", "bias")}
        print(f"clock {clock}: {share} of capacity, coverage {ours['coverage_80']:.3f}")


if __name__ == "__main__":
    main()
