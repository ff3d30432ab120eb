"""From the site file to the prior model of the house. Pure."""

from __future__ import annotations

from contracts.site import SiteConfig
from contracts.thermal_model import HouseModel
from services.thermal.core.prior import RoomFacts, prior_model


def model_of(site: SiteConfig) -> HouseModel:
    """What is believed of the rooms before any history is seen."""
    facts = [
        RoomFacts(
            room.id,
            floor_area_m2=room.floor_area_m2,
            heat_loss_w_per_k=room.heat_loss_w_per_k,
            heater_power_w=room.heater_w,
            neighbours=room.neighbours,
            heat_to_mass_fraction=1.0,  # cables lie in the screed: no heat reaches the air at once
            window_azimuths_deg=tuple(window.azimuth_deg for window in room.windows),
        )
        for room in site.rooms
    ]
    place = site.location
    return prior_model(
        facts,
        latitude_deg=place.latitude,
        longitude_deg=place.longitude,
        time_zone=place.timezone,
    )
