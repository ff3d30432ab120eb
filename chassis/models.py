"""Trained models by content: a name is the SHA-256 (hex) of what lies under it.

Live they lie in a JetStream object store of the site (the layout of NATS ADR-20, so any NATS client
reads it), offline in a folder, in tests in a dict. A service reads them as a mapping: what a name
holds can never change, so a decision that depends on it depends on the log alone, which says the name.
The standard client reads objects through a consumer of its own making; no service may make one, so
objects are read here as the log is: by direct get.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, MutableMapping
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from chassis.settings import Settings

CHUNK_BYTES = 131_072
TIMEOUT_S = 5.0


class ModelProblem(ValueError):
    """A model that is not there, is damaged or does not fit; says which and why."""


def name_of(content: bytes) -> str:
    """The name of a content."""
    return sha256(content).hexdigest()


def verified(store: Mapping[str, bytes], digest: str) -> bytes:
    """What lies under a name, proven to be what the name says; raises ModelProblem."""
    content = store.get(digest)
    if content is None:
        raise ModelProblem(f"model {digest[:12]} is not in the store")
    if name_of(content) != digest:
        raise ModelProblem(f"model {digest[:12]} is damaged in the store")
    return content


class FolderStore(MutableMapping[str, bytes]):
    """A folder that behaves like a dict of bytes; writes are atomic (written aside, then renamed).

    Services share it and fetch what was promoted at the same moment, so each writes aside under a
    name of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, key: str) -> Path:
        path = (self.folder / key).resolve()
        if self.folder.resolve() not in path.parents:
            raise KeyError(key)
        return path

    def __getitem__(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError) as error:
            raise KeyError(key) from error

    def __setitem__(self, key: str, value: bytes) -> None:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.{uuid4().hex}.part")
        try:
            aside.write_bytes(value)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def __delitem__(self, key: str) -> None:
        try:
            self._path(key).unlink()
        except FileNotFoundError as error:
            raise KeyError(key) from error

    def __iter__(self) -> Iterator[str]:
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and path.suffix != ".part":
                yield path.relative_to(self.folder).as_posix()

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Objects:
    """The site's object store on the broker."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self.client = client
        self.js: JetStreamContext = client.jetstream(timeout=TIMEOUT_S)
        self.bucket = settings.bucket
        self.stream = settings.bucket_stream

    async def get(self, digest: str) -> bytes | None:
        """The content under a name as it was stored, None when there is none."""
        answer = await self._direct({"last_by_subj": self._meta(digest)})
        if answer is None:
            return None
        info = json.loads(answer[1])
        if info.get("deleted"):
            return None
        subject, parts, first = f"$O.{self.bucket}.C.{info['nuid']}", [], 1
        for _ in range(int(info["chunks"])):
            found = await self._direct({"seq": first, "next_by_subj": subject})
            if found is None:
                break
            first = found[0] + 1
            parts.append(found[1])
        return b"".join(parts)

    async def put(self, content: bytes) -> str:
        """Store a content under its name, once; returns the name."""
        digest = name_of(content)
        if await self.get(digest) == content:
            return digest
        # A new name for every attempt: chunks of one that broke off are never taken for this one's.
        nuid = f"{digest[:12]}{self.client.new_inbox().rsplit('.', 1)[-1]}"
        chunks = [content[i : i + CHUNK_BYTES] for i in range(0, len(content), CHUNK_BYTES)]
        for chunk in chunks:
            await self.js.publish(f"$O.{self.bucket}.C.{nuid}", chunk, stream=self.stream)
        hashed = base64.urlsafe_b64encode(sha256(content).digest()).decode()
        info = {
            "name": digest, "bucket": self.bucket, "nuid": nuid, "size": len(content),
            "chunks": len(chunks), "digest": f"SHA-256={hashed}",
            "options": {"max_chunk_size": CHUNK_BYTES},
        }  # fmt: skip
        await self.js.publish(
            self._meta(digest), json.dumps(info).encode(), stream=self.stream,
            headers={"Nats-Rollup": "sub"},
        )  # fmt: skip
        return digest

    def _meta(self, name: str) -> str:
        return f"$O.{self.bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"

    async def _direct(self, request: dict[str, object]) -> tuple[int, bytes] | None:
        answer = await self.client.request(
            f"$JS.API.DIRECT.GET.{self.stream}", json.dumps(request).encode(), TIMEOUT_S
        )
        headers = answer.headers or {}
        status = headers.get("Status")
        if status == "404":
            return None
        if status is not None:
            raise NatsError(f"object store: {status} {headers.get('Description', '')}")
        return int(headers["Nats-Sequence"]), answer.data
