"""``python -m contracts.generate [--check]``: write what follows from the contracts, or check it.

Writes ``docs/events.md``, ``docs/asyncapi.yaml``, ``deploy/site.schema.json`` and, for every
event type and version, ``contracts/golden/<type>.v<n>.json`` (an example) and ``.schema.json``
(its frozen shape). Golden examples are written once and never again. A frozen shape grows when an
event gains an optional field and changes in no other way.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from contracts.catalog import BY_TYPE, CATALOG
from contracts.generate import examples, golden, pages

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run the command; 1 when ``--check`` found something or an event changed unlawfully."""
    given = _parser().parse_args(arguments)
    for type_ in given.regenerate_unreleased:
        if type_ not in BY_TYPE and type_ != "all":
            print(f"{type_} is not in the catalogue (contracts/catalog.py)", file=sys.stderr)
            return 2
    try:
        return _run(given, root, root / "contracts" / "golden")
    except examples.ExampleError as error:
        print(error, file=sys.stderr)
        return 1


def _run(given: argparse.Namespace, root: Path, folder: Path) -> int:
    problems = golden.problems(CATALOG, folder)
    if given.check:
        stale = [*problems, *golden.missing(CATALOG, folder), *pages.stale(root)]
        for line in stale:
            print(line)
        if stale:
            print(f"{len(stale)} to mend; `python -m contracts.generate` writes what it may")
        return 1 if stale else 0
    if given.regenerate_unreleased:
        every = "all" in given.regenerate_unreleased
        rows = [row for row in CATALOG if every or row.type in given.regenerate_unreleased]
        for path in golden.rewrite(rows, folder):
            print(f"rewrote {path.relative_to(root)}")
        problems = golden.problems(CATALOG, folder)
    for path in [*golden.write(CATALOG, folder), *pages.write(root)]:
        print(f"wrote {path.relative_to(root)}")
    for line in problems:
        print(line, file=sys.stderr)
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m contracts.generate",
        description="Writes the event reference, the AsyncAPI document, the site schema and golden "
        "files that follow from the contracts.",
        epilog="How to change an event: docs/contracts.md",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; list what is stale and exit with 1"
    )
    parser.add_argument(
        "--regenerate-unreleased",
        action="append",
        default=[],
        metavar="TYPE",
        help="rewrite the golden files of TYPE (or `all`) although they exist; only for versions "
        "that no log holds yet. May be given several times.",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
