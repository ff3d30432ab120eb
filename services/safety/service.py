"""The safety service: judges every proposal, keeps the mode, runs the fallback controller.

This shell only translates: contracts to the integers of ``core`` and back, and signs what the gate
approved. Every rule stands in ``core``, which imports nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol

from pydantic import BeforeValidator, ConfigDict, PlainSerializer

from chassis.service import Decision, Service, State, due
from contracts.envelope import Event, event_id
from contracts.events import command
from contracts.events.clock import Ticked
from contracts.events.measurement import EvSampled, HouseSampled, LoadSampled, RoomSampled
from contracts.events.safety import ClearRequested, ModeChanged, StopRequested
from contracts.events.system import ConfigLoaded, Heartbeat, LimitsReported
from services.safety.core import gate, modes
from services.safety.core.fallback import fallback
from services.safety.core.limits import (
    BASE_LOAD,
    BATTERY_SOC,
    EV_POWER,
    PV_POWER,
    ROOM_TEMPERATURE,
    Limits,
    RelayLimits,
)
from services.safety.core.rules import Proposal
from services.safety.core.state import (
    SafetyState,
    with_heartbeat,
    with_read_back,
    with_reading,
    with_relay_seen,
)

FALLBACK_S = 300


class VerdictSigner(Protocol):
    """Puts key id and signature on a verdict."""

    def sign(self, subject: str, verdict: command.Approved) -> command.Approved: ...


def _core(value: Any) -> Any:
    return SafetyState.from_dict(value) if isinstance(value, dict) else value


def _limits(value: Any) -> Any:
    return Limits.from_dict(value) if isinstance(value, dict) else value


CoreState = Annotated[
    SafetyState, BeforeValidator(_core), PlainSerializer(lambda state: state.to_dict())
]
CoreLimits = Annotated[
    Limits, BeforeValidator(_limits), PlainSerializer(lambda limits: limits.to_dict())
]


class ServiceState(State):
    """The core's state and limits, and what the shell must remember between events."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    core: CoreState = SafetyState(context="live")
    limits: CoreLimits | None = None
    load_w: float | None = None
    relay_on: dict[str, bool] = {}
    ev_w: dict[str, float] = {}
    waiting_w: dict[str, float] = {}
    ev_need_wh: dict[str, int] = {}
    disk_free_bytes: int | None = None
    stop: bool = False
    """A stop was asked for since the last step."""
    clear: bool = False
    transitions: list[dict[str, Any]] = []
    verdicts: list[tuple[dict[str, Any], dict[str, Any], str]] = []
    """Of the event just folded: (proposal, verdict, id of the proposing event or "")."""


