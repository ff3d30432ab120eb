"""One MQTT connection that stays up: subscribes, delivers in order, reconnects with back-off.

MQTT 3.1.1 with QoS 0 throughout. A command's acknowledgement is the device's own echo, which says
more than a broker's PUBACK; and one connection keeps the order of what its publisher sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import aiomqtt

from services.gateway.devices.base import Backoff, DeviceUnavailable, cancelled, stop

LOG = logging.getLogger(__name__)
TIMEOUT_S = 2.0


class MqttLink:
    """A connection to the broker on behalf of one device."""

    def __init__(
        self,
        device: str,
        host: str,
        port: int,
        topics: Sequence[str],
        on_message: Callable[[str, bytes], None],
        *,
        greeting: str | None = None,
        on_up: Callable[[], None] = lambda: None,
        username: str | None = None,
        password: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.device = device
        self.address = f"mqtt://{host}:{port}"
        self._host = host
        self._port = port
        self._topics = tuple(topics)
        self._on_message = on_message
        self._greeting = greeting  # topic of an empty message after every connection
        self._on_up = on_up  # called after every connection, before the first message
        self._username = username
        self._password = password
        self._timeout_s = timeout_s
        self._client: aiomqtt.Client | None = None
        self._up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._last_error = "not connected yet"

    async def connect(self) -> None:
        """Start, and wait up to the time-out for the first connection.

        Raises DeviceUnavailable when there is none yet; attempts go on in the background.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"mqtt {self.device}")
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._up.wait()
        except TimeoutError:
            raise self.unavailable() from None

    async def close(self) -> None:
        """Disconnect and stop; may be called twice."""
        if self._task is not None:
            await stop(self._task)
            self._task = None

    @property
    def connected(self) -> bool:
        """True while the broker is there and the subscriptions stand."""
        return self._client is not None

    def unavailable(self, reason: str | None = None) -> DeviceUnavailable:
        """The error to raise, with the last reason known."""
        return DeviceUnavailable(self.device, self.address, reason or self._last_error)

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send one message; DeviceUnavailable when the broker is away."""
        if self._client is None:
            raise self.unavailable()
        try:
            await self._client.publish(topic, payload, retain=retain, timeout=self._timeout_s)
        except aiomqtt.MqttError as error:
            raise self.unavailable(str(error)) from error

    async def _run(self) -> None:
        backoff = Backoff()
        while not cancelled():
            try:
                async with aiomqtt.Client(
                    self._host,
                    self._port,
                    username=self._username,
                    password=self._password,
                    timeout=self._timeout_s,
                    keepalive=10,
                ) as client:
                    client.pending_calls_threshold = 1_000  # commands to all rooms go at once
                    for topic in self._topics:
                        await client.subscribe(topic)
                    self._on_up()
                    self._client = client
                    self._up.set()
                    backoff.succeeded()
                    if self._greeting is not None:
                        await client.publish(self._greeting, b"", timeout=self._timeout_s)
                    async for message in client.messages:
                        self._deliver(message)
            except aiomqtt.MqttError as error:
                self._last_error = f"{error}; is the broker running with an MQTT listener?"
            finally:
                self._client = None
                self._up.clear()
            await asyncio.sleep(backoff.failed())

    def _deliver(self, message: aiomqtt.Message) -> None:
        payload = message.payload
        if not isinstance(payload, bytes | bytearray):
            payload = b"" if payload is None else str(payload).encode()
        try:
            self._on_message(message.topic.value, bytes(payload))
        except Exception:  # one bad message must not end the connection
            LOG.exception("%s: handling %s failed", self.device, message.topic.value)
