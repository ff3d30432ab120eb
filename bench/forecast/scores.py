"""Scores of every recorded case on the stretch that was kept aside while tuning.

    python bench/forecast/prepare.py OUT && python bench/forecast/scores.py OUT [case ...]

Prints one line a case and writes OUT/scores.json. One process, one thread.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from services.forecast.evaluate import evaluate_file

HOMES = ("b2", "b5", "b9", "b11", "b13")
# case: kind, from, to, lead, refit
CASES: dict[str, tuple[str, str, str, str, str]] = {
    "pv_gefcom_zone1": ("pv", "2013-01-01", "2013-03-01", "24h", "14d"),
    "pv_gefcom_zone2": ("pv", "2013-01-01", "2013-03-01", "24h", "14d"),
    "pv_pvdaq": ("pv", "2012-09-01", "2013-01-01", "24h", "28d"),
    "pv_france": ("pv", "2024-08-15", "2024-10-01", "24h", "7d"),
    "load_france": ("load", "2024-09-16", "2024-10-01", "24h", "7d"),
    "load_konstanz": ("load", "2016-07-01", "2016-07-31", "24h", "7d"),
    **{
        f"load_fontana_{home}": ("load", "2017-06-15", "2017-08-01", "24h", "14d") for home in HOMES
    },
    "price_cz_mixed": ("price", "2025-10-01", "2026-01-01", "48h", "28d"),
}


def main(folder: Path, wanted: list[str]) -> None:
    results: dict[str, object] = {}
    for case in wanted or list(CASES):
        kind, start, end, lead, refit = CASES[case]
        begun = time.process_time()
        summary, _, _ = evaluate_file(
            kind,
            folder / f"{case}.csv.gz",
            start,
            end,
            lead=lead,
            refit_every=refit,
            site=folder / f"{case}.site.json",
        )
        used_s = time.process_time() - begun
        results[case] = summary | {"cpu_s": round(used_s, 1)}
        print(line(case, summary, used_s), flush=True)
    (folder / "scores.json").write_text(json.dumps(results, indent=1) + "\n")


def line(case: str, summary: dict[str, object], used_s: float) -> str:
    """One case in one line: ours, and ours relative to each baseline on the same steps."""
    ours, baselines = summary["ours"], summary["baselines"]
    assert isinstance(ours, dict)
    assert isinstance(baselines, dict)
    parts = [
        f"{case}: n {ours['n']} RMSE {ours['rmse']:.1f} MAE {ours['mae']:.1f} bias {ours['bias']:.1f} "
        f"pinball {ours['pinball']:.2f} coverage {ours['coverage_80']:.3f} cpu {used_s:.0f} s"
    ]
    for name, scores in baselines.items():
        same = scores["ours_same_steps"]
        text = f"MAE x{same['mae'] / scores['mae']:.3f}"
        if scores["pinball"]:
            text += f" pinball x{same['pinball'] / scores['pinball']:.3f}"
        parts.append(f"  against {name} (RMSE {scores['rmse']:.1f}): {text}")
    leads = summary["by_lead"]
    assert isinstance(leads, dict)
    for name in ("0-24h", "24-48h"):
        if name in leads and len(leads) > 5:
            week = leads[name]["baselines"].get("last-week")
            ours_then = leads[name]["ours"]
            if week and ours_then["n"]:
                parts.append(
                    f"  {name}: MAE x{ours_then['mae'] / week['mae']:.3f} of last week, "
                    f"coverage {ours_then['coverage_80']:.3f}"
                )
    return "\n".join(parts)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
