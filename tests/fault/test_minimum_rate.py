"""An answer that comes too slowly to end is given up; one that is slow for a reason is not.

What is tested is time itself: the rate is 1 KiB/s over 0.4 s here, which is 409 bytes.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import pytest

from batchgen.provider import Provider
from batchgen.timeouts import Timeouts
from batchgen.transport import Transport
from tests import servers
from tests.runs import KEY, run_job, write_job
from tests.servers import End, FaultServer, drips, http

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator
    from pathlib import Path

CAT = json.dumps(servers.document(servers.image_part(servers.png("a draft")))).encode()
HEAD = http(200, b"", length=len(CAT))
CHUNKED = servers.chunked(b"", terminated=False)
A_SPACE = b"1\r\n \r\n"
OVER_S = 0.4
TOO_SLOW = "the answer came at less than 1 KiB/s for 0.4 s"
GIVEN_UP = ("timeout", "retry", "maybe")
DONE = ("image", "done", "yes")


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hurried(Transport):
        def __init__(self, provider: Provider, key: str, timeouts: Timeouts, **kept: Any) -> None:
            super().__init__(provider, key, replace(timeouts, min_rate_over_s=OVER_S), **kept)

    monkeypatch.setattr("batchgen.workshop.Transport", Hurried)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """With timeouts that do not come into play."""
    return write_job(tmp_path / "job.jsonl", ["cat"])


def byte_by_byte(body: bytes) -> list[bytes]:
    return [body[at : at + 1] for at in range(len(body))]


@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(HEAD, id="from its first byte"),
        pytest.param(HEAD + CAT[:9000], id="after it came fast"),
    ],
)
async def test_an_answer_that_drips_is_given_up_long_before_its_deadline(
    beginning: bytes, job: Path
) -> None:
    drip = drips([beginning, *byte_by_byte(CAT[9000:])], pause_s=0.02)
    with FaultServer(servers.once(drip)) as server:
        ran = await run_job(job, server)
    assert ran.told == [GIVEN_UP, DONE]
    assert ran.attempts[0]["error"]["message"] == TOO_SLOW
    assert ran.attempts[0]["error"]["kind"] == "NoAnswer"
    assert OVER_S <= ran.attempts[0]["latency_s"] < 10
    assert server.requests == {"cat": 2}


async def test_pauses_that_follow_each_other_are_as_slow_as_a_drip(job: Path) -> None:
    drip = drips([HEAD, *byte_by_byte(CAT[:20])], pause_s=1.5 * OVER_S)
    with FaultServer(servers.once(drip)) as server:
        ran = await run_job(job, server)
    assert ran.told == [GIVEN_UP, DONE]
    assert ran.attempts[0]["bytes_in"] < 6


async def test_white_space_does_not_make_a_slow_answer_faster(job: Path) -> None:
    drip = drips(chain([CHUNKED + b"1\r\n{\r\n"], repeat(A_SPACE)), pause_s=0.02)
    with FaultServer(servers.once(drip)) as server:
        ran = await run_job(job, server)
    assert ran.told == [GIVEN_UP, DONE]
    assert ran.attempts[0]["error"]["message"] == TOO_SLOW


async def test_white_space_before_an_answer_is_no_slow_answer(job: Path) -> None:
    awake = [CHUNKED, *[A_SPACE] * 20]  # for longer than a slow answer is given
    drip = drips([*awake, servers.chunked(CAT).removeprefix(CHUNKED)], pause_s=2 * OVER_S / 20)
    with FaultServer(lambda _: drip) as server:
        ran = await run_job(job, server)
    assert ran.told == [DONE]
    assert ran.attempts[0]["latency_s"] > OVER_S


async def test_an_answer_that_is_just_fast_enough_is_taken(job: Path) -> None:
    pieces = [HEAD, *(CAT[at : at + 2000] for at in range(0, len(CAT), 2000))]
    with FaultServer(lambda _: drips(pieces, pause_s=OVER_S / 3)) as server:
        ran = await run_job(job, server)
    assert ran.told == [DONE]
    assert ran.attempts[0]["latency_s"] > 2 * OVER_S


async def test_a_pause_is_measured_by_the_time_that_a_job_gives_it(job: Path) -> None:
    def pauses(connection: socket.socket) -> End:
        drips([HEAD + CAT[:9000]], pause_s=1.5 * OVER_S)(connection)
        drips([CAT[at : at + 50] for at in range(9000, len(CAT), 50)], pause_s=0.001)(connection)
        return End.CLOSED

    with FaultServer(lambda _: pauses) as server:
        ran = await run_job(job, server)
    assert ran.told == [DONE]


async def test_a_whole_answer_whose_connection_drips_on_is_taken(job: Path) -> None:
    whole = servers.chunked(CAT, terminated=False)
    with FaultServer(lambda _: drips(chain([whole], repeat(A_SPACE)), pause_s=0.02)) as server:
        ran = await run_job(job, server)
    assert ran.told == [DONE]
    assert server.n_requests == 1
    assert OVER_S <= ran.attempts[0]["latency_s"] < 10


@pytest.mark.parametrize("pause_s", [0, 1.5 * OVER_S])
async def test_a_short_answer_that_ended_is_told_as_what_it_is_however_long_it_took(
    pause_s: float, job: Path
) -> None:
    drip = drips([http(200, b"[", length=3), b" ", b"1"], pause_s)
    with FaultServer(servers.once(drip)) as server:
        ran = await run_job(job, server)
    assert ran.told == [("bad_reply", "retry", "maybe"), DONE]


class SlowDisk:
    """Has too much to do after each piece."""

    is_full = True

    async def room(self) -> None:
        await asyncio.sleep(0.05)


async def test_the_time_that_the_disk_takes_is_not_the_networks() -> None:
    body = b"x" * 2_000_000
    impatient = replace(Timeouts(), min_rate_bytes_s=10_000_000, min_rate_over_s=0.3)

    async def nothing() -> AsyncGenerator[bytes, None]:
        yield b"{}"

    with FaultServer(lambda _: servers.sends(http(200, body))) as server:
        provider = Provider(
            name="here",
            base_url=server.url,
        )
        async with (
            Transport(provider, KEY, impatient) as transport,
            transport.post("/", 2, nothing, note=print) as response,
        ):
            taken: list[int] = []
            await response.pour(lambda piece: taken.append(len(piece)), SlowDisk())
    assert sum(taken) == len(body)
