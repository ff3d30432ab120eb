"""The load that nobody controls: no meter shows it, so it is what is left of the house's total."""

from __future__ import annotations

from collections.abc import Mapping

from contracts.site import SiteConfig


def uncontrolled_load_w(
    site: SiteConfig,
    load_w: float | None,
    relay_on: Mapping[str, bool | None],
    ev_w: Mapping[str, float | None],
) -> float | None:
    """The total (W) less rated power of the relays that are on, less the cars.

    Relays have no meters. None when the total, the state of a heated room's relay, or a car's power
    is not known: a part that is missing is not zero. A car that was never heard of is not there.
    """
    heated = [room for room in site.rooms if room.heater_w > 0]
    relays = [relay_on.get(room.id) for room in heated]
    cars = list(ev_w.values())
    if load_w is None or None in relays or None in cars:
        return None
    heating = sum(room.heater_w for room, on in zip(heated, relays, strict=True) if on)
    return max(0.0, load_w - heating - sum(car for car in cars if car is not None))
