"""Which equations a room needs, decided by how well each predicts data it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import RoomModel
from services.thermal.core.fit import fit_house, judged_loss
from services.thermal.core.gains import SOME_ON
from services.thermal.core.objective import Windows, errors_only
from services.thermal.core.parametrise import RoomStructure
from services.thermal.core.task import Task

SHORT_HISTORY_DAYS = 21.0
SIMPLER_UNLESS_BETTER_BY = 0.05

FOR_THE_PLANNER: Mapping[str, Mapping[str, bool]] = {
    "two nodes": {},
    "two nodes, heated floor": {"floor_heating": True},
}
"""Structures whose heat the planner's two temperatures hold; in an emitter of its own it would be lost."""

CANDIDATES: Mapping[str, Mapping[str, bool]] = {
    "one node": {"two_nodes": False},
    **FOR_THE_PLANNER,
    "two nodes, emitter lag": {"emitter_lag": True},
    "two nodes, emitter lag, heated floor": {"emitter_lag": True, "floor_heating": True},
    "two nodes, heating curve": {"hydronic": True},
    "two nodes, emitter lag, heating curve": {"emitter_lag": True, "hydronic": True},
}
"""From simple to rich. The service's models are chosen among the first kind only."""


def candidate(
    wanted: Mapping[str, bool], room: RoomModel, own_heat: bool, shared_heat: bool,
    some_on: bool = False,
) -> RoomStructure:
    """Structure of a room, given its prior, under a candidate's flags, without what its heating cannot
    have.

    A heater whose power is known gives what its relay says: no heating curve may take its scale. One
    that is known to lie in the floor stays there; how much of its heat goes into it is learnt. Behind a
    heating curve a room without a heater of its own has that of the house (`some_on`).
    """
    flags = dict(wanted)
    if flags.get("two_nodes", True) and room.heat_to_mass_fraction > 0.0:
        flags["floor_heating"] = True
    if room.heater_power_w > 0.0 or not (own_heat or some_on):
        flags.pop("hydronic", None)
    if not (own_heat or shared_heat or "hydronic" in flags):
        flags = {k: v for k, v in flags.items() if k == "two_nodes"}
    return RoomStructure(room.name, **flags)


def choose_structures(
    task: Task, split: int, candidates: Mapping[str, Mapping[str, bool]] = CANDIDATES
) -> tuple[list[RoomStructure], dict[str, dict[str, float]], int]:
    """Fit the whole house under each candidate; every room keeps the one that predicts held-out
    stretches best, the simpler one unless the next is better by 5 %. Either all rooms are behind a
    heating curve or none.

    Held out is the last quarter, or each third in turn where the history is short.
    """
    names = task.history.rooms
    shared = "heat" in task.shared_sources
    powers_known = any(room.heater_power_w > 0.0 for room in task.prior.rooms)
    some_on = SOME_ON in task.shared_sources and not powers_known
    heated = {name: bool(task.own_heat[name]) for name in names}
    different: dict[tuple[RoomStructure, ...], str] = {}
    for label, flags in candidates.items():
        rooms = tuple(
            candidate(flags, room, heated[room.name], shared, some_on)
            for room in task.prior.rooms
        )
        different.setdefault(rooms, label)
    steps = len(task.history.epoch_s)
    short = steps * task.history.step_s < SHORT_HISTORY_DAYS * 86400
    stretches = (
        [(0, steps // 3), (steps // 3, 2 * steps // 3), (2 * steps // 3, steps)]
        if short
        else [(split, steps)]
    )
    losses: dict[str, dict[str, float]] = {name: {} for name in names}
    evaluations = 0
    for structures, label in different.items():
        parameters = task.parameters(structures)
        windows, lessons = task.windows(parameters), task.lessons(parameters)
        total = np.full(len(names), np.nan)
        for first, last in stretches:
            ends = windows.origins + windows.horizon
            inside = (windows.origins >= first) & (ends <= last)
            outside = (lessons.origins + lessons.horizon <= first) | (lessons.origins >= last)
            if not inside.any() or not outside.any():
                continue
            fit = fit_house(
                parameters, _only(lessons, outside), quantum_c=task.quantum_c, rounds=2
            )
            evaluations += fit.evaluations
            error, _ = errors_only(fit.theta, parameters, _only(windows, inside), fit.gain)
            loss = judged_loss(error)  # NaN where a room was silent all through the stretch
            total = np.where(np.isfinite(loss), np.nan_to_num(total) + loss, total)
        for name, loss in zip(names, total, strict=True):
            losses[name][label] = float(loss)
    labels = _same_plant(list(different.values()), losses, candidates)
    chosen = []
    for i, name in enumerate(names):
        best = "two nodes"
        if np.isfinite(losses[name][best]):
            least = min(losses[name][label] for label in labels)
            best = next(
                label
                for label in labels
                if losses[name][label] <= least * (1.0 + SIMPLER_UNLESS_BETTER_BY)
            )
        chosen.append(next(rooms[i] for rooms, label in different.items() if label == best))
    return chosen, losses, evaluations


def _same_plant(
    labels: list[str],
    losses: Mapping[str, Mapping[str, float]],
    candidates: Mapping[str, Mapping[str, bool]],
) -> list[str]:
    """The labels behind a heating curve or those that are not, whichever predict the house better:
    one plant heats all its rooms, and where rooms differ in that each pays for what the other lacks."""
    kinds = [
        [label for label in labels if ("hydronic" in candidates[label]) == behind]
        for behind in (False, True)
    ]
    if not all(kinds):
        return labels
    plain, curve = (
        sum(np.nan_to_num(min(of[label] for label in kind)) for of in losses.values())
        for kind in kinds
    )
    return kinds[int(curve * (1.0 + SIMPLER_UNLESS_BETTER_BY) < plain)]


def _only(windows: Windows, keep: NDArray[np.bool_]) -> Windows:
    """The windows whose origins are kept."""
    return replace(windows, origins=windows.origins[keep], weights=windows.weights[keep])
