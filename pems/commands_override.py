"""``pems override``: people's wishes, as the same event that MQTT and NATS clients send."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, get_args

import typer
from pydantic import ValidationError
from rich.table import Table

from chassis.settings import Settings
from contracts import catalog
from contracts.base import Record
from contracts.envelope import Event
from contracts.events import override
from contracts.events.safety import ClearRequested, StopRequested
from contracts.site import explain
from pems.cli import ROOT, Home, Root, console, fail, override_app
from pems.home import broker_of, bus_of, find, load_log, read_events

ANSWER_S = 15.0
Actor = Annotated[str, typer.Option(help="Who asks; goes on the log.")]


def send(folder_settings: Settings, type_: str, entity: str, data: Record) -> int:
    """Publish a bare request as a client; the sequence it got."""

    async def publish() -> int:
        async with bus_of(folder_settings, "client") as bus:
            subject = catalog.subject(folder_settings.site, type_, entity)
            body = data.model_dump_json(exclude_none=True).encode()
            ack = await bus.js.publish(subject, body, stream=bus.stream)
            return int(ack.seq)

    return asyncio.run(publish())


def answer(settings: Settings, sequence: int) -> Event | None:
    """The dispatcher's answer to a request, None when none comes in time."""

    async def wait() -> Event | None:
        deadline = time.monotonic() + ANSWER_S
        async with bus_of(settings) as bus:
            first, asked = sequence, None
            while time.monotonic() < deadline:
                async for item in read_events(bus, first):
                    first = item.sequence + 1
                    if not isinstance(item, Event):
                        continue
                    if item.sequence == sequence:
                        asked = item.id
                    elif asked and getattr(item.data, "override", "") == asked:
                        return item
                await asyncio.sleep(0.2)
        return None

    return asyncio.run(wait())


@override_app.command("set")
def set_(
    target: Annotated[str, typer.Argument(help="room-<id>, relay-<id>, load-<id>, battery, ev-<id> or house")],
    quantity: Annotated[str, typer.Argument(help=", ".join(get_args(override.Quantity)))],
    value: Annotated[float, typer.Argument(help="°C, 0/1, W or A")],
    minutes: Annotated[int, typer.Option("--for", help="Minutes; an override always ends.")],
    actor: Actor = "operator",
    reason: Annotated[str, typer.Option(help="Why, for the log.")] = "",
    home: Home = None,
    root: Root = ROOT,
) -> None:
    """Ask for something until it ends by itself.

        pems override set room-living temperature_c 23 --for 120

        pems override set battery power_w 3000 --for 60
    """
    try:
        wish = override.Requested(
            target=target, quantity=quantity, value=value, minutes=minutes,
            actor=actor, source="cli", reason=reason,
        )  # fmt: skip
    except ValidationError as error:
        raise fail(explain(error)) from error
    with broker_of(find(root, home)) as settings:
        sequence = send(settings, "override.requested", target, wish)
        console.print(f"asked (sequence {sequence})", highlight=False)
        said = answer(settings, sequence)
    if said is None:
        raise fail("no answer: is the house running (pems up)?")
    if isinstance(said.data, override.Granted):
        console.print(f"[green]granted[/green] until {said.data.until:%Y-%m-%d %H:%M} UTC; "
                      f"cancel with: pems override cancel {said.data.override}", highlight=False)  # fmt: skip
    else:
        raise fail(f"refused: {getattr(said.data, 'reason', said.type)}")


@override_app.command()
def cancel(
    which: Annotated[str, typer.Argument(help="Id that `set` or `list` printed.")],
    actor: Actor = "operator",
    home: Home = None,
    root: Root = ROOT,
) -> None:
    """End an override now."""
    with broker_of(find(root, home)) as settings:
        wish = override.CancelRequested(override=which, actor=actor)
        sequence = send(settings, "override.cancel-requested", "house", wish)
    console.print(f"asked (sequence {sequence})", highlight=False)


@override_app.command("list")
def list_(home: Home = None, root: Root = ROOT) -> None:
    """Overrides in force."""
    events, _ = load_log(find(root, home))
    held: dict[str, override.Granted] = {}
    for event in events:
        if isinstance(event.data, override.Granted):
            held[event.data.override] = event.data
        elif isinstance(event.data, override.Ended):
            held.pop(event.data.override, None)
    table = Table(header_style="bold", box=None, padding=(0, 2, 0, 0))
    table.add_column("id", no_wrap=True)  # whole, to be copied into `cancel`
    for name in ("target", "quantity", "value", "until (UTC)", "by"):
        table.add_column(name)
    for wish in held.values():
        table.add_row(wish.override, wish.target, wish.quantity, f"{wish.value:g}",
                      f"{wish.until:%Y-%m-%d %H:%M}", f"{wish.actor} ({wish.source})")  # fmt: skip
    console.print(table)


@override_app.command()
def stop(actor: Actor = "operator", home: Home = None, root: Root = ROOT) -> None:
    """Emergency stop: every device to its safe value until somebody clears it."""
    with broker_of(find(root, home)) as settings:
        send(settings, "safety.stop-requested", "house", StopRequested(actor=actor))
    console.print("[red]stop asked for[/red]; clear it with: pems override clear")


@override_app.command()
def clear(actor: Actor = "operator", home: Home = None, root: Root = ROOT) -> None:
    """Clear a latched stop or mismatch."""
    with broker_of(find(root, home)) as settings:
        send(settings, "safety.clear-requested", "house", ClearRequested(actor=actor))
    console.print("clear asked for")
