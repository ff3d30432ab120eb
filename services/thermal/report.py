"""Scores of a backtest as plain data, on the same origins for ours and every baseline."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import HouseModel, content_hash
from services.thermal.core.backtest import Backtest

Array = NDArray[np.float64]


def scores(result: Backtest, model: HouseModel) -> dict[str, Any]:
    """MAE, RMSE, bias and coverage by lead and room, and their means over rooms.

    A forecast counts only where ours and all baselines exist, so that all see the same cases; a
    baseline without any forecast for a room (too little history) is left out for that room.
    """
    by_lead = []
    for n, lead_s in enumerate(result.lead_s):
        rooms: dict[str, Any] = {}
        for i, name in enumerate(model.room_names):
            errors = {"ours": result.ours[n, :, i]}
            errors |= {
                label: table[n, :, i]
                for label, table in result.baselines.items()
                if np.isfinite(table[n, :, i]).any()
            }
            common = np.all([np.isfinite(e) for e in errors.values()], axis=0)
            rooms[name] = {"count": int(common.sum())}
            if not common.any():
                continue
            for label, error in errors.items():
                rooms[name][label] = {
                    "mae_c": float(np.abs(error[common]).mean()),
                    "rmse_c": float(np.sqrt((error[common] ** 2).mean())),
                    "bias_c": float(error[common].mean()),
                }
            rooms[name]["ours"]["coverage_90"] = float(result.inside[n, common, i].mean())
            rooms[name]["ours"]["half_width_c"] = float(result.half_width_c[n, common, i].mean())
        by_lead.append({"lead_h": lead_s / 3600.0, "rooms": rooms, "mean": _mean(rooms)})
    return {
        "model_hash": content_hash(model),
        "origins": len(result.origin_epoch_s),
        "innovation_ratio": {
            name: None if not np.isfinite(value) else float(value)
            for name, value in zip(model.room_names, result.innovation_ratio, strict=True)
        },
        "leads": by_lead,
    }


def _mean(rooms: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Mean over rooms of every figure."""
    labels = dict.fromkeys(k for room in rooms.values() for k in room if k != "count")
    result: dict[str, dict[str, float]] = {}
    for label in labels:
        entries = [room[label] for room in rooms.values() if label in room]
        result[label] = {
            key: float(np.mean([entry[key] for entry in entries])) for key in entries[0]
        }
    return result
