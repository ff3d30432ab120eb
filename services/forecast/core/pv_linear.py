"""What the linear member of PV sees beside plain columns: shares of clear power that bend with the sky."""

from __future__ import annotations

import numpy as np

from services.forecast.core.bands import FloatArray

KNOTS: dict[str, tuple[float, ...]] = {
    "clearness": (0.3, 0.5, 0.7, 0.85), "clearness_5h": (0.4, 0.7), "clearness_day": (0.4, 0.7),
    "clearness_rough": (), "cloud_cover": (30.0, 70.0, 95.0), "cloud_5h": (50.0,),
    "tclw": (1.0, 3.0), "tclw_5h": (1.0, 3.0), "tciw": (1.0, 3.0), "tciw_5h": (1.0, 3.0),
    "temp_air": (), "dew_point": (), "humidity": (), "humidity_5h": (60.0, 85.0),
    "ratio_24h": (), "ratio_72h": (), "year_sin": (), "year_cos": (),
}  # fmt: skip
"""Columns that scale clear power, and where their line bends (linear splines)."""


def spline_columns(columns: dict[str, FloatArray]) -> list[FloatArray]:
    """Clear power times linear splines of what is known of the sky, each (n,); none without clear power.

    A line in irradiance alone gives every cloud the same slope at every height of the sun.
    """
    clear = columns.get("clear_power")
    if clear is None:
        return []
    result = []
    for name, knots in KNOTS.items():
        if name not in columns:
            continue
        values = columns[name]
        bends = [np.maximum(values - knot, 0.0) for knot in knots]
        result += [clear * part for part in (values, *bends)]
    return result
