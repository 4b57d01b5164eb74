"""Answers that come faster than they are dealt with, and how their connections end.

Each goes over plain TCP and over TLS, where asyncio keeps what it has decrypted until somebody
takes it. A server may close behind its answer or reset the connection, and a client may leave it
with something unread: nothing of a whole answer is lost, and nobody waits for another's.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import json
import ssl
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import aiohttp
import pytest

from batchgen.provider import Provider
from batchgen.timeouts import Timeouts
from batchgen.transport import Transport
from tests import servers
from tests.fault.test_network import certificate, needs_openssl, tls_with
from tests.runs import KEY, Ran, run_job, write_job
from tests.servers import Answer, Asked, End, FaultServer, http, image_part, png, refuses, sends

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

KIB = 1 << 10
ONE_TRY = {"unsure": 0, "no_image": 0, "transport": 0, "rate_limit": 0, "patience": "9999h"}
# Of pictures whose answers have some 50, 100, 115, 200 and 800 KiB.
SHORT_PX = (112, 158, 170)
EDGES_PX = (*SHORT_PX, 224, 450)
LAST = {"Connection": "close"}
# What asyncio receives, or decrypts, and hands out at once.
PIECE_BYTES = 320 * KIB
MOST_BYTES = 4096 * KIB


@pytest.fixture(params=[False, pytest.param(True, marks=needs_openssl)], ids=["TCP", "TLS"])
def pem(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """The certificate of the server; None where it speaks plainly."""
    return certificate(tmp_path, "ours") if request.param else None


def served(script: Callable[[Asked], Answer], pem: Path | None) -> FaultServer:
    return FaultServer(script, tls=tls_with(pem) if pem else None)


async def a_run(
    server: FaultServer, items: list[str], pem: Path | None, where: Path, at_once: int = 0
) -> Ran:
    """A run of one try an item, with all of them in flight behind the first, or so many."""
    job = write_job(
        where / "job.jsonl",
        items,
        retries=ONE_TRY,
        limits={"concurrency": at_once or len(items)},
        timeouts={"idle": 5, "attempt": 20},
    )
    return await run_job(job, server, ca_file=pem)


def picture(item: str) -> bytes:
    """The picture of an item whose name ends with its edge."""
    return png("a cat", int(item.rpartition("-")[2]))


def answer(item: str) -> bytes:
    return json.dumps(servers.document(image_part(picture(item)))).encode()


def check_pictures(ran: Ran, items: list[str]) -> None:
    assert {one["item"]: one["outcome"] for one in ran.attempts} == dict.fromkeys(items, "image")
    for item in items:
        assert (ran.directory / f"images/{item}.png").read_bytes() == picture(item), item


# --- the server ends the connection behind its answer ---------------------------------------------


def says_goodbye(connection: socket.socket) -> None:
    """A close_notify, whose answer nobody waits for."""
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(0)
        with suppress(ssl.SSLWantReadError, OSError):
            connection.unwrap()


def is_unsent(connection: socket.socket) -> bool:
    n_bytes = array.array("i", [0])
    fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, n_bytes)
    return n_bytes[0] > 0


def arrives(connection: socket.socket) -> None:
    """Wait until the other side's kernel has all of it: an RST drops what was not sent."""
    ends_s = time.monotonic() + 10
    while is_unsent(connection) and time.monotonic() < ends_s:
        time.sleep(0.002)


def closing(item: str, *, politely: bool) -> Answer:
    def sends_and_closes(connection: socket.socket) -> End:
        connection.sendall(http(200, answer(item), LAST))
        if politely:
            says_goodbye(connection)
        return End.CLOSED

    return sends_and_closes


def resetting(item: str) -> Answer:
    def sends_and_resets(connection: socket.socket) -> End:
        connection.sendall(http(200, answer(item), LAST))
        arrives(connection)
        return End.RESET

    return sends_and_resets


@pytest.mark.parametrize("politely", [True, False], ids=["with a goodbye", "without one"])
async def test_an_answer_is_whole_whose_server_closes_behind_it(
    politely: bool,  # noqa: FBT001 - a column of the table
    pem: Path | None,
    tmp_path: Path,
) -> None:
    items = [f"cat-{n}-{edge}" for n in range(4) for edge in EDGES_PX]
    with served(lambda asked: closing(asked.prompt, politely=politely), pem) as server:
        ran = await a_run(server, items, pem, tmp_path)
    check_pictures(ran, items)
    assert server.requests == dict.fromkeys(items, 1)


async def test_an_answer_is_whole_whose_server_resets_the_connection_behind_it(
    pem: Path | None, tmp_path: Path
) -> None:
    # Of what is longer, asyncio may hold back some that it has decrypted, and drop it then.
    edges_px = SHORT_PX if pem else EDGES_PX
    items = [f"cat-{n}-{edge}" for n in range(4) for edge in edges_px]
    with served(lambda asked: resetting(asked.prompt), pem) as server:
        ran = await a_run(server, items, pem, tmp_path)
    check_pictures(ran, items)


# --- the client leaves with something unread ------------------------------------------------------


