"""Signed verdicts: Ed25519 (RFC 8032) over the canonical bytes of a payload.

Canonical bytes are the payload without ``signature``, as JSON with sorted keys and no spaces,
prefixed by the subject, so that a verdict cannot be moved to another device or site.
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from contracts.events.command import Approved


def canonical(subject: str, verdict: Approved) -> bytes:
    """The bytes that are signed."""
    value = verdict.model_dump(mode="json", exclude={"signature"})
    return f"{subject}\n{json.dumps(value, sort_keys=True, separators=(',', ':'))}".encode()


class Signer:
    """The safety service's pen."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.key_id = key_id(self.public_bytes)

    @classmethod
    def from_file(cls, path: Path) -> Signer:
        """Read the 32-byte seed, base64 in a file of mode 0600."""
        return cls(base64.b64decode(path.read_text()))

    @property
    def public_bytes(self) -> bytes:
        """The public key, 32 bytes."""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, subject: str, verdict: Approved) -> Approved:
        """The verdict with key id and signature. Deterministic (RFC 8032)."""
        named = verdict.model_copy(update={"key": self.key_id})
        signature = base64.b64encode(self._key.sign(canonical(subject, named))).decode()
        return named.model_copy(update={"signature": signature})


class Verifier:
    """The gateway's eye."""

    def __init__(self, public: bytes) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(public)
        self.key_id = key_id(public)

    @classmethod
    def from_file(cls, path: Path) -> Verifier:
        """Read the public key, base64."""
        return cls(base64.b64decode(path.read_text()))

    def valid(self, subject: str, verdict: Approved) -> bool:
        """Whether safety signed exactly this for exactly this subject."""
        try:
            signature = base64.b64decode(verdict.signature, validate=True)
            self._key.verify(signature, canonical(subject, verdict))
        except (InvalidSignature, ValueError):
            return False
        return verdict.key == self.key_id


def key_id(public: bytes) -> str:
    """Short name of a public key."""
    return sha256(public).hexdigest()[:16]


def new_seed() -> bytes:
    """A fresh private key."""
    return Ed25519PrivateKey.generate().private_bytes(
        Encoding.Raw, PrivateFormat.Raw, NoEncryption()
    )
