"""``pems run``, ``pems up``, ``pems config``."""

from __future__ import annotations

import json
import signal
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live

from contracts.site import SiteConfig
from pems import config, live, promotion, report
from pems.broker import Ports, free_ports
from pems.cli import ROOT, Home, Root, Safety, Site, app, config_app, console, fail
from pems.run import RunningHouse, Stretch, load, new_home, simulate

Models = Annotated[
    Path | None, typer.Option(help="Folder of models to start with (pems train house --out).")
]
SPEED = "max, or simulated seconds a second (60: an hour a minute)"


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither 'max' nor a number") from error
    if value <= 0:
        raise typer.BadParameter("must be above 0")
    return value


@app.command()
def run(
    days: Annotated[float, typer.Option(help="Simulated days.")] = 2.0,
    speed: Annotated[str, typer.Option(help=SPEED)] = "max",
    scenario: Annotated[
        Path | None, typer.Option(help="Scenario folder; the built-in winter days by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the twin's noise.")] = 7,
    site: Site = config.DEFAULT_SITE,
    safety: Safety = config.DEFAULT_SAFETY,
    models: Models = None,
    home: Home = None,
    root: Root = ROOT,
) -> None:
    """Simulate a stretch with real services on a real broker, then print the report.

    The rule-based house runs beside it on the same weather, prices and people.

        pems run --days 2 --speed max
    """
    site_config, limits = load(site, safety)
    house = RunningHouse(root, home or new_home(root), Ports(*free_ports()), site_config, limits)
    house.models = promotion.load(models) if models is not None else []
    try:
        account = simulate(house, Stretch(scenario, days, _speed(speed), seed), console)
        size = house.log_bytes()
    except RuntimeError as error:
        raise fail(error) from error
    finally:
        house.stop()
    report.show(account, size)
    console.print(
        f"\nThe log is in {house.home}. Next: [bold]pems replay[/bold] proves every decision, "
        "[bold]pems why battery[/bold] explains the last one."
    )


@app.command()
def up(
    twin: Annotated[
        bool, typer.Option(help="Simulated house instead of devices (--no-twin: real devices).")
    ] = True,
    speed: Annotated[str, typer.Option(help=SPEED)] = "60",
    scenario: Annotated[Path | None, typer.Option(help="Scenario folder of the twin.")] = None,
    site: Site = config.DEFAULT_SITE,
    safety: Safety = config.DEFAULT_SAFETY,
    models: Models = None,
    home: Home = None,
    root: Root = ROOT,
) -> None:
    """Bring the house up and show it live until Ctrl-C.

    Broker on 4222 (MQTT 1883), every service as a process of its own. Starting again goes on
    where the log ends.
    """
    site_config, limits = load(site, safety)
    house = RunningHouse(
        root, home or root / site_config.site, Ports(), site_config, limits, simulated=twin
    )
    house.models = promotion.load(models) if models is not None else []
    arguments = None
    if twin:
        arguments = ["--resume"]
        if (factor := _speed(speed)) is not None:
            arguments += ["--speed", str(factor)]
        if scenario is not None:
            arguments += ["--scenario", str(scenario)]
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        house.start(arguments, trains=True)
        view = live.View(site_config, house.supervisor)
        with Live(view.render(), console=console, refresh_per_second=2, screen=False) as screen:
            live.follow(house, view, screen)
    except KeyboardInterrupt:
        console.print("Stopping ...")
    finally:
        house.stop()


@config_app.command("check")
def check(site: Site = config.DEFAULT_SITE, safety: Safety = config.DEFAULT_SAFETY) -> None:
    """Check both files; every problem names the field and the fix."""
    found, limits = load(site, safety)
    heating = sum(room.heater_w for room in found.rooms)
    console.print(
        f"[green]good[/green]: {found.site}, {len(found.rooms)} rooms with {heating / 1000:.1f} kW "
        f"of heating, {found.pv_peak_w / 1000:.1f} kWp, "
        f"{len(limits['devices'])} devices known to the gate"  # type: ignore[arg-type]
    )
    now = datetime.now(found.location.zone)
    for room in found.rooms:
        low, high = found.comfort_band(room.id, now)
        console.print(f"  {room.name:<20} {low:4.1f} to {high:4.1f} °C now", highlight=False)


@config_app.command("holidays")
def list_holidays(
    year: Annotated[int, typer.Argument(help="Calendar year.")], site: Site = config.DEFAULT_SITE
) -> None:
    """Public holidays of the site's country as lines for its `holidays`; add your own days off."""
    import holidays

    found = config.load_site(site)
    known = holidays.country_holidays(found.location.country, years=[year])
    for day, name in sorted(known.items()):
        print(f"  - {day.isoformat()}  # {name}")


@config_app.command("schema")
def schema() -> None:
    """Write the JSON Schema of the site file, for editors."""
    print(json.dumps(SiteConfig.model_json_schema(), indent=2, ensure_ascii=False))
