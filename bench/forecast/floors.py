"""What the recordings hold at most: forecasts by trees that were taught the days around the tested one, too.

    python bench/forecast/prepare.py OUT && python bench/forecast/floors.py OUT [case ...]

No forecast: trees (XGBoost; absolute error where MAE is asked for, squared error where RMSE is) see the columns
that a forecast would see, and are taught all days of the recording but a tenth, drawn by whole days, before
and AFTER the tested ones. What they still get wrong is not in these columns, or trees do not find it; a
forecast that is as good has little more to learn there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pvlib
from numpy.typing import NDArray
from xgboost import XGBRegressor

from bench.forecast.scores import HOMES

Floats = NDArray[np.float64]

FOLDS, SEED = 10, 0
SUMMER, KEPT_ASIDE = ("2024-06-20", "2024-08-15"), ("2024-08-15", "2024-10-01")


def taught_around(
    features: pd.DataFrame, truth: pd.Series, day: pd.Index, objective: str
) -> pd.Series:
    """What trees say of each row that were taught the rows of nine tenths of the other days."""
    number = pd.factorize(day)[0]
    fold = np.random.default_rng(SEED).integers(0, FOLDS, number.max() + 1)[number]
    said = pd.Series(np.nan, index=truth.index)
    for tested in range(FOLDS):
        trees = XGBRegressor(
            n_estimators=400, max_depth=5, learning_rate=0.04, subsample=0.7, colsample_bytree=0.5,
            n_jobs=1, random_state=SEED, objective=objective,
        )  # fmt: skip
        taught = truth.notna() & (fold != tested)
        trees.fit(features[taught], truth[taught])
        said[fold == tested] = trees.predict(features[fold == tested])
    return said


def read(folder: Path, case: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{case}.csv.gz", index_col=0, parse_dates=True)


def with_sun(frame: pd.DataFrame, latitude: float, longitude: float) -> pd.DataFrame:
    """Elevation and azimuth in the middle of the half hours, and the day of the year."""
    middle = frame.index + pd.Timedelta(minutes=15)
    sun = pvlib.solarposition.get_solarposition(middle, latitude, longitude)
    return pd.DataFrame(
        {"elevation": sun.elevation.to_numpy(), "azimuth": sun.azimuth.to_numpy(),
         "year": frame.index.dayofyear}, index=frame.index,
    )  # fmt: skip


def around(series: pd.Series, steps: int) -> dict[str, pd.Series]:
    """The series at and beside each step."""
    return {f"{series.name} {k}": series.shift(k) for k in range(-steps, steps + 1)}


def pvdaq(folder: Path) -> None:
    frame = read(folder, "pv_pvdaq")
    features = with_sun(frame, 39.74, -105.18).assign(**around(frame.ghi, 4), air=frame.temp_air)
    features["day"] = frame.ghi.groupby(frame.index.date).transform("mean")
    clear = pvlib.clearsky.haurwitz(90.0 - features.elevation).ghi
    features["clear"], features["clearness"] = clear, frame.ghi / clear.clip(lower=20.0)
    power = frame.pv_w.where(features.elevation > 0, 0.0).where(frame.ghi.notna() & frame.pv_w.notna())
    local = frame.index.tz_convert("America/Denver").date
    said = taught_around(features, power, local, "reg:squarederror").where(features.elevation > 0, 0.0)
    error = (said - power)["2012-09-01":]
    print(f"pv_pvdaq, Sep-Dec 2012: RMSE {100 * np.sqrt((error**2).mean()) / 3400.0:.1f} % of capacity")


def france(folder: Path) -> None:
    frame = read(folder, "pv_france")
    published = frame.pv_forecast_w
    features = with_sun(frame, 48.5, 6.5).assign(**around(published, 4))
    by_day = published.groupby(frame.index.date)
    features["sum"], features["most"] = by_day.transform("sum"), by_day.transform("max")
    power = frame.pv_w.where(published.notna() & (features.elevation > 0))
    said = taught_around(features, power, frame.index.date, "reg:absoluteerror").clip(lower=0.0)
    for first, last in (SUMMER, KEPT_ASIDE):
        tested = power.notna() & (power.index >= first) & (power.index < last)
        share = (said - power)[tested].abs().mean() / (published - power)[tested].abs().mean()
        print(f"pv_france, {first} to {last}: MAE {share:.3f} of the published forecast")


def load(folder: Path, case: str) -> None:
    local = read(folder, case).load_w.tz_convert("Etc/GMT+8")
    local.iloc[0] = np.nan  # a fill
    lag = {days: local.shift(24 * days) for days in (*range(1, 15), 21, 28)}
    weeks = pd.concat([lag[d] for d in (7, 14, 21, 28)], axis=1).mean(axis=1)
    features = pd.DataFrame({f"lag {days}": values for days, values in lag.items()})
    features["hour"], features["weekday"] = local.index.hour, local.index.dayofweek
    features["year"] = local.index.dayofyear
    for days in (3, 7, 14):
        features[f"mean {days}"] = pd.concat([lag[d] for d in range(1, days + 1)], axis=1).mean(axis=1)
    features["weeks"] = weeks
    date = pd.Index(local.index.date)
    hours = local.groupby([date, local.index.hour]).mean().unstack()
    for hour in range(24):
        features[f"yesterday {hour}"] = hours[hour].shift(1).reindex(date).to_numpy()
    for days in (1, 2, 7):
        features[f"day {days}"] = hours.mean(axis=1).shift(days).reindex(date).to_numpy()
    said = taught_around(features, local, date, "reg:absoluteerror")
    tested = local.notna() & (local.index >= "2017-06-15") & (local.index < "2017-08-01")
    naive = min((guess - local)[tested].abs().mean() for guess in (lag[1], lag[7], weeks))
    share = (said - local)[tested].abs().mean() / naive
    print(f"{case}, 15 Jun-31 Jul 2017: MAE {share:.3f} of the best naive forecast", flush=True)


def main(folder: Path, wanted: list[str]) -> None:
    cases: dict[str, Callable[[], None]] = {
        "pv_pvdaq": lambda: pvdaq(folder),
        "pv_france": lambda: france(folder),
    }
    for name in HOMES:
        case = f"load_fontana_{name}"
        cases[case] = lambda case=case: load(folder, case)
    for case, run in cases.items():
        if not wanted or case in wanted:
            run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
