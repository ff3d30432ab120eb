"""The inputs of a history where some of them are missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from services.thermal.core.drive import drive_of
from tests.unit.thermal.house import simulate, true_house


def test_an_unknown_heater_counts_half_and_is_unknown_for_its_own_room_only() -> None:
    model = true_house(2)
    history = replace(simulate(model, days=2, seed=1), filled=True)
    heat = {name: values.copy() for name, values in history.heat_w.items()}
    heat["heat_room1"][40:60] = np.nan
    whole, drive = drive_of(model, history), drive_of(model, replace(history, heat_w=heat))
    assert drive.known[:, 0].all()
    assert np.flatnonzero(~drive.known[:, 1]).tolist() == list(range(40, 60))
    assert (drive.heat_w[40:60, 1] == 0.5 * model.rooms[1].heater_power_w).all()
    rest = drive.known[:, 1]
    assert np.array_equal(drive.heat_w[rest], whole.heat_w[rest])
    assert np.array_equal(drive.heat_w[:, 0], whole.heat_w[:, 0])


def test_without_outdoor_temperature_nothing_is_known() -> None:
    model = true_house(2)
    history = replace(simulate(model, days=2, seed=1), filled=True)
    outside = history.outside_c.copy()
    outside[30:35] = np.nan
    drive = drive_of(model, replace(history, outside_c=outside))
    assert [np.flatnonzero(~column).tolist() for column in drive.known.T] == [list(range(30, 35))] * 2
