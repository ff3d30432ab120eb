"""What an identification works on: the screened, completed and coarsened history with its prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import HouseModel
from services.thermal.core.gains import SOME_ON
from services.thermal.core.history import (
    PLANES,
    History,
    make_windows,
    training_inputs,
    with_irradiance,
)
from services.thermal.core.objective import Windows
from services.thermal.core.parametrise import ParameterSet, RoomStructure, build
from services.thermal.core.screen import Finding, screen
from services.thermal.core.translate import room_prior

Array = NDArray[np.float64]

HORIZON_S = 24 * 3600
STRIDE_S = 4 * 3600
LESSON_S = 3600
LESSON_STRIDE_S = 1800
"""A fit runs freely for an hour only: a thermostat answers to what disturbed the room, so on a longer
run the heating that came tells of the disturbance, and the heater's effect is learnt too slow and too
small. Within the hour it was not known yet (L. Ljung, System Identification, 1999, chapter 13)."""
LONG_HISTORY_DAYS = 60.0
STEP_TARGET_S = 900
STEP_TARGET_LONG_S = 1800
SPIN_UP_S = 2 * 86400
COLD_FULL_C, COLD_SPAN_C, WARM_WEIGHT = 10.0, 8.0, 0.15
UNKNOWN_PAIR_SHRINK, KNOWN_PAIR_SHRINK = 0.5, 0.0
MIN_DAYS = 3.0
SOME_ON_SHARE = 0.05
"""Prior: 50 W in each room while the heating of any is on."""


@dataclass(frozen=True)
class Task:
    """What stays the same between the fits of one identification.

    `usable` is on the training grid, `sound` on that of the recording.
    """

    history: History
    prior: HouseModel
    pairs: tuple[tuple[str, str, float, float], ...]
    own_heat: Mapping[str, tuple[str, ...]]
    shared_sources: Mapping[str, float]
    usable: NDArray[np.bool_]
    sound: NDArray[np.bool_]
    quantum_c: Array
    season_weight: Array
    sd_factor: float = 1.0
    lesson_s: int = LESSON_S

    def parameters(self, structures: Sequence[RoomStructure]) -> ParameterSet:
        """Parameter set of the house with the given structures."""
        rooms = {room.name: room for room in self.prior.rooms}
        return build(
            structures,
            {
                s.name: room_prior(rooms[s.name], self.sd_factor, self.lesson_s == LESSON_S)
                for s in structures
            },
            self.pairs,
            self.own_heat,
            self.shared_sources,
            tuple(PLANES),
            {s.name: rooms[s.name].noise.disturbance_time_s for s in structures},
            coupling_sd=2.0 * self.sd_factor,
        )

    def taught(self, structures: Sequence[RoomStructure]) -> Task:
        """The same, learnt from whole days behind a heating curve: a valve does not say its heat from
        hour to hour."""
        behind = any(structure.hydronic for structure in structures)
        return replace(self, lesson_s=HORIZON_S if behind else LESSON_S)

    def lessons(self, parameters: ParameterSet, last_origin: int | None = None) -> Windows:
        """Windows of `lesson_s` to fit on, up to a row; warm seasons counted less."""
        stride_s = LESSON_STRIDE_S if self.lesson_s == LESSON_S else STRIDE_S
        return self.windows(
            parameters, last_origin=last_origin, horizon_s=self.lesson_s, stride_s=stride_s
        )

    def windows(
        self,
        parameters: ParameterSet,
        first_origin: int = 0,
        last_origin: int | None = None,
        horizon_s: int = HORIZON_S,
        stride_s: int = STRIDE_S,
    ) -> Windows:
        """Windows between two rows, as long as a forecast to judge by; warm seasons counted less."""
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
            horizon_s=horizon_s,
            stride_s=stride_s,
            skip_s=int(min(SPIN_UP_S, 0.1 * steps * self.history.step_s)),
            usable=self.usable,
            first_origin=first_origin,
            last_origin=last_origin,
        )
        return replace(
            windows, weights=windows.weights * self.season_weight[windows.origins][:, None]
        )

    @property
    def horizon_steps(self) -> int:
        """Length of a forecast in training steps."""
        return round(HORIZON_S / self.history.step_s)


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
    shared |= {SOME_ON: SOME_ON_SHARE} if SOME_ON in coarse.heat_w else {}
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
        usable,
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
    width = min(max(1, int(4 * 86400 // history.step_s)), len(history.epoch_s))
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


def heater_powers(
    history: History, prior: HouseModel, own_heat: Mapping[str, tuple[str, ...]]
) -> dict[str, float]:
    """Rated heating power per room: from the prior, else the largest power seen."""
    powers = {}
    for room in prior.rooms:
        seen = [float(np.nanmax(history.heat_w[s])) for s in own_heat[room.name]]
        powers[room.name] = room.heater_power_w or max([*seen, 0.0])
    return powers
