"""The gateway: the only service that touches devices.

On a tick it reads everything and appends decision-grade samples (every five minutes, relays,
loads and plugs on change), checks what it commanded, and fetches weather and prices when due. On a verdict
of the safety service it acts, after its own check of signature, expiry and order.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel

from chassis.service import Decision, Service, State, due
from contracts.envelope import Event
from contracts.events import command, measurement
from contracts.events.clock import Ticked
from contracts.events.override import Detected
from contracts.events.price import PricesPublished
from contracts.events.safety import Mode, ModeChanged
from contracts.events.system import LimitsReported
from services.gateway.core.admit import Verifier, matches, refusal
from services.gateway.core.readings import Field, Sweep

SAMPLE_S = 300
FETCH_S, FETCH_OFFSET_S = 3_600, 3_480
"""Weather and prices two minutes before the hour, so that the hour's forecasts have them."""
VERIFY_S = 180
PRICE_HISTORY = timedelta(days=8)


class Pending(BaseModel):
    """The newest verdict of a device and how far it got."""

    verdict: str
    proposal: str
    sequence: int
    kind: command.Kind
    value: int
    until: datetime
    at: datetime
    traceparent: str
    correlation: str
    refusal: str | None = None
    replaced: str = ""
    """Verdict that this one took over from before it was verified."""
    status: str = "approved"


class GatewayState(State):
    """Verdicts under way, and the safety mode for those who look on."""

    pending: dict[str, Pending] = {}
    safety_mode: Mode | None = None


