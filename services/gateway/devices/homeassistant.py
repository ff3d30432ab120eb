"""Home Assistant by MQTT discovery: the house's values as entities, and a few buttons and numbers.

Source: https://www.home-assistant.io/integrations/mqtt/ (device discovery: one retained message on
``homeassistant/device/{id}/config`` with ``dev``, ``o`` and ``cmps``; each component has ``p``, the
platform, and ``unique_id``; on starting Home Assistant says ``online`` on ``homeassistant/status``).
Home Assistant connects to the house's broker with the credentials of the broker user ``client``, which
may ask for overrides and read values, and nothing else.

Everything published lies below ``homeassistant/``; values go in one JSON document to
``homeassistant/pems/{site}/state``. It is not retained: what Home Assistant finds when it starts would
look fresh however old it is. A number or button publishes an override request, plain JSON as documented
for any client, on ``pems/{site}/override/{target}/requested``; the dispatcher and the safety gate treat
it like every other wish, whether the gateway runs or not, so no entity has an availability topic.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from contextlib import suppress
from typing import Any

from contracts.events.safety import Mode
from contracts.site import SiteConfig
from services.gateway.core.readings import EvReading, HouseReading, LoadReading, RoomReading, Sweep
from services.gateway.devices.base import DeviceUnavailable, cancelled, stop
from services.gateway.devices.mqtt import MqttLink

LOG = logging.getLogger("pems.homeassistant")
PREFIX = "homeassistant"
BIRTH_TOPIC, BIRTH = f"{PREFIX}/status", b"online"
PAUSE_S = 1.0
"""Between two documents, by this machine's clock: a simulation at full speed shows one a second."""
EXPIRE_S = 900  # older values are shown as unavailable
WARMTH_MINUTES = 180
CAR_MINUTES = 120
HOLD_MINUTES = 120
AWAY_MINUTES = 24 * 60
METERS = tuple(HouseReading.__slots__)
Component = dict[str, Any]


