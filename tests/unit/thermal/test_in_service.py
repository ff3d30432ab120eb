"""The correction in service: the features of training, bit for bit, and dynamics that hold it exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from chassis.models import name_of
from chassis.service import Engine, dump, load
from contracts import catalog, grid
from contracts.envelope import Event, encode
from contracts.events.thermal import DynamicsIssued, ModelIdentified, StateEstimated
from contracts.events.weather import WeatherForecastIssued
from contracts.thermal_model import HouseModel
from services.thermal.core.accuracy import at_leads
from services.thermal.core.content import STORED_MEMBERS, pack, unpack
from services.thermal.core.correction import Ridge, RoomLead, learn, look_back
from services.thermal.core.drive import drive_of
from services.thermal.core.dynamics import (
    Outlook,
    lead_s,
    physics_half_width_k,
    weather_half_width_k,
)
from services.thermal.core.features import Cases, direct_features, issue_rows, physics_features
from services.thermal.core.hindcast import run_filter
from services.thermal.core.hindsight import APPLIED, TOO_SHORT, UNSETTLED, Track, added_c
from services.thermal.core.history import History
from services.thermal.core.memory import ROW_S, Ahead, Memory
from services.thermal.core.stacking import MEMBERS, PLANNED
from services.thermal.service import BETWEEN_HOURS, MISSING, Thermal
from tests.conftest import make_event
from tests.unit.thermal.house import remembered, simulate, told, true_house
from tests.unit.thermal.test_correction import wrong_house

DAYS = 14
HORIZON_S = sum(grid.STEPS_S)
HOUR_ROWS = 3_600 // ROW_S
LEADS = (2, 12, 48, 96)


def lived(days: int = DAYS) -> History:
    """Two rooms whose people cook at night, a sensor silent for an evening, a relay for a morning."""
    busy = tuple(600.0 if 18 <= hour < 22 else 60.0 for hour in range(24))
    rooms = tuple(r.model_copy(update={"internal_gain_w": busy}) for r in true_house(2).rooms)
    history = simulate(true_house(2).model_copy(update={"rooms": rooms}), days=days, seed=4)
    temperature = history.temperature_c.round(2)
    temperature[400:417, 0] = np.nan
    heat = {name: values.copy() for name, values in history.heat_w.items()}
    heat["heat_room1"][500:510] = np.nan
    return replace(history, temperature_c=temperature, heat_w=heat)


def wire(history: History, weather_h: int = 6, wrong_k: float = 0.5) -> Iterator[Event]:
    """A house's log: what the gateway says, and a weather run that knows the future a little wrong."""
    number = 0
    for data in told(history):
        number += 1
        kind = next(row.type for row in catalog.CATALOG if row.model is type(data))
        entity = getattr(data, "room", "house")
        yield replace(make_event(kind, entity, data, "gateway"), sequence=number, id=f"e{number}")
        if kind == "measurement.outdoor.sampled" and data.time.hour % weather_h == 0 == data.time.minute:
            t = int((data.time.timestamp() - history.epoch_s[0]) // history.step_s)
            ahead = slice(t, t + 72 * 3_600 // history.step_s)
            number += 1
            run = WeatherForecastIssued(
                issued=data.time, start=data.time, step_s=history.step_s, source="test",
                temperature_c=tuple((history.outside_c[ahead] + wrong_k).round(1).tolist()),
                ghi_w_m2=tuple(history.ghi_w_m2[ahead].round(0).tolist()),
            )  # fmt: skip
            event = make_event("weather.forecast-issued", "site", run, "gateway")
            yield replace(event, sequence=number, id=f"e{number}")


def engine_with(model: HouseModel, content: bytes, corrected: bool) -> Engine[Any]:
    engine = Engine(Thermal())
    engine.service.models = {name_of(content): content}
    engine.service.fold(engine.state, identified(model, content, corrected))
    return engine


def identified(model: HouseModel, content: bytes, corrected: bool = True) -> Event:
    data = ModelIdentified(
        time=datetime(2026, 1, 1, tzinfo=UTC), model=model, model_hash=name_of(content), method="t",
        corrected=corrected,
    )  # fmt: skip
    return make_event("thermal.model-identified", "house", data, "thermal")


@pytest.fixture(scope="module")
def history() -> History:
    return lived()


@pytest.fixture(scope="module")
def log(history: History) -> list[Event]:
    return list(wire(history))


@pytest.fixture(scope="module")
def content() -> bytes:
    """Learnt elsewhere: another fortnight of the same people."""
    rows = remembered(lived(18)).history(wrong_house())
    usable = np.isfinite(rows.temperature_c)
    return pack(wrong_house(), learn(wrong_house(), rows, usable, HORIZON_S, PLANNED))


@pytest.fixture(scope="module")
def issued(log: list[Event], content: bytes) -> list[DynamicsIssued]:
    return said(engine_with(wrong_house(), content, True), log)


def said(engine: Engine[Any], log: list[Event]) -> list[DynamicsIssued]:
    events = (e for event in log for e in engine.handle(event))
    return [e.data for e in events if isinstance(e.data, DynamicsIssued)]


def air(dynamics: DynamicsIssued, duty: float = 0.3) -> dict[str, np.ndarray]:
    """Temperatures at the end of each step, all rooms together, each relay on for a share."""
    now = {name: (room.air_c, room.mass_c) for name, room in dynamics.rooms.items()}
    result: dict[str, list[float]] = {name: [] for name in now}
    for k, seconds in enumerate(dynamics.step_s):
        after = {}
        for name, room in dynamics.rooms.items():
            g, (a, m) = room.gains[seconds], now[name]
            felt = [(now[other][0], gain[seconds]) for other, gain in room.neighbours.items()]
            after[name] = (
                g.air_air * a + g.mass_air * m + g.heat_air * duty + room.drift_air_k[k]
                + sum(t * gain[0] for t, gain in felt),
                g.air_mass * a + g.mass_mass * m + g.heat_mass * duty + room.drift_mass_k[k]
                + sum(t * gain[1] for t, gain in felt),
            )  # fmt: skip
            result[name].append(after[name][0])
        now = after
    return {name: np.array(values) for name, values in result.items()}


def test_features_of_service_and_training_are_equal_bit_for_bit(
    history: History, log: list[Event], content: bytes
) -> None:
    model = wrong_house()
    whole = Memory(keep_days=90)
    for event in log:
        whole.take(event.data)
    batch = whole.history(model)
    hours = np.arange(0, len(batch.epoch_s), HOUR_ROWS, dtype=np.int64)[1:]
    drive = drive_of(model, batch)
    means = run_filter(model, batch, drive, 0, hours).means
    trained = look_back(model, batch, drive, hours, means, LEADS)
    engine = engine_with(model, content, True)
    compared = 0
    for event in log:
        engine.handle(event)
        memory, track = engine.state.memory, engine.state.track
        t = memory.last - whole.first
        if event.type != "measurement.sweep.completed" or t < 96 or t % 46 or t + 96 >= len(hours) * 2:
            continue
        came = slice(t, t + 97)
        duty = [batch.heat_w[f"heat_{r.name}"][came] / r.heater_power_w for r in model.rooms]
        ahead = Ahead(batch.outside_c[came], batch.ghi_w_m2[came], np.column_stack(duty))
        live = memory.history(model, ahead)
        first = memory.first - whole.first
        rows = [row - memory.first for row in track.means]
        view = look_back(
            model, live, drive_of(model, live), np.array(rows), np.array(list(track.means.values())), LEADS
        )
        for lead in LEADS:
            known = issue_rows(ROW_S, np.array([t]), lead * ROW_S)
            assert {row - first for row in known.tolist() if row > first} <= set(rows)
            for i in range(2):
                for features in (physics_features, direct_features):
                    a = features(Cases(trained, np.array([t]), lead), i)
                    b = features(Cases(view, np.array([t - first]), lead), i)
                    assert np.array_equal(a, b, equal_nan=True), (t, lead, np.nanmax(np.abs(a - b)))
                    compared += int(np.isfinite(a).sum())
    assert compared > 5_000
    assert engine.state.memory.first > whole.first  # the service forgot what the trainer knows


def test_at_the_reference_heating_the_planner_sees_physics_and_correction(
    log: list[Event], content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, found = unpack(content)[0], []

    def kept(*given: Any) -> Any:
        found.append((answer := added_c(*given))[0])
        return answer

    monkeypatch.setattr("services.thermal.service.added_c", kept)
    part = log[: len(log) // 3]
    engines = engine_with(model, content, True), engine_with(model, pack(model), False)
    both, physics = (said(engine, part)[-1] for engine in engines)
    assert physics.correction == "" and not any(room.corrected for room in physics.rooms.values())
    assert (both.issued, both.correction) == (physics.issued, APPLIED)
    assert all(room.corrected for room in both.rooms.values())
    warm, cold = air(both), air(physics)
    added = np.column_stack([warm[name] - cold[name] for name in warm])
    assert np.abs(added).max() > 0.1
    assert np.allclose(added, found[-1], atol=2e-3)  # drifts are rounded
    kept = [engine.state.waiting.forecasts for engine in engines]  # and will be judged by
    row = max(kept[0])
    hours_ago = int(both.start.timestamp()) // 3_600 - row * ROW_S // 3_600
    told = np.subtract(*(forecasts[row].air_c for forecasts in kept))
    assert np.allclose(told, at_leads(np.nan_to_num(found[-1 - hours_ago])), atol=2e-3)
    # and what a kilowatt more does is what it did
    more = {n: air(both, 0.8)[n] - warm[n] - air(physics, 0.8)[n] + cold[n] for n in warm}
    assert all(np.abs(values).max() < 1e-9 for values in more.values())


def test_the_band_issued_is_that_of_physics_or_the_one_learnt_with_the_correction(
    log: list[Event], content: bytes
) -> None:
    model, correction = unpack(content)
    hours = [k for k, e in enumerate(log) if e.type == "measurement.sweep.completed" and not e.data.time.minute]
    part = log[: hours[72] + 1]
    engines = engine_with(model, pack(model), False), engine_with(model, content, True)
    physics, both = said(engines[0], part)[-1], said(engines[1], muted(part, {"room0"}, 3))[-1]
    told = [np.column_stack([r.half_width_k for r in d.rooms.values()]) for d in (physics, both)]
    weather = [  # after three days the rest is stretched
        weather_half_width_k(
            model,
            Outlook.of(e.state.memory.intake.weather, e.state.planned, e.state.weather_errors, d.start),
            d.start,
        )
        for e, d in zip(engines, (physics, both), strict=True)
    ]
    expected = [
        np.hypot(physics_half_width_k(model, e.state.filter) * e.state.following.stretch(2), felt)
        for e, felt in zip(engines, weather, strict=True)
    ]
    assert np.allclose(told[0], expected[0], atol=6e-4)
    assert correction is not None and [r.corrected for r in both.rooms.values()] == [False, True]
    assert np.allclose(told[1][:, 0], expected[1][:, 0], atol=6e-4)
    stretch = engines[1].state.following.stretch(2)
    for lead in LEADS:
        learnt = correction.leads[correction.lead_rows.index(lead)][1]
        step = lead_s().index(lead * ROW_S)
        assert learnt is not None
        half = np.hypot(learnt.half_width_c * stretch[step, 1], weather[1][step, 1])
        assert told[1][step, 1] == pytest.approx(half, abs=6e-4)


def test_with_too_little_in_mind_or_silent_inputs_physics_stands_alone(
    issued: list[DynamicsIssued], history: History
) -> None:
    at = {round((d.issued.timestamp() - history.epoch_s[0]) / 3_600): d for d in issued}
    assert {at[hour].correction for hour in range(1, 48)} == {TOO_SHORT}
    assert at[48].correction == APPLIED
    # the relay of room1 was unknown from row 500 to 510: nothing is added to it until a day after
    assert {at[hour].correction for hour in range(126, 153)} == {APPLIED}
    used = {tuple(room.corrected for room in at[hour].rooms.values()) for hour in range(127, 151)}
    assert used == {(True, False)}
    assert [room.corrected for room in at[152].rooms.values()] == [True, True]


def muted(log: list[Event], rooms: set[str], hours: int) -> list[Event]:
    """The log with rooms whose thermometers have been silent for the last hours."""
    silence = log[-1].data.time - timedelta(hours=hours)
    silent = {"temperature_c": None}
    return [
        replace(e, data=e.data.model_copy(update=silent))
        if e.type == "measurement.room.sampled" and e.entity in rooms and e.data.time > silence
        else e
        for e in log
    ]  # fmt: skip


def test_when_no_room_is_settled_physics_stands_alone(log: list[Event], content: bytes) -> None:
    part = muted(log[: len(log) // 4], {"room0", "room1"}, 14)
    last = said(engine_with(wrong_house(), content, True), part)[-1]
    assert last.correction == UNSETTLED
    assert not any(room.corrected for room in last.rooms.values())


def test_a_silent_room_is_left_to_physics_and_no_other(log: list[Event], content: bytes) -> None:
    part = muted(log[: len(log) // 4], {"room0"}, 3)
    last = said(engine_with(wrong_house(), content, True), part)[-1]
    used = [room.corrected for room in last.rooms.values()]
    assert (last.correction, used) == (APPLIED, [False, True])


def test_estimates_are_those_of_physics(log: list[Event], content: bytes) -> None:
    model = wrong_house()
    engines = engine_with(model, content, True), engine_with(model, pack(model), False)
    compared = 0
    for event in log[: len(log) // 3]:
        pair = [[e.data for e in engine.handle(event)] for engine in engines]
        for one, other in zip(*([d for d in ds if isinstance(d, StateEstimated)] for ds in pair), strict=True):
            assert one.rooms == other.rooms
            compared += 1
    assert compared > 300


def test_a_snapshot_goes_on_as_if_nothing_had_happened(log: list[Event], content: bytes) -> None:
    whole = engine_with(wrong_house(), content, True)
    cut = len(log) * 9 // 10
    for event in log[:cut]:
        whole.handle(event)
    snapshot = dump(whole.state)
    assert len(snapshot) < 1_000_000
    service = Thermal()
    service.models = whole.service.models
    resumed = Engine(service, load(service.state_type, snapshot))
    assert list(service.needs(resumed.state)) == [name_of(content)]
    decided = 0
    for event in log[cut:]:
        said_before = [encode(e) for e in whole.handle(event)]
        assert [encode(e) for e in resumed.handle(event)] == said_before
        decided += len(said_before)
    assert decided > 100
    assert dump(resumed.state) == dump(whole.state)


def test_a_new_model_is_run_over_the_days_remembered(log: list[Event], content: bytes) -> None:
    cut = len(log) // 4
    engine = engine_with(wrong_house(), content, True)
    for event in log[:cut]:
        engine.handle(event)
    new = pack(true_house(2), unpack(content)[1])
    adopted = engine_with(true_house(2), new, True)  # nothing remembered yet
    adopted.state = load(adopted.service.state_type, dump(engine.state))
    adopted.service.fold(adopted.state, identified(true_house(2), new))
    blank = Engine(adopted.service, adopted.state.model_copy(update={"track": Track()}, deep=True))
    rest = log[cut : cut + 60]
    found = said(adopted, rest)
    assert found and found == said(blank, rest)
    assert {d.correction for d in found} == {APPLIED}
    assert adopted.state.track == blank.state.track
    assert len(adopted.state.track.means) > 72


def test_a_correction_that_vanished_is_named(log: list[Event], content: bytes) -> None:
    engine = engine_with(wrong_house(), content, True)
    engine.service.models = {}
    found = said(engine, log[: len(log) // 2])
    assert {d.correction for d in found} == {MISSING}


def test_between_hours_nothing_is_added(log: list[Event], content: bytes) -> None:
    engine = engine_with(wrong_house(), content, True)
    start = log[0].data.time
    late = [
        e for e in log[: len(log) // 2]
        if not (e.type == "measurement.sweep.completed" and e.data.time.minute == 0
                and e.data.time > start + timedelta(hours=49))
    ]  # fmt: skip
    assert said(engine, late)[-1].correction == BETWEEN_HOURS


class TestContent:
    def test_a_model_and_its_correction_return_as_they_were(self, content: bytes) -> None:
        model, correction = unpack(content)
        assert correction is not None and pack(model, correction) == content
        assert unpack(pack(model)) == (model, None)

    def test_weights_are_written_without_arx_and_a_correction_with_it_is_not_stored(
        self, content: bytes
    ) -> None:
        model, correction = unpack(content)
        assert correction is not None
        learnt = next(room for room in correction.leads[0] if room is not None)
        assert len(learnt.weight) == len(MEMBERS) and not learnt.weight[STORED_MEMBERS:].any()
        written = json.loads(content)["correction"]["leads"][0]
        assert {len(room["weight"]) for room in written if room} == {STORED_MEMBERS}
        with pytest.raises(ValueError, match="ARX"):
            pack(model, replace(correction, arx=(None, None)))

    @pytest.mark.parametrize("change", [
        lambda c: replace(c, step_s=900),
        lambda c: replace(c, leads=tuple(rooms[:1] for rooms in c.leads)),
        lambda c: replace(c, leads=tuple((rooms[0], short(rooms[1])) for rooms in c.leads)),
    ])  # fmt: skip
    def test_a_correction_of_another_house_is_refused(self, content: bytes, change: Any) -> None:
        model, correction = unpack(content)
        with pytest.raises(ValueError, match="its correction"):
            unpack(pack(model, change(correction)))

    @pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"correction":{},"model":{}}', b"\xff"])
    def test_what_is_no_model_is_refused(self, content: bytes) -> None:
        with pytest.raises(ValueError, match=r"."):
            unpack(content)


def short(room: RoomLead) -> RoomLead:
    """As if learnt without one of the features."""
    ridge = room.corrected
    return replace(room, corrected=Ridge(ridge.mean[1:], ridge.scale[1:], ridge.weight[1:]))
