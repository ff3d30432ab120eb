"""The load that nobody controls: no meter shows it, so it is what is left of the house's total."""

from __future__ import annotations

from collections.abc import Mapping

from contracts.events.measurement import LoadSampled
from contracts.site import SiteConfig


def uncontrolled_load_w(
    site: SiteConfig,
    load_w: float | None,
    relay_on: Mapping[str, bool | None],
    ev_w: Mapping[str, float | None],
    waiting_w: Mapping[str, float | None],
) -> float | None:
    """The total (W) less rated power of the relays that are on, less cars and loads that may wait.

    Relays have no meters. None when the total, the state of a heated room's relay, or the power of a
    car or load is not known: a part that is missing is not zero. A car or load that was never heard
    of is not there.
    """
    heated = [room for room in site.rooms if room.heater_w > 0]
    relays = [relay_on.get(room.id) for room in heated]
    others = [*ev_w.values(), *waiting_w.values()]
    if load_w is None or None in relays or None in others:
        return None
    heating = sum(room.heater_w for room, on in zip(heated, relays, strict=True) if on)
    return max(0.0, load_w - heating - sum(power for power in others if power is not None))


def waiting_load_w(site: SiteConfig, seen: LoadSampled) -> float | None:
    """What a load that may wait draws, W: as metered, else its programme's mean while it is on.

    None when neither is known, or the site has no such load any more.
    """
    if seen.power_w is not None:
        return seen.power_w
    load = next((load for load in site.loads if load.id == seen.load), None)
    if load is None or seen.on is None:
        return None
    return load.mean_w if seen.on else 0.0
