"""A sunny Saturday on which feeding in costs money for hours: the whole chain, in one process."""

from __future__ import annotations

import datetime as dt
from typing import Any

from contracts.envelope import Event
from contracts.events.command import Executed, Failed, Proposed, Verified
from contracts.events.measurement import HouseSampled
from contracts.site import SiteConfig
from pems.inprocess import Simulation
from pems.why import Log, explain
from twin.generate import PRAGUE, default_scenario

START = dt.datetime(2026, 6, 13, 13, 0, tzinfo=PRAGUE.zone)
HOURS = 3
SETTLING = dt.timedelta(minutes=5)


def test_nothing_is_fed_in_at_a_loss_and_the_roof_is_free_again_afterwards(
    site: SiteConfig, safety_limits: dict[str, Any]
) -> None:
    scenario = default_scenario(START, days=1)
    log: list[Event] = []
    house = Simulation(site, safety_limits, scenario, seed=7, sink=log.append)
    while house.house.time < START + dt.timedelta(hours=HOURS):
        house.advance()
    limits: list[Executed] = []
    shut, open_again = 0, 0
    for event in log:
        data = event.data
        if isinstance(data, Executed) and data.device == "inverter-export":
            limits.append(data)
        elif isinstance(data, HouseSampled) and limits:
            newest = limits[-1]
            if data.time < newest.time + SETTLING:
                continue
            if newest.value == 0:
                shut += 1
                assert data.grid_w is not None and data.grid_w > -200.0
            elif shut and data.grid_w is not None and data.grid_w < -1_000.0:
                open_again += 1
    values = [limit.value for limit in limits]
    assert 0 in values and values[-1] == site.grid.export_limit_w
    assert shut > 6 and open_again > 6
    assert house.house.truth.curtailed_wh > 500.0
    kinds = (Verified, Failed)
    heard = [e.data for e in log if isinstance(e.data, kinds) and e.entity == "inverter-export"]
    assert heard and all(isinstance(data, Verified) for data in heard)
    shutting = next(e for e in log if isinstance(e.data, Proposed) and e.data.reason.endswith("exported"))
    said = explain(Log(log), shutting).sentence
    assert "the inverter was asked to feed nothing in because a kWh fed in brings -0.0" in said
