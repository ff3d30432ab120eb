"""Cost of the forecasts: one cycle of all three for 48 h at 15 min, training on two years of quarter hours.

    python bench/forecast/cycle.py

Synthetic data of the right size (seeded); CPU time of this process, one thread; peak memory of the process.
"""

from __future__ import annotations

import json
import resource
import time

import numpy as np

from services.forecast.core.calendar import DAY_S, calendar
from services.forecast.core.load import LoadPredictor
from services.forecast.core.place import Place
from services.forecast.core.predictor import Predictor
from services.forecast.core.price import PricePredictor
from services.forecast.core.pv import PvPredictor
from services.forecast.core.pv_physics import PvArray
from services.forecast.core.series import Dataset, Series, weather_runs
from services.forecast.core.solar import Location, sun_path

QUARTER_S = 900
DAYS = 730
START_S = 1_672_531_200  # 2023-01-01


def datasets() -> dict[str, Dataset]:
    """Two years of quarter hours for each kind."""
    rng = np.random.default_rng(1)
    times = START_S + np.arange(DAYS * 96, dtype=np.int64) * QUARTER_S
    sun = sun_path(times, QUARTER_S, Location(50.08, 14.43))
    cloud = np.clip(
        np.repeat(rng.uniform(0.2, 1.0, DAYS), 96) + rng.normal(0, 0.1, len(times)), 0, 1
    )
    ghi = sun.clear_ghi_wm2 * cloud
    pv = np.maximum(5.0 * ghi * (1 + rng.normal(0, 0.1, len(times))), 0)
    weather = weather_runs(
        times, {"ghi": ghi, "temp_air": np.full(len(times), 12.0)}, times // DAY_S * DAY_S
    )
    hour = calendar(times, "Europe/Prague", "CZ").hour
    load = (300 + 600 * np.exp(-0.5 * ((hour - 19) / 2) ** 2)) * rng.gamma(4, 0.25, len(times))
    price = 80 + 30 * np.sin(hour / 24 * 4 * np.pi) + rng.normal(0, 8, len(times))
    return {
        "pv": Dataset(Series(START_S, QUARTER_S, pv), weather),
        "load": Dataset(Series(START_S, QUARTER_S, load)),
        "price": Dataset(Series(START_S, QUARTER_S, price)),
    }


def main() -> None:
    place = Place(
        50.08, 14.43, time_zone="Europe/Prague", country="CZ", arrays=(PvArray(35, 180, 5000),),
        capacity_w=5000.0,
    )  # fmt: skip
    data = datasets()
    kinds: dict[str, Predictor] = {
        "pv": PvPredictor(place), "load": LoadPredictor(place), "price": PricePredictor(place),
    }  # fmt: skip
    result: dict[str, float] = {}
    for kind, predictor in kinds.items():
        begun = time.process_time()
        predictor.train(data[kind].before(START_S + (DAYS - 2) * DAY_S), 0)
        result[f"train_{kind}_s"] = round(time.process_time() - begun, 1)
    issue = START_S + (DAYS - 2) * DAY_S
    target = issue + np.arange(192, dtype=np.int64) * QUARTER_S
    for kind, predictor in kinds.items():
        costs = []
        for _ in range(5):
            begun = time.process_time()
            predictor.predict(data[kind], issue, target)
            costs.append(time.process_time() - begun)
        result[f"cycle_{kind}_ms"] = round(1000 * float(np.median(costs)), 1)
    result["cycle_ms"] = round(sum(v for k, v in result.items() if k.startswith("cycle_")), 1)
    result["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 0)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
