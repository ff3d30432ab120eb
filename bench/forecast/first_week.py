"""The first week of a house that moves in with its past: what the memory of its models is worth.

    python bench/forecast/prepare.py OUT && python bench/forecast/first_week.py OUT [case ...]

For each case and each start a model is trained as `pems train KIND --out` does, on everything before the start,
and a house begins there with nothing of its own (prices: the eight days that the market's service still tells).
Every six hours of seven days it forecasts 48 h: the untrained method and the learnt model, each without the
memory, with it, with one that ends days before the start, and with the last days of it alone. Prints MAE and in
brackets pinball of each, relative to the untrained method without memory on the same steps (PV: the learnt
model), then their means over the starts of a kind. A forecast without a learnt answer counts as the untrained
method's, as in a house. One thread.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from bench.forecast.scores import HOMES
from services.forecast.core.bands import FloatArray
from services.forecast.core.calendar import DAY_S, local_seconds, utc_from_local
from services.forecast.core.first_depth import first_depth
from services.forecast.core.history import KEEP_S, STEP_S, Record
from services.forecast.core.place import Place
from services.forecast.core.predictor import Predictor
from services.forecast.core.registry import past_of, unpack
from services.forecast.core.scores import pinball
from services.forecast.core.series import Dataset, Series
from services.forecast.evaluate import instant
from services.forecast.files import read_dataset, read_place
from services.forecast.retrain import consider
from services.forecast.service import STEPS, _predict

CASES = {
    "load_france_2022": ("2022-08-10", "2022-10-05", "2022-12-15", "2023-02-01"),
    "load_france": ("2024-07-10", "2024-09-10"),
    "load_konstanz": ("2016-03-10", "2016-05-20", "2016-07-15"),
    **{f"load_fontana_{home}": ("2017-02-01", "2017-05-01", "2017-07-15") for home in HOMES},
    "price_cz_mixed": ("2024-03-01", "2024-12-10", "2025-06-10", "2025-10-20", "2025-12-10"),
    "pv_pvdaq": ("2012-03-01", "2012-06-01", "2012-09-01", "2012-12-01"),
}
GAPS = (0, 1, 3, 10, 28, 42)
"""Days between the end of the memory and the start."""
LENGTHS = (7, 28)
PUBLISHED_BEFORE_DAYS = 8
PUBLISHED_AT_S = 13 * 3_600
Row = dict[str, tuple[float, float]]


def main(folder: Path, wanted: list[str]) -> None:
    by_kind: dict[str, list[Row]] = defaultdict(list)
    for case in wanted or list(CASES):
        kind = case.split("_")[0]
        for start in CASES[case]:
            begun = time.process_time()
            found = week(kind, folder, case, start)
            base = found["untrained"]
            if np.isnan(base[0]):
                base = found["learnt"]
            row = {name: (mae / base[0], loss / base[1]) for name, (mae, loss) in found.items()}
            print(f"{case} {start}: {time.process_time() - begun:.0f} s of CPU, {base[0]:.4g} ({base[1]:.4g})")
            print("   ", "; ".join(f"{name} {a:.3f} ({b:.3f})" for name, (a, b) in row.items()), flush=True)
            by_kind[kind].append(row)
    for kind, rows in by_kind.items():
        print(f"{kind}, {len(rows)} starts")
        for name in rows[0]:
            mae, loss = np.mean([row[name] for row in rows], axis=0)
            better = sum(row[name][1] < 1.0 for row in rows)
            print(f"    {name:36s} {mae:.3f} ({loss:.3f}), pinball better in {better} of {len(rows)}")


def week(kind: str, folder: Path, case: str, start: str) -> Row:
    """MAE and pinball of each way to forecast, over the steps of the week's forecasts."""
    place = read_place(folder / f"{case}.site.json")
    data = read_dataset(folder / f"{case}.csv.gz", kind, place)
    start_s = int(instant(start, "start", place).timestamp())
    verdict = consider(kind, data.before(start_s), place, None, with_past=True)
    past = past_of(verdict.content)
    assert past is not None
    ways: dict[str, Series | None] = {"": None}
    for gap in GAPS:
        ways[f", memory to {gap} days before"] = past.between(past.start_s, start_s - gap * DAY_S)
    for days in LENGTHS:
        ways[f", memory of {days} days"] = past.between(start_s - days * DAY_S, start_s)
    learnt, truth = unpack(verdict.content, place), _quarters(data.series)
    found: Row = {}
    for name, memory in ways.items():
        found |= lived(kind, Dataset(truth, data.weather), place, learnt, memory, start_s, name)
    return found


def lived(
    kind: str, truth: Dataset, place: Place, learnt: Predictor, memory: Series | None, start_s: int, name: str
) -> Row:
    """One week, with one memory or none."""
    record, known_s = Record(), start_s - (PUBLISHED_BEFORE_DAYS * DAY_S if kind == "price" else 0)
    if memory is not None:
        record.recall(kind, memory, start_s)
    losses: dict[str, list[FloatArray]] = defaultdict(list)
    for issue_s in range(start_s, start_s + 7 * DAY_S, 6 * 3_600):
        until_s = _published(issue_s, place) if kind == "price" else issue_s
        own = truth.series.between(known_s, until_s)
        for slot, value in zip(own.times_s.tolist(), own.values.tolist(), strict=True):
            if not np.isnan(value):
                record.tracks[kind].put(slot, value, KEEP_S[kind])
        known_s = until_s
        times = issue_s + STEP_S * np.arange(STEPS, dtype=np.int64)
        seen = Dataset(record.tracks[kind].series(), truth.weather)
        actual = np.where(times < until_s, np.nan, truth.series.at(times))
        untrained = first_depth(kind, place)(seen, issue_s, times)
        answer = _predict(learnt, seen, issue_s, times)
        for way, bands in (("untrained", untrained), ("learnt", answer or untrained)):
            quantiles = np.column_stack([bands.p10, bands.p50, bands.p90])
            both = np.stack([np.abs(bands.p50 - actual), pinball(actual, quantiles)])
            losses[way].append(both)
    mean = {way: np.concatenate(parts, axis=1) for way, parts in losses.items()}
    return {
        way + name: (float(_mean(both[0])), float(_mean(both[1]))) for way, both in mean.items()
    }  # fmt: skip


def _mean(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _quarters(series: Series) -> Series:
    """All of it in quarter hours."""
    repeats = series.step_s // STEP_S
    return Series(series.start_s, STEP_S, np.repeat(series.values, repeats)) if repeats > 1 else series


def _published(issue_s: int, place: Place) -> int:
    """Until when the market has told its prices: from 13 o'clock on to the end of tomorrow."""
    local = int(local_seconds(np.array([issue_s]), place.time_zone)[0])
    day = local // DAY_S + (2 if local % DAY_S >= PUBLISHED_AT_S else 1)
    return int(utc_from_local(np.array([day * DAY_S]), place.time_zone)[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
