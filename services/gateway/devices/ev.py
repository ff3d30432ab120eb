"""EV chargers over OCPP 1.6J: PEMS is the central system, each charger connects to it.

Address: ``ws://{host}:{port}/ocpp/{charge point id}``, subprotocol ``ocpp1.6``, HTTP basic
authentication with the charge point id as the user where a password is configured (security
profile 1 of "Improved security for OCPP 1.6-J"). Source: "Open Charge Point Protocol 1.6 edition 2"
and its JSON schemas.

A command is a charging profile with one period in A per phase and a ``duration`` that is the
lease: a TxProfile while a transaction runs, else a TxDefaultProfile. After the duration the
charger's own default holds again, whatever has become of PEMS; 0 A pauses. Read-back asks for the
composite schedule; ``Current.Offered`` is what the charger measures.

OCPP 1.6 knows neither the wanted energy nor the departure. They come in a vendor message, if the
charger (or an app beside it) sends it, else they stay None::

    DataTransfer.req  vendorId "pems", messageId "session",
    data '{"target_wh": 15000, "departure": "2026-01-16T06:00:00Z", "meter_start_wh": 1234567}'

Time-outs: 2 s for a charger's answer.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, TypeVar

from ocpp.exceptions import OCPPError
from ocpp.routing import on
from ocpp.v16 import ChargePoint, call, call_result
from ocpp.v16.datatypes import IdTagInfo
from ocpp.v16.enums import Action, AuthorizationStatus, DataTransferStatus, RegistrationStatus
from websockets.asyncio.server import Server, ServerConnection, basic_auth, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from services.gateway.devices.base import DeviceUnavailable, ReadBack, write_time
from services.gateway.devices.ev_session import EvReading, Session

LOG = logging.getLogger(__name__)
ANSWER_TIMEOUT_S = 2.0
HEARTBEAT_S = 300
PROFILE_ID = 1
F = TypeVar("F", bound=Callable[..., Any])


class OcppCentralSystem:
    """The websocket server that the house's chargers connect to.

    Parameters
    ----------
    chargers : charge point id of each EV's charger, by EV id
    clock : the instant that chargers are told, and from which leases are counted, UTC
    passwords : basic-auth password by charge point id; a charger without one needs none
    """

    def __init__(
        self,
        host: str,
        port: int,
        chargers: Mapping[str, str],
        clock: Callable[[], datetime],
        passwords: Mapping[str, str] | None = None,
    ) -> None:
        self._host = host
        self.port = port  # the real one after connect()
        self._clock = clock
        self._passwords = dict(passwords or {})
        self._chargers = {
            ev: Charger(ev, point, lambda: f"ws://{self._host}:{self.port}", clock)
            for ev, point in chargers.items()
        }
        self._by_point = {point: self._chargers[ev] for ev, point in chargers.items()}
        self._server: Server | None = None

    async def connect(self) -> None:
        """Open the port; OSError when it is taken. Chargers come when they come."""
        self._server = await serve(
            self._accept,
            self._host,
            self.port,
            subprotocols=["ocpp1.6"],
            process_request=self._admit,
            compression=None,
            ping_interval=10,
            ping_timeout=10,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def close(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    def charger(self, ev: str) -> Charger:
        """The charger of an EV; KeyError for an unknown one."""
        return self._chargers[ev]

    async def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        point = request.path.removeprefix("/ocpp/")
        if point not in self._by_point:
            return connection.respond(HTTPStatus.NOT_FOUND, "unknown charge point\n")
        password = self._passwords.get(point)
        if password is None:
            return None

        def right(user: str, given: str) -> bool:
            return user == point and hmac.compare_digest(given.encode(), password.encode())

        check = basic_auth(realm="pems", check_credentials=right)
        return await check(connection, request)

    async def _accept(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        charger = self._by_point[connection.request.path.removeprefix("/ocpp/")]
        await charger.serve(connection)


class Charger:
    """One charger: its readings, and the actuator of its current in mA per phase."""

    tolerance = 100  # mA: profiles count in 0.1 A

    def __init__(
        self, ev: str, point: str, address: Callable[[], str], clock: Callable[[], datetime]
    ) -> None:
        self.device = f"ev-{ev}"
        self._point = point
        self._address = address
        self._clock = clock
        self._session = Session()
        self._link: _Link | None = None

    async def read(self) -> EvReading:
        """The last reported values; DeviceUnavailable while the charger is not connected."""
        self._connected()
        return self._session.reading()

    async def apply(self, value: int | None, until: datetime, command_id: str) -> bool:
        """Limit the current, mA per phase (0 pauses), until the lease ends; None lifts the limit.

        False: the charger rejected the profile, the lease is over, or the value is negative.
        """
        if value is None:
            await self._ask(call.ClearChargingProfile(id=PROFILE_ID))
            return True
        now = self._clock()
        duration = int((until - now).total_seconds())
        if duration <= 0 or value < 0:
            return False
        transaction = self._session.transaction
        profile: dict[str, Any] = {
            "charging_profile_id": PROFILE_ID,
            "stack_level": 0,
            "charging_profile_purpose": "TxDefaultProfile" if transaction is None else "TxProfile",
            "charging_profile_kind": "Absolute",
            "charging_schedule": {
                "duration": duration,
                "start_schedule": write_time(now),
                "charging_rate_unit": "A",
                "charging_schedule_period": [{"start_period": 0, "limit": value // 100 / 10}],
            },
        }
        if transaction is not None:
            profile["transaction_id"] = transaction
        answer = await self._ask(
            call.SetChargingProfile(connector_id=1, cs_charging_profiles=profile)
        )
        return answer is not None and answer.status == "Accepted"

    async def read_back(self) -> ReadBack:
        """The limit in force now by the charger's composite schedule, mA, and what it offers."""
        offered = self._session.offered_a
        measured = None if offered is None else 1_000 * offered
        answer = await self._ask(
            call.GetCompositeSchedule(connector_id=1, duration=60, charging_rate_unit="A")
        )
        try:
            limit_a = answer.charging_schedule["charging_schedule_period"][0]["limit"]
            return ReadBack(round(1_000 * float(limit_a)), measured)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError):
            # The charger cannot say its schedule: what it offers is the next best answer.
            return ReadBack(None if measured is None else round(measured), measured)

    def faults(self) -> dict[str, int]:
        """Refused values and messages so far, by what was wrong."""
        return dict(self._session.faults)

    async def serve(self, connection: ServerConnection) -> None:
        """Talk to the charger until it goes; a newer connection takes the place of an older."""
        link = _Link(self._point, connection, self._session, self._clock)
        before, self._link = self._link, link
        if before is not None:
            await before.connection.close()
        # After a restart of PEMS the charger does not boot: ask what is plugged in.
        asking = asyncio.create_task(self._greet(link), name=f"greet {self.device}")
        try:
            async for message in connection:
                try:
                    await link.route_message(message)
                except Exception:  # garbage must not end the connection
                    self._session.faults["message"] += 1
                    LOG.exception("%s: unreadable message", self.device)
        except ConnectionClosed:
            pass
        finally:
            asking.cancel()
            if self._link is link:
                self._link = None

    async def _greet(self, link: _Link) -> None:
        for wanted in ("StatusNotification", "MeterValues"):
            try:
                await link.call(call.TriggerMessage(requested_message=wanted, connector_id=1))
            except Exception as error:  # not every charger can be asked; it will report in time
                LOG.info("%s: TriggerMessage %s: %s", self.device, wanted, error)

    def _connected(self) -> _Link:
        if self._link is None:
            raise self._lost("not connected; check the central system's URL in the charger")
        return self._link

    async def _ask(self, question: Any) -> Any:
        link = self._connected()
        try:
            return await link.call(question)
        except (TimeoutError, ConnectionClosed, OCPPError, TypeError) as error:
            name = type(question).__name__  # the last two: an answer that OCPP does not know
            raise self._lost(f"{name}: {error or 'no answer'}") from error

    def _lost(self, reason: str) -> DeviceUnavailable:
        return DeviceUnavailable(self.device, f"{self._address()}/ocpp/{self._point}", reason)