class Safety(Service[ServiceState]):
    """Proposals -> signed verdicts; health -> modes; in degraded mode the house runs from here."""

    name = "safety"
    state_type = ServiceState

    def __init__(self, signer: VerdictSigner) -> None:
        self.signer = signer

    def fold(self, state: ServiceState, event: Event) -> None:
        state.transitions, state.verdicts = [], []
        data = event.data
        if isinstance(data, ConfigLoaded):
            if data.safety is not None:
                state.limits = Limits.from_dict(data.safety)
        elif isinstance(data, RoomSampled | HouseSampled | EvSampled | LoadSampled):
            _measure(state, data)
        elif isinstance(data, Heartbeat):
            if data.service == event.source:
                state.core = with_heartbeat(state.core, data.service, _s(data.time))
        elif isinstance(data, command.Verified):
            state.core = with_read_back(state.core, data.device, True)
        elif isinstance(data, command.Failed):
            if data.observed is not None:
                state.core = with_read_back(state.core, data.device, False)
        elif isinstance(data, LimitsReported):
            state.disk_free_bytes = data.disk_free_bytes
        elif isinstance(data, StopRequested):
            state.stop = True
            self._step(state, event)
        elif isinstance(data, ClearRequested):
            state.clear = True
            self._step(state, event)
        elif isinstance(data, Ticked):
            if state.core.context != event.mode:
                state.core = SafetyState(context=event.mode)
            self._step(state, event)
            if due(data, FALLBACK_S):
                self._fall_back(state, event)
        elif isinstance(data, command.Proposed) and event.source != self.name:
            self._judge(state, _proposal(state, data, event), event.id)

    def decide(self, state: ServiceState, event: Event) -> Iterable[Decision]:
        for change in state.transitions:
            yield Decision(
                "safety.mode-changed",
                "house",
                ModeChanged(
                    time=_t(change["at_s"]), before=change["before"], after=change["after"],
                    reasons=tuple(change["reasons"]), latched=change["latched"],
                ),
            )  # fmt: skip
        proposals = 0
        for proposal, verdict, proposing in state.verdicts:
            if not proposing:
                own = _own_proposal(proposal, state)
                proposing = event_id(event.id, self.name, "command.proposed", proposals)
                proposals += 1
                yield Decision("command.proposed", proposal["device"], own, expiry=own.expires)
            yield self._verdict(event, proposal, verdict, proposing)

    def _step(self, state: ServiceState, event: Event) -> None:
        """Move the mode machine; a lease that would not be granted again is taken back."""
        if state.limits is None or state.now is None:
            return
        signals = modes.Signals(
            disk_free_bytes=state.disk_free_bytes,
            configuration_known=state.site is not None and _covers(state),
            estop=state.stop,
            cleared=state.clear,
        )
        state.stop = state.clear = False
        now = _s(state.now)
        state.core, transitions = modes.step(state.core, signals, state.limits, now)
        state.transitions += [change.to_dict() for change in transitions]
        for proposal in gate.withdrawals(state.core, state.limits, now):
            self._judge(state, proposal, "")

    def _fall_back(self, state: ServiceState, event: Event) -> None:
        if state.limits is None or state.now is None or state.site is None:
            return
        local = state.now.astimezone(state.site.location.zone)
        setpoints = {}
        for device in state.limits.devices:
            if isinstance(device, RelayLimits):
                low, _ = state.site.comfort_band(device.room, local)
                setpoints[device.room] = round(low * 1_000) + device.hysteresis_milli_c
        for proposal in fallback(
            state.core, state.limits, _s(state.now), event.sequence,
            setpoints_milli_c=setpoints, ev_need_wh=state.ev_need_wh,
        ):  # fmt: skip
            self._judge(state, proposal, "")

    @staticmethod
    def _judge(state: ServiceState, proposal: Proposal, proposing: str) -> None:
        if state.limits is None or state.now is None:
            return  # nothing may pass a gate that has no limits; silence is the refusal
        verdict = gate.judge(proposal, state.core, state.limits, _s(state.now))
        state.core = gate.granted(state.core, verdict)
        plain = {name: getattr(proposal, name) for name in proposal.__dataclass_fields__}
        state.verdicts.append((plain, verdict.to_dict(), proposing))

    def _verdict(
        self, event: Event, proposal: dict[str, Any], verdict: dict[str, Any], proposing: str
    ) -> Decision:
        device, kind = proposal["device"], proposal["kind"]
        evidence = tuple(
            command.Evidence(
                rule=item["rule"], reading=item["reading"], value=item["value"],
                age_s=item["age_s"], limit=item["limit"], ok=item["ok"],
            )
            for item in verdict["evidence"]
        )  # fmt: skip
        if not verdict["approved"]:
            return Decision(
                "command.rejected",
                device,
                command.Rejected(
                    proposal=proposing, device=device, kind=kind, asked=proposal["value"],
                    rule=verdict["rule"], reason=_reason(verdict), mode=verdict["mode"],
                    evidence=evidence,
                ),
            )  # fmt: skip
        approved = command.Approved(
            proposal=proposing,
            device=device,
            kind=kind,
            value=verdict["value"],
            asked=proposal["value"],
            clamped_by=", ".join(verdict["clamped_by"]) or None,
            expires=_t(verdict["expires_s"]),
            until=_t(verdict["until_s"]),
            mode=verdict["mode"],
            evidence=evidence,
        )
        subject = f"pems.{event.site}.command.{device}.approved"
        return Decision(
            "command.approved", device, self.signer.sign(subject, approved),
            cause=proposing, expiry=approved.expires,
        )  # fmt: skip


