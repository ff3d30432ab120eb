"""``pems log``: tail, show, export, verify."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track
from rich.table import Table

from chassis.models import FolderStore
from chassis.provision import differences, stream_config
from chassis.settings import Settings
from chassis.signing import Verifier
from contracts.envelope import Event, payload
from contracts.events import command
from pems.cli import ROOT, Home, Root, console, fail, log_app
from pems.home import (
    Poison,
    broker_of,
    bus_of,
    find,
    load_log,
    load_models,
    models_named,
    read_events,
)
from services.historian.core import archive

TypeFilter = Annotated[
    str, typer.Option("--type", help="Only types that begin so, e.g. command. or plan.computed")
]


def line(item: Event | Poison) -> str:
    """One event on one line."""
    if isinstance(item, Poison):
        return f"{item.sequence:>9}  {'-':<20} POISON {item.subject}: {item.error}"
    time = f"{item.time:%Y-%m-%d %H:%M:%S}" if item.time else "-"
    values = payload(item)
    shown = {k: v for k, v in values.items() if isinstance(v, int | float | str | bool)}
    text = " ".join(f"{k}={v}" for k, v in shown.items() if k not in ("time", "signature", "key"))
    return f"{item.sequence:>9}  {time:<20} {item.source:<11} {item.type:<28} {item.entity:<16} {text[:110]}"


@log_app.command()
def tail(
    lines: Annotated[int, typer.Option("-n", help="How many of the newest first.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    type: TypeFilter = "",
    home: Home = None,
    root: Root = ROOT,
) -> None:
    """Show the newest events."""

    async def read(settings: Settings) -> None:
        async with bus_of(settings) as bus:
            last = await bus.last_sequence()
            first = max(1, last - lines * (20 if type else 1) + 1)
            kept = [item async for item in read_events(bus, first) if _fits(item, type)]
            for item in kept[-lines:]:
                console.print(line(item), highlight=False, markup=False, soft_wrap=True)
            while follow:
                await asyncio.sleep(0.3)
                async for item in read_events(bus, last + 1):
                    last = item.sequence
                    if _fits(item, type):
                        console.print(line(item), highlight=False, markup=False, soft_wrap=True)

    with broker_of(find(root, home)) as settings:
        try:
            asyncio.run(read(settings))
        except KeyboardInterrupt:
            return


@log_app.command()
def show(
    which: Annotated[str, typer.Argument(help="Sequence number, or the beginning of an id.")],
    home: Home = None,
    root: Root = ROOT,
) -> None:
    """Show one event whole, with its envelope."""
    events, poison = load_log(find(root, home))
    for bad in poison:
        if str(bad.sequence) == which:
            console.print(line(bad), markup=False)
            return
    for event in events:
        if str(event.sequence) == which or (len(which) >= 6 and event.id.startswith(which)):
            table = Table(show_header=False, box=None)
            for name in ("sequence", "type", "version", "entity", "source", "time", "id", "cause",
                         "correlation", "as_of", "mode", "code", "config", "traceparent"):  # fmt: skip
                table.add_row(name, str(getattr(event, name)))
            console.print(table)
            console.print_json(json.dumps(payload(event)))
            return
    raise fail(f"no event {which} on this log")


@log_app.command()
def export(
    target: Annotated[Path, typer.Argument(help="File to write, .jsonl; '-' for standard output.")],
    type: TypeFilter = "",
    since: Annotated[datetime | None, typer.Option("--from", help="UTC")] = None,
    until: Annotated[datetime | None, typer.Option("--to", help="UTC")] = None,
    home: Home = None,
    root: Root = ROOT,
) -> None:
    """Write events as JSON lines (CloudEvents structured mode), models they name into a folder beside."""
    folder = find(root, home)
    events, _ = load_log(folder)
    written = 0
    with nullcontext(sys.stdout) if str(target) == "-" else target.open("w") as output:
        for event in events:
            at = event.time.replace(tzinfo=None) if event.time else None
            outside = at is not None and ((since and at < since) or (until and at > until))
            if outside or not _fits(event, type):
                continue
            output.write(json.dumps(structured(event), ensure_ascii=False) + "\n")
            written += 1
    if str(target) != "-":
        models = load_models(folder, models_named(events))
        FolderStore(target.with_suffix(".models")).update(models)
        console.print(f"{written} events and {len(models)} models written", highlight=False)


def structured(event: Event) -> dict[str, object]:
    """CloudEvents 1.0 structured mode."""
    return {
        "specversion": "1.0",
        "id": event.id,
        "type": event.type,
        "source": f"pems/{event.site}/{event.source}",
        "subject": event.entity,
        "time": event.time.isoformat() if event.time else None,
        "dataschema": f"urn:pems:event:{event.type}:v{event.version}",
        "causationid": event.cause,
        "correlationid": event.correlation,
        "pemsasof": event.as_of,
        "pemssequence": event.sequence,
        "pemsmode": event.mode,
        "data": payload(event),
    }


@log_app.command()
def verify(home: Home = None, root: Root = ROOT) -> None:
    """Prove that nothing is missing: sequences, ids, causes, signatures, the archive's hash chain."""
    folder = find(root, home)
    problems: list[str] = []

    async def settings_problems(settings: Settings) -> list[str]:
        async with bus_of(settings) as bus:
            found = (await bus.js.stream_info(settings.stream)).config
            return differences(stream_config(settings), found)

    with broker_of(folder) as settings:
        problems += asyncio.run(settings_problems(settings))
        verifier = Verifier.from_file(settings.verify_key_path)
    events, poison = load_log(folder)
    sequences = sorted([e.sequence for e in events] + [p.sequence for p in poison])
    if sequences != list(range(1, len(sequences) + 1)):
        problems.append("sequences are not contiguous from 1")
    ids: set[str] = set()
    signed = 0
    for event in track(events, "checking", console=console, transient=True):
        if event.id in ids:
            problems.append(f"id {event.id} stands twice (second at {event.sequence})")
        if event.cause and event.cause not in ids and event.cause != event.id:
            problems.append(f"{event.sequence}: cause {event.cause} is not on the log before it")
        ids.add(event.id)
        if isinstance(event.data, command.Approved):
            signed += 1
            if not verifier.valid(event.subject, event.data):
                problems.append(f"{event.sequence}: verdict for {event.entity} is not validly signed")
    problems += [f"archive: {text}" for text in archive.problems(folder / "archive")]
    parts = archive.parts_of(folder / "archive")
    problems += _archive_differs(folder, events, parts)
    console.print(
        f"{len(sequences)} messages, {len(events)} events, {len(poison)} poison, {signed} signed "
        f"verdicts; archive: {parts[-1].last if parts else 0} rows in {len(parts)} files",
        highlight=False,
    )
    if problems:
        for text in problems[:20]:
            console.print(f"[red]- {text}[/red]", highlight=False)
        raise fail(f"{len(problems)} problems")
    console.print("[green]whole: nothing is missing, nothing was altered[/green]")


def _archive_differs(folder: Path, events: list[Event], parts: list[archive.Part]) -> list[str]:
    """Rows of the archive whose event id is not the log's."""
    if not parts:
        return []
    ids = {event.sequence: event.id for event in events if event.source != "client"}
    for row in archive.read_rows(folder / "archive"):
        known = ids.get(row.sequence)
        if known is not None and json.loads(row.headers).get("ce-id", known) != known:
            return [f"archive row {row.sequence} holds another event than the log"]
    return []


def _fits(item: Event | Poison, prefix: str) -> bool:
    return isinstance(item, Poison) or item.type.startswith(prefix)
