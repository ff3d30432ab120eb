"""A car at its wallbox: sessions, 6 A least, delays, and the wallbox's own main-fuse guard."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.site import Ev
from twin.calendar import utc
from twin.scenario import EvSession
from twin.state import EvObservation

RESUME_DELAY_S = 45
"""From an offered current to a drawing car (contactor, handshake)."""
GUARD_PAUSE_S = 300
"""How long the wallbox waits after it paused to protect the main fuse."""
TAPER_SHARE, TAPER_LEAST = 0.04, 0.3
"""The car's charger tapers over the last 4 % of the energy, down to 30 % of full power."""


@dataclass
class WallboxState:
    """What must survive a restart; times are epoch seconds."""

    session_energy_wh: float = 0.0
    session_started_s: int = -1
    drawing_from_s: int = -1
    blocked_until_s: int = -1


class Wallbox:
    """One car's charger. `offered_a` is what it signals now, 0 = pause."""

    def __init__(self, spec: Ev, sessions: tuple[EvSession, ...]) -> None:
        self.spec = spec
        self.sessions = tuple(one for one in sessions if one.ev_id == spec.id)
        self.state = WallboxState()
        self.offered_a = 0.0
        self.session: EvSession | None = None

    def arrive(self, time_s: int) -> None:
        """Find the session that holds this instant; a new one starts at zero energy."""
        current = self.session
        if current is not None and current.plug_in_s <= time_s < current.departure_s:
            return
        self.session = next(
            (one for one in self.sessions if one.plug_in_s <= time_s < one.departure_s), None
        )
        started = -1 if self.session is None else self.session.plug_in_s
        if started != self.state.session_started_s:
            self.state = WallboxState(session_started_s=started)

    def next_change_s(self, time_s: int) -> int:
        """The next plug-in or departure after this instant (a far time when there is none)."""
        later = [
            moment
            for one in self.sessions
            for moment in (one.plug_in_s, one.departure_s)
            if moment > time_s
        ]
        return min(later, default=2**62)

    def wanted_w(self, time_s: int, dt_s: float, current_a: float | None) -> float:
        """Power the car would draw, W: the wallbox's own rule (full current) for None.

        A command below the least current pauses; above the most it is cut; steps of 0.1 A.
        """
        if self.session is None:
            self.offered_a = 0.0
            return 0.0
        spec = self.spec
        offered = spec.current_max_a if current_a is None else min(current_a, spec.current_max_a)
        offered = int(offered * 10 + 1e-9) / 10
        if offered < spec.current_min_a or time_s < self.state.blocked_until_s:
            offered = 0.0
        self.offered_a = offered
        missing = self.session.energy_wh - self.state.session_energy_wh
        if offered == 0.0 or missing <= 1e-6:
            self.state.drawing_from_s = -1
            return 0.0
        if self.state.drawing_from_s < 0:
            self.state.drawing_from_s = time_s + RESUME_DELAY_S
        if time_s < self.state.drawing_from_s:
            return 0.0
        taper = max(TAPER_LEAST, missing / (TAPER_SHARE * self.session.energy_wh))
        car_w = spec.max_w * min(1.0, taper)
        return min(offered * spec.voltage_v * spec.phases, car_w, missing * 3600.0 / dt_s)

    def guard(self, power_w: float, excess_w: float, time_s: int) -> float:
        """Reduce by the house's excess over the main fuse; pause when 6 A no longer fit."""
        spec = self.spec
        step_w = 0.1 * spec.voltage_v * spec.phases
        reduced = max(0.0, power_w - excess_w)
        reduced = int(reduced / step_w) * step_w
        if reduced < spec.min_w:
            self.state.blocked_until_s = time_s + GUARD_PAUSE_S
            self.state.drawing_from_s = -1
            self.offered_a = 0.0
            return 0.0
        self.offered_a = reduced / (spec.voltage_v * spec.phases)
        return reduced

    def apply(self, power_w: float, dt_s: float) -> None:
        """Count the energy of the session."""
        self.state.session_energy_wh += power_w * dt_s / 3600.0

    def observe(self, power_w: float) -> EvObservation:
        """What the wallbox knows while the car takes this power."""
        session = self.session
        if session is None:
            return EvObservation(False, 0.0, 0.0, 0.0, None, None)
        leave = session.announced_departure_s
        return EvObservation(
            plugged=True,
            power_w=power_w,
            offered_a=self.offered_a,
            session_energy_wh=self.state.session_energy_wh,
            target_energy_wh=session.announced_energy_wh,
            departure=None if leave is None else utc(leave),
        )
