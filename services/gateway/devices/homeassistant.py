"""Home Assistant by MQTT discovery: the house's values as entities, and a few buttons and numbers.

Source: https://www.home-assistant.io/integrations/mqtt/ (device discovery: one retained message on
``homeassistant/device/{id}/config`` with ``dev``, ``o`` and ``cmps``; each component has ``p``, the
platform, and ``unique_id``). Home Assistant connects to the house's broker with the credentials of
the broker user ``client``, which may ask for overrides and read values, and nothing else.

Everything published lies below ``homeassistant/``; values go in one JSON document to
``homeassistant/pems/{site}/state``. A number or button publishes an override request, plain JSON
as documented for any client, on ``pems/{site}/override/{target}/requested``; the dispatcher and
the safety gate treat it like every other wish.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from contracts.site import SiteConfig
from services.gateway.devices.mqtt import MqttLink

PREFIX = "homeassistant"
EXPIRE_S = 900  # older values are shown as unavailable
WARMTH_MINUTES = 180
CAR_MINUTES = 120
AWAY_MINUTES = 24 * 60
Component = dict[str, Any]


class HomeAssistant:
    """Publishes the discovery message and the values."""

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
        self._link = MqttLink(
            "home-assistant", host, port, (), lambda topic, payload: None,
            username=username, password=password,
        )  # fmt: skip

    async def connect(self) -> None:
        """Connect and announce the entities; DeviceUnavailable when the broker is away."""
        await self._link.connect()
        topic, payload = discovery(self._site)
        await self._link.publish(topic, payload, retain=True)

    async def close(self) -> None:
        """Disconnect."""
        await self._link.close()

    async def publish(self, values: Mapping[str, Any]) -> None:
        """Send the values, see ``state``; DeviceUnavailable when the broker is away."""
        await self._link.publish(state_topic(self._site.site), state(values))


def state_topic(site: str) -> str:
    """Where the values go."""
    return f"{PREFIX}/pems/{site}/state"


def state(values: Mapping[str, Any]) -> bytes:
    """The values as JSON: keys ``pv_w``, ``load_w``, ``grid_w``, ``battery_w``, ``soc`` (0..1),
    ``import_wh``, ``export_wh``, ``pv_wh``, ``load_wh``, ``battery_discharge_wh``, ``outdoor_c``,
    ``mode``, ``rooms`` {id: {temperature_c, relay_on}}, ``evs`` {id: {plugged, power_w,
    session_wh}}. Unknown values are null; ValueError for NaN.
    """
    return json.dumps(values, allow_nan=False, separators=(",", ":")).encode()


def discovery(site: SiteConfig) -> tuple[str, bytes]:
    """Topic and payload of the retained discovery message."""
    components: dict[str, Component] = {}
    for name, key in (
        ("Solar power", "pv_w"), ("Consumption", "load_w"), ("Grid power", "grid_w"),
        ("Battery power", "battery_w"),
    ):  # fmt: skip
        components[key] = _power(name, f"value_json.{key}")
    for name, key in (
        ("Imported energy", "import_wh"), ("Exported energy", "export_wh"),
        ("Solar energy", "pv_wh"), ("Consumed energy", "load_wh"),
        ("Battery discharge energy", "battery_discharge_wh"),
    ):  # fmt: skip
        components[key] = _sensor(
            name, f"value_json.{key}", "Wh", "energy", state_class="total_increasing"
        )
    components["soc"] = _sensor(
        "Battery charge", "(value_json.soc * 100) | round(1)", "%", "battery", guard="soc"
    )
    components["outdoor_c"] = _sensor(
        "Outdoor temperature", "value_json.outdoor_c", "°C", "temperature"
    )
    components["mode"] = {
        "p": "sensor", "name": "Safety mode", "value_template": "{{ value_json.mode }}",
        "icon": "mdi:shield-check",
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
    components["away"] = _button(
        site.site, "Away for a day", "house", "away", 1, AWAY_MINUTES, "mdi:home-export-outline"
    )
    for key, component in components.items():
        component["unique_id"] = f"pems-{site.site}-{key}"
    message = {
        "dev": {"ids": [f"pems-{site.site}"], "name": f"PEMS {site.site}", "mf": "PEMS"},
        "o": {"name": "pems"},
        "cmps": components,
        "state_topic": state_topic(site.site),
    }
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return f"{PREFIX}/device/pems-{site.site}/config", body.encode()


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
