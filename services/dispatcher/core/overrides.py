"""Which wishes of people can be granted, and how long they last. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from contracts.events.override import Requested
from contracts.site import SiteConfig

LONGEST = timedelta(days=14)
PRIORITY = {"device": 3, "page": 2, "app": 2, "cli": 2, "mqtt": 2, "nats": 2, "price-signal": 1}
WARMEST_C, COLDEST_C = 28.0, 5.0


def end_of(wish: Requested, now: datetime) -> datetime:
    """When the wish ends, by its instant or its minutes from the log's clock."""
    return wish.until if wish.until is not None else now + timedelta(minutes=wish.minutes or 0)


def problem(wish: Requested, now: datetime, site: SiteConfig) -> str | None:
    """Why a wish cannot be met, None when it can."""
    end = end_of(wish, now)
    if end <= now:
        return f"until {end.isoformat()} is not after now ({now.isoformat()})"
    if end - now > LONGEST:
        return f"an override may last {LONGEST.days} days at most"
    return _target_problem(wish, site)


def _target_problem(wish: Requested, site: SiteConfig) -> str | None:
    target, value = wish.target, wish.value
    rooms = {room.id for room in site.rooms}
    if wish.quantity == "temperature_c":
        if target != "house" and target.removeprefix("room-") not in rooms:
            return f"no room {target!r}; known: {', '.join('room-' + r for r in sorted(rooms))}"
        if not COLDEST_C <= value <= WARMEST_C:
            return f"{value} °C is outside {COLDEST_C} to {WARMEST_C} °C"
    elif wish.quantity == "relay":
        known = (*(f"relay-{r}" for r in sorted(rooms)), *(f"load-{load.id}" for load in site.loads))
        if target not in known:
            return f"no relay {target!r}; known: {', '.join(known)}"
        if value not in (0, 1):
            return f"a relay is 0 or 1, not {value}"
    elif wish.quantity == "power_w":
        if target != "battery" or site.battery is None:
            return "power_w is for the battery of a house that has one"
        if not -site.battery.discharge_max_w <= value <= site.battery.charge_max_w:
            return (
                f"{value:.0f} W is outside -{site.battery.discharge_max_w:.0f} to "
                f"{site.battery.charge_max_w:.0f} W"
            )
    elif wish.quantity == "current_a":
        cars = {f"ev-{ev.id}": ev for ev in site.evs}
        if target not in cars:
            return f"no charger {target!r}; known: {', '.join(sorted(cars)) or 'none'}"
        car = cars[target]
        if value != 0 and not car.current_min_a <= value <= car.current_max_a:
            return f"{value} A is neither 0 nor {car.current_min_a} to {car.current_max_a} A"
    elif target != "house" or value not in (0, 1):
        return "away is for the house and is 0 or 1"
    return None
