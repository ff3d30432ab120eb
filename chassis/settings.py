"""Settings of a process, from the environment; everything about the house is in the site file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a process finds its broker, its secrets and its folder.

    Attributes
    ----------
    site : name of the site, a token of every subject (``PEMS_SITE``)
    nats_url : the broker (``PEMS_NATS_URL``)
    home : folder of keys and credentials (``PEMS_HOME``)
    state_folder : folder that this process may write, for snapshots, health and archive
        (``PEMS_STATE``, the home when not given)
    otlp_url : OTLP/HTTP endpoint for traces, empty for none (``OTEL_EXPORTER_OTLP_ENDPOINT``)
    """

    site: str
    nats_url: str
    home: Path
    otlp_url: str
    state_folder: Path | None = None

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the environment; every name has a default that fits ``make run``."""
        return cls(
            site=os.environ.get("PEMS_SITE", "home"),
            nats_url=os.environ.get("PEMS_NATS_URL", "nats://127.0.0.1:4222"),
            home=Path(os.environ.get("PEMS_HOME", ".pems")),
            otlp_url=os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
            state_folder=Path(os.environ["PEMS_STATE"]) if "PEMS_STATE" in os.environ else None,
        )

    @property
    def state(self) -> Path:
        """Folder for what this process writes."""
        return self.state_folder or self.home

    @property
    def stream(self) -> str:
        """Name of the site's stream."""
        return stream_name(self.site)

    @property
    def bucket(self) -> str:
        """Name of the site's object store of models."""
        return f"{self.stream}_MODELS"

    @property
    def bucket_stream(self) -> str:
        """The stream behind that store."""
        return f"OBJ_{self.bucket}"

    def password(self, user: str) -> str:
        """The broker password of a user, made at first start.

        Raises
        ------
        FileNotFoundError
            when this process was not given that user's secret.
        """
        return self.secret_path(user).read_text().strip()

    def secret_path(self, user: str) -> Path:
        """File of a user's broker password (mode 0600)."""
        return self.home / "secrets" / user / "broker-password"

    @property
    def signing_key_path(self) -> Path:
        """Ed25519 private key of the safety service (mode 0600)."""
        return self.home / "secrets" / "safety" / "signing-key"

    @property
    def verify_key_path(self) -> Path:
        """Its public key, the gateway's trust anchor."""
        return self.home / "verify-key"


def stream_name(site: str) -> str:
    """The log of a site."""
    return f"PEMS_{site.upper().replace('-', '_')}"
