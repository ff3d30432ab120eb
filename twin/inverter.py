"""The hybrid inverter: what it does with PV, battery and a command within all of its limits."""

from __future__ import annotations

from contracts.site import SiteConfig
from twin.battery import BatteryFlow, BatteryPack, self_use_w
from twin.commands import Commands

NO_BATTERY = BatteryFlow(0.0, 0.0, 0.0)


def dispatch(
    site: SiteConfig,
    pack: BatteryPack | None,
    commands: Commands,
    load_w: float,
    available_w: float,
    dt_s: int,
) -> tuple[float, BatteryFlow]:
    """PV power used (W) and the battery's flow for one sub-step.

    Order of precedence: BMS limits, no grid charging where the site forbids it, the inverter's AC
    limit, the export limit (first less discharge, then less PV). load_w is everything consumed,
    available_w what the modules offer.
    """
    limit, export_limit = site.inverter.ac_limit_w, commands.export_limit_w
    flow = NO_BATTERY
    if pack is not None:
        if commands.battery_w is None:
            surplus = available_w - load_w
            power = self_use_w(pack, surplus, dt_s, pack.spec.soc_min, pack.spec.soc_max)
        else:
            discharge, charge = pack.limits_w(dt_s)
            if not pack.spec.grid_charge:
                charge = min(charge, available_w)
            power = min(max(commands.battery_w, -discharge), charge)
        power = min(max(power, min(0.0, available_w - limit)), limit + available_w)
        export = available_w - power - load_w
        if export > export_limit and power < 0.0:
            power = min(0.0, power + export - export_limit)
        flow = pack.flow(power)
    export = available_w - flow.ac_w - load_w
    pv_w = available_w - max(0.0, export - export_limit)
    return min(max(pv_w, 0.0), available_w), flow
