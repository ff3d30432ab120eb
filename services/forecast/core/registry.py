"""Models by content hash, in any mapping of names to bytes (a folder, an object store, a dict)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import MutableMapping
from dataclasses import dataclass

import numpy as np

from services.forecast.core.bands import IntArray
from services.forecast.core.place import Place
from services.forecast.core.predictor import Predictor
from services.forecast.core.rolling import make_predictor
from services.forecast.core.scores import pinball
from services.forecast.core.series import Dataset


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

    Layout of the store: `blob/<sha256>` file contents, `model/<sha256>` a manifest of named files,
    `current/<kind>` the history of promoted models, newest last.
    """

    def __init__(self, store: MutableMapping[str, bytes]) -> None:
        self.store = store

    def put(self, predictor: Predictor) -> str:
        """Store a trained model; returns its content hash (the same model has the same hash)."""
        manifest: dict[str, str] = {}
        for name, content in sorted(predictor.save().items()):
            digest = hashlib.sha256(content).hexdigest()
            self.store.setdefault(f"blob/{digest}", content)
            manifest[name] = digest
        body = json.dumps({"kind": predictor.kind, "files": manifest}, sort_keys=True).encode()
        digest = hashlib.sha256(body).hexdigest()
        self.store.setdefault(f"model/{digest}", body)
        return digest

    def get(self, digest: str, place: Place) -> Predictor:
        """The model of a hash; raises ValueError when it is absent or its content does not match."""
        body = self.store.get(f"model/{digest}")
        if body is None:
            raise ValueError(f"model: {digest} is not in the registry")
        if hashlib.sha256(body).hexdigest() != digest:
            raise ValueError(f"model: {digest} is damaged in the store; restore it or train again")
        manifest = json.loads(body)
        files: dict[str, bytes] = {}
        for name, blob in manifest["files"].items():
            content = self.store.get(f"blob/{blob}")
            if content is None or hashlib.sha256(content).hexdigest() != blob:
                raise ValueError(f"model: {digest} misses or has a damaged {name}; train again")
            files[name] = content
        predictor = make_predictor(manifest["kind"], place, 0)
        predictor.load(files)
        return predictor

    def history(self, kind: str) -> list[str]:
        """Hashes of the models promoted for `kind`, oldest first."""
        raw = self.store.get(f"current/{kind}")
        return [] if raw is None else list(json.loads(raw))

    def current(self, kind: str) -> str | None:
        """Hash of the model in use, None when there is none."""
        past = self.history(kind)
        return past[-1] if past else None

    def promote(self, digest: str) -> None:
        """Put a stored model into use whatever its scores."""
        body = self.store.get(f"model/{digest}")
        if body is None:
            raise ValueError(f"model: {digest} is not in the registry")
        kind = json.loads(body)["kind"]
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
            self.promote(digest)
            return Decision(True, digest, None, None, None, "first model of its kind")
        if incumbent == digest:
            return Decision(False, digest, incumbent, None, None, "is the incumbent itself")
        assert candidate.metadata is not None
        trained_to_s = int(
            np.datetime64(candidate.metadata.trained_to.rstrip("Z"), "s").astype(int)
        )
        if trained_to_s > int(issues_s[0]):
            raise ValueError("issues_s: the candidate has seen this window; judge it on later data")
        ours = recent_loss(candidate, data, issues_s)
        theirs = recent_loss(self.get(incumbent, place), data, issues_s)
        if not ours < theirs:
            return Decision(False, digest, incumbent, ours, theirs, "does not beat the incumbent")
        self.promote(digest)
        return Decision(True, digest, incumbent, ours, theirs, "beats the incumbent")


def recent_loss(predictor: Predictor, data: Dataset, issues_s: IntArray) -> float:
    """Mean pinball loss of a model, as it is, over 24 h from each issue; raises ValueError without actuals."""
    losses = []
    for issue in issues_s.tolist():
        target = np.arange(issue, issue + 86_400, data.series.step_s, dtype=np.int64)
        bands = predictor.predict(data, issue, target)
        actual = data.series.at(target)
        known = ~np.isnan(actual)
        losses.append(pinball(actual, np.column_stack([bands.p10, bands.p50, bands.p90]))[known])
    joined = np.concatenate(losses) if losses else np.empty(0)
    if len(joined) == 0:
        raise ValueError("issues_s: no measured values in the window; wait for data")
    return float(joined.mean())