async def test_answers_that_were_left_unread_keep_no_other_waiting(
    pem: Path | None, tmp_path: Path
) -> None:
    # One cat after some dogs: a run ends where all are refused.
    left = [f"dog-{n}" for n in range(100)]
    cats = [f"cat-{n}-450" for n in range(25)]
    items = [one for n, cat in enumerate(cats) for one in (cat, *left[4 * n : 4 * n + 4])]
    # Far more than is read of what a refusal says.
    refusal = refuses(400, {"error": {"message": "no dogs", "rest": "x" * (2048 * KIB)}})

    def script(asked: Asked) -> Answer:
        if asked.prompt in left:
            return refusal
        return sends(http(200, answer(asked.prompt)))

    with served(script, pem) as server:
        ran = await a_run(server, items, pem, tmp_path, at_once=12)
    told = {one["item"]: one["outcome"] for one in ran.attempts}
    assert told == {**dict.fromkeys(cats, "image"), **dict.fromkeys(left, "bad_request")}


async def test_answers_that_stall_half_way_keep_no_other_waiting(
    pem: Path | None, tmp_path: Path
) -> None:
    stalled = [f"dog-{n}-450" for n in range(24)]
    cats = [f"cat-{n}-450" for n in range(6)]

    def script(asked: Asked) -> Answer:
        whole = http(200, answer(asked.prompt))
        return servers.stalls(whole[: 600 * KIB]) if asked.prompt in stalled else sends(whole)

    with served(script, pem) as server:
        ran = await a_run(server, [cats[0], *stalled, *cats[1:]], pem, tmp_path)
    told = {one["item"]: one["outcome"] for one in ran.attempts}
    assert told == {**dict.fromkeys(cats, "image"), **dict.fromkeys(stalled, "timeout")}
    last_cat_s = max(one["latency_s"] for one in ran.attempts if one["item"] in cats)
    assert last_cat_s < min(one["latency_s"] for one in ran.attempts if one["item"] in stalled)


# --- an answer in very many chunks ----------------------------------------------------------------


@pytest.mark.parametrize("chunk_bytes", [1, 20, 60, 250])
async def test_an_answer_in_very_many_chunks_is_whole(
    chunk_bytes: int, pem: Path | None, tmp_path: Path
) -> None:
    edge_px = 59 if chunk_bytes == 1 else 450
    items = [f"cat-{n}-{edge_px}" for n in range(3)]

    def in_chunks(item: str) -> bytes:
        body = answer(item)
        cuts = (body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes))
        framed = b"".join(b"%x\r\n%b\r\n" % (len(cut), cut) for cut in cuts)
        return servers.chunked(b"", terminated=False) + framed + b"0\r\n\r\n"

    with served(lambda asked: sends(in_chunks(asked.prompt)), pem) as server:
        ran = await a_run(server, items, pem, tmp_path)
    check_pictures(ran, items)


# --- what has come and is not dealt with ----------------------------------------------------------


class Disk:
    """Takes the bytes of all answers; has too much to do once it has more than its bound."""

    def __init__(self) -> None:
        self.has_too_much = asyncio.Event()
        self.is_going_on = asyncio.Event()
        self.n_bytes = 0
        self._in_turn = asyncio.Lock()

    @property
    def is_full(self) -> bool:
        return self.n_bytes > MOST_BYTES

    def take(self, piece: bytes) -> None:
        self.n_bytes += len(piece)
        if self.is_full:
            self.has_too_much.set()

    async def room(self) -> None:
        async with self._in_turn:
            await self.is_going_on.wait()
            self.n_bytes = min(self.n_bytes, MOST_BYTES)
            await asyncio.sleep(0)


async def chunks() -> AsyncGenerator[bytes, None]:
    yield b"{}"


async def test_nothing_more_is_received_of_any_answer_while_the_disk_has_too_much_to_do(
    pem: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_answers, body = 32, b"A" * (3000 * KIB)
    unread_bytes: dict[aiohttp.StreamReader, int] = {}
    most_unread_bytes = 0
    feed_data = aiohttp.StreamReader.feed_data

    def fed(reader: aiohttp.StreamReader, data: bytes, size: int = 0) -> bool:
        nonlocal most_unread_bytes
        is_more = feed_data(reader, data, size)
        unread_bytes.update({one: one._size for one in (*unread_bytes, reader)})
        most_unread_bytes = max(most_unread_bytes, sum(unread_bytes.values()))
        return is_more

    async def received(transport: Transport) -> int:
        async with transport.post("/v1beta", 2, chunks, print) as response:
            await response.pour(disk.take, disk)
            return response.n_bytes

    monkeypatch.setattr(aiohttp.StreamReader, "feed_data", fed)
    disk = Disk()
    with served(lambda _: sends(http(200, body)), pem) as server:
        provider = Provider(name="x", base_url=server.url)
        async with Transport(provider, KEY, Timeouts(), ca_file=pem) as transport:
            receiving = [asyncio.create_task(received(transport)) for _ in range(n_answers)]
            await disk.has_too_much.wait()
            await asyncio.sleep(0.3)  # whoever received on would do so now
            # What had come with the heads is taken all the same.
            assert disk.n_bytes <= MOST_BYTES + (n_answers + 1) * PIECE_BYTES
            disk.is_going_on.set()
            assert await asyncio.gather(*receiving) == [len(body)] * n_answers
    assert most_unread_bytes <= n_answers * PIECE_BYTES
