"""Models by content hash, in any mapping of names to bytes (a folder, an object store, a dict)."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import MutableMapping
from dataclasses import dataclass

import numpy as np

from services.forecast.core.bands import FloatArray, IntArray
from services.forecast.core.first_depth import Predict
from services.forecast.core.history import STEP_S
from services.forecast.core.place import Place
from services.forecast.core.predictor import Predictor
from services.forecast.core.rolling import make_predictor
from services.forecast.core.scores import pinball
from services.forecast.core.series import Dataset, Series

PAST = "past.npz"
"""The part of a packed model that is no part of the model: the last stretch of what it forecasts."""


@dataclass(frozen=True)
class Decision:
    """Whether a candidate was promoted, the losses it was judged by, and why in words."""

    promoted: bool
    candidate: str
    incumbent: str | None
    candidate_loss: float | None
    incumbent_loss: float | None
    reason: str


class Registry:
    """Stores models, remembers which one is in use for each kind, and can go back.

    Layout of the store: `model/<sha256>` a packed model, `current/<kind>` the history of promoted
    models, newest last. The running house needs no such history: its log is one.
    """

    def __init__(self, store: MutableMapping[str, bytes]) -> None:
        self.store = store

    def put(self, predictor: Predictor) -> str:
        """Store a trained model; returns its content hash (the same model has the same hash)."""
        content = pack(predictor)
        digest = hashlib.sha256(content).hexdigest()
        self.store.setdefault(f"model/{digest}", content)
        return digest

    def get(self, digest: str, place: Place) -> Predictor:
        """The model of a hash; raises ValueError when it is absent or its content does not match."""
        content = self.store.get(f"model/{digest}")
        if content is None:
            raise ValueError(f"model: {digest} is not in the registry")
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError(f"model: {digest} is damaged in the store; restore it or train again")
        return unpack(content, place)

    def history(self, kind: str) -> list[str]:
        """Hashes of the models promoted for `kind`, oldest first."""
        raw = self.store.get(f"current/{kind}")
        return [] if raw is None else list(json.loads(raw))

    def current(self, kind: str) -> str | None:
        """Hash of the model in use, None when there is none."""
        past = self.history(kind)
        return past[-1] if past else None

    def _promote(self, kind: str, digest: str) -> None:
        self.store[f"current/{kind}"] = json.dumps([*self.history(kind), digest]).encode()

    def roll_back(self, kind: str) -> str:
        """Return to the model before the current one; raises ValueError when there is none."""
        past = self.history(kind)
        if len(past) < 2:
            raise ValueError(f"{kind}: there is no earlier model to go back to")
        self.store[f"current/{kind}"] = json.dumps(past[:-1]).encode()
        return past[-2]

    def consider(
        self, candidate: Predictor, data: Dataset, place: Place, issues_s: IntArray
    ) -> Decision:
        """Promote `candidate` if its pinball loss on a recent window beats the incumbent's.

        The candidate must have been trained on data before the first of `issues_s`; that is checked. The
        first model of a kind is promoted unopposed.
        """
        digest = self.put(candidate)
        incumbent = self.current(candidate.kind)
        if incumbent is None:
            self._promote(candidate.kind, digest)
            return Decision(True, digest, None, None, None, "first model of its kind")
        if incumbent == digest:
            return Decision(False, digest, incumbent, None, None, "is the incumbent itself")
        rival = self.get(incumbent, place)
        ours, theirs = judge(candidate, rival.predict, data, issues_s)
        if not ours < theirs:
            return Decision(False, digest, incumbent, ours, theirs, "does not beat the incumbent")
        self._promote(candidate.kind, digest)
        return Decision(True, digest, incumbent, ours, theirs, "beats the incumbent")


def judge(
    candidate: Predictor, rival: Predict, data: Dataset, issues_s: IntArray
) -> tuple[float, float]:
    """Mean losses of a candidate and of what is in use, over 24 h from each issue.

    A step that one of them has no forecast for counts alike for both: the house falls back there. Raises
    ValueError when the candidate was trained on data after the first issue, and when nothing was
    measured or forecast in the window.
    """
    assert candidate.metadata is not None
    if trained_to_s(candidate) > int(issues_s[0]):
        raise ValueError("issues_s: the candidate has seen this window; judge it on later data")
    ours = _losses(candidate.predict, data, issues_s)
    theirs = _losses(rival, data, issues_s)
    ours, theirs = np.where(np.isnan(ours), theirs, ours), np.where(np.isnan(theirs), ours, theirs)
    known = ~np.isnan(ours)
    if not known.any():
        raise ValueError("issues_s: no measured values in the window; wait for data")
    return float(ours[known].mean()), float(theirs[known].mean())


def trained_to_s(predictor: Predictor) -> int:
    """End of a model's training data, UTC epoch seconds."""
    assert predictor.metadata is not None
    return int(np.datetime64(predictor.metadata.trained_to.rstrip("Z"), "s").astype(int))


def pack(predictor: Predictor, past: Series | None = None) -> bytes:
    """A trained model as one file: a zip of its parts without a date, so that a model has one hash.

    `past`: what a house that has no log yet is to know beside it (`history.remembered`).
    """
    files = predictor.save()
    if past is not None:
        stretch = io.BytesIO()
        np.savez(stretch, start_s=past.start_s, step_s=past.step_s, values=past.values.astype("<f4"))
        files[PAST] = stretch.getvalue()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in sorted(files.items()):
            part = zipfile.ZipInfo(name)
            part.create_system = 3
            archive.writestr(part, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def unpack(content: bytes, place: Place) -> Predictor:
    """The model that `pack` gave; raises ValueError when it is none or of another code version."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        kind = json.loads(files["model.json"])["metadata"]["kind"]
    except (zipfile.BadZipFile, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"not a packed forecast model: {error!r}") from error
    predictor = make_predictor(kind, place, 0)
    predictor.load(files)
    return predictor


def past_of(content: bytes) -> Series | None:
    """What `pack` put beside a model, None where it brings nothing; raises ValueError when it is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if PAST not in archive.namelist():
                return None
            with np.load(io.BytesIO(archive.read(PAST)), allow_pickle=False) as found:
                start_s, step_s = int(found["start_s"]), int(found["step_s"])
                values = found["values"].astype(np.float64)
    except (zipfile.BadZipFile, KeyError, TypeError, EOFError, OSError, ValueError) as error:
        raise ValueError(f"what the model remembers cannot be read: {error!r}") from error
    if step_s != STEP_S or start_s % STEP_S or values.ndim != 1:
        raise ValueError(f"what the model remembers is not in steps of {STEP_S} s")
    return Series(start_s, step_s, np.where(np.isfinite(values), values, np.nan))


def _losses(predict: Predict, data: Dataset, issues_s: IntArray) -> FloatArray:
    """Pinball loss of each step over 24 h from each issue; NaN without a forecast or a measurement."""
    losses = []
    for issue in issues_s.tolist():
        target = data.series.steps_from(np.array([issue]), 86_400)[0]
        bands = predict(data, issue, target)
        quantiles = np.column_stack([bands.p10, bands.p50, bands.p90])
        losses.append(pinball(data.series.at(target), quantiles))
    return np.concatenate(losses) if losses else np.empty(0)
