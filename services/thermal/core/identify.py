"""Identification of a house from its history: screening, structure, fit, bands, errors.

The order of work: take out what the screening refuses; choose each room's structure by its
multi-step error on the last quarter of the history; fit the chosen house on the first three
quarters and learn from the held-out quarter how wide the bands must be; refit on everything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import HouseModel, Provenance
from services.thermal.core.bands import with_bands
from services.thermal.core.fit import Fit, fit_house, set_disturbance_time
from services.thermal.core.history import History
from services.thermal.core.parametrise import RoomStructure
from services.thermal.core.prior import RoomFacts, prior_model
from services.thermal.core.screen import Finding
from services.thermal.core.structure import CANDIDATES, choose_structures
from services.thermal.core.task import HORIZON_S, Task, heater_powers, prepare
from services.thermal.core.translate import house_model
from services.thermal.core.uncertainty import IDENTIFIED_RATIO, posterior

Array = NDArray[np.float64]

METHOD = "multi-step prediction error, L-BFGS with adjoint gradient"
HOLD_OUT_FRACTION = 0.25
LAST_ITERATIONS = (80, 400)
"""Of the last fit, without and with valves behind a heating curve, whose shares it takes longer to find."""


@dataclass(frozen=True)
class Identification:
    """Result: the model, what was found in the data, and how structures compared.

    `structure_loss` gives by room and candidate the held-out robust loss (lower is better);
    `usable` (T, rooms) is False for samples of the history that must not teach.
    """

    model: HouseModel
    findings: tuple[Finding, ...]
    structure_loss: Mapping[str, Mapping[str, float]]
    training_step_s: int
    evaluations: int
    usable: NDArray[np.bool_]


def default_prior(
    rooms: Sequence[str], latitude_deg: float, longitude_deg: float, time_zone: str
) -> HouseModel:
    """Prior when nothing but the names of the rooms is known: every pair may be neighbours."""
    model = prior_model(
        [RoomFacts(name) for name in rooms],
        latitude_deg=latitude_deg,
        longitude_deg=longitude_deg,
        time_zone=time_zone,
    )
    return model


def identify(
    history: History,
    prior: HouseModel,
    *,
    pairs_known: bool = True,
    code_version: str = "",
    structures: Mapping[str, RoomStructure] | None = None,
    candidates: Mapping[str, Mapping[str, bool]] = CANDIDATES,
    parent_hash: str = "",
) -> Identification:
    """Identify the house of `history`, starting from `prior` (same room names).

    `pairs_known` True lets heat flow only along the prior's couplings; False considers every pair
    under a sparsity prior. Each room takes the best of
    `candidates`; given `structures` skip the choice. Raises ValueError if the history is
    shorter than three days or no room has data.
    """
    task, findings = prepare(history, prior, pairs_known)
    steps = len(task.history.epoch_s)
    split = int(steps * (1.0 - HOLD_OUT_FRACTION))
    evaluations = 0
    losses: dict[str, dict[str, float]] = {}
    if structures is None:
        chosen, losses, evaluations = choose_structures(task, split, candidates)
        task = task.taught(chosen)
        if task.lesson_s == HORIZON_S:
            chosen, losses, more = choose_structures(task, split, candidates)
            evaluations += more
    else:
        chosen = [structures[name] for name in prior.room_names]
        task = task.taught(chosen)
    parameters = task.parameters(chosen)
    first = fit_house(
        parameters,
        task.lessons(parameters, last_origin=split - task.horizon_steps),
        quantum_c=task.quantum_c,
    )
    held_out = task.windows(parameters, first_origin=split)
    lessons, whole = task.lessons(parameters), task.windows(parameters)
    final = fit_house(
        parameters,
        lessons,
        theta=first.theta,
        noise=first.noise,
        disturbance_time_s=first.disturbance_time_s,
        quantum_c=task.quantum_c,
        rounds=1,
        iterations=LAST_ITERATIONS[any(room.hydronic for room in chosen)],
    )
    errors, identified = _errors_by_name(final, *posterior(final, lessons))
    model = assemble(task, history, final, findings, errors, identified, code_version, parent_hash)
    model = with_bands(model, first, held_out, whole, final)
    return Identification(
        model,
        findings,
        losses,
        task.history.step_s,
        evaluations + first.evaluations + final.evaluations,
        task.sound,
    )


def assemble(
    task: Task,
    history: History,
    fit: Fit,
    findings: tuple[Finding, ...],
    errors: Mapping[tuple[str, str], float] | None = None,
    identified: Mapping[str, tuple[str, ...]] | None = None,
    code_version: str = "",
    parent_hash: str = "",
) -> HouseModel:
    """HouseModel of a fit with its provenance; bands are added by `with_bands`."""
    provenance = Provenance(
        method=METHOD,
        code_version=code_version,
        trained_from_epoch_s=int(history.epoch_s[0]),
        trained_to_epoch_s=int(history.epoch_s[-1]) + history.step_s,
        sample_step_s=task.history.step_s,
        data_hash=data_hash(history),
        parent_hash=parent_hash,
        notes=tuple(finding.when_learnt for finding in findings),
    )
    return house_model(
        fit,
        task.prior,
        task.own_heat,
        task.shared_sources,
        heater_powers(task.history, task.prior, task.own_heat),
        provenance,
        errors,
        identified,
    )


def data_hash(history: History) -> str:
    """SHA-256 over all series of a history."""
    digest = hashlib.sha256()
    digest.update(np.ascontiguousarray(history.epoch_s).tobytes())
    digest.update(np.ascontiguousarray(history.temperature_c).tobytes())
    digest.update(np.ascontiguousarray(history.outside_c).tobytes())
    for series in (history.heat_w, history.metered_w):
        for name in sorted(series):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(series[name]).tobytes())
    return digest.hexdigest()


def _errors_by_name(
    fit: Fit, deviations: Array, ratios: Array
) -> tuple[dict[tuple[str, str], float], dict[str, tuple[str, ...]]]:
    """Standard errors in physical units, and the parameters that the data moved."""
    _, slope = fit.parameters.physical(fit.theta)
    errors: dict[tuple[str, str], float] = {}
    identified: dict[str, tuple[str, ...]] = {}
    for k, parameter in enumerate(fit.parameters.parameters):
        errors[(parameter.room, parameter.name)] = float(abs(slope[k]) * deviations[k])
        if ratios[k] < IDENTIFIED_RATIO:
            known = identified.get(parameter.room, ())
            identified[parameter.room] = (*known, parameter.name)
    set_disturbance_time(fit.parameters, fit.disturbance_time_s)
    return errors, identified
