"""What the devices said. None means "not known", never zero."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from contracts.base import Record
from contracts.units import (
    Amperes,
    Celsius,
    Irradiance,
    Name,
    PositiveWatts,
    StateOfCharge,
    UtcTime,
    WattHours,
    Watts,
)


class RoomSampled(Record):
    """One room: air temperature and the state of its relay as the Miniserver reports it."""

    room: Name
    time: UtcTime
    temperature_c: Celsius | None
    relay_on: bool | None


class HouseSampled(Record):
    """The energy meters of the house, as the inverter reports them."""

    time: UtcTime
    pv_w: PositiveWatts | None
    load_w: Annotated[Watts | None, Field(description="W, all consumption incl. heating and EV")]
    grid_w: Annotated[Watts | None, Field(description="W, + import, - export")]
    battery_w: Annotated[Watts | None, Field(description="W, + charge, - discharge")]
    soc: StateOfCharge | None
    import_wh: Annotated[WattHours | None, Field(description="counter, Wh")] = None
    export_wh: Annotated[WattHours | None, Field(description="counter, Wh")] = None
    pv_wh: Annotated[WattHours | None, Field(description="counter, Wh")] = None
    load_wh: Annotated[WattHours | None, Field(description="counter, Wh")] = None
    battery_discharge_wh: Annotated[WattHours | None, Field(description="counter, Wh")] = None


class EvSampled(Record):
    """One charger and the car at it."""

    ev: Name
    time: UtcTime
    plugged: bool | None
    power_w: PositiveWatts | None
    current_limit_a: Amperes | None = None
    session_wh: Annotated[WattHours | None, Field(ge=0, description="delivered so far")] = None
    target_wh: Annotated[WattHours | None, Field(ge=0, description="wanted in this session")] = None
    departure: UtcTime | None = None


class LoadSampled(Record):
    """The supply of a load that may wait, and what it draws where that is metered."""

    load: Name
    time: UtcTime
    on: bool | None
    power_w: PositiveWatts | None = None


class OutdoorSampled(Record):
    """Weather at the house."""

    time: UtcTime
    temperature_c: Celsius | None
    ghi_w_m2: Irradiance | None = None
    wind_m_s: Annotated[float | None, Field(ge=0, le=120)] = None


class SweepCompleted(Record):
    """The gateway has read every device for this tick; what is missing is named."""

    time: UtcTime
    missing: tuple[str, ...] = ()


class BaselineSampled(Record):
    """The meters of the same simulated house under its own rules (twin only).

    Beside them what no meter shows: true comfort of both houses, and what each has in store
    (``ev_wh`` and ``loads_wh`` given to cars and loads so far, energy in the battery's cells, heat in
    the building), so that a house which merely postponed something does not look cheaper.
    """

    time: UtcTime
    import_wh: WattHours
    export_wh: WattHours
    pv_wh: WattHours
    load_wh: WattHours
    battery_discharge_wh: WattHours
    soc: StateOfCharge
    comfort_deficit_kh: Annotated[float, Field(ge=0, description="K·h below the band, all rooms")]
    ev_wh: WattHours
    battery_stored_wh: WattHours
    heat_stored_wh: WattHours
    house_comfort_deficit_kh: Annotated[float, Field(ge=0, description="of the controlled house")]
    house_ev_wh: WattHours
    house_battery_stored_wh: WattHours
    house_heat_stored_wh: WattHours
    loads_wh: WattHours | None = None
    """Given to loads that may wait so far."""
    house_loads_wh: WattHours | None = None
