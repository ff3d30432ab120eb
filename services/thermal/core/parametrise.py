"""The identification's parameter vector and how the model's matrices depend on it.

Every entry of the continuous matrices A and B is a sum of products of at most three factors
(a conductance, an inverse capacity, a split fraction ...), and every factor depends on one entry
of theta. That makes the gradient with respect to theta a sparse sum, without automatic
differentiation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import COLD_SUFFIX
from services.thermal.core.gains import SOME_ON, is_heating

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

EXPONENTIAL, LINEAR, LOGISTIC = "exponential", "linear", "logistic"
HARMONICS = 3


@dataclass(frozen=True)
class RoomStructure:
    """What a room's equations contain; chosen from data.

    `hydronic`: the heat series is a valve's or a boiler's share rather than measured heat, so its
    share is free and part of it grows with the cold outside (a heating curve). The plant heats this
    room, too, while the valve of any room is open.
    """

    name: str
    two_nodes: bool = True
    emitter_lag: bool = False
    floor_heating: bool = False
    hydronic: bool = False


@dataclass(frozen=True)
class Parameter:
    """One entry of theta: physical value = scale * transform(theta), transform by `kind`.

    exponential: scale * exp(theta); linear: scale * theta; logistic: 1 / (1 + exp(-theta)).
    The prior on theta is normal (`prior_mean`, `prior_sd`); `shrink` adds shrink * |theta|, which
    is smooth because such parameters are bounded below by 0.
    """

    name: str
    room: str
    kind: str
    scale: float
    prior_mean: float
    prior_sd: float
    low: float
    high: float
    shrink: float = 0.0


@dataclass
class ParameterSet:
    """Parameters, the factors they feed and the matrix terms built of them."""

    structures: tuple[RoomStructure, ...]
    input_names: tuple[str, ...]
    parameters: list[Parameter] = field(default_factory=list)
    factor_parameter: list[int] = field(default_factory=list)
    factor_kind: list[str] = field(default_factory=list)
    terms: list[tuple[int, int, float, int, int, int]] = field(default_factory=list)
    air: list[int] = field(default_factory=list)
    mass: list[int] = field(default_factory=list)
    emitter: list[int] = field(default_factory=list)
    disturbance: list[int] = field(default_factory=list)
    size: int = 0
    index: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.factor_parameter.append(-1)
        self.factor_kind.append("one")

    # -- building -------------------------------------------------------------------------------
    def add(self, parameter: Parameter) -> int:
        """Register a parameter; returns its position in theta."""
        self.parameters.append(parameter)
        position = len(self.parameters) - 1
        self.index[(parameter.room, parameter.name)] = position
        return position

    def size_with_states(self, input_position: int) -> int:
        """Column of [A | B] that belongs to an input."""
        return self.size + input_position

    def factor(self, parameter: int, kind: str = "value") -> int:
        """Factor of a parameter: `value`, `inverse` or `complement` (1 - value)."""
        self.factor_parameter.append(parameter)
        self.factor_kind.append(kind)
        return len(self.factor_parameter) - 1

    def term(self, row: int, column: int, sign: float, *factors: int) -> None:
        """Add sign * product(factors) to entry (row, column) of [A | B]."""
        padded = [*factors, 0, 0, 0][:3]
        self.terms.append((row, column, sign, padded[0], padded[1], padded[2]))

    def freeze(self) -> None:
        """Compile the lists into arrays; call once after building."""
        rows, columns, signs, one, two, three = zip(*self.terms, strict=True)
        self.rows = np.array(rows)
        self.columns = np.array(columns)
        self.signs = np.array(signs, dtype=np.float64)
        self.factors = np.array([one, two, three])
        self._owner = np.array(self.factor_parameter)
        kinds = np.array(self.factor_kind)
        self._inverse = kinds == "inverse"
        self._complement = kinds == "complement"
        parameter_kinds = np.array([p.kind for p in self.parameters])
        self._exponential = parameter_kinds == EXPONENTIAL
        self._logistic = parameter_kinds == LOGISTIC
        self.scale = np.array([p.scale for p in self.parameters])
        self.prior_mean = np.array([p.prior_mean for p in self.parameters])
        self.prior_sd = np.array([p.prior_sd for p in self.parameters])
        self.low = np.array([p.low for p in self.parameters])
        self.high = np.array([p.high for p in self.parameters])
        self.shrink = np.array([p.shrink for p in self.parameters])

    # -- evaluation -----------------------------------------------------------------------------
    def physical(self, theta: Array) -> tuple[Array, Array]:
        """Physical values and their derivatives with respect to theta, elementwise."""
        exponential = np.exp(np.where(self._exponential, theta, 0.0))
        logistic = 1.0 / (1.0 + np.exp(-np.where(self._logistic, theta, 0.0)))
        value = np.where(self._exponential, exponential, np.where(self._logistic, logistic, theta))
        slope = np.where(
            self._exponential,
            exponential,
            np.where(self._logistic, logistic * (1.0 - logistic), 1.0),
        )
        return self.scale * value, self.scale * slope

    def _factor_values(self, theta: Array) -> tuple[Array, Array]:
        value, slope = self.physical(theta)
        v = np.append(value, 1.0)[self._owner]
        s = np.append(slope, 0.0)[self._owner]
        safe = np.where(self._inverse, v, 1.0)
        return (
            np.where(self._inverse, 1.0 / safe, np.where(self._complement, 1.0 - v, v)),
            np.where(self._inverse, -s / safe**2, np.where(self._complement, -s, s)),
        )

    def matrices(self, theta: Array) -> Array:
        """[A | B] of shape (n, n + m) in continuous time."""
        v, _ = self._factor_values(theta)
        one, two, three = v[self.factors]
        matrix = np.zeros((self.size, self.size + len(self.input_names)))
        np.add.at(matrix, (self.rows, self.columns), self.signs * one * two * three)
        return matrix

    def gradient(self, theta: Array, d_matrix: Array) -> Array:
        """dL/dtheta from dL/d[A | B]."""
        v, s = self._factor_values(theta)
        f = self.factors
        outer = self.signs * d_matrix[self.rows, self.columns]
        result = np.zeros(len(self.parameters) + 1)
        for here, b, c in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
            np.add.at(result, self._owner[f[here]], outer * s[f[here]] * v[f[b]] * v[f[c]])
        return result[:-1]

    def value(self, physical: Array, room: str, name: str) -> float:
        """Physical value of one parameter, 0 if the structure does not have it."""
        position = self.index.get((room, name))
        return 0.0 if position is None else float(physical[position])


@dataclass(frozen=True)
class RoomPrior:
    """Centre of the priors of one room, SI units; from `prior_model` or an earlier model."""

    air_capacity_j_per_k: float
    mass_capacity_j_per_k: float
    air_outside_w_per_k: float
    mass_outside_w_per_k: float
    air_mass_w_per_k: float
    ground_w_per_k: float
    emitter_lag_s: float
    aperture_m2: Mapping[str, float]
    gain_w: float
    solar_to_mass_fraction: float = 0.5
    heat_to_mass_fraction: float = 0.0
    gain_harmonics_w: tuple[float, ...] = (0.0,) * (2 * HARMONICS)
    shares: Mapping[str, float] = field(default_factory=dict)
    sd_factor: float = 1.0


def build(
    structures: Sequence[RoomStructure],
    priors: Mapping[str, RoomPrior],
    couplings: Sequence[tuple[str, str, float, float]],
    own_heat: Mapping[str, Sequence[str]],
    shared_sources: Mapping[str, float],
    planes: Sequence[str],
    disturbance_time_s: Mapping[str, float],
    coupling_sd: float = 3.0,
) -> ParameterSet:
    """Parameter set of a house.

    `couplings` lists (room, room, prior W/K, shrink towards 0). `own_heat` names each room's own
    heat series (share 1), `shared_sources` the series whose share in each room is unknown, with
    the prior share; `planes` the irradiance series. Inputs are ordered: outside, one, ground, own
    heat per room, shared sources, planes, hour harmonics.
    """
    heat_inputs = [s for room in structures for s in own_heat.get(room.name, ())]
    hours = [f"hour_{k}" for k in range(1, 2 * HARMONICS + 1)]
    heat_inputs += [
        source + COLD_SUFFIX
        for room in structures
        if room.hydronic
        for source in (*own_heat.get(room.name, ()), *(s for s in shared_sources if s == SOME_ON))
    ]
    names = ["outside", "one", "ground", *dict.fromkeys(heat_inputs)]
    names += [*shared_sources, *planes, *hours]
    result = ParameterSet(tuple(structures), tuple(names))
    for room in structures:
        result.air.append(result.size)
        result.mass.append(result.size + 1 if room.two_nodes else -1)
        result.size += 2 if room.two_nodes else 1
        result.emitter.append(result.size if room.emitter_lag else -1)
        result.size += int(room.emitter_lag)
        result.disturbance.append(result.size)
        result.size += 1
    inverse_air: dict[str, int] = {}
    for i, room in enumerate(structures):
        inverse_air[room.name] = _add_room(
            result, i, room, priors[room.name], own_heat, shared_sources, planes, hours,
            disturbance_time_s[room.name],
        )
    place = {room.name: result.air[i] for i, room in enumerate(structures)}
    for room_a, room_b, prior, shrink in couplings:
        g = result.factor(
            result.add(
                Parameter("coupling_w_per_k", coupling_key(room_a, room_b), LINEAR, prior, 1.0,
                          coupling_sd, 0.0, 15.0, shrink)
            )
        )
        for here, there in ((room_a, room_b), (room_b, room_a)):
            result.term(place[here], place[here], -1.0, g, inverse_air[here])
            result.term(place[here], place[there], 1.0, g, inverse_air[here])
    result.freeze()
    return result


def _add_room(
    out: ParameterSet,
    i: int,
    room: RoomStructure,
    prior: RoomPrior,
    own_heat: Mapping[str, Sequence[str]],
    shared_sources: Mapping[str, float],
    planes: Sequence[str],
    hours: Sequence[str],
    disturbance_time_s: float,
) -> int:
    name, air, mass = room.name, out.air[i], out.mass[i]
    column = {source: out.size_with_states(k) for k, source in enumerate(out.input_names)}
    tight = prior.sd_factor
    capacity = out.add(
        Parameter("air_capacity_j_per_k", name, EXPONENTIAL, prior.air_capacity_j_per_k, 0.0,
                  tight, -2.5, 3.5)
    )
    per_air = out.factor(capacity, "inverse")

    def positive(label: str, scale: float, shrink: float = 0.0, mean: float = 1.0) -> int:
        return out.factor(
            out.add(Parameter(label, name, LINEAR, scale, mean, 2.0 * tight, 0.0, 30.0, shrink))
        )

    outside = positive("air_outside_w_per_k", prior.air_outside_w_per_k)
    out.term(air, air, -1.0, outside, per_air)
    out.term(air, column["outside"], 1.0, outside, per_air)
    out.term(air, out.disturbance[i], 1.0, per_air)
    out.term(out.disturbance[i], out.disturbance[i], -1.0 / disturbance_time_s)
    per_mass = solar_mass = solar_air = 0
    if room.two_nodes:
        mass_capacity = out.add(
            Parameter("mass_capacity_j_per_k", name, EXPONENTIAL, prior.mass_capacity_j_per_k,
                      0.0, tight, -3.0, 3.0)
        )
        per_mass = out.factor(mass_capacity, "inverse")
        inner = out.factor(
            out.add(Parameter("air_mass_w_per_k", name, EXPONENTIAL, prior.air_mass_w_per_k, 0.0,
                              tight, -4.0, 2.5))
        )
        out.term(air, air, -1.0, inner, per_air)
        out.term(air, mass, 1.0, inner, per_air)
        out.term(mass, mass, -1.0, inner, per_mass)
        out.term(mass, air, 1.0, inner, per_mass)
        slow = positive("mass_outside_w_per_k", prior.mass_outside_w_per_k)
        out.term(mass, mass, -1.0, slow, per_mass)
        out.term(mass, column["outside"], 1.0, slow, per_mass)
        if prior.ground_w_per_k > 0.0:
            deep = positive("ground_w_per_k", prior.ground_w_per_k, 0.3)
            out.term(mass, mass, -1.0, deep, per_mass)
            out.term(mass, column["ground"], 1.0, deep, per_mass)
        split = out.add(
            Parameter("solar_to_mass_fraction", name, LOGISTIC, 1.0,
                      _logit(prior.solar_to_mass_fraction), 1.5 * tight, -5.0, 5.0)
        )
        solar_mass, solar_air = out.factor(split), out.factor(split, "complement")
    for plane in planes:
        known = prior.aperture_m2.get(plane, 0.0)
        size = max(known, 0.3)
        area = positive(f"aperture_m2:{plane}", size, 0.2, max(known, 0.09) / size)
        out.term(air, column[plane], 1.0, area, solar_air, per_air)
        if room.two_nodes:
            out.term(mass, column[plane], 1.0, area, solar_mass, per_mass)
    _add_heat(out, i, room, prior, own_heat, shared_sources, column, per_air, per_mass)
    scale = max(abs(prior.gain_w), 30.0)
    means = (prior.gain_w, *prior.gain_harmonics_w)
    for k, label in enumerate(("one", *hours)):
        sd = 2.0 if label == "one" else 1.0 / (1 + (k - 1) // 2)
        gain = out.factor(
            out.add(
                Parameter(f"gain_w:{label}", name, LINEAR, scale, means[k] / scale, sd * tight,
                          -30.0, 30.0)
            )
        )
        out.term(air, column[label], 1.0, gain, per_air)
    return per_air


def _add_heat(
    out: ParameterSet,
    i: int,
    room: RoomStructure,
    prior: RoomPrior,
    own_heat: Mapping[str, Sequence[str]],
    shared_sources: Mapping[str, float],
    column: Mapping[str, int],
    per_air: int,
    per_mass: int,
) -> None:
    """Heat from the room's own emitter (share 1) and from sources shared by the house."""
    name = room.name
    to_air = to_mass = 0
    if room.floor_heating and room.two_nodes:
        split = out.add(
            Parameter("heat_to_mass_fraction", name, LOGISTIC, 1.0,
                      _logit(max(prior.heat_to_mass_fraction, 0.3)), 1.5 * prior.sd_factor,
                      -5.0, 5.0)
        )
        to_mass, to_air = out.factor(split), out.factor(split, "complement")
    lag = 0
    if room.emitter_lag:
        lag = out.factor(
            out.add(Parameter("emitter_lag_s", name, EXPONENTIAL, max(prior.emitter_lag_s, 300.0),
                              0.0, 1.2 * prior.sd_factor, -2.5, 3.2)),
            "inverse",
        )
        emitter = out.emitter[i]
        out.term(emitter, emitter, -1.0, lag)
        out.term(out.air[i], emitter, 1.0, to_air, per_air)
        if to_mass:
            out.term(out.mass[i], emitter, 1.0, to_mass, per_mass)
    shares = [(source, 0) for source in own_heat.get(name, ()) if not room.hydronic]
    if room.hydronic:
        for source in own_heat.get(name, ()):
            for series in (source, source + COLD_SUFFIX):
                position = out.add(
                    Parameter(f"share:{series}", name, LINEAR, 0.5,
                              2.0 * prior.shares.get(series, 0.5), 2.0 * prior.sd_factor, 0.0,
                              20.0)
                )
                shares.append((series, out.factor(position)))
    free = {s: g for s, g in shared_sources.items() if s != SOME_ON}
    if room.hydronic and SOME_ON in shared_sources:
        free |= dict.fromkeys((SOME_ON, SOME_ON + COLD_SUFFIX), shared_sources[SOME_ON])
    for source, guess in free.items():
        share = prior.shares.get(source, guess)
        size = max(share, 0.02)
        position = out.add(
            Parameter(f"share:{source}", name, LINEAR, size, share / size,
                      2.0 * prior.sd_factor, 0.0, 1.5 / size, 0.1)
        )
        shares.append((source, out.factor(position)))
    for source, share_factor in shares:
        heating = is_heating(source.removesuffix(COLD_SUFFIX))
        if room.emitter_lag and heating:
            out.term(out.emitter[i], column[source], 1.0, share_factor, lag)
            continue
        use_split = heating and to_mass
        out.term(out.air[i], column[source], 1.0, share_factor, to_air if use_split else 0, per_air)
        if use_split:
            out.term(out.mass[i], column[source], 1.0, share_factor, to_mass, per_mass)


def coupling_key(room_a: str, room_b: str) -> str:
    """Name under which a coupling's parameter is kept: both rooms, sorted."""
    return f"{min(room_a, room_b)}|{max(room_a, room_b)}"


def _logit(fraction: float) -> float:
    clipped = min(max(fraction, 0.02), 0.98)
    return float(np.log(clipped / (1.0 - clipped)))
