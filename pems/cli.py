"""The operator's command line. Every command explains itself with --help."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from pems import config

app = typer.Typer(
    name="pems",
    help="Predictive energy management for a house: runs it, and proves why it did what it did.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
)
config_app = typer.Typer(help="Check the site file, write its JSON Schema.", no_args_is_help=True)
log_app = typer.Typer(help="Read, follow, export and verify the log.", no_args_is_help=True)
override_app = typer.Typer(help="Ask the house for something, for a while.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(log_app, name="log")
app.add_typer(override_app, name="override")

ROOT = Path(".pems")
Root = Annotated[Path, typer.Option("--root", envvar="PEMS_ROOT", help="Folder of all houses.")]
Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of the house; the last one used by default.")
]
Site = Annotated[Path, typer.Option("--site", help="Site file (YAML).")]
Safety = Annotated[Path, typer.Option("--safety", help="Limits of the safety gate (YAML).")]
console = Console()


def fail(message: object, code: int = 1) -> typer.Exit:
    """Print an error in red on standard error."""
    Console(stderr=True).print(Text(str(message), style="red"))
    return typer.Exit(code)


WITH_MODELS = {"train", "evaluate", "model", "plan", "scenario"}


def main() -> None:
    """Entry point: expected errors become one clear line."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if wanted in WITH_MODELS or wanted.startswith("-"):
        from pems import commands_models  # noqa: F401  # seconds to import
    if wanted == "import" or wanted.startswith("-"):
        from pems import commands_import  # noqa: F401  # so does this
    try:
        app()
    except (config.ConfigError, FileNotFoundError, LookupError, ConnectionError) as error:
        Console(stderr=True).print(f"[red]{error}[/red]", highlight=False)
        sys.exit(1)


from pems import commands_house, commands_log, commands_override, commands_replay  # noqa: E402, F401