def _measure(
    state: ServiceState, data: RoomSampled | HouseSampled | EvSampled | LoadSampled
) -> None:
    """Fold a measurement; what is None is not folded and grows old by itself."""
    at, core = _s(data.time), state.core
    if isinstance(data, RoomSampled):
        if data.temperature_c is not None:
            value = round(data.temperature_c * 1_000)
            core = with_reading(core, ROOM_TEMPERATURE, data.room, value, at)
        if data.relay_on is not None:
            state.relay_on[data.room] = data.relay_on
            if state.limits is not None:
                core = with_relay_seen(
                    core, state.limits, f"relay-{data.room}", int(data.relay_on), at
                )
    elif isinstance(data, LoadSampled):
        if data.on is not None and state.limits is not None:
            device = f"load-{data.load}"
            core = with_relay_seen(core, state.limits, device, int(data.on), at)
        state.waiting_w[data.load] = _waiting_w(state, data)
    elif isinstance(data, EvSampled):
        device = f"ev-{data.ev}"
        if data.power_w is not None:
            state.ev_w[data.ev] = data.power_w
            core = with_reading(core, EV_POWER, device, round(data.power_w), at)
        target = data.target_wh if data.plugged and data.target_wh is not None else 0.0
        state.ev_need_wh[device] = max(0, round(target - (data.session_wh or 0.0)))
    else:
        if data.soc is not None:
            core = with_reading(core, BATTERY_SOC, "battery", round(data.soc * 1_000), at)
        if data.pv_w is not None:
            core = with_reading(core, PV_POWER, "", round(data.pv_w), at)
        if data.load_w is not None and state.site is not None:
            heating = sum(r.heater_w for r in state.site.rooms if state.relay_on.get(r.id))
            others = sum(state.ev_w.values()) + sum(state.waiting_w.values())
            base = data.load_w - heating - others
            core = with_reading(core, BASE_LOAD, "", round(base), at)
    state.core = core


def _waiting_w(state: ServiceState, data: LoadSampled) -> float:
    """What of the house's load is certain to be this one, W: as metered, else the least it draws.

    The gate reckons with all that a load may draw, beside the base load: what is not taken out of
    that counts twice, which is the safe side.
    """
    if not data.on:
        return 0.0
    if data.power_w is not None:
        return data.power_w
    loads = () if state.site is None else state.site.loads
    return min(
        (part.power_w for load in loads if load.id == data.load for part in load.segments),
        default=0.0,
    )


def _covers(state: ServiceState) -> bool:
    """Whether the gate's own table knows every device of the configuration in force."""
    assert state.site is not None and state.limits is not None
    return set(state.site.devices()) <= set(state.limits.by_name)


def _proposal(state: ServiceState, data: command.Proposed, event: Event) -> Proposal:
    """A proposal from the log. Only this service itself speaks for the fallback."""
    return Proposal(
        device=data.device,
        kind=data.kind,
        value=data.value,
        valid_from_s=_s(data.valid_from),
        expires_s=_s(data.expires),
        until_s=_s(data.until),
        sequence=event.sequence,
        context=event.mode,
        origin="optimizer" if data.origin == "fallback" else data.origin,
    )


def _own_proposal(proposal: dict[str, Any], state: ServiceState) -> command.Proposed:
    reason = (
        "limits: what was granted before no longer fits them"
        if state.core.mode == "normal"
        else f"fallback controller in mode {state.core.mode}: {', '.join(state.core.reasons)}"
    )
    return command.Proposed(
        device=proposal["device"],
        kind=proposal["kind"],
        value=proposal["value"],
        valid_from=_t(proposal["valid_from_s"]),
        expires=_t(proposal["expires_s"]),
        until=_t(proposal["until_s"]),
        origin="fallback",
        reason=reason,
        because=(state.tick,),
    )


def _reason(verdict: dict[str, Any]) -> str:
    """The refusing rule in words, with what it read."""
    for item in verdict["evidence"]:
        if item["rule"] == verdict["rule"]:
            value = "unknown" if item["value"] is None else item["value"]
            return f"{item['rule']}: {item['reading']} is {value}, limit {item['limit']}"
    return str(verdict["rule"])


def _s(instant: datetime) -> int:
    return int(instant.timestamp())


def _t(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
