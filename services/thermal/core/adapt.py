"""Keeping a model up to date: small, bounded, reversible changes from recent prediction errors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from contracts.thermal_model import COLD_SUFFIX, HouseModel, RoomModel, content_hash
from services.thermal.core.fit import fit_house, judged_loss, set_disturbance_time
from services.thermal.core.history import History
from services.thermal.core.identify import assemble
from services.thermal.core.objective import errors_only, steady_gain
from services.thermal.core.parametrise import RoomStructure
from services.thermal.core.screen import Finding
from services.thermal.core.task import prepare
from services.thermal.core.translate import noise_of

SD_FACTOR = 0.2
BOUND_SIGMAS = 3.0
LEAST_GAIN = 0.01
JUDGED_FRACTION = 0.3


@dataclass(frozen=True)
class Adaptation:
    """`model` is the adapted one if `accepted`, else the one given; losses on the judged part."""

    model: HouseModel
    accepted: bool
    loss_before: float
    loss_after: float
    findings: tuple[Finding, ...]


def structure_of(room: RoomModel) -> RoomStructure:
    """The structure a room's model was built with."""
    return RoomStructure(
        room.name,
        two_nodes=room.node_count == 2,
        emitter_lag=room.emitter_lag_s > 0.0,
        floor_heating=room.heat_to_mass_fraction > 0.0,
        hydronic=any(share.source.endswith(COLD_SUFFIX) for share in room.heat_shares),
    )


def adapt(history: History, model: HouseModel) -> Adaptation:
    """Refit `model` on recent history under priors tight around it.

    Every parameter stays within three (tight) prior deviations. The change is kept only if it
    predicts the last 30 % of the history, which it has not seen, at least 1 % better; the adapted
    model names its parent by hash, so that promoting the parent undoes it.
    """
    task, findings = prepare(history, model, pairs_known=True)
    structures = [structure_of(room) for room in model.rooms]
    task = replace(task, sd_factor=SD_FACTOR).taught(structures)
    parameters = task.parameters(structures)
    parameters.low = np.maximum(
        parameters.low, parameters.prior_mean - BOUND_SIGMAS * parameters.prior_sd
    )
    parameters.high = np.minimum(
        parameters.high, parameters.prior_mean + BOUND_SIGMAS * parameters.prior_sd
    )
    steps = len(task.history.epoch_s)
    split = int(steps * (1.0 - JUDGED_FRACTION))
    noise, times = noise_of(model)
    training = task.lessons(parameters, last_origin=split - task.horizon_steps)
    judged = task.windows(parameters, first_origin=split)
    if len(training.origins) == 0 or len(judged.origins) == 0:
        raise ValueError("the history is too short to adapt; give at least a week")
    set_disturbance_time(parameters, times)
    before_gain = steady_gain(parameters, parameters.prior_mean, training.step_s, noise)
    before, _ = errors_only(parameters.prior_mean, parameters, judged, before_gain)
    fit = fit_house(
        parameters,
        training,
        noise=noise,
        disturbance_time_s=times,
        rounds=1,
        tune_noise=False,
    )
    after, _ = errors_only(fit.theta, parameters, judged, fit.gain)
    loss_before = float(np.nanmean(judged_loss(before)))
    loss_after = float(np.nanmean(judged_loss(after)))
    if not loss_after < loss_before * (1.0 - LEAST_GAIN):
        return Adaptation(model, False, loss_before, loss_after, findings)
    adapted = assemble(task, history, fit, findings, parent_hash=content_hash(model))
    rooms = tuple(
        new.model_copy(update={"band_scale": old.band_scale, "noise": old.noise})
        for new, old in zip(adapted.rooms, model.rooms, strict=True)
    )
    return Adaptation(
        adapted.model_copy(update={"rooms": rooms}), True, loss_before, loss_after, findings
    )

