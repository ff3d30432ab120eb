"""The planner's language: PlanningProblem in, Plan out."""

from contracts.planning.battery import Battery, PowerPoint
from contracts.planning.demand import DeferrableLoad, EvSession, LoadSegment
from contracts.planning.plan import (
    BindingLimit,
    Churn,
    CostSplit,
    EvPlan,
    LoadPlan,
    Plan,
    RoomPlan,
    Rung,
    Violation,
    WorkDone,
)
from contracts.planning.problem import (
    Grid,
    ObjectiveWeights,
    PlanningProblem,
    PreviousRelays,
    Scenario,
)
from contracts.planning.rooms import HeatingGroup, NeighbourGain, Room, RoomDynamics

__all__ = [
    "Battery", "BindingLimit", "Churn", "CostSplit", "DeferrableLoad", "EvPlan", "EvSession",
    "Grid", "HeatingGroup", "LoadPlan", "LoadSegment", "NeighbourGain", "ObjectiveWeights",
    "Plan", "PlanningProblem", "PowerPoint", "PreviousRelays", "Room", "RoomDynamics", "RoomPlan",
    "Rung", "Scenario", "Violation", "WorkDone",
]
