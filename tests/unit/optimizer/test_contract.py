"""The contract refuses what it cannot mean, by name, and survives JSON exactly."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import ValidationError

from contracts.planning import Plan, PlanningProblem
from services.optimizer.core.planner import plan
from tests.unit.optimizer.small_houses import small_house


def _broken(**changes):
    data = json.loads(small_house(6).model_dump_json())
    for path, value in changes.items():
        target = data
        *parents, last = path.split("__")
        for part in parents:
            target = target[int(part) if part.isdigit() else part]
        target[int(last) if last.isdigit() else last] = value
    return data


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"pv_w__0": math.nan}, "pv_w"),
        ({"base_load_w__1": math.inf}, "base_load_w"),
        ({"base_load_w__1": None}, "base_load_w"),
        ({"pv_w": [0.0]}, "pv_w"),
        ({"step_s__0": -900}, "step_s"),
        ({"step_s__0": 900.5}, "step_s"),
        ({"grid__buy_price_eur_per_kwh__0": 95.0}, "buy_price_eur_per_kwh"),
        ({"rooms__0__initial_air_c": 293.15}, "initial_air_c"),
        ({"rooms__0__heater_w": 1.5}, "heater_w"),
        ({"rooms__0__low_c__0": 25.0}, "low_c"),
        ({"rooms__0__dynamics__decay_air": [0.9]}, "decay_air"),
        ({"rooms__1__name": "room0"}, "room0"),
        ({"start": "2025-03-29T22:00:00"}, "start"),
        ({"start": 1736766000}, "start"),
        ({"start": "9999-12-31T00:00:00Z"}, "start"),
        ({"rooms__0__penalty_low_eur_per_k_h": 1e300}, "penalty_low_eur_per_k_h"),
        ({"rooms__0__dynamics__drift_air_k__1": 1e300}, "kelvin a step"),
        ({"rooms__0__dynamics__heat_air_k__1": 1e9}, "kelvin a step"),
        ({"grid__fixed_fee_eur": 1e300}, "fixed_fee_eur"),
        ({"grid__import_limit_w": 9.0}, "kilowatts"),
        ({"battery__capacity_wh": 10.0}, "kilowatt-hours"),
        ({"battery__charge_limit_w": 5.0}, "kilowatts"),
        ({"battery__fixed_power_w": [1e30] * 8}, "fixed_power_w"),
        ({"evs__0__max_power_w": 3.68}, "kilowatts"),
        ({"evs__0__target_kwh": 18_000.0, "evs__0__max_kwh": 18_000.0}, "watt-hours"),
        ({"surprise": 1}, "surprise"),
        ({"pv_w__0": "12"}, "pv_w"),
    ],
)
def test_bad_input_is_refused_with_the_fields_name(changes, field):
    with pytest.raises(ValidationError) as refusal:
        PlanningProblem.model_validate(_broken(**changes))
    assert field in str(refusal.value)


def test_a_node_that_warms_itself_and_a_neighbour_twice_are_refused():
    data = json.loads(small_house(5, two_node=True, coupled=True).model_dump_json())
    PlanningProblem.model_validate_json(json.dumps(data))
    dynamics = data["rooms"][0]["dynamics"]
    kept = dynamics["mass_to_air"][3]
    dynamics["mass_to_air"][3] = 1.3 - dynamics["decay_air"][3]
    with pytest.raises(ValidationError, match=r"room0\.dynamics: decay_air and mass_to_air add to 1\.3"):
        PlanningProblem.model_validate_json(json.dumps(data))
    dynamics["mass_to_air"][3] = kept
    gain = dynamics["neighbours"][0]["gain_air"][3]
    dynamics["neighbours"][0]["gain_air"][3] = 1.2 - dynamics["decay_air"][3]
    with pytest.raises(ValidationError, match=r"decay_air and the neighbours' gain_air add to 1\.2"):
        PlanningProblem.model_validate_json(json.dumps(data))
    dynamics["neighbours"][0]["gain_air"][3] = 30.0
    with pytest.raises(ValidationError, match=r"room0\.neighbour room1: gains must lie in 0\.\.1"):
        PlanningProblem.model_validate_json(json.dumps(data))
    dynamics["neighbours"][0]["gain_air"][3] = gain
    dynamics["neighbours"] *= 2
    with pytest.raises(ValidationError, match=r"room0\.dynamics\.neighbours has two"):
        PlanningProblem.model_validate_json(json.dumps(data))


def test_json_round_trips_are_exact():
    problem = small_house(5, two_node=True, coupled=True)
    again = PlanningProblem.model_validate_json(problem.model_dump_json())
    assert again == problem
    assert again.content_hash() == problem.content_hash()
    made = plan(problem)
    assert Plan.model_validate_json(made.model_dump_json()) == made
