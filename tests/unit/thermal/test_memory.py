"""Rows of the last days: closed by the first sweep in them, bounded, and missing where nothing was said."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from contracts.base import Record
from contracts.events.measurement import OutdoorSampled, RoomSampled, SweepCompleted
from services.thermal.core.memory import ROW_S, Memory
from tests.unit.thermal.house import true_house

START = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)
"""The night on which Prague's clocks go from two to three."""


def sweeps(minutes: Iterable[int], on: bool | None = True, ghi: float | None = 50.0) -> list[Record]:
    """A sample of room0 (20 degC and a hundredth a minute) and a sweep at each minute."""
    found: list[Record] = []
    for minute in minutes:
        at = START + timedelta(minutes=minute)
        value = 20.0 + 0.01 * (minute % 1_000)
        found += [
            RoomSampled(room="room0", time=at, temperature_c=value, relay_on=on),
            OutdoorSampled(time=at, temperature_c=5.0, ghi_w_m2=ghi),
            SweepCompleted(time=at),
        ]
    return found


def fold(records: Iterable[Record], keep_days: int = 9) -> Memory:
    memory = Memory(keep_days=keep_days)
    for data in records:
        memory.take(data)
    return memory


def test_a_row_knows_what_its_first_sweep_knew_and_the_heating_until_the_next() -> None:
    memory = fold([*sweeps(range(0, 25, 5)), *sweeps(range(25, 61, 5), on=False)])
    assert memory.temperature_c["room0"] == pytest.approx([20.0, 20.3, 20.6])
    assert memory.duty["room0"] == [pytest.approx(25 / 30), 0.0, None]
    assert memory.outside_c == [5.0, 5.0, 5.0]
    late = fold([*sweeps([0]), *sweeps([31]), *sweeps([36])])
    assert late.temperature_c["room0"] == pytest.approx([20.0, 20.31])


def test_what_was_silent_is_missing_and_never_zero() -> None:
    memory = fold([*sweeps([0, 5]), *sweeps(range(90, 125, 5), on=None, ghi=None)])
    assert [v is None for v in memory.temperature_c["room0"]] == [False, True, True, False, False]
    assert memory.duty["room0"] == [None] * 5
    history = memory.history(true_house(1))
    assert np.isnan(history.heat_w["heat_room0"]).all()
    assert np.isnan(history.outside_c[1:3]).all()
    assert history.ghi_w_m2 is not None and np.isfinite(history.ghi_w_m2).all()
    silent = fold([*sweeps([0]), SweepCompleted(time=START + timedelta(minutes=30))])
    assert silent.temperature_c["room0"] == [20.0, None]


def test_it_holds_so_many_days_and_begins_anew_after_a_longer_silence() -> None:
    memory = fold(sweeps(range(0, 3 * 1_440, 30)), keep_days=1)
    rows = 86_400 // ROW_S + 1
    assert len(memory.outside_c) == len(memory.duty["room0"]) == rows
    assert memory.last == int((START + timedelta(days=3)).timestamp()) // ROW_S - 1
    epoch = memory.history(true_house(1)).epoch_s
    assert (np.diff(epoch) == ROW_S).all()  # the clocks' change is none
    for data in sweeps([10 * 1_440]):
        memory.take(data)
    assert memory.outside_c == [5.0]
    with pytest.raises(ValueError, match="no sweep"):
        Memory().history(true_house(1))
