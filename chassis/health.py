"""``python -m chassis.health SERVICE``: exit 0 when the service reported itself well just now."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping

from chassis.settings import Settings

MAX_AGE_S = 30.0


def report(settings: Settings, service: str, what: Mapping[str, object]) -> None:
    """Say that a service is well now, with what else a person may want to know."""
    path = settings.state / "health" / f"{service}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"time": time.time(), **what}))
    new.replace(path)


def problem(service: str, settings: Settings, now: float) -> str | None:
    """Why the service is not healthy, None when it is."""
    path = settings.state / "health" / f"{service}.json"
    try:
        age = now - float(json.loads(path.read_text())["time"])
    except FileNotFoundError:
        return f"{service} has not reported yet"
    except (ValueError, KeyError) as error:
        return f"{path} does not read: {error}"
    return None if age <= MAX_AGE_S else f"{service} reported {age:.0f} s ago"


if __name__ == "__main__":
    if why := problem(sys.argv[1], Settings.from_environment(), time.time()):
        sys.exit(why)
