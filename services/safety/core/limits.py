"""The gate's own limits: tables of integers, from a file of their own.

Units: W, Wh, mA (per phase), milli-degrees Celsius, permille of state of charge, seconds.
Nothing here is shared with the optimizer: when both are wrong, they are wrong independently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from services.safety.core.plain import Plain, tuple_of

IEC_61851_MINIMUM_CURRENT_MA = 6_000
"""IEC 61851-1, table of the control pilot: 10 % duty cycle = 6 A is the least a car can be told."""

PERMILLE = 1_000
"""State of charge and efficiency are counted in thousandths."""

NORMAL, DEGRADED, SAFE = "normal", "degraded", "safe"
MODES = (NORMAL, DEGRADED, SAFE)
"""From best to worst; a mode's place in this tuple is its rank."""

ROOM_TEMPERATURE = "room_temperature_milli_c"
BATTERY_SOC = "battery_soc_permille"
BASE_LOAD = "base_load_w"
PV_POWER = "pv_power_w"
EV_POWER = "ev_power_w"


def require(good: bool, what: str) -> None:
    """Raise ValueError(what) unless ``good``."""
    if not good:
        raise ValueError(what)


@dataclass(frozen=True, kw_only=True)
class SwitchLimits(Plain):
    """What is switched: 0 off (inactive and safe), 1 on.

    Switching off is inactive, and the gate never refuses inactive for the sake of wear;
    ``minimum_off_s`` and the switches per hour bound the wear all the same, because every cycle
    needs a switch on.
    """

    inactive: ClassVar[int] = 0
    safe: ClassVar[int] = 0

    device: str
    power_w: int
    maximum_lease_s: int = 900
    minimum_off_s: int = 300
    maximum_switches_per_hour: int = 6

    def __post_init__(self) -> None:
        """ValueError naming the field when a limit makes no sense."""
        super().__post_init__()
        name = f"devices.{self.device}"
        _common(self)
        require(self.power_w > 0, f"{name}.power_w: must be above 0, the load when it is on")
        require(self.minimum_off_s >= 0, f"{name}.minimum_off_s: must not be negative")
        require(
            self.maximum_switches_per_hour > 0, f"{name}.maximum_switches_per_hour: must be above 0"
        )


@dataclass(frozen=True, kw_only=True)
class LoadLimits(SwitchLimits):
    """The supply of a load that may wait (water heater, dishwasher). No room is heated by it.

    ``power_w`` is the most that its programme ever draws.
    """

    kind: ClassVar[str] = "load"


@dataclass(frozen=True, kw_only=True)
class RelayLimits(SwitchLimits):
    """A heating relay. ``minimum_on_s`` binds the fallback controller only."""

    kind: ClassVar[str] = "relay"

    room: str
    room_maximum_milli_c: int = 26_000
    minimum_on_s: int = 300
    setpoint_milli_c: int = 19_000
    """What the fallback thermostat holds when the caller gives no setpoint."""
    hysteresis_milli_c: int = 300
    """The fallback switches at setpoint - hysteresis and setpoint + hysteresis."""

    def __post_init__(self) -> None:
        """ValueError naming the field when a limit makes no sense."""
        super().__post_init__()
        name = f"devices.{self.device}"
        require(self.room != "", f"{name}.room: name the room whose temperature guards this relay")
        require(self.minimum_on_s >= 0, f"{name}.minimum_on_s: must not be negative")
        require(self.hysteresis_milli_c > 0, f"{name}.hysteresis_milli_c: must be above 0")
        require(
            self.setpoint_milli_c + self.hysteresis_milli_c < self.room_maximum_milli_c,
            f"{name}.setpoint_milli_c: with hysteresis it must stay below room_maximum_milli_c",
        )


@dataclass(frozen=True, kw_only=True)
class BatteryLimits(Plain):
    """A battery: W at the AC side, + charge, - discharge, 0 (inactive, safe) = inverter self-use.

    ``minimum_efficiency_permille`` is the worst discharge efficiency, for how far a lease may
    drain the cells; charging is reckoned without losses, which is the worst case there.
    """

    kind: ClassVar[str] = "battery"
    inactive: ClassVar[int] = 0
    safe: ClassVar[int] = 0

    device: str
    capacity_wh: int
    maximum_charge_w: int
    maximum_discharge_w: int
    soc_floor_permille: int = 100
    soc_ceiling_permille: int = 950
    grid_charge_allowed: bool = False
    minimum_efficiency_permille: int = 850
    maximum_lease_s: int = 900

    def __post_init__(self) -> None:
        """ValueError naming the field when a limit makes no sense."""
        super().__post_init__()
        name = f"devices.{self.device}"
        _common(self)
        require(self.capacity_wh > 0, f"{name}.capacity_wh: must be above 0")
        require(self.maximum_charge_w >= 0, f"{name}.maximum_charge_w: must not be negative")
        require(self.maximum_discharge_w >= 0, f"{name}.maximum_discharge_w: must not be negative")
        require(
            0 <= self.soc_floor_permille < self.soc_ceiling_permille <= PERMILLE,
            f"{name}.soc_floor_permille: needs 0 <= floor < soc_ceiling_permille <= 1000",
        )
        require(
            0 < self.minimum_efficiency_permille <= PERMILLE,
            f"{name}.minimum_efficiency_permille: must lie in 1..1000",
        )


