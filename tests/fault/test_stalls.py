"""A server that stalls or drips holds one worker for no longer than the limits say, and no other.

What is tested is time itself: limits are a second or so, and an attempt may take a tenth more, and
what a busy machine needs besides.
"""

from __future__ import annotations

import gc
import itertools
import json
import re
import socket
import threading
import time
from contextlib import contextmanager
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import pytest

from tests import servers
from tests.fault.test_network import certificate, needs_openssl, tls_with
from tests.runs import run_job, write_job
from tests.servers import HOST, Answer, Asked, End, FaultServer, drips, http, png, stalls

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.reliability

CAT = json.dumps(servers.document(servers.image_part(png("a cat")))).encode()
HEAD = http(200, b"", length=len(CAT))
CHUNKED = servers.chunked(b"", terminated=False)
ATTEMPT_S = 1.6
IDLE_S = 0.9
CONNECT_S = 0.8
SLACK_S = 3.0
PAUSE_S = 0.2
OWLS = [f"owl-{n}" for n in range(4)]
TIMED_OUT = ("timeout", "failed", "maybe")
DONE = ("image", "done", "yes")
ONE_TRY = {"unsure": 0, "transport": 0, "rate_limit": 0}
TIMEOUTS = {"attempt": ATTEMPT_S, "idle": IDLE_S, "connect": CONNECT_S}


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


