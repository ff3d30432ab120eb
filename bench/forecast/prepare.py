"""Turn the recorded data into files that `pems evaluate` reads.

    python bench/forecast/prepare.py OUT_DIR

Reads the folder named by PEMS_DATA (default ../shared/data), writes one CSV and one site file a case.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

DATA = Path(os.environ.get("PEMS_DATA", "../shared/data"))


def read(name: str) -> pd.DataFrame:
    return pd.read_csv(DATA / f"{name}.csv.gz", index_col=0, parse_dates=True)


def write(frame: pd.DataFrame, out: Path, name: str, site: dict[str, object]) -> None:
    frame = frame.copy()
    frame.index = pd.DatetimeIndex(frame.index).as_unit("s")
    if frame.index.tz is None:
        frame.index = frame.index.tz_localize("UTC")
    frame.index.name = "utc"
    frame.to_csv(out / f"{name}.csv.gz", date_format="%Y-%m-%dT%H:%M:%SZ")
    (out / f"{name}.site.json").write_text(json.dumps(site, indent=1, sort_keys=True) + "\n")
    print(f"{name}: {len(frame)} rows, {frame.index[0]} to {frame.index[-1]}")


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    gefcom = read("pv_gefcom2014/nwp_power_1h")
    for zone, part in gefcom.groupby("ZONEID"):
        issued = (part.index - pd.Timedelta(hours=1)).normalize()
        frame = pd.DataFrame(
            {
                "pv_w": part.POWER * 1000.0,
                "ghi": part.ssrd_wm2,
                "cloud_cover": part.tcc * 100.0,
                "temp_air": part.t2m_k - 273.15,
                "wind_speed": np.hypot(part.u10, part.v10),
                "relative_humidity": part.rh1000.clip(0, 100),
                "tclw": part.tclw,
                "tciw": part.tciw,
                "issued": issued.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )
        write(frame, out, f"pv_gefcom_zone{zone}", {"capacity_w": 1000.0})

    pvdaq = read("pv_pvdaq50/ac_weather_30min").rename(columns={"ac_w": "pv_w"})
    site = {"latitude": 39.74, "longitude": -105.18, "altitude_m": 1800, "capacity_w": 3400.0}
    write(pvdaq[["pv_w", "temp_air", "ghi"]], out, "pv_pvdaq", site)

    france = read("house_france/load_pv_forecast_30min")
    place = {"latitude": 48.5, "longitude": 6.5, "country": "FR", "time_zone": "Europe/Paris"}
    write(france[["pv_w", "pv_forecast_w"]], out, "pv_france", place)
    load = france[["load_no_var_loads_w"]].rename(columns={"load_no_var_loads_w": "load_w"})
    write(load, out, "load_france", place)
    base = read("house_france/load_base_30min_2022")
    write(base.set_axis(["load_w"], axis=1), out, "load_france_2022", place)

    homes = read("homes_fontana/hourly")
    homes.index = homes.index.tz_localize("Etc/GMT+8").tz_convert("UTC")
    fontana = {
        "latitude": 34.1, "longitude": -117.4, "country": "US", "time_zone": "America/Los_Angeles",
    }  # fmt: skip
    for column in homes.columns:
        if column.startswith("load_kwh_"):
            name = column.removeprefix("load_kwh_")
            frame = pd.DataFrame({"load_w": homes[column] * 1000.0})
            write(frame, out, f"load_fontana_{name}", fontana)

    konstanz = read("house_konstanz/hourly_kwh")
    konstanz.index = konstanz.index - pd.Timedelta(hours=1)
    frame = pd.DataFrame(
        {
            "load_w": konstanz.load_total_kwh * 1000.0,
            "pv_w": konstanz.pv_kwh * 1000.0,
        }
    )
    germany = {
        "latitude": 47.66, "longitude": 9.18, "country": "DE", "time_zone": "Europe/Berlin",
    }  # fmt: skip
    write(frame[["load_w"]], out, "load_konstanz", germany)
    write(frame[["pv_w"]], out, "pv_konstanz", germany)

    market = {"country": "CZ", "time_zone": "Europe/Prague"}
    hourly, quarter = read("prices/ote_cz_1h"), read("prices/ote_cz_15min")
    write(hourly[["price_eur_mwh"]], out, "price_cz_1h", market)
    both = pd.concat([hourly[hourly.index < quarter.index[0]], quarter])
    write(both[["price_eur_mwh"]], out, "price_cz_mixed", market)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
