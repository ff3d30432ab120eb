"""The correction learns what physics keeps getting wrong, from the past alone, and knows its size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.thermal_model import HouseModel
from services.thermal.core import correction as correct_module
from services.thermal.core.backtest import Backtest, backtest
from services.thermal.core.correction import (
    Correction,
    correct,
    independent_errors,
    lead_grid,
    learn,
    look_back,
)
from services.thermal.core.drive import drive_of
from services.thermal.core.features import (
    Cases,
    View,
    direct_features,
    issue_rows,
    physics_features,
)
from services.thermal.core.hindcast import run_filter
from services.thermal.core.history import History, with_irradiance
from services.thermal.core.solar import weekend
from services.thermal.core.stacking import (
    ALL_MEMBERS,
    HABIT_DAYS,
    PLANNED,
    follow,
    habit,
    stack,
)
from services.thermal.core.task import season_weights
from tests.unit.thermal.house import LATITUDE, LONGITUDE, simulate, true_house

DAY, STEP = 96, 900
SPLIT = 20 * DAY
LEADS = (3600, 6 * 3600, 24 * 3600)


def wrong_house() -> HouseModel:
    """The house without its people: 250 W from six to ten at night are missing from the model."""
    model = true_house(2)
    return model.model_copy(
        update={
            "rooms": tuple(
                r.model_copy(update={"internal_gain_w": (0.0,) * 24}) for r in model.rooms
            )
        }
    )


@pytest.fixture(scope="module")
def history() -> History:
    busy = tuple(600.0 if 18 <= hour < 22 else 60.0 for hour in range(24))
    model = true_house(2)
    lived_in = model.model_copy(
        update={"rooms": tuple(r.model_copy(update={"internal_gain_w": busy}) for r in model.rooms)}
    )
    return with_irradiance(simulate(lived_in, days=27, seed=4), LATITUDE, LONGITUDE)


@pytest.fixture(scope="module")
def learnt(history: History) -> Correction:
    part = history.rows(0, SPLIT)
    return learn(wrong_house(), part, np.isfinite(part.temperature_c), LEADS[-1])


def scored(history: History, correction: Correction | None) -> Backtest:
    at = history.epoch_s
    return backtest(
        wrong_house(), history, train_until_epoch_s=int(at[SPLIT]), from_epoch_s=int(at[SPLIT]),
        to_epoch_s=int(at[-1]), lead_s=LEADS, correction=correction,
    )  # fmt: skip


def look(history: History, origins: np.ndarray) -> View:
    """A view with the forecasts that correcting from `origins` needs."""
    model = wrong_house()
    rows = issue_rows(STEP, origins, LEADS[-1])
    drive = drive_of(model, history)
    means = run_filter(model, history, drive, 0, rows).means
    return look_back(model, history, drive, rows, means, lead_grid(STEP, LEADS[-1]))


def test_habits_that_physics_does_not_know_are_learnt(history: History, learnt: Correction) -> None:
    alone, both = scored(history, None), scored(history, learnt)
    before = np.nanmean(np.abs(alone.ours), axis=(1, 2))
    after = np.nanmean(np.abs(both.ours), axis=(1, 2))
    assert (after < (0.9, 0.7, 0.7) * before).all(), (before, after)
    assert np.allclose(both.baselines["physics"], alone.ours, equal_nan=True)


def test_bands_hold_out_of_sample(history: History, learnt: Correction) -> None:
    coverage = np.nanmean(scored(history, learnt).inside, axis=(1, 2))
    assert (coverage > 0.82).all() and 0.85 < coverage.mean() < 0.97, coverage


def test_only_the_past_is_read(history: History) -> None:
    t = np.array([12 * DAY + 37])
    spoilt = history.temperature_c.copy()
    spoilt[t[0] + 1 :] += 5.0
    before, after = look(history, t), look(replace(history, temperature_c=spoilt), t)
    for lead in (4, 24, 96):
        for features in (physics_features, direct_features):
            assert np.array_equal(
                features(Cases(before, t, lead), 0), features(Cases(after, t, lead), 0), equal_nan=True
            )


def test_a_correction_does_not_depend_on_heating_after_its_lead(
    history: History, learnt: Correction
) -> None:
    t = np.array([12 * DAY])
    heat = {name: values.copy() for name, values in history.heat_w.items()}
    for values in heat.values():
        values[t[0] + 24 :] += 700.0
    before, _ = correct(learnt, look(history, t), t, (24, 96))
    after, _ = correct(learnt, look(replace(history, heat_w=heat), t), t, (24, 96))
    assert np.allclose(before[0], after[0])
    assert not np.allclose(before[1], after[1])


def test_a_room_without_a_present_temperature_is_left_to_physics(
    history: History, learnt: Correction
) -> None:
    t = np.array([12 * DAY])
    silent = history.temperature_c.copy()
    silent[t[0] - 12 : t[0] + 1, 0] = np.nan
    added, half = correct(learnt, look(replace(history, temperature_c=silent), t), t, (4, 24))
    assert np.isnan(added[:, 0, 0]).all() and np.isnan(half[:, 0, 0]).all()
    assert np.isfinite(added[:, 0, 1]).all() and (half[:, 0, 1] > 0).all()


def test_what_is_issued_leaves_off_its_habit_unless_it_answers_to_a_plan(
    history: History, learnt: Correction, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 12 * DAY + 12 * np.arange(4)
    view = look(history, rows)
    found = {}
    for name, correction in (("came", learnt), ("plan", replace(learnt, arx=()))):
        for off in (0.0, 0.25):
            monkeypatch.setattr(correct_module, "habit", lambda errors, *_, off=off: off + 0.0 * rows)
            found[name, off] = correct(correction, view, rows, (24, 96))[0]
    assert found["came", 0.25] == pytest.approx(found["came", 0.0] - 0.25)
    assert (found["plan", 0.25] == found["plan", 0.0]).all()


def test_the_weekend_counts_by_the_hour_where_it_is_forecast_for(history: History) -> None:
    rows = DAY * np.array([8, 9, 10, 11, 12])
    cases = Cases(look(history, rows), rows, DAY)
    free = weekend(history.epoch_s, wrong_house().time_zone).astype(float)
    assert {*free[rows]} == {*free[rows + DAY]} == {0.0, 1.0}
    hour = cases.view.hour[rows]
    expected = np.column_stack([free[rows], free[rows + DAY], hour, free[rows + DAY][:, None] * hour])
    assert np.array_equal(direct_features(cases, 0)[:, -expected.shape[1] :], expected)


def test_between_two_leads_the_correction_is_interpolated(
    history: History, learnt: Correction
) -> None:
    t = np.array([12 * DAY])
    added, half = correct(learnt, look(history, t), t, (24, 30, 36))
    assert np.allclose(added[1], 0.5 * (added[0] + added[2]))
    assert np.allclose(half[1], 0.5 * (half[0] + half[2]))


def test_a_room_that_was_never_seen_costs_the_others_little(
    history: History, learnt: Correction
) -> None:
    part = history.rows(0, SPLIT)
    usable = np.isfinite(part.temperature_c)
    usable[:, 0] = False
    without = learn(wrong_house(), part, usable, LEADS[-1])
    assert all(rooms[0] is None for rooms in without.leads)
    clean = np.nanmean(np.abs(scored(history, learnt).ours[:, :, 1]), axis=1)
    rest = np.nanmean(np.abs(scored(history, without).ours[:, :, 1]), axis=1)
    assert (rest < 1.25 * clean).all()


def test_weights_follow_skill_where_it_is_known_and_lean_on_physics_and_arx_where_not() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(0.0, 0.3, (2, 2000))
    errors = np.column_stack([one, two - 0.8 * one, two, two, two + one, one])
    weight = np.ones(2000)
    long, short = stack(errors, weight, 9000.0, 3600), stack(errors, weight, 0.1, 3600)
    for share in (long, short):
        assert share.sum() == pytest.approx(1.0) and (share >= 0.0).all()
    assert np.std(errors @ long) < 0.85 * np.std(errors @ short)
    assert short[[0, 5]].sum() > 0.9
    equal = np.repeat(errors[:, :1], 6, axis=1)
    for lead_s in (86400 - 1200, 86400 + 1200, 2 * 86400):
        assert stack(equal, weight, 0.01, lead_s) == pytest.approx(ALL_MEMBERS.few_days, abs=0.01)
    for lead_s in (600, 18 * 3600):
        assert stack(equal, weight, 0.01, lead_s) == pytest.approx(ALL_MEMBERS.few, abs=0.01)
    assert stack(equal, weight, 1.0, 1) == pytest.approx(ALL_MEMBERS.many, abs=0.01)
    both = stack(equal[:, :2], weight, 1.0, 1, PLANNED)
    assert both == pytest.approx(PLANNED.many, abs=0.02)


def test_the_grid_of_leads_reaches_the_longest() -> None:
    assert lead_grid(900, 6 * 3600) == (4, 8, 12, 24)
    assert lead_grid(900, 7 * 3600) == (4, 8, 12, 24, 36)
    assert lead_grid(1560, 24 * 3600)[-1] == 83


def test_a_history_shorter_than_the_weather_mean_keeps_its_length(history: History) -> None:
    short = history.rows(0, 3 * DAY)
    assert season_weights(short).shape == (3 * DAY,)
    correction = learn(wrong_house(), short, np.isfinite(short.temperature_c), 3600)
    assert correction.lead_rows == (4,)


def test_errors_of_long_runs_are_independent_before_the_runs_are_over() -> None:
    assert independent_errors(14.0, 3600.0) == 14 * 24
    assert independent_errors(14.0, 24 * 3600.0) == 14 * 4


def test_shares_follow_the_member_that_proves_right_once_its_forecasts_have_come_due():
    rng = np.random.default_rng(0)
    day, lead, origins = 48, 24, 8 * 40
    rows = 100 + 6 * np.arange(origins)
    errors = rng.normal(0.0, 1.0, (origins, 3)) * [0.2, 1.0, 1.0]
    start = np.array([0.1, 0.8, 0.1])
    shares = follow(errors, rows, lead, day, start)
    assert shares.sum(axis=1) == pytest.approx(np.ones(origins))
    assert (shares >= 0.0).all()
    due = rows[0] + day + lead
    assert (shares[rows < due] == start).all(), "a whole day must have come due"
    assert shares[-1, 0] > 0.4
    assert (np.diff(shares[::8, 0]) > -0.1).all()
    again = errors.copy()
    for k in range(0, origins, 37):
        again[:] = errors
        again[rows + lead > rows[k]] = 1e3  # what has not come due by then
        changed = follow(again, rows, lead, day, start)
        assert (changed[: k + 1] == shares[: k + 1]).all()


def test_shares_stay_without_a_record():
    start = np.array([0.3, 0.7])
    rows = np.arange(0, 480, 6)
    nothing = np.full((len(rows), 2), np.nan)
    assert (follow(nothing, rows, 12, 48, start) == start).all()
    assert (follow(np.ones((1, 2)), rows[:1], 12, 48, start) == start).all()
    assert follow(np.empty((0, 2)), rows[:0], 12, 48, start).shape == (0, 2)


@pytest.mark.parametrize(("day", "stride", "lead"), [(48, 6, 12), (48, 6, 48), (55, 7, 55), (144, 18, 36)])
def test_an_error_that_comes_back_at_an_hour_of_the_day_is_left_off(day, stride, lead):
    rows = 90 + stride * np.arange(30 * day // stride)
    hour = rows % day // stride
    errors = np.where(hour == 3, 0.8, 0.0) + np.random.default_rng(3).normal(0.0, 0.1, len(rows))
    found = habit(errors, rows, lead, day)
    late = rows > rows[-1] - 7 * day
    least = 0.45 if day % stride == 0 else 0.3  # origins that miss the hour by some rows meet it now and then
    assert least < found[late & (hour == 3)].mean() < 0.8
    if day % stride == 0:
        assert np.abs(found[late & (hour != 3)]).max() < 0.15
    assert (found[rows < rows[0] + lead] == 0.0).all(), "nothing had come due"


@pytest.mark.parametrize("lead", [20, 48, 60, 96])
def test_habits_read_what_had_come_due_and_nothing_else(lead):
    rows, day = 100 + 6 * np.arange(240), 48
    errors = np.random.default_rng(5).normal(0.0, 1.0, len(rows))
    found = habit(errors, rows, lead, day)
    for k in range(0, len(rows), 31):
        again = np.where(rows + lead > rows[k], 1e3, errors)
        assert (habit(again, rows, lead, day)[: k + 1] == found[: k + 1]).all()


def test_habits_are_drawn_to_none_and_bear_gaps_and_spikes():
    rows, day = 6 * np.arange(80), 48
    one = np.full(len(rows), np.nan)
    one[:8] = 1.0
    assert habit(one, rows, 6, day)[8:16] == pytest.approx(0.5 ** (1 / 14) / (HABIT_DAYS + 0.5 ** (1 / 14)))
    assert (habit(1e6 * one, rows, 6, day) == habit(2.0 * one, rows, 6, day)).all()
    assert (habit(np.full(len(rows), np.nan), rows, 6, day) == 0.0).all()
    assert habit(one[:1], rows[:1], 6, day) == [0.0]
    assert habit(one[:0], rows[:0], 6, day).shape == (0,)
