"""Identification of a house from its history: screening, structure, fit, bands, errors.

The order of work: take out what the screening refuses; choose each room's structure by its
multi-step error on the last quarter of the history; fit the chosen house on the first three
quarters and learn from the held-out quarter how wide the bands must be; refit on everything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import HouseModel, Provenance
from services.thermal.core.bands import with_bands
from services.thermal.core.fit import Fit, fit_house, robust_loss, set_disturbance_time
from services.thermal.core.history import (
    PLANES,
    History,
    make_windows,
    training_inputs,
    with_irradiance,
)
from services.thermal.core.objective import Windows, errors_only
from services.thermal.core.parametrise import ParameterSet, RoomStructure, build
from services.thermal.core.prior import RoomFacts, prior_model
from services.thermal.core.screen import Finding, screen
from services.thermal.core.translate import house_model, room_prior
from services.thermal.core.uncertainty import IDENTIFIED_RATIO, posterior

Array = NDArray[np.float64]

METHOD = "multi-step prediction error, L-BFGS with adjoint gradient"
HORIZON_S = 24 * 3600
STRIDE_S = 4 * 3600
LONG_HISTORY_DAYS = 60.0
SHORT_HISTORY_DAYS = 21.0
STEP_TARGET_S = 900
STEP_TARGET_LONG_S = 1800
HOLD_OUT_FRACTION = 0.25
SPIN_UP_S = 2 * 86400
SIMPLER_UNLESS_BETTER_BY = 0.02
COLD_FULL_C, COLD_SPAN_C, WARM_WEIGHT = 10.0, 8.0, 0.15
UNKNOWN_PAIR_SHRINK, KNOWN_PAIR_SHRINK = 0.5, 0.0
MIN_DAYS = 3.0


@dataclass(frozen=True)
class Identification:
    """Result: the model, what was found in the data, and how structures compared.

    `structure_loss` gives by room and candidate the held-out robust loss (lower is better).
    """

    model: HouseModel
    findings: tuple[Finding, ...]
    structure_loss: Mapping[str, Mapping[str, float]]
    training_step_s: int
    evaluations: int


@dataclass(frozen=True)
class Task:
    """What stays the same between the fits of one identification."""

    history: History
    prior: HouseModel
    pairs: tuple[tuple[str, str, float, float], ...]
    own_heat: Mapping[str, tuple[str, ...]]
    shared_sources: Mapping[str, float]
    usable: NDArray[np.bool_]
    quantum_c: Array
    season_weight: Array
    sd_factor: float = 1.0

    def parameters(self, structures: Sequence[RoomStructure]) -> ParameterSet:
        """Parameter set of the house with the given structures."""
        rooms = {room.name: room for room in self.prior.rooms}
        return build(
            structures,
            {s.name: room_prior(rooms[s.name], self.sd_factor) for s in structures},
            self.pairs,
            self.own_heat,
            self.shared_sources,
            tuple(PLANES),
            {s.name: rooms[s.name].noise.disturbance_time_s for s in structures},
            coupling_sd=2.0 * self.sd_factor,
        )

    def windows(
        self, parameters: ParameterSet, first_origin: int = 0, last_origin: int | None = None
    ) -> Windows:
        """Training windows between two rows, warm seasons counted less."""
        inputs, valid = training_inputs(
            self.history,
            parameters.input_names,
            self.prior.latitude_deg,
            self.prior.longitude_deg,
            self.prior.time_zone,
            self.prior.ground_temperature_c,
        )
        steps = len(self.history.epoch_s)
        windows = make_windows(
            self.history,
            inputs,
            valid,
            horizon_s=HORIZON_S,
            stride_s=STRIDE_S,
            skip_s=int(min(SPIN_UP_S, 0.1 * steps * self.history.step_s)),
            usable=self.usable,
            first_origin=first_origin,
            last_origin=last_origin,
        )
        return replace(
            windows, weights=windows.weights * self.season_weight[windows.origins][:, None]
        )


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
    parent_hash: str = "",
) -> Identification:
    """Identify the house of `history`, starting from `prior` (same room names).

    `pairs_known` True lets heat flow only along the prior's couplings; False considers every pair
    under a sparsity prior. Given `structures` skip the choice. Raises ValueError if the history is
    shorter than three days or no room has data.
    """
    task, findings = prepare(history, prior, pairs_known)
    steps = len(task.history.epoch_s)
    split = int(steps * (1.0 - HOLD_OUT_FRACTION))
    evaluations = 0
    losses: dict[str, dict[str, float]] = {}
    if structures is None:
        chosen, losses, evaluations = choose_structures(task, split)
    else:
        chosen = [structures[name] for name in prior.room_names]
    parameters = task.parameters(chosen)
    first = fit_house(
        parameters,
        task.windows(parameters, last_origin=split - _horizon(task)),
        quantum_c=task.quantum_c,
    )
    held_out = task.windows(parameters, first_origin=split)
    whole = task.windows(parameters)
    final = fit_house(
        parameters,
        whole,
        theta=first.theta,
        noise=first.noise,
        disturbance_time_s=first.disturbance_time_s,
        quantum_c=task.quantum_c,
        rounds=1,
        iterations=80,
    )
    deviations, ratios = posterior(final, whole)
    physical_errors, identified = _errors_by_name(final, deviations, ratios)
    provenance = Provenance(
        method=METHOD,
        code_version=code_version,
        trained_from_epoch_s=int(history.epoch_s[0]),
        trained_to_epoch_s=int(history.epoch_s[-1]) + history.step_s,
        sample_step_s=task.history.step_s,
        data_hash=data_hash(history),
        parent_hash=parent_hash,
        notes=tuple(finding.text for finding in findings),
    )
    model = house_model(
        final,
        prior,
        task.own_heat,
        task.shared_sources,
        heater_powers(task.history, prior, task.own_heat),
        provenance,
        physical_errors,
        identified,
    )
    model = with_bands(model, first, held_out, whole, final)
    return Identification(
        model,
        findings,
        losses,
        task.history.step_s,
        evaluations + first.evaluations + final.evaluations,
    )


def prepare(
    history: History, prior: HouseModel, pairs_known: bool
) -> tuple[Task, tuple[Finding, ...]]:
    """Screen, complete the weather, coarsen to the training step and collect the inputs."""
    if tuple(history.rooms) != prior.room_names:
        raise ValueError(
            f"history has rooms {history.rooms} and the prior {prior.room_names}; "
            "give both in the same order"
        )
    days = len(history.epoch_s) * history.step_s / 86400.0
    if days < MIN_DAYS:
        raise ValueError(f"history covers {days:.1f} days; at least {MIN_DAYS:.0f} are needed")
    if not np.isfinite(history.temperature_c).any():
        raise ValueError("no room has a temperature; check the columns T_<room>")
    usable, findings = screen(history)
    masked = replace(history, temperature_c=np.where(usable, history.temperature_c, np.nan))
    coarse = masked.coarsen(coarsening(history.step_s, days))
    coarse = with_irradiance(coarse, prior.latitude_deg, prior.longitude_deg)
    own = {
        name: tuple(s for s in (f"heat_{name}",) if s in coarse.heat_w) for name in history.rooms
    }
    shared = {"heat": 1.0 / len(history.rooms)} if "heat" in coarse.heat_w else {}
    shared |= {source: 0.5 / len(history.rooms) for source in coarse.metered_w}
    known = {frozenset((c.room_a, c.room_b)): c.conductance_w_per_k for c in prior.couplings}
    pairs = []
    for i, a in enumerate(history.rooms):
        for b in history.rooms[:i]:
            pair = frozenset((a, b))
            if pair in known:
                pairs.append((a, b, max(known[pair], 1.0), KNOWN_PAIR_SHRINK))
            elif not pairs_known:
                pairs.append((a, b, 20.0, UNKNOWN_PAIR_SHRINK))
    task = Task(
        coarse,
        prior,
        tuple(pairs),
        own,
        shared,
        np.isfinite(coarse.temperature_c),
        np.array([resolution(history.temperature_c[:, i]) for i in range(len(history.rooms))]),
        season_weights(coarse),
    )
    return task, findings


def coarsening(step_s: int, days: float) -> int:
    """How many samples make a training step: about 15 min, 30 min for long histories."""
    target = STEP_TARGET_S if days <= LONG_HISTORY_DAYS else STEP_TARGET_LONG_S
    return max(1, target // step_s)


def season_weights(history: History) -> Array:
    """(T,) weight of each row: 1 in heating weather, less in summer, whose habits (open windows,
    blinds) do not hold in winter. Weather is the mean outdoor temperature over four days."""
    width = max(1, int(4 * 86400 // history.step_s))
    values = np.where(np.isfinite(history.outside_c), history.outside_c, 0.0)
    count = np.isfinite(history.outside_c).astype(float)
    kernel = np.ones(width)
    mean = np.convolve(values, kernel, "same") / np.maximum(np.convolve(count, kernel, "same"), 1.0)
    weight = np.clip(1.0 - (mean - COLD_FULL_C) / COLD_SPAN_C, WARM_WEIGHT, 1.0)
    return np.asarray(weight / weight.max())


def resolution(temperature_c: Array) -> float:
    """Smallest common step of a sensor's readings in K (0.01 if it has none)."""
    values = temperature_c[np.isfinite(temperature_c)]
    steps = np.abs(np.diff(values))
    steps = steps[steps > 1e-6]
    return float(np.clip(np.quantile(steps, 0.02), 0.01, 0.5)) if steps.size > 50 else 0.1


