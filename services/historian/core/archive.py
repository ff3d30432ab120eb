"""The Parquet archive: the log in files, chained by hashes so that nothing can go missing unseen.

Each file holds a run of log sequences with every header and body as it was. The manifest lists the
files in order; each entry's hash covers the file's rows and the hash of the entry before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MANIFEST = "manifest.jsonl"
SCHEMA = pa.schema(
    [
        ("sequence", pa.int64()),
        ("subject", pa.string()),
        ("headers", pa.string()),
        ("body", pa.binary()),
    ]
)


@dataclass(frozen=True, slots=True)
class Row:
    """One message of the log as it stands there."""

    sequence: int
    subject: str
    headers: str
    """JSON object, keys sorted."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the archive."""

    file: str
    first: int
    last: int
    rows: int
    chain: str
    """SHA-256 over the chain value before and every row."""


def row(sequence: int, subject: str, headers: dict[str, str], body: bytes) -> Row:
    """A row in canonical form; broker-made headers are left out."""
    kept = {k: v for k, v in headers.items() if not k.startswith("Nats-") or k == "Nats-Msg-Id"}
    return Row(sequence, subject, json.dumps(kept, sort_keys=True, ensure_ascii=False), body)


def chain_of(before: str, rows: Iterable[Row]) -> str:
    """Chain value after some rows; each field is preceded by its length, so none can shift."""
    digest = sha256(before.encode())
    for item in rows:
        for part in (str(item.sequence).encode(), item.subject.encode(), item.headers.encode(),
                     item.body):  # fmt: skip
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def parts_of(folder: Path) -> list[Part]:
    """The manifest, in order; empty when there is no archive yet."""
    path = folder / MANIFEST
    if not path.exists():
        return []
    return [Part(**json.loads(line)) for line in path.read_text().splitlines() if line]


def last_of(folder: Path) -> int:
    """Newest sequence that the archive holds, 0 when it is empty."""
    parts = parts_of(folder)
    return parts[-1].last if parts else 0


def write_part(folder: Path, rows: list[Row]) -> Part:
    """Append one file. Rows that the archive has already are dropped, so repeating is harmless.

    Raises
    ------
    ValueError
        when the rows do not follow on what the archive holds: a gap would be unprovable later.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = parts_of(folder)
    last = known[-1].last if known else 0
    rows = [item for item in rows if item.sequence > last]
    if not rows:
        return known[-1]
    wanted = range(last + 1, last + 1 + len(rows))
    if [item.sequence for item in rows] != list(wanted):
        raise ValueError(
            f"archive ends at {last}; the next rows are {rows[0].sequence}..{rows[-1].sequence} "
            f"({len(rows)} of them) and do not follow without a gap"
        )
    name = f"log-{rows[0].sequence:012d}.parquet"
    columns = {field: [getattr(item, field) for item in rows] for field in SCHEMA.names}
    table: Any = pa.table(columns, schema=SCHEMA)
    new = folder / f"{name}.new"
    pq.write_table(table, new, compression="zstd")
    new.replace(folder / name)
    chain = chain_of(known[-1].chain if known else "", rows)
    part = Part(name, rows[0].sequence, rows[-1].sequence, len(rows), chain)
    with (folder / MANIFEST).open("a") as file:
        file.write(json.dumps(asdict(part)) + "\n")
    return part


def read_rows(folder: Path, first: int = 1, last: int | None = None) -> Iterator[Row]:
    """Rows of the archive in order, from ``first`` to ``last`` inclusive."""
    for part in parts_of(folder):
        if part.last < first or (last is not None and part.first > last):
            continue
        yield from (
            item
            for item in rows_of(folder / part.file)
            if item.sequence >= first and (last is None or item.sequence <= last)
        )


def rows_of(path: Path) -> list[Row]:
    """All rows of one file."""
    table: Any = pq.read_table(path, schema=SCHEMA)
    return [Row(**item) for item in table.to_pylist()]


def problems(folder: Path) -> list[str]:
    """Everything that is wrong with an archive; empty when it is whole."""
    found: list[str] = []
    chain, last = "", 0
    for part in parts_of(folder):
        path = folder / part.file
        if not path.exists():
            found.append(f"{part.file} is missing (sequences {part.first} to {part.last})")
            chain, last = part.chain, part.last
            continue
        try:
            rows = rows_of(path)
        except (OSError, pa.ArrowInvalid) as error:
            found.append(f"{part.file} does not read: {error}")
            chain, last = part.chain, part.last
            continue
        if [item.sequence for item in rows] != list(range(last + 1, last + 1 + len(rows))):
            found.append(f"{part.file} does not hold the sequences that follow on {last}")
        chain = chain_of(chain, rows)
        if chain != part.chain:
            found.append(f"{part.file} was altered: its hash chain does not match the manifest")
            chain = part.chain
        last = part.last
    return found