@dataclass(frozen=True, kw_only=True)
class EvLimits(Plain):
    """A charger: mA per phase, 0 pauses (inactive, safe).

    Between 0 and ``minimum_current_ma`` nothing exists (IEC 61851-1). Above
    ``normal_current_ma`` is boost, granted only when asked for and only in mode normal.
    """

    kind: ClassVar[str] = "ev"
    inactive: ClassVar[int] = 0
    safe: ClassVar[int] = 0

    device: str
    maximum_current_ma: int
    normal_current_ma: int
    minimum_current_ma: int = IEC_61851_MINIMUM_CURRENT_MA
    phases: int = 3
    voltage_v: int = 230
    maximum_lease_s: int = 900

    def __post_init__(self) -> None:
        """ValueError naming the field when a limit makes no sense."""
        super().__post_init__()
        name = f"devices.{self.device}"
        _common(self)
        require(
            self.minimum_current_ma >= IEC_61851_MINIMUM_CURRENT_MA,
            f"{name}.minimum_current_ma: at least 6000, IEC 61851-1 knows no lower current",
        )
        require(
            self.minimum_current_ma <= self.normal_current_ma <= self.maximum_current_ma,
            f"{name}.normal_current_ma: must lie in minimum_current_ma..maximum_current_ma",
        )
        require(self.phases in (1, 3), f"{name}.phases: must be 1 or 3")
        require(self.voltage_v > 0, f"{name}.voltage_v: must be above 0")

    def power_w(self, current_ma: int) -> int:
        """Power at a current, W, rounded up so that the fuse is never flattered."""
        return -(-current_ma * self.voltage_v * self.phases // 1_000)

    def current_ma(self, power_w: int) -> int:
        """Greatest current whose power stays at or below ``power_w``, mA."""
        return power_w * 1_000 // (self.voltage_v * self.phases)


@dataclass(frozen=True, kw_only=True)
class ExportLimits(Plain):
    """The inverter's export limit, W. Inactive is the connection agreement's own maximum.

    Safe may be lower, for a house that must not feed in while nobody watches it.
    """

    kind: ClassVar[str] = "inverter-export"

    device: str
    maximum_export_w: int
    safe_export_w: int
    maximum_lease_s: int = 900

    def __post_init__(self) -> None:
        """ValueError naming the field when a limit makes no sense."""
        super().__post_init__()
        _common(self)
        require(
            0 <= self.safe_export_w <= self.maximum_export_w,
            f"devices.{self.device}.safe_export_w: must lie in 0..maximum_export_w",
        )

    @property
    def inactive(self) -> int:
        """No limit of ours, W: the connection agreement's maximum."""
        return self.maximum_export_w

    @property
    def safe(self) -> int:
        """What mode safe sets, W."""
        return self.safe_export_w


DeviceLimits = RelayLimits | LoadLimits | BatteryLimits | EvLimits | ExportLimits
KINDS: dict[str, type[DeviceLimits]] = {
    cls.kind: cls for cls in (RelayLimits, LoadLimits, BatteryLimits, EvLimits, ExportLimits)
}


def _common(device: DeviceLimits | SwitchLimits) -> None:
    require(device.device != "", "devices: every device needs a name")
    require(device.maximum_lease_s > 0, f"devices.{device.device}.maximum_lease_s: must be above 0")


@dataclass(frozen=True, kw_only=True)
class ReadingLimits(Plain):
    """When a reading may be believed: not older than, and within physical plausibility."""

    reading: str
    maximum_age_s: int
    minimum: int
    maximum: int

    def __post_init__(self) -> None:
        """ValueError naming the field when a limit makes no sense."""
        super().__post_init__()
        name = f"readings.{self.reading}"
        require(self.maximum_age_s > 0, f"{name}.maximum_age_s: must be above 0")
        require(self.minimum < self.maximum, f"{name}.minimum: must be below maximum")


@dataclass(frozen=True, kw_only=True)
class HeartbeatLimits(Plain):
    """How long a service may be silent, and the mode the house falls to when it is."""

    service: str
    maximum_age_s: int
    mode: str

    def __post_init__(self) -> None:
        """ValueError naming the field when a limit makes no sense."""
        super().__post_init__()
        name = f"heartbeats.{self.service}"
        require(self.maximum_age_s > 0, f"{name}.maximum_age_s: must be above 0")
        require(self.mode in (DEGRADED, SAFE), f"{name}.mode: must be degraded or safe")


DEFAULT_READINGS = (
    # A sensor that reads -127 or 85 degC is broken (DS18B20 power-on value), not a cold room.
    ReadingLimits(reading=ROOM_TEMPERATURE, maximum_age_s=1_200, minimum=-20_000, maximum=50_000),
    ReadingLimits(reading=BATTERY_SOC, maximum_age_s=600, minimum=0, maximum=PERMILLE),
    ReadingLimits(reading=BASE_LOAD, maximum_age_s=600, minimum=-50_000, maximum=100_000),
    ReadingLimits(reading=PV_POWER, maximum_age_s=600, minimum=0, maximum=100_000),
    ReadingLimits(reading=EV_POWER, maximum_age_s=600, minimum=0, maximum=100_000),
)
DEFAULT_HEARTBEATS = (
    HeartbeatLimits(service="dispatcher", maximum_age_s=900, mode=DEGRADED),
    # Without the gateway nothing is measured and nothing is executed.
    HeartbeatLimits(service="gateway", maximum_age_s=900, mode=SAFE),
    HeartbeatLimits(service="optimizer", maximum_age_s=1_800, mode=DEGRADED),
    HeartbeatLimits(service="thermal", maximum_age_s=1_800, mode=DEGRADED),
)


@dataclass(frozen=True, kw_only=True)
class Limits(Plain):
    """Everything the gate, the modes and the fallback are bound by."""

    grid_import_limit_w: int
    """The main fuse as power, W: amperes times nominal volts times phases."""
    assumed_base_load_w: int
    """The worst base load, W, reckoned with while the base load is not known."""
    devices: tuple[DeviceLimits, ...]
    readings: tuple[ReadingLimits, ...] = DEFAULT_READINGS
    heartbeats: tuple[HeartbeatLimits, ...] = DEFAULT_HEARTBEATS
    tolerated_stale_rooms: int = 2
    """With more rooms than this without a temperature the house is degraded."""
    mismatches_to_latch: int = 3
    safe_hold_s: int = 60
    """How long nothing may speak for safe before safe becomes degraded."""
    degraded_hold_s: int = 600
    """How long nothing may be wrong before degraded becomes normal."""
    maximum_tick_step_s: int = 1_800
    """A longer step of the clock is a jump."""
    clock_tolerance_s: int = 60
    """How far event times may lie ahead of the clock, and the clock step back unremarked."""
    relay_settle_s: int = 120
    """How long after a command a contrary read-back of a relay is not yet believed."""
    minimum_disk_free_bytes: int = 1_000_000_000

    decoders: ClassVar[Mapping[str, Any]] = {
        "devices": lambda data: tuple(_device(item) for item in data),
        "readings": tuple_of(ReadingLimits),
        "heartbeats": tuple_of(HeartbeatLimits),
    }

    def __post_init__(self) -> None:
        """ValueError naming the field when a limit makes no sense."""
        super().__post_init__()
        require(self.grid_import_limit_w > 0, "grid_import_limit_w: must be above 0")
        require(self.assumed_base_load_w >= 0, "assumed_base_load_w: must not be negative")
        require(len(self.by_name) == len(self.devices), "devices: a name is used twice")
        services = {item.service for item in self.heartbeats}
        require(len(services) == len(self.heartbeats), "heartbeats: a service is named twice")
        require(len(self.by_reading) == len(self.readings), "readings: a name is used twice")
        for name in (ROOM_TEMPERATURE, BATTERY_SOC, BASE_LOAD, PV_POWER, EV_POWER):
            require(name in self.by_reading, f"readings: {name} is missing")
        require(self.tolerated_stale_rooms >= 0, "tolerated_stale_rooms: must not be negative")
        require(self.mismatches_to_latch > 0, "mismatches_to_latch: must be above 0")
        require(self.safe_hold_s > 0, "safe_hold_s: must be above 0")
        require(self.degraded_hold_s > 0, "degraded_hold_s: must be above 0")
        require(self.maximum_tick_step_s > 0, "maximum_tick_step_s: must be above 0")
        require(self.clock_tolerance_s >= 0, "clock_tolerance_s: must not be negative")
        require(self.relay_settle_s >= 0, "relay_settle_s: must not be negative")
        require(self.minimum_disk_free_bytes >= 0, "minimum_disk_free_bytes: must not be negative")

    @cached_property
    def by_name(self) -> Mapping[str, DeviceLimits]:
        """The devices by name: the whitelist."""
        return {item.device: item for item in self.devices}

    @cached_property
    def by_reading(self) -> Mapping[str, ReadingLimits]:
        """The readings by name."""
        return {item.reading: item for item in self.readings}

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """Names of the devices of one kind, sorted."""
        return tuple(sorted(name for name, item in self.by_name.items() if item.kind == kind))

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON types; each device carries its kind."""
        plain = super().to_dict()
        plain["devices"] = [{"kind": item.kind, **item.to_dict()} for item in self.devices]
        return plain


def _device(data: Mapping[str, Any]) -> DeviceLimits:
    kind = data.get("kind")
    require(kind in KINDS, f"devices.kind: must be one of {', '.join(KINDS)}, got {kind!r}")
    return KINDS[str(kind)].from_dict({k: v for k, v in data.items() if k != "kind"})