CANDIDATES: Mapping[str, Mapping[str, bool]] = {
    "one node": {"two_nodes": False},
    "two nodes": {},
    "two nodes, emitter lag": {"emitter_lag": True},
    "two nodes, emitter lag, heated floor": {"emitter_lag": True, "floor_heating": True},
    "two nodes, heating curve": {"hydronic": True},
    "two nodes, emitter lag, heating curve": {"emitter_lag": True, "hydronic": True},
}


def candidate(label: str, room: str, own_heat: bool, shared_heat: bool) -> RoomStructure:
    """Structure of a room under a candidate, without what its heating cannot have."""
    flags = dict(CANDIDATES[label])
    if not (own_heat or shared_heat):
        flags = {k: v for k, v in flags.items() if k == "two_nodes"}
    elif not own_heat:
        flags.pop("hydronic", None)
    return RoomStructure(room, **flags)


def choose_structures(
    task: Task, split: int
) -> tuple[list[RoomStructure], dict[str, dict[str, float]], int]:
    """Fit the whole house under each candidate; every room keeps the one that predicts held-out
    stretches best, the simpler one unless the next is better by 2 %.

    Held out is the last quarter, or each third in turn where the history is short.
    """
    names = task.history.rooms
    shared = "heat" in task.shared_sources
    heated = {name: bool(task.own_heat[name]) for name in names}
    labels = [
        label
        for label, flags in CANDIDATES.items()
        if (any(heated.values()) or "hydronic" not in flags)
        and (any(heated.values()) or shared or "emitter_lag" not in flags)
    ]
    steps = len(task.history.epoch_s)
    short = steps * task.history.step_s < SHORT_HISTORY_DAYS * 86400
    stretches = (
        [(0, steps // 3), (steps // 3, 2 * steps // 3), (2 * steps // 3, steps)]
        if short
        else [(split, steps)]
    )
    losses: dict[str, dict[str, float]] = {name: {} for name in names}
    evaluations = 0
    for label in labels:
        parameters = task.parameters(
            [candidate(label, name, heated[name], shared) for name in names]
        )
        windows = task.windows(parameters)
        total = np.zeros(len(names))
        for first, last in stretches:
            ends = windows.origins + windows.horizon
            inside = (windows.origins >= first) & (ends <= last)
            outside = (ends <= first) | (windows.origins >= last)
            if not inside.any() or not outside.any():
                continue
            fit = fit_house(
                parameters, _only(windows, outside), quantum_c=task.quantum_c, rounds=2
            )
            evaluations += fit.evaluations
            error, _ = errors_only(fit.theta, parameters, _only(windows, inside), fit.gain)
            shape = replace(fit.shape, delta_c=np.full(len(names), 0.3))
            total += robust_loss(error, shape)
        for name, loss in zip(names, total, strict=True):
            losses[name][label] = float(loss)
    chosen = []
    for name in names:
        best = "two nodes"
        if np.isfinite(losses[name][best]):
            least = min(losses[name].values())
            best = next(
                label
                for label in labels
                if losses[name][label] <= least * (1.0 + SIMPLER_UNLESS_BETTER_BY)
            )
        chosen.append(candidate(best, name, heated[name], shared))
    return chosen, losses, evaluations


def _only(windows: Windows, keep: NDArray[np.bool_]) -> Windows:
    """The windows whose origins are kept."""
    return replace(windows, origins=windows.origins[keep], weights=windows.weights[keep])


def heater_powers(
    history: History, prior: HouseModel, own_heat: Mapping[str, tuple[str, ...]]
) -> dict[str, float]:
    """Rated heating power per room: from the prior, else the largest power seen."""
    powers = {}
    for room in prior.rooms:
        seen = [float(np.nanmax(history.heat_w[s])) for s in own_heat[room.name]]
        powers[room.name] = room.heater_power_w or max([*seen, 0.0])
    return powers


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


def _horizon(task: Task) -> int:
    return round(HORIZON_S / task.history.step_s)


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
