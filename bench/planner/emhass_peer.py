"""Runs inside EMHASS's own environment: a house as JSON on stdin, its plan as JSON on stdout.

Only the standard library, numpy, pandas and EMHASS are imported here; `with_emhass.py` beside it
translates both ways. The configuration is EMHASS's own defaults with the house's values put in.
"""

import json
import logging
import pathlib
import sys

import emhass
import numpy as np
import pandas as pd
from emhass.optimization import Optimization


def main() -> None:
    """One optimization."""
    house = json.load(sys.stdin)
    folder = pathlib.Path(emhass.__file__).parent / "data"
    conf = json.loads((folder / "config_defaults.json").read_text())
    conf.update(house["conf"])
    conf["optimization_time_step"] = pd.to_timedelta(house["step_s"], "s")
    conf["time_zone"] = "UTC"
    conf["delta_forecast_daily"] = pd.to_timedelta(house["step_s"] * house["steps"], "s")
    index = pd.date_range(
        house["start"], periods=house["steps"], freq=conf["optimization_time_step"]
    )
    data = pd.DataFrame(
        {
            conf["sensor_power_photovoltaics"]: house["pv_w"],
            conf["sensor_power_load_no_var_loads"] + "_positive": house["load_w"],
            "unit_load_cost": house["buy"], "unit_prod_price": house["sell"],
            "outdoor_temperature_forecast": house["outdoor_c"],
        },
        index=index,
    )  # fmt: skip
    logger = logging.getLogger("emhass-peer")
    logger.setLevel(logging.ERROR)
    paths = {"data_path": folder, "root_path": folder.parent}
    solver = Optimization(
        conf, conf, conf, "unit_load_cost", "unit_prod_price", "profit", paths, logger,
        num_timesteps=house["steps"],
    )  # fmt: skip
    found = solver.perform_optimization(
        data, np.array(house["pv_w"]), np.array(house["load_w"]), np.array(house["buy"]),
        np.array(house["sell"]), soc_init=house["soc_init"], soc_final=house["soc_final"],
        def_total_hours=house["hours"], def_start_timestep=house["first"],
        def_end_timestep=house["last"], def_init_temp=house["temperatures"],
        min_power_of_deferrable_loads=conf["minimum_power_of_deferrable_loads"],
    )  # fmt: skip
    wanted = [c for c in found.columns if c.startswith(("P_", "SOC_opt", "predicted_temp"))]
    answer = {name: found[name].fillna(0.0).tolist() for name in wanted}
    print(json.dumps({"status": str(solver.optim_status), "version": version(), **answer}))


def version() -> str:
    """Of the installed package."""
    from importlib.metadata import version as installed

    return installed("emhass")


if __name__ == "__main__":
    main()
