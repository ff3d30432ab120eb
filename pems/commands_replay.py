"""``pems replay`` and ``pems why``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.tree import Tree

from chassis.signing import Verifier
from pems.cli import ROOT, Home, Root, app, console, fail
from pems.home import find, load_log, load_models, models_named

if TYPE_CHECKING:
    from pems.replay import Outcome

Since = Annotated[datetime | None, typer.Option("--from", help="Compare from this UTC instant.")]
Until = Annotated[datetime | None, typer.Option("--to", help="Compare up to this UTC instant.")]


@app.command("replay")
def replay_command(
    since: Since = None, until: Until = None, home: Home = None, root: Root = ROOT
) -> None:
    """Feed the recorded log to today's code and compare every decision.

    Says *identical* with the number of decisions, or the first difference with its causes. Exit
    code 1 when something differs.
    """
    from pems.replay import replay  # every service's core: seconds to import

    folder = find(root, home)
    events, poison = load_log(folder)
    with Progress(
        TextColumn("replaying"), BarColumn(bar_width=40), TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(), console=console, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("", total=len(events))
        outcome = replay(
            events,
            Verifier.from_file(folder / "verify-key"),
            since=_utc(since),
            until=_utc(until),
            models=load_models(folder, models_named(events)),
            progress=lambda done: bar.update(task, completed=done) if done % 50 == 0 else None,
        )
    _print(outcome, len(poison))
    if not outcome.identical:
        raise typer.Exit(1)


def _print(outcome: Outcome, poison: int) -> None:
    table = Table(header_style="bold")
    table.add_column("service")
    table.add_column("decisions compared", justify="right")
    for name, count in sorted(outcome.decisions.items()):
        table.add_row(name, str(count))
    console.print(table)
    if outcome.forged:
        console.print(f"[red]{len(outcome.forged)} verdicts are not validly signed[/red]")
    found = outcome.difference
    if found is None:
        if outcome.compared == 0:
            console.print("[red]nothing to compare: the log holds no decisions[/red]")
            return
        more = f", {poison} poison messages skipped" if poison else ""
        tail = f", {outcome.unfinished} not yet made when the log ended" if outcome.unfinished else ""
        console.print(
            f"[green bold]identical[/green bold]: every decision, {outcome.compared} of them, on "
            f"{outcome.events} events; {outcome.signatures} signatures valid{more}{tail}",
            highlight=False,
        )
        return
    event = found.recorded or found.decided or found.trigger
    console.print(
        f"[red bold]different[/red bold] after {outcome.compared} identical decisions: "
        f"{found.service} on {found.trigger.type} (sequence {found.trigger.sequence})",
        highlight=False,
    )
    console.print(f"  first difference: [bold]{event.type}[/bold] {event.entity}: {found.what}",
                  highlight=False)  # fmt: skip
    tree = Tree("causes")
    for link in found.chain:
        time = f"{link.time:%Y-%m-%d %H:%M}" if link.time else "-"
        tree.add(f"{link.sequence:>8}  {time}  {link.type} {link.entity}")
    console.print(tree, highlight=False)


@app.command()
def why(
    command: Annotated[
        str, typer.Argument(help="A device (battery, relay-living, ev-car) or an event id.")
    ],
    at: Annotated[
        datetime | None, typer.Option(help="The newest command not later than this local time.")
    ] = None,
    home: Home = None,
    root: Root = ROOT,
) -> None:
    """Say why a device was told to do something, back to prices, forecasts and temperatures.

        pems why battery --at "2026-01-12 18:05"
    """
    from pems import why as reasons

    events, _ = load_log(find(root, home))
    log = reasons.Log(events)
    instant = at.replace(tzinfo=log.site().location.zone).astimezone(UTC) if at else None
    try:
        explained = reasons.explain(log, log.proposal(command, instant))
    except LookupError as error:
        raise fail(error.args[0]) from error
    console.print(f"\n{explained.sentence}\n", highlight=False)
    table = Table(header_style="bold", box=None, padding=(0, 2, 0, 0))
    for name in ("sequence", "time", "event", "entity", "what it says"):
        table.add_column(name, justify="right" if name == "sequence" else "left")
    for line in explained.lines:
        time = f"{line.event.time:%d %b %H:%M}" if line.event.time else "-"
        table.add_row(str(line.event.sequence), time, line.event.type, line.event.entity, line.says)
    console.print(table, highlight=False)


def _utc(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at else None