def _hears(action: Action, **options: bool) -> Callable[[F], F]:
    """``ocpp.routing.on`` with the type of what it decorates."""
    decorator: Callable[[F], F] = on(action, **options)
    return decorator


class _Link(ChargePoint):  # type: ignore[misc]
    """OCPP's messages on one websocket, handed to the session."""

    def __init__(
        self,
        point: str,
        connection: ServerConnection,
        session: Session,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(point, connection, response_timeout=ANSWER_TIMEOUT_S)
        self.connection = connection
        self._session = session
        self._clock = clock

    def _now(self) -> str:
        return write_time(self._clock())

    @_hears(Action.boot_notification)
    def on_boot(self, **_: Any) -> call_result.BootNotification:
        return call_result.BootNotification(
            current_time=self._now(), interval=HEARTBEAT_S, status=RegistrationStatus.accepted
        )

    @_hears(Action.heartbeat)
    def on_heartbeat(self, **_: Any) -> call_result.Heartbeat:
        return call_result.Heartbeat(current_time=self._now())

    @_hears(Action.status_notification)
    def on_status(self, **message: Any) -> call_result.StatusNotification:
        self._session.on_status(message)
        return call_result.StatusNotification()

    # Read strictly by the session, and far cheaper than the schema of a message every minute.
    @_hears(Action.meter_values, skip_schema_validation=True)
    def on_meter(self, **message: Any) -> call_result.MeterValues:
        self._session.on_meter(message)
        return call_result.MeterValues()

    @_hears(Action.authorize)
    def on_authorize(self, **_: Any) -> call_result.Authorize:
        return call_result.Authorize(id_tag_info=IdTagInfo(status=AuthorizationStatus.accepted))

    @_hears(Action.start_transaction)
    def on_start(self, **message: Any) -> call_result.StartTransaction:
        return call_result.StartTransaction(
            transaction_id=self._session.on_start(message),
            id_tag_info=IdTagInfo(status=AuthorizationStatus.accepted),
        )

    @_hears(Action.stop_transaction)
    def on_stop(self, **message: Any) -> call_result.StopTransaction:
        self._session.on_stop(message)
        return call_result.StopTransaction()

    @_hears(Action.data_transfer)
    def on_data(self, **message: Any) -> call_result.DataTransfer:
        if message.get("vendor_id") != "pems":
            return call_result.DataTransfer(status=DataTransferStatus.unknown_vendor_id)
        if message.get("message_id") != "session":
            return call_result.DataTransfer(status=DataTransferStatus.unknown_message_id)
        taken = self._session.on_session(message.get("data"))
        status = DataTransferStatus.accepted if taken else DataTransferStatus.rejected
        return call_result.DataTransfer(status=status)