class HomeAssistant:
    """Shows the newest values. Nobody waits for it, and what fails is tried again with the next ones.

    The discovery message goes out on every connection and whenever Home Assistant has started: a
    retained message of QoS 0 may be lost to somebody who subscribes at that very moment.
    """

    def __init__(
        self,
        site: SiteConfig,
        host: str,
        port: int,
        *,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self._site = site
        self._newest: tuple[Sweep, Mode | None] | None = None
        self._announce = False
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._link = MqttLink(
            "home-assistant", host, port, (BIRTH_TOPIC,), self._on_message, on_up=self._introduce,
            username=username, password=password,
        )  # fmt: skip

    async def connect(self) -> None:
        """Begin to show; does not wait for the broker."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="home-assistant")

    async def close(self) -> None:
        """Disconnect and stop; may be called twice."""
        if self._task is not None:
            await stop(self._task)
            self._task = None
        await self._link.close()

    def show(self, sweep: Sweep, mode: Mode | None) -> None:
        """Send these values as soon as possible, unless newer ones come first."""
        self._newest = sweep, mode
        self._news.set()

    def _introduce(self) -> None:
        self._announce = True
        self._news.set()

    def _on_message(self, topic: str, payload: bytes) -> None:
        if payload == BIRTH:
            self._introduce()

    async def _run(self) -> None:
        with suppress(DeviceUnavailable):  # attempts go on, and a connection is news
            await self._link.connect()
        while not cancelled():
            await self._news.wait()
            self._news.clear()
            announce, self._announce = self._announce, False
            try:
                if announce:
                    await self._link.publish(*discovery(self._site), retain=True)
                if self._newest is not None:
                    document = state(self._site, *self._newest)
                    await self._link.publish(state_topic(self._site.site), document)
            except DeviceUnavailable as error:  # the next connection is news
                LOG.info("%s", error)
            await asyncio.sleep(PAUSE_S)


def state_topic(site: str) -> str:
    """Where the values go."""
    return f"{PREFIX}/pems/{site}/state"


def state(site: SiteConfig, sweep: Sweep, mode: Mode | None) -> bytes:
    """The values as JSON: keys ``mode``, ``outdoor_c``, those of ``HouseReading``, ``rooms`` {id:
    {temperature_c, relay_on}}, ``evs`` {id: {plugged, power_w}} and ``loads`` {id: {on, power_w}}.
    Every device of the house is there, whether it answered or not; what is not known is null.
    """
    values = {
        "mode": mode,
        "outdoor_c": _known(sweep.outdoor_c),
        **_fields(sweep.house or HouseReading(), *METERS),
        "rooms": {
            room.id: _fields(
                sweep.rooms.get(room.id, RoomReading(None, None)), "temperature_c", "relay_on"
            )
            for room in site.rooms
        },
        "evs": {
            ev.id: _fields(sweep.evs.get(ev.id, EvReading()), "plugged", "power_w")
            for ev in site.evs
        },
        "loads": {
            load.id: _fields(sweep.loads.get(load.id, LoadReading()), "on", "power_w")
            for load in site.loads
        },
    }
    return json.dumps(values, allow_nan=False, separators=(",", ":")).encode()


def _fields(reading: object, *names: str) -> dict[str, float | None]:
    return {name: _known(getattr(reading, name)) for name in names}


def _known(value: float | None) -> float | None:
    """NaN and infinity are no JSON, and no value either."""
    return value if value is None or math.isfinite(value) else None


def discovery(site: SiteConfig) -> tuple[str, bytes]:
    """Topic and payload of the retained discovery message."""
    components = _meters() if site.battery is not None else {}  # they are the hybrid inverter's
    components["outdoor_c"] = _sensor(
        "Outdoor temperature", "value_json.outdoor_c", "°C", "temperature"
    )
    components["mode"] = {
        "p": "sensor", "name": "Safety mode", "value_template": "{{ value_json.mode }}",
        "expire_after": EXPIRE_S, "icon": "mdi:shield-check",
    }  # fmt: skip
    for room in site.rooms:
        value = f"value_json.rooms['{room.id}']"
        components[f"room-{room.id}-temperature"] = _sensor(
            f"{room.name} temperature", f"{value}.temperature_c", "°C", "temperature"
        )
        components[f"room-{room.id}-heating"] = _flag(
            f"{room.name} heating", f"{value}.relay_on", "mdi:radiator"
        )
        components[f"room-{room.id}-warmth"] = {
            "p": "number",
            "name": f"{room.name} at least, for {WARMTH_MINUTES // 60} h",
            "command_topic": _request_topic(site.site, f"room-{room.id}"),
            "command_template": _request(
                f"room-{room.id}", "temperature_c", "{{ value }}", WARMTH_MINUTES
            ),
            "min": 15, "max": 26, "step": 0.5, "unit_of_measurement": "°C", "mode": "box",
            "icon": "mdi:thermometer-plus",
        }  # fmt: skip
    for ev in site.evs:
        value = f"value_json.evs['{ev.id}']"
        components[f"ev-{ev.id}-power"] = _power(f"{ev.id} power", f"{value}.power_w")
        components[f"ev-{ev.id}-plugged"] = _flag(f"{ev.id} plugged in", f"{value}.plugged", None)
        components[f"ev-{ev.id}-plugged"]["device_class"] = "plug"
        for label, current in (("charge now", ev.current_max_a), ("pause", 0.0)):
            components[f"ev-{ev.id}-{label.replace(' ', '-')}"] = _button(
                site.site, f"{ev.id}: {label}, {CAR_MINUTES // 60} h", f"ev-{ev.id}", "current_a",
                current, CAR_MINUTES, "mdi:ev-station",
            )  # fmt: skip
    for load in site.loads:
        value, runs = f"value_json.loads['{load.id}']", load.length_s // 60
        components[f"load-{load.id}-power"] = _power(f"{load.id} power", f"{value}.power_w")
        components[f"load-{load.id}-on"] = _flag(f"{load.id} supply", f"{value}.on", "mdi:power-plug")
        for key, label, on, minutes in (
            ("run", f"run now, {runs} min", 1, runs),
            ("hold", f"hold off, {HOLD_MINUTES // 60} h", 0, HOLD_MINUTES),
        ):
            components[f"load-{load.id}-{key}"] = _button(
                site.site, f"{load.id}: {label}", f"load-{load.id}", "relay", on, minutes,
                "mdi:timer-outline",
            )  # fmt: skip
    components["away"] = _button(
        site.site, "Away for a day", "house", "away", 1, AWAY_MINUTES, "mdi:home-export-outline"
    )
    for key, component in components.items():
        component["unique_id"] = f"pems-{site.site}-{key}"
        if "value_template" in component:  # a number with a state topic would try to read the document
            component["state_topic"] = state_topic(site.site)
    message = {
        "dev": {"ids": [f"pems-{site.site}"], "name": f"PEMS {site.site}", "mf": "PEMS"},
        "o": {"name": "pems"},
        "cmps": components,
    }
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return f"{PREFIX}/device/pems-{site.site}/config", body.encode()


def _meters() -> dict[str, Component]:
    """What the inverter measures."""
    components = {
        key: _power(name, f"value_json.{key}")
        for name, key in (
            ("Solar power", "pv_w"), ("Consumption", "load_w"), ("Grid power", "grid_w"),
            ("Battery power", "battery_w"),
        )
    }  # fmt: skip
    components |= {
        key: _sensor(name, f"value_json.{key}", "Wh", "energy", state_class="total_increasing")
        for name, key in (
            ("Imported energy", "import_wh"), ("Exported energy", "export_wh"),
            ("Solar energy", "pv_wh"), ("Consumed energy", "load_wh"),
            ("Battery discharge energy", "battery_discharge_wh"),
        )
    }  # fmt: skip
    return components | {
        "soc": _sensor(
            "Battery charge", "(value_json.soc * 100) | round(1)", "%", "battery", guard="soc"
        )
    }


def _sensor(
    name: str,
    expression: str,
    unit: str,
    device_class: str,
    *,
    state_class: str = "measurement",
    guard: str | None = None,
) -> Component:
    """A number; what is null in the document is None, which Home Assistant shows as unknown."""
    value = f"value_json.{guard}" if guard else expression
    return {
        "p": "sensor", "name": name, "unit_of_measurement": unit, "device_class": device_class,
        "state_class": state_class, "expire_after": EXPIRE_S,
        "value_template": f"{{{{ {expression} if {value} is not none else none }}}}",
    }  # fmt: skip


def _power(name: str, expression: str) -> Component:
    return _sensor(name, expression, "W", "power")


def _flag(name: str, expression: str, icon: str | None) -> Component:
    component: Component = {
        "p": "binary_sensor", "name": name, "expire_after": EXPIRE_S,
        "value_template": f"{{{{ {{true: 'ON', false: 'OFF'}}.get({expression}, 'None') }}}}",
    }  # fmt: skip
    return component if icon is None else component | {"icon": icon}


def _button(
    site: str, name: str, target: str, quantity: str, value: float, minutes: int, icon: str
) -> Component:
    return {
        "p": "button", "name": name, "command_topic": _request_topic(site, target),
        "payload_press": _request(target, quantity, json.dumps(value), minutes), "icon": icon,
    }  # fmt: skip


def _request_topic(site: str, target: str) -> str:
    return f"pems/{site}/override/{target}/requested"


def _request(target: str, quantity: str, value: str, minutes: int) -> str:
    """The JSON of ``override.requested``; ``value`` may be a template."""
    return (
        f'{{"target": "{target}", "quantity": "{quantity}", "value": {value}, '
        f'"minutes": {minutes}, "actor": "home-assistant", "source": "mqtt"}}'
    )
