"""The contract: exact JSON, a hash that names the content, refusals that say what to do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.thermal_model import (
    Coupling,
    HouseModel,
    RoomModel,
    content_hash,
    from_json,
    to_json,
)
from tests.unit.thermal.house import true_house, true_room

positive = st.floats(min_value=1e-6, max_value=1e12, allow_nan=False, allow_infinity=False)


@settings(max_examples=60, deadline=None)
@given(capacity=positive, loss=positive, gains=st.lists(positive, min_size=24, max_size=24))
def test_json_round_trip_is_exact(capacity: float, loss: float, gains: list[float]) -> None:
    room = true_room(
        "a", air_capacity_j_per_k=capacity, air_outside_w_per_k=loss, internal_gain_w=tuple(gains)
    )
    model = HouseModel(rooms=(room,), latitude_deg=50.0, longitude_deg=14.4)
    again = from_json(to_json(model))
    assert again == model
    assert content_hash(again) == content_hash(model)


def test_hash_changes_with_any_parameter() -> None:
    model = true_house()
    room = model.rooms[0].model_copy(update={"air_outside_w_per_k": 8.000000000000002})
    changed = model.model_copy(update={"rooms": (room, *model.rooms[1:])})
    assert content_hash(changed) != content_hash(model)


def test_model_is_frozen_and_refuses_unknown_fields() -> None:
    model = true_house()
    with pytest.raises(ValueError, match="frozen"):
        model.latitude_deg = 1.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="Extra inputs"):
        RoomModel.model_validate(true_room("a").model_dump() | {"colour": "red"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"internal_gain_w": (1.0,)}, "give 24"),
        ({"mass_capacity_j_per_k": None}, "has one node"),
        ({"air_mass_w_per_k": 0.0}, "mass node without air_mass"),
        ({"air_capacity_j_per_k": float("nan")}, "finite"),
        ({"air_outside_w_per_k": -1.0}, "greater than or equal to 0"),
    ],
)
def test_impossible_rooms_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        true_room("a", **changes)


def test_couplings_must_join_two_known_rooms_once() -> None:
    rooms = (true_room("a"), true_room("b"))
    pair = Coupling(room_a="a", room_b="b", conductance_w_per_k=1.0)
    back = Coupling(room_a="b", room_b="a", conductance_w_per_k=1.0)
    stranger = Coupling(room_a="a", room_b="c", conductance_w_per_k=1.0)
    place = {"latitude_deg": 50.0, "longitude_deg": 14.0}
    with pytest.raises(ValueError, match="given twice"):
        HouseModel(rooms=rooms, couplings=(pair, back), **place)
    with pytest.raises(ValueError, match="two known rooms"):
        HouseModel(rooms=rooms, couplings=(stranger,), **place)
