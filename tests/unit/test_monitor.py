"""The broker's monitoring port answers whole or counts as not answering."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from chassis import monitor

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server on the wire that sends these bytes to its one visitor and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            visitor, _ = server.accept()
            with visitor:
                visitor.recv(4096)
                visitor.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_a_whole_answer_is_read() -> None:
    with answering(HEAD + b'Content-Length: 17\r\n\r\n{"status": "ok"}\n') as url:
        assert monitor.ask(url, "healthz", 5) == {"status": "ok"}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="killed before the first byte"),
        pytest.param(HEAD + b'Content-Length: 90\r\n\r\n{"conn', id="killed within the answer"),
        pytest.param(
            HEAD + b'Transfer-Encoding: chunked\r\n\r\n1000\r\n{"conn', id="killed within a chunk"
        ),
        pytest.param(HEAD + b"Content-Length: 3\r\n\r\nok\n", id="no JSON"),
        pytest.param(HEAD + b"Content-Length: 3\r\n\r\n[1]", id="no object"),
        pytest.param(b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n", id="not healthy"),
    ],
)
def test_a_broken_answer_is_an_oserror(answer: bytes) -> None:
    with answering(answer) as url, pytest.raises(OSError, match=r"whole|object|closed|Down"):
        monitor.ask(url, "connz", 5)


def test_nobody_there_is_an_oserror() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(OSError, match="refused"):
        monitor.ask(f"http://127.0.0.1:{port}", "varz", 1)