# What the server does, and the limit that ends it.
WAYS: dict[str, tuple[Answer, float]] = {
    "never answers": (stalls(), ATTEMPT_S),
    "stalls in its headers": (stalls(b"HTTP/1.1 200 OK\r\nContent-Ty"), ATTEMPT_S),
    "drips its headers": (drips(byte_by_byte(HEAD), PAUSE_S), ATTEMPT_S),
    "sends headers without end, slowly": (
        drips(chain([HEAD[:-2]], repeat(b"X: y\r\n")), PAUSE_S),
        ATTEMPT_S,
    ),
    "hints and hints and never answers": (
        drips(repeat(b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"), PAUSE_S),
        ATTEMPT_S,
    ),
    "stalls after its headers": (stalls(HEAD), IDLE_S),
    "stalls in its body": (stalls(HEAD + CAT[:9000]), IDLE_S),
    "stalls between its chunks": (stalls(servers.chunked(CAT[:9000], terminated=False)), IDLE_S),
    "stalls in the length of a chunk": (stalls(CHUNKED + b"1"), IDLE_S),
    "drips its body": (drips(chain([HEAD], byte_by_byte(CAT)), PAUSE_S), ATTEMPT_S),
    "drips white space": (drips(chain([CHUNKED], repeat(b"1\r\n \r\n")), PAUSE_S), ATTEMPT_S),
    "drips the extension of a chunk": (
        drips(chain([CHUNKED, b"1;"], repeat(b"x")), PAUSE_S),
        IDLE_S,
    ),
    "stalls in a refusal": (stalls(http(503, b'{"error":', length=900)), IDLE_S),
}


def told_by_item(attempts: list[dict[str, Any]]) -> dict[str, tuple[str, str, str]]:
    return {one["item"]: (one["outcome"], one["decision"], one["billed"]) for one in attempts}


@pytest.mark.parametrize("way", [pytest.param(value, id=name) for name, value in WAYS.items()])
async def test_who_stalls_is_given_up_in_time_and_holds_nobody_else_up(
    way: tuple[Answer, float], tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    answer, limit_s = way
    job = write_job(
        tmp_path / "job.jsonl",
        [OWLS[0], "cat", *OWLS[1:]],  # the first goes alone
        timeouts=TIMEOUTS,
        retries=ONE_TRY,
        limits={"concurrency": 2},
    )

    def script(asked: Asked) -> Answer:
        return answer if asked.prompt == "cat" else servers.draws(asked)

    with FaultServer(script) as server:
        ran = await run_job(job, server)
    assert server.requests == dict.fromkeys([*OWLS, "cat"], 1)
    [cat] = [one for one in ran.attempts if one["item"] == "cat"]
    refused = ("server_error", "failed", "maybe")  # its status tells what it is
    told = refused if cat["http_status"] == 503 else TIMED_OUT
    assert told_by_item(ran.attempts) == {**dict.fromkeys(OWLS, DONE), "cat": told}
    assert 0.9 * limit_s <= cat["latency_s"] <= 1.1 * limit_s + SLACK_S
    if told == TIMED_OUT:  # by the limit that was meant, not by the next one
        assert ("stalled for" in cat["error"]["message"]) == (limit_s == IDLE_S)
    assert ran.attempts[-1] == cat, "the others were done meanwhile"
    tried("P23", 1, "ways to stall")


# --- a request that nobody takes ------------------------------------------------------------------


class DeafServer(FaultServer):
    """Takes the beginning of a request for a cat and no more of it; or a byte now and then."""

    def __init__(self, *, drips: bool) -> None:
        super().__init__(servers.draws)
        self._drips = drips
        self.ended = threading.Event()

    def __enter__(self) -> DeafServer:  # noqa: PYI034 - as its parent, for mypy
        super().__enter__()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        return self

    def _exchange(self, connection: socket.socket) -> bool:
        asked: list[bytes] = []
        while not asked and (begun := connection.recv(4096, socket.MSG_PEEK)):
            time.sleep(0.01)
            asked = re.findall(rb'"text": ?"(owl-\d|cat)"', begun)
        if asked != [b"cat"]:
            return super()._exchange(connection)
        with self._lock:
            self.requests["cat"] += 1
        ends_s = time.monotonic() + 30
        while time.monotonic() < ends_s and not self.ended.wait(PAUSE_S):
            connection.recv(1, 0 if self._drips else socket.MSG_PEEK)
        return False


def open_transports() -> list[Any]:
    """The connections of this process, as a client, whose sockets are still open."""
    found = (one for one in gc.get_objects() if type(one).__name__ == "_SelectorSocketTransport")
    return [one for one in found if one._sock is not None]


@pytest.mark.parametrize("drips", [False, True], ids=["at all", "but a byte now and then"])
async def test_a_request_that_is_not_taken_is_given_up_in_time(
    tmp_path: Path, tried: Callable[[str, int, str], None], *, drips: bool
) -> None:
    (tmp_path / "photo.png").write_bytes(png("photo", edge_px=1600))
    items: list[Any] = [{"id": "cat", "prompt": "cat", "references": ["photo.png"]}]
    job = write_job(
        tmp_path / "job.jsonl",
        [OWLS[0], *items, *OWLS[1:]],
        timeouts=TIMEOUTS,
        retries=ONE_TRY,
        limits={"concurrency": 2},
    )
    with DeafServer(drips=drips) as server:
        ran = await run_job(job, server)
        # No socket is kept until everything is sent, which may be never.
        assert not open_transports()
        server.ended.set()
    assert told_by_item(ran.attempts) == {**dict.fromkeys(OWLS, DONE), "cat": TIMED_OUT}
    [cat] = [one for one in ran.attempts if one["item"] == "cat"]
    assert 0.9 * ATTEMPT_S <= cat["latency_s"] <= 1.1 * ATTEMPT_S + SLACK_S
    tried("P23", 1, "ways to stall")


# --- no connection --------------------------------------------------------------------------------


def closes(asked: Asked) -> Answer:
    body = json.dumps(servers.picture_of(asked)).encode()
    return servers.sends(http(200, body, {"Connection": "close"}), end=End.CLOSED)


class HalfTls(FaultServer):
    """Shakes hands on its first connection, says nothing on the second, and is sound again.

    Each answer closes its connection, so that there is a second one.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(closes, tls=tls)
        self._served = itertools.count(1)

    def _serve(self, connection: socket.socket) -> None:
        if next(self._served) == 2:
            with connection:
                stalls()(connection)
            return
        super()._serve(connection)


@needs_openssl
async def test_a_handshake_that_stalls_is_given_up_in_time_and_holds_nobody_else_up(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    pem = certificate(tmp_path, "good")
    tls: ssl.SSLContext = tls_with(pem)
    job = write_job(
        tmp_path / "job.jsonl",
        OWLS,
        timeouts=TIMEOUTS,
        retries={**ONE_TRY, "transport": 1},
        limits={"concurrency": 2},
    )
    with HalfTls(tls) as server:
        ran = await run_job(job, server, ca_file=pem)
    told = [(one["outcome"], one["billed"]) for one in ran.attempts]
    assert sorted(told) == [("connection", "no"), *[("image", "yes")] * len(OWLS)]
    [stalled] = [one for one in ran.attempts if one["outcome"] == "connection"]
    assert 0.9 * CONNECT_S <= stalled["latency_s"] <= 1.1 * CONNECT_S + SLACK_S
    assert server.requests == dict.fromkeys(OWLS, 1)
    tried("P23", 1, "ways to stall")


@contextmanager
def full_house() -> Iterator[str]:
    """A port that takes no more connections, and does not say so."""
    with (
        socket.create_server((HOST, 0), backlog=0) as listener,
        socket.socket() as first,
        socket.socket() as second,
    ):
        for guest in (first, second):
            guest.setblocking(False)  # noqa: FBT003
            guest.connect_ex(listener.getsockname())
        yield f"http://{HOST}:{listener.getsockname()[1]}"


async def test_a_connection_that_stalls_is_given_up_in_time(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"], timeouts=TIMEOUTS, retries=ONE_TRY)
    with full_house() as url:
        ran = await run_job(job, url)
    [cat] = ran.attempts
    assert (cat["outcome"], cat["billed"]) == ("connection", "no")
    assert 0.9 * CONNECT_S <= cat["latency_s"] <= 1.1 * CONNECT_S + SLACK_S
    tried("P23", 1, "ways to stall")
