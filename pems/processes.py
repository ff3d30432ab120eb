"""Who runs, when and why: the process table, and a supervisor that keeps it true."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

RESTART_S = 1.0
STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class Process:
    """One row: its name, the module it runs, what it is for."""

    name: str
    module: str
    purpose: str


PROCESSES: tuple[Process, ...] = (
    Process("gateway", "services.gateway", "devices, weather and prices on one side, the log on the other"),
    Process("forecast", "services.forecast", "PV, load and price for the next 48 hours"),
    Process("thermal", "services.thermal", "what every room is at and how it answers to heat"),
    Process("optimizer", "services.optimizer", "a plan for 48 hours"),
    Process("dispatcher", "services.dispatcher", "plan and overrides become proposed commands"),
    Process("safety", "services.safety", "judges every command, runs the house when others fail"),
    Process("historian", "services.historian", "archive and reports"),
    Process("trainer", "pems.nightly", "better models every night, in a house that stays"),
    Process("twin", "twin", "the simulated house; not started when real devices are there"),
)  # fmt: skip


@dataclass
class Running:
    """A started process."""

    row: Process
    popen: subprocess.Popen[bytes]
    restarts: int = 0
    ended_at: float | None = None


@dataclass
class Supervisor:
    """Starts processes, starts them again when they end, stops them in reverse order."""

    environment: Mapping[str, str]
    logs: Path
    running: dict[str, Running] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    """Processes that are down on purpose (fault tests)."""

    def start(self, names: list[str], arguments: Mapping[str, list[str]] | None = None) -> None:
        """Start some rows of the table."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self._arguments = dict(arguments or {})
        for row in PROCESSES:
            if row.name in names:
                self.running[row.name] = Running(row, self._spawn(row))

    def _spawn(self, row: Process) -> subprocess.Popen[bytes]:
        with (self.logs / f"{row.name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", row.module, *self._arguments.get(row.name, [])],
                env={**os.environ, **self.environment}, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def tend(self, finished: Callable[[str, int], bool] = lambda name, code: False) -> None:
        """Start again what has ended, unless ``finished`` says that it was meant to end."""
        for item in self.running.values():
            code = item.popen.poll()
            if code is None or item.row.name in self.held:
                continue
            if finished(item.row.name, code):
                continue
            if item.ended_at is None:
                item.ended_at = time.monotonic()
            elif time.monotonic() - item.ended_at > RESTART_S:
                item.popen, item.ended_at = self._spawn(item.row), None
                item.restarts += 1

    def kill(self, name: str) -> None:
        """kill -9, and leave it down until ``release``."""
        self.held.add(name)
        os.kill(self.running[name].popen.pid, signal.SIGKILL)
        self.running[name].popen.wait()

    def release(self, name: str) -> None:
        """Let a killed process come back."""
        self.held.discard(name)

    def code(self, name: str) -> int | None:
        """Exit code of a process, None while it runs."""
        return self.running[name].popen.poll()

    def stop(self) -> None:
        """Ask everything to end, twin first, then wait; what does not end is killed."""
        for item in reversed(self.running.values()):
            if item.popen.poll() is None:
                item.popen.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        for item in self.running.values():
            try:
                item.popen.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                item.popen.kill()
                item.popen.wait()
