"""The common shape of every learnt forecast: train, predict, settle, importance, save and load."""

from __future__ import annotations

import hashlib
import io
import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from services.forecast.core.bands import Bands, BoolArray, FloatArray, IntArray, make_bands
from services.forecast.core.calendar import DAY_S
from services.forecast.core.ensemble import (
    Combination,
    Memory,
    Prior,
    combine,
    equal,
    recent_bias,
)
from services.forecast.core.features import Features, ModelMetadata
from services.forecast.core.forest import QuantileForest
from services.forecast.core.learners import BoostedQuantiles, LinearQuantiles
from services.forecast.core.place import Place
from services.forecast.core.scenarios import correlation_hours
from services.forecast.core.series import Dataset, Series

CODE_VERSION = 5
SETTLED_DAYS_ENOUGH = 28
FEWEST_DAYS = 3


@dataclass
class _Pending:
    issue_s: int
    target_s: IntArray
    scaled: FloatArray
    band: FloatArray
    scale: FloatArray
    centre: FloatArray | float
    group: IntArray


class Predictor(ABC):
    """A probabilistic forecast of one series.

    Subclasses say which rows to learn from and which features they have; everything else is here.
    """

    kind = ""
    groups = 1
    slots = 24
    floor = 0.005
    half_life_days = 30.0
    history_days = 420
    forget_days = 365.0
    line_forget_days = 365.0
    bias_days = 0
    scale_power = 0.0
    max_rows = 60_000

    def __init__(
        self, place: Place, *, lead_s: int = 2 * DAY_S, parameters: dict[str, Any] | None = None
    ) -> None:
        self.place = place
        self.lead_s = lead_s
        self.parameters = dict(parameters or {})
        self.memory = Memory()
        self.combination: Combination | None = None
        self.boosts: list[BoostedQuantiles] = []
        self.line: LinearQuantiles | None = None
        self.woods: list[QuantileForest] = []
        self.metadata: ModelMetadata | None = None
        self.weather: tuple[list[str], int] | None = None
        """Columns and step (s) of the weather learnt from; None: nobody wrote them down."""
        self.pending: list[_Pending] = []
        self.bias = 1.0
        self.correlation_h: float | None = None
        self.days_taught = 0.0
        self.issues_per_day = 1

    # what a subclass must say -----------------------------------------------------------------

    @abstractmethod
    def features(self, data: Dataset, issue_s: IntArray, target_s: IntArray) -> Features:
        """The feature table for rows (issue, target); uses nothing measured at or after the issue."""

    @abstractmethod
    def boosted(self) -> list[BoostedQuantiles]:
        """Fresh, unfitted boosted members."""

    def linear(self) -> LinearQuantiles | None:
        """A fresh linear member, or None."""
        return LinearQuantiles()

    def forests(self) -> list[QuantileForest]:
        """Fresh, unfitted forests."""
        return []

    def sample_weight(
        self, data: Dataset, target_s: IntArray, y: FloatArray
    ) -> tuple[FloatArray, dict[str, int]]:
        """Weights (n,) of training rows, and how many days were left out or weakened, by reason."""
        return np.ones(len(target_s)), {}

    def prepare(self, data: Dataset) -> None:  # noqa: B027 (a kind may have none)
        """Learn constants of the site before features are made (orientation, capacity)."""

    def finish(
        self, data: Dataset, issue_s: int, target_s: IntArray, values: FloatArray
    ) -> FloatArray:
        """Last touch on (n, 4) in the target's unit: bounds, recent bias, what is known exactly."""
        return values

    # the common part --------------------------------------------------------------------------

    def training_rows(self, data: Dataset, issue_phase_s: int) -> tuple[IntArray, IntArray]:
        """Rows (issue, target): issues at the phase of the coming ones and between, each step of the lead."""
        series = data.series
        first = series.start_s + DAY_S
        first += (issue_phase_s - first) % DAY_S
        every_s = DAY_S // self.issues_per_day
        issues = np.arange(first, series.end_s, every_s, dtype=np.int64)
        steps = series.steps_from(issues, self.lead_s)
        issue, target = np.repeat(issues, steps.shape[1]), steps.ravel()
        known = ~np.isnan(series.at(target))
        stride = -(-int(known.sum()) // self.max_rows)
        if stride > 1:
            # A slanted pattern keeps every time of day and every lead, on different days.
            number, step = np.divmod(np.arange(len(target)), steps.shape[1])
            known &= (number + step) % stride == 0
        issue, target = issue[known], target[known]
        return issue, target

    def train(self, data: Dataset, issue_phase_s: int) -> ModelMetadata:
        """Fit on everything in `data`; forecasts will be issued at `issue_phase_s` modulo one day.

        With more `issues_per_day` it learns what the last hours say, too; members are judged at the phase.

        Before the final fit, and unless `settle` has gathered a month of evidence, the last part of the
        history is forecast by members fitted on the part before it: the evidence for weights and bands.

        Raises
        ------
        ValueError
            when fewer than FEWEST_DAYS days of targets are known.
        """
        told = data.weather
        self.weather = ([], 0) if told is None else (sorted(told.columns), told.step_s)
        self.prepare(data)
        issue, target = self.training_rows(data, issue_phase_s)
        days = len(np.unique(target // DAY_S))
        if days < FEWEST_DAYS:
            raise ValueError(
                f"{self.kind}: {days} days of history; give at least {FEWEST_DAYS} (or use the baseline)"
            )
        table = self.features(data, issue, target)
        y = (data.series.at(target) - table.centre) / table.scale
        usable = ~np.isnan(y) & ~table.dark & np.isfinite(table.scale)
        weight, left_out = self.sample_weight(data, target, y)
        weight = weight * np.nan_to_num(table.scale / np.nanmean(table.scale)) ** self.scale_power
        due = (issue - issue_phase_s) % DAY_S == 0
        learn = usable & (weight > 0)
        if self.memory.days() < SETTLED_DAYS_ENOUGH:
            self._backtest(table, issue, target, y, weight, learn, due, data.series)
        self._fit(table.take(learn), y[learn], weight[learn], target[learn])
        self.refresh()
        scores = self._memory_scores()
        self.metadata = ModelMetadata(
            kind=self.kind, code_version=CODE_VERSION,
            trained_from=_iso(data.series.start_s), trained_to=_iso(data.series.end_s),
            rows=int(learn.sum()), features=table.names, parameters=self.parameters, scores=scores,
            data_hash=_data_hash(data.series), left_out=left_out,
        )  # fmt: skip
        return self.metadata

    def predict(
        self, data: Dataset, issue_s: int, target_s: IntArray, *, remember: bool = False
    ) -> Bands:
        """P10, P50, P90 and mean of the steps beginning at `target_s`, as known at `issue_s`.

        `data` may hold the future; it is cut at the issue. `remember` keeps the members' forecasts until
        `settle` compares them with what came.
        """
        if self.combination is None:
            raise ValueError(f"{self.kind}: not trained; call train or load first")
        past = self._as_taught(data.before(issue_s, self.history_days))
        issue = np.full(len(target_s), issue_s, dtype=np.int64)
        table = self.features(past, issue, target_s)
        members = self._members(table)
        joined = self.combination.apply(members, table.group)
        half = joined[:, [0, 2]] - joined[:, [1]]
        joined[:, [0, 2]] = joined[:, [1]] + half * table.widen[:, None]
        joined *= self.bias
        if remember:
            seen = ~table.dark
            lit = table.take(seen)
            self.pending.append(
                _Pending(
                    issue_s, target_s[seen], members[seen], joined[seen][:, [0, 2]], lit.scale,
                    lit.centre, lit.group,
                )
            )  # fmt: skip
        values = joined * table.scale[:, None] + np.reshape(table.centre, (-1, 1))
        values[table.dark] = 0.0
        values = self.finish(past, issue_s, target_s, values)
        bands = make_bands(values[:, 0], values[:, 1], values[:, 2], table.flags, values[:, 3])
        return replace(bands, correlation_h=self.correlation_h)

    def settle(self, series: Series) -> int:
        """Compare remembered forecasts with what `series` now holds; returns how many steps were settled."""
        settled, waiting = 0, []
        for item in self.pending:
            if item.target_s.size and item.target_s[-1] + series.step_s > series.end_s:
                waiting.append(item)
                continue
            actual = (series.at(item.target_s) - item.centre) / item.scale
            self.memory.add(item.target_s, actual, item.scaled, item.group, item.band)
            settled += len(actual)
        self.pending = waiting
        if settled:
            self.refresh()
        return settled

    def refresh(self) -> None:
        """Recompute member weights, band stretches and the errors' correlation from the memory."""
        if len(self.memory):
            prior = self.prior()
            self.combination = combine(
                self.memory, self.groups, self.floor, self.half_life_days, prior
            )
            self.correlation_h = correlation_hours(
                self.combination.errors(self.memory), self.memory.target_s
            )
            if self.bias_days:
                self.bias = recent_bias(self.memory, self.combination, self.bias_days)
                self.bias **= 1.0 if prior is None else 1.0 - prior.share

    def _as_taught(self, data: Dataset) -> Dataset:
        """Without weather that it has not learnt from: a past may hold less of it than a forecast tells."""
        if data.weather is None or self.weather is None:
            return data
        told = {name: v for name, v in data.weather.columns.items() if name in self.weather[0]}
        return replace(data, weather=replace(data.weather, columns=told) if told else None)

    def importance(self) -> dict[str, float]:
        """Share of the gain by feature over all boosted members, largest first."""
        total: dict[str, float] = {}
        for boost in self.boosts:
            for name, share in boost.importance().items():
                total[name] = total.get(name, 0.0) + share / len(self.boosts)
        return dict(sorted(total.items(), key=lambda kv: -kv[1]))

    def member_names(self) -> list[str]:
        names = [f"boost{i}" for i in range(len(self.boosts))]
        names += ["linear"] if self.line is not None else []
        return names + [f"forest{i}" for i in range(len(self.woods))] + self.base_names()

    def prior(self) -> Prior | None:
        """What the weights are drawn towards while there is little history; None: nothing."""
        return None

    def leaning(self, member: str, alone_days: float) -> Prior:
        """Half of the weight to a member that needs no fitting after so many days of history, and soon none."""
        doubt = alone_days**2
        return Prior(self.member_names().index(member), doubt / (doubt + self.days_taught**2))

    def base_names(self) -> list[str]:
        """Names of the members that need no fitting, in the order of `Features.base`."""
        return []

    def _fit(self, table: Features, y: FloatArray, weight: FloatArray, target_s: IntArray) -> None:
        age_days = (target_s.max() - target_s) / DAY_S
        recent = weight * np.exp2(-age_days / self.forget_days)
        self.boosts = self.boosted()
        for boost in self.boosts:
            boost.parameters |= self.parameters
            boost.fit(table.names, table.x, y, recent)
        self.line = self.linear()
        if self.line is not None:
            recent = weight * np.exp2(-age_days / self.line_forget_days)
            self.line.fit(table.linear, y, recent, table.slot, self.slots)
        self.woods = self.forests()
        for wood in self.woods:
            wood.fit(table.names, table.x, y, weight, target_s)
        if self.combination is None:
            count = len(self.member_names())
            self.combination = equal(count, self.groups, self.floor, self.prior())

    def _members(self, table: Features) -> FloatArray:
        parts = [boost.predict(table.x)[:, None] for boost in self.boosts]
        if self.line is not None:
            parts.append(self.line.predict(table.linear, table.slot)[:, None])
        parts += [wood.predict(table.x)[:, None] for wood in self.woods]
        members = np.concatenate([*parts, table.base], axis=1)
        # A member with nothing to say in a row takes the others' word for it.
        absent = np.isnan(members)
        if absent.any():
            with np.errstate(all="ignore"):
                others = np.nanmean(members, axis=1, keepdims=True)
            members = np.where(absent, others, members)
        return members

    def _backtest(
        self, table: Features, issue: IntArray, target: IntArray, y: FloatArray, weight: FloatArray,
        learn: BoolArray, due: BoolArray, series: Series,
    ) -> None:  # fmt: skip
        span_days = (series.end_s - series.start_s) / DAY_S
        held_days = int(min(56, max(1, span_days * 0.3)))
        folds = 2 if held_days >= 20 else 1
        memory = Memory()
        edges = series.end_s - np.linspace(held_days, 0, folds + 1).astype(np.int64) * DAY_S
        for start, stop in pairwise(edges.tolist()):
            before = learn & (target + series.step_s <= start)
            after = learn & due & (issue >= start) & (issue < stop)
            if before.sum() < 48 or not after.any():
                continue
            self._fit(table.take(before), y[before], weight[before], target[before])
            part = table.take(after)
            memory.add(target[after], y[after], self._members(part), part.group)
        if len(memory):
            self.memory = memory

    def _memory_scores(self) -> dict[str, float]:
        if self.combination is None or len(self.memory) == 0:
            return {}
        from services.forecast.core.scores import pinball

        joined = self.combination.join(self.memory.members)
        actual = self.memory.actual
        result = {"pinball_scaled": float(pinball(actual, joined[:, :3]).mean())}
        for index, name in enumerate(self.member_names()):
            member = self.memory.members[:, index, :3]
            result[f"pinball_scaled_{name}"] = float(pinball(actual, member).mean())
        return result

    # storage ----------------------------------------------------------------------------------

    def constants(self) -> dict[str, Any]:
        """Site constants learnt by `prepare`, as JSON-able values."""
        return {}

    def restore(self, constants: dict[str, Any]) -> None:  # noqa: B027 (a site may have none)
        """Take back what `constants` gave."""

    def save(self) -> dict[str, bytes]:
        """The whole model as named files (JSON, XGBoost UBJSON, npz without pickles)."""
        if self.metadata is None or self.combination is None:
            raise ValueError(f"{self.kind}: not trained; nothing to save")
        files: dict[str, bytes] = {}
        for index, boost in enumerate(self.boosts):
            files |= boost.to_files(f"boost{index}")
        if self.line is not None:
            files |= self.line.to_files("linear")
        for index, wood in enumerate(self.woods):
            files |= wood.to_files(f"forest{index}")
        combination = {
            k: v.tolist() if isinstance(v, np.ndarray) else v
            for k, v in asdict(self.combination).items()
        }
        head = {
            "metadata": asdict(self.metadata), "constants": self.constants(), "combination": combination,
            "lead_s": self.lead_s, "bias": self.bias, "correlation_h": self.correlation_h,
            "boosts": len(self.boosts), "linear": self.line is not None,
            "forests": len(self.woods), "weather": self.weather,
        }  # fmt: skip
        files["model.json"] = json.dumps(head, indent=1, sort_keys=True).encode() + b"\n"
        buffer = io.BytesIO()
        np.savez(
            buffer, target_s=self.memory.target_s, actual=self.memory.actual,
            members=self.memory.members, group=self.memory.group, band=self.memory.band,
        )  # fmt: skip
        files["memory.npz"] = buffer.getvalue()
        return files

    def load(self, files: dict[str, bytes]) -> None:
        """Take back what `save` gave; raises ValueError for a model of another kind or code version."""
        head = json.loads(files["model.json"])
        metadata = ModelMetadata(**head["metadata"])
        if metadata.kind != self.kind or metadata.code_version != CODE_VERSION:
            raise ValueError(
                f"model: is {metadata.kind} version {metadata.code_version}, "
                f"wanted {self.kind} version {CODE_VERSION}; train again"
            )
        self.metadata, self.lead_s = metadata, int(head["lead_s"])
        self.parameters = dict(metadata.parameters)
        self.bias = float(head["bias"])
        self.correlation_h = head["correlation_h"]
        if head.get("weather") is not None:  # models of before do not say it
            columns, step_s = head["weather"]
            self.weather = (list(columns), int(step_s))
        self.restore(head["constants"])
        self.boosts = [BoostedQuantiles() for _ in range(head["boosts"])]
        for index, boost in enumerate(self.boosts):
            boost.from_files(f"boost{index}", files)
        self.line = LinearQuantiles() if head["linear"] else None
        if self.line is not None:
            self.line.from_files("linear", files)
        self.woods = [QuantileForest() for _ in range(head["forests"])]
        for index, wood in enumerate(self.woods):
            wood.from_files(f"forest{index}", files)
        stored = head["combination"]
        self.combination = Combination(
            np.array(stored["band_weights"]), np.array(stored["mean_weights"]),
            np.array(stored["stretch"]), float(stored["floor"]),
        )  # fmt: skip
        memory = np.load(io.BytesIO(files["memory.npz"]), allow_pickle=False)
        self.memory = Memory(
            *(memory[name] for name in ("target_s", "actual", "members", "group", "band"))
        )


def _iso(time_s: int) -> str:
    return str(np.datetime64(time_s, "s")) + "Z"


def _data_hash(series: Series) -> str:
    digest = hashlib.sha256(f"{series.start_s} {series.step_s} ".encode())
    digest.update(np.ascontiguousarray(series.values).tobytes())
    return digest.hexdigest()
