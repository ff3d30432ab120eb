"""The planner's language: PlanningProblem in, Plan out."""

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
    Battery,
    DeferrableLoad,
    EvSession,
    Grid,
    HeatingGroup,
    LoadSegment,
    NeighbourGain,
    ObjectiveWeights,
    PlanningProblem,
    PowerPoint,
    PreviousRelays,
    Room,
    RoomDynamics,
    Scenario,
)

__all__ = [
    "Battery", "BindingLimit", "Churn", "CostSplit", "DeferrableLoad", "EvPlan", "EvSession",
    "Grid", "HeatingGroup", "LoadPlan", "LoadSegment", "NeighbourGain", "ObjectiveWeights",
    "Plan", "PlanningProblem", "PowerPoint", "PreviousRelays", "Room", "RoomDynamics", "RoomPlan",
    "Rung", "Scenario", "Violation", "WorkDone",
]
