"""The closing report of a run: this house beside the same house under simple rules."""

from __future__ import annotations

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from services.historian.core.account import Account

Figures = dict[str, float | None]


def render(account: Account, log_bytes: int | None = None) -> Group:
    """The report as something to print."""
    figures = account.figures()
    head = Text()
    if account.since and account.until and account.site:
        zone = account.site.location.zone
        head.append(f"{account.site.site}: ", style="bold")
        head.append(
            f"{account.since.astimezone(zone):%d %b %Y %H:%M} to "
            f"{account.until.astimezone(zone):%d %b %Y %H:%M} local time, "
            f"{len(account.site.rooms)} rooms"
        )
    return Group(head, _house(figures), _commands(figures, log_bytes), *_modes(account))


def _house(figures: Figures) -> Table:
    table = Table(title="The house", title_justify="left", header_style="bold")
    table.add_column("")
    table.add_column("PEMS", justify="right", style="green")
    table.add_column("simple rules", justify="right")
    for label, name, form in (
        ("cost", "cost_eur", "{:.2f} EUR"),
        ("bought from the grid", "import_kwh", "{:.1f} kWh"),
        ("sold to the grid", "export_kwh", "{:.1f} kWh"),
        ("sun", "pv_kwh", "{:.1f} kWh"),
        ("consumed", "load_kwh", "{:.1f} kWh"),
        ("out of the battery", "battery_discharge_kwh", "{:.1f} kWh"),
        ("self-consumption", "self_consumption", "{:.1%}"),
        ("comfort: below the band", "comfort_below_kh", "{:.2f} K·h"),
    ):
        table.add_row(label, _shown(figures[name], form), _shown(figures[f"baseline_{name}"], form))
    held = [
        f"{name.removeprefix('bands_held_')} {share:.0%}"
        for name, share in figures.items()
        if name.startswith("bands_held_") and share is not None
    ]
    if held:
        table.add_row("rooms' 90 % bands held", ", ".join(held), "")
    if figures["behind_eur"] is not None:
        parts = [
            f"{label} {figures[f'behind_{name}_kwh']:+.1f}"
            for name, label in (
                ("ev", "car"), ("loads", "loads"), ("battery", "battery"), ("heat", "warmth"),
            )
            if figures.get(f"behind_{name}_kwh") is not None
        ]  # fmt: skip
        table.add_row("to catch up in store", f"{figures['behind_eur']:.2f} EUR", "")
        table.add_row(f"[dim]  kWh: {', '.join(parts)}[/dim]", "", "")
        table.add_row("cost, stores made even", _shown(figures["evened_cost_eur"], "{:.2f} EUR"),
                      _shown(figures["baseline_cost_eur"], "{:.2f} EUR"))  # fmt: skip
    saving = figures["saving_fraction"]
    if saving is not None:
        table.add_section()
        table.add_row("saved", Text(f"{saving:.1%}", style="bold green" if saving > 0 else "red"), "")
    return table


def _commands(figures: Figures, log_bytes: int | None) -> Table:
    table = Table(title="Commands", title_justify="left", show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("")
    table.add_column("", justify="right")
    size = "-" if log_bytes is None else f"{log_bytes / 1e6:.1f} MB"
    names = ("proposed", "approved", "clamped", "rejected", "executed", "verified", "failed")
    left = [(name, _shown(figures[f"commands_{name}"], "{:,.0f}")) for name in names]
    right = [
        ("plans", _shown(figures["plans"], "{:,.0f}")),
        ("steps down the planner's ladder", _shown(figures["ladder_steps"], "{:,.0f}")),
        ("events on the log", _shown(figures["events"], "{:,.0f}")),
        ("log on disk", size),
    ]
    for i, (name, value) in enumerate(left):
        table.add_row(name, value, *(right[i] if i < len(right) else ("", "")))
    return table


def _modes(account: Account) -> list[Panel]:
    if not account.modes or account.site is None:
        return []
    zone = account.site.location.zone
    lines = [
        f"{at.astimezone(zone):%d %b %H:%M}  {mode:<9} {why or 'healthy'}"
        for at, mode, why in account.modes
    ]
    return [Panel("\n".join(lines), title="Safety modes", title_align="left", expand=False)]


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def show(account: Account, log_bytes: int | None = None) -> None:
    """Print the report."""
    Console().print(render(account, log_bytes))