class Gateway(Service[GatewayState]):
    """Devices <-> log."""

    name = "gateway"
    state_type = GatewayState

    def __init__(self, field: Field, verifier: Verifier) -> None:
        self.field, self.verifier = field, verifier
        self._relays: dict[str, bool | None] = {}
        self._plugs: dict[str, bool | None] = {}
        self._loads: dict[str, bool | None] = {}
        self._prices: PricesPublished | None = None
        self._fetched = False
        self._open_for = ""

    async def stop(self) -> None:
        await self.field.close()

    def fold(self, state: GatewayState, event: Event) -> None:
        data = event.data
        if isinstance(data, command.Approved):
            self._admit(state, event, data)
        elif isinstance(data, command.Executed | command.Verified | command.Failed):
            pending = state.pending.get(data.device)
            if pending is not None and pending.verdict == data.verdict:
                pending.status = event.type.rsplit(".", 1)[-1]
        elif isinstance(data, ModeChanged):
            state.safety_mode = data.after

    def _admit(self, state: GatewayState, event: Event, data: command.Approved) -> None:
        if state.now is None or state.site is None:
            return
        before = state.pending.get(data.device)
        why = refusal(
            data, event.subject, event.sequence, state.now,
            before.sequence if before else 0, state.site.devices(), self.verifier,
        )  # fmt: skip
        if why is not None and before is not None and why.startswith(("signature", "sequence")):
            return  # what the device follows now is not touched by somebody's forgery
        open_before = before is not None and before.status in ("approved", "executed")
        state.pending[data.device] = Pending(
            verdict=event.id, proposal=data.proposal, sequence=event.sequence, kind=data.kind,
            value=data.value, until=data.until, at=state.now, traceparent=event.traceparent,
            correlation=event.correlation, refusal=why,
            replaced=before.verdict if before is not None and open_before else "",
        )  # fmt: skip

    async def act(self, state: GatewayState, event: Event) -> Sequence[Decision]:
        data = event.data
        if state.site is not None and self._open_for != state.config_hash:
            await self.field.close()
            await self.field.open(state.site)
            self._open_for = state.config_hash
        if isinstance(data, command.Approved):
            return await self._execute(state, event, data)
        if isinstance(data, Ticked) and state.site is not None:
            fetched = await self._fetch(state, data)
            sweep = await self.field.sweep(data.time, lock_step=event.mode == "simulated")
            self.field.show(sweep, state.safety_mode)
            checked = await self._check(state, data)
            return [*fetched, *self._samples(sweep, data), *checked]
        return []

    async def _execute(
        self, state: GatewayState, event: Event, data: command.Approved
    ) -> list[Decision]:
        now, pending = state.now, state.pending.get(data.device)
        if now is None or pending is None or pending.verdict != event.id:
            why = "refused: signature, order or unknown device"
            return [_failed(event.id, data, now or data.expires, None, why)]
        found: list[Decision] = []
        if pending.replaced:
            found.append(
                Decision(
                    "command.superseded",
                    data.device,
                    command.Superseded(
                        verdict=pending.replaced, proposal=data.proposal, device=data.device,
                        by=event.id, time=now,
                    ),
                )
            )  # fmt: skip
        if pending.refusal == "expired":
            late = command.Expired(
                verdict=event.id, proposal=data.proposal, device=data.device, time=now
            )
            return [*found, Decision("command.expired", data.device, late)]
        if pending.refusal is not None:
            return [*found, _failed(event.id, data, now, None, pending.refusal)]
        try:
            accepted = await self.field.apply(data.device, data.value, data.until, event.id)
        except (ConnectionError, TimeoutError) as error:
            return [*found, _failed(event.id, data, now, None, f"unavailable: {error}")]
        if not accepted:
            return [*found, _failed(event.id, data, now, None, "the device refused")]
        done = command.Executed(
            verdict=event.id, proposal=data.proposal, device=data.device, value=data.value,
            until=data.until, time=now,
        )  # fmt: skip
        return [*found, Decision("command.executed", data.device, done)]

    async def _check(self, state: GatewayState, tick: Ticked) -> list[Decision]:
        """Compare what devices do with what they were told."""
        found = []
        for device, pending in sorted(state.pending.items()):
            if pending.status != "executed":
                continue
            try:
                observed = await self.field.read_back(device)
            except (ConnectionError, TimeoutError):
                observed = None
            late = tick.time - pending.at >= timedelta(seconds=VERIFY_S)
            if observed is not None and matches(pending.kind, pending.value, observed):
                data: command.Verified | command.Failed = command.Verified(
                    verdict=pending.verdict, proposal=pending.proposal, device=device,
                    expected=pending.value, observed=observed, time=tick.time,
                )  # fmt: skip
            elif late and tick.time < pending.until:
                data = command.Failed(
                    verdict=pending.verdict, proposal=pending.proposal, device=device,
                    expected=pending.value, observed=observed, time=tick.time,
                    reason="read-back does not match" if observed is not None else "no read-back",
                )  # fmt: skip
            else:
                continue
            verb = "verified" if isinstance(data, command.Verified) else "failed"
            found.append(
                Decision(
                    f"command.{verb}", device, data, cause=pending.verdict,
                    correlation=pending.correlation, traceparent=pending.traceparent,
                )
            )  # fmt: skip
        return found

    def _samples(self, sweep: Sweep, tick: Ticked) -> list[Decision]:
        now, full = tick.time, due(tick, SAMPLE_S) or not self._relays
        found: list[Decision] = []
        for change in sweep.local_changes:
            seen = Detected(
                target=change.target, quantity=change.quantity, value=change.value, time=now
            )
            found.append(Decision("override.detected", change.target, seen))
        for room, reading in sorted(sweep.rooms.items()):
            if full or self._relays.get(room) != reading.relay_on:
                self._relays[room] = reading.relay_on
                sample = measurement.RoomSampled(
                    room=room, time=now, temperature_c=reading.temperature_c,
                    relay_on=reading.relay_on,
                )  # fmt: skip
                found.append(Decision("measurement.room.sampled", f"room-{room}", sample))
        for ev, car in sorted(sweep.evs.items()):
            if full or self._plugs.get(ev) != car.plugged:
                self._plugs[ev] = car.plugged
                plug = measurement.EvSampled(
                    ev=ev, time=now, plugged=car.plugged, power_w=car.power_w,
                    session_wh=car.session_wh, target_wh=car.target_wh, departure=car.departure,
                )  # fmt: skip
                found.append(Decision("measurement.ev.sampled", f"ev-{ev}", plug))
        for load, supply in sorted(sweep.loads.items()):
            if full or self._loads.get(load) != supply.on:
                self._loads[load] = supply.on
                seen_load = measurement.LoadSampled(
                    load=load, time=now, on=supply.on, power_w=supply.power_w
                )
                found.append(Decision("measurement.load.sampled", f"load-{load}", seen_load))
        if not full:
            return found
        outdoor = measurement.OutdoorSampled(
            time=now, temperature_c=sweep.outdoor_c, ghi_w_m2=sweep.ghi_w_m2,
            wind_m_s=sweep.wind_m_s,
        )  # fmt: skip
        found.append(Decision("measurement.outdoor.sampled", "outdoor", outdoor))
        if sweep.house is not None:
            meters = {name: getattr(sweep.house, name) for name in sweep.house.__slots__}
            house = measurement.HouseSampled(time=now, **meters)
            found.append(Decision("measurement.house.sampled", "house", house))
        free, log = self.field.free_bytes()
        limits = LimitsReported(time=now, disk_free_bytes=free, log_bytes=log)
        found.append(Decision("system.limits-reported", "house", limits))
        done = measurement.SweepCompleted(time=now, missing=sweep.missing)
        found.append(Decision("measurement.sweep.completed", "house", done))
        return found

    async def _fetch(self, state: GatewayState, tick: Ticked) -> list[Decision]:
        """Weather and prices: at once after a start, then hourly; prices only when new."""
        if self._fetched and not due(tick, FETCH_S, FETCH_OFFSET_S):
            return []
        found: list[Decision] = []
        weather = await self.field.weather(tick.time)
        if weather is not None:
            found.append(Decision("weather.forecast-issued", "site", weather))
        known = self._prices
        since = tick.time - PRICE_HISTORY if known is None else tick.time - timedelta(hours=1)
        prices = await self.field.prices(tick.time, since)
        if prices is not None and (known is None or _end(prices) > _end(known)):
            self._prices = prices
            found.append(Decision("price.published", "market", prices))
        self._fetched = weather is not None and self._prices is not None
        return found


def _end(prices: PricesPublished) -> datetime:
    return prices.start + timedelta(seconds=prices.step_s * len(prices.eur_per_mwh))


def _failed(
    verdict: str, data: command.Approved, now: datetime, observed: int | None, reason: str
) -> Decision:
    failed = command.Failed(
        verdict=verdict, proposal=data.proposal, device=data.device, expected=data.value,
        observed=observed, time=now, reason=reason,
    )  # fmt: skip
    return Decision("command.failed", data.device, failed)
