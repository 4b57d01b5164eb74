"""Answers that break off, stall or are none: retried once, told as unsure, leaving no file."""

import gzip
import json
import socket
import zlib
from pathlib import Path

import pytest

from batchgen.transport import body
from tests import servers
from tests.runs import run_job, write_job
from tests.servers import BROKEN, RESET, Answer, End, FaultServer, http, sends, stalls

CAT = json.dumps(servers.document(servers.image_part(servers.png("a draft")))).encode()
INSIDE_BASE64 = CAT[: len(CAT) // 2]
HEAD = http(200, b"", length=len(CAT))
GZIP = {"Content-Encoding": "gzip"}
ZIPPED = gzip.compress(CAT)
BAD_CRC = ZIPPED[:-8] + b"\x00\x00\x00\x01" + ZIPPED[-4:]
UNBOUNDED_NESTING = b"[" * 100_000

BAD_REPLIES: dict[str, Answer] = {
    "cut inside its base64": sends(HEAD + INSIDE_BASE64, end=End.BROKEN),
    "cut between its chunks": sends(
        servers.chunked(INSIDE_BASE64, terminated=False), end=End.BROKEN
    ),
    "cut, its chunks properly ended": sends(servers.chunked(INSIDE_BASE64)),
    "cut where only the end of the connection tells": sends(
        b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + INSIDE_BASE64, end=End.BROKEN
    ),
    "reset in its body": sends(HEAD + INSIDE_BASE64, end=End.RESET),
    "cut gzip": sends(http(200, ZIPPED[: len(ZIPPED) // 2], GZIP)),
    "text that says gzip": sends(http(200, CAT, GZIP)),
    "a compression nobody asked for": sends(http(200, CAT, {"Content-Encoding": "br"})),
    "empty": sends(http(200, b"")),
    "white space": sends(http(200, b" \n \n")),
    "no JSON": sends(http(200, b"Internal error, sorry")),
    "JSON of another kind": sends(http(200, b'"fine"')),
    "null": sends(http(200, b"null")),
    "an empty list": sends(http(200, b"[]")),
    "bytes beyond its length": sends(http(200, CAT) + b"garbage without end"),
    "garbage instead of a status line": sends(b"SMTP 220 ready\r\n\r\n", end=End.BROKEN),
    "a header without end": sends(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, end=End.BROKEN),
    "both lengths": sends(
        http(200, CAT, {"Transfer-Encoding": "chunked"}),
        end=End.BROKEN,
    ),
    "an error without a code": sends(http(200, b'{"error": "no"}')),
}
LOST: dict[str, Answer] = {
    "reset before its headers": RESET,
    "closed before its headers": BROKEN,
    "reset in its headers": sends(b"HTTP/1.1 200 OK\r\nContent-Ty", end=End.RESET),
    "closed in its headers": sends(b"HTTP/1.1 200 OK\r\nContent-Ty", end=End.BROKEN),
}


@pytest.mark.parametrize("fault", [pytest.param(v, id=k) for k, v in BAD_REPLIES.items()])
async def test_bad_reply_is_retried_once_and_leaves_no_file(fault: Answer, job: Path) -> None:
    with FaultServer(servers.once(fault)) as server:
        ran = await run_job(job, server)
    expected = "server_error" if fault is BAD_REPLIES["an error without a code"] else "bad_reply"
    assert ran.told == [(expected, "retry", "maybe"), ("image", "done", "yes")]
    assert server.requests == {"cat": 2}
    assert server.answered["cat"] >= 1
    assert ran.exit_code == 0
    assert ran.summary.maybe_billed.count == 1
    assert (ran.directory / "images/cat.png").read_bytes() == servers.png("cat 2")
    assert not ran.quarantined


LOST_PICTURES: dict[str, tuple[Answer, int]] = {
    "two documents": (sends(http(200, CAT + CAT)), 2),
    "followed by garbage": (sends(http(200, CAT + b" trailing")), 1),
    "cut after its last image": (
        sends(HEAD + CAT[: CAT.rindex(b'"finishReason')], end=End.BROKEN),
        1,
    ),
    "shorter than its length": (
        sends(http(200, CAT[:-1], length=len(CAT) + 9), end=End.BROKEN),
        1,
    ),
    "gzip without its checksum": (sends(http(200, ZIPPED[:-8], GZIP)), 1),
    "gzip with a wrong checksum": (sends(http(200, BAD_CRC, GZIP)), 1),
    "gzip with a wrong checksum, in small packets": (
        sends(http(200, b"", GZIP, length=len(BAD_CRC)), BAD_CRC[:-3], BAD_CRC[-3:]),
        1,
    ),
    "deflate with a wrong checksum": (
        sends(http(200, zlib.compress(CAT)[:-4] + b"none", {"Content-Encoding": "deflate"})),
        1,
    ),
}


@pytest.mark.parametrize(
    ("fault", "n_pictures"), [pytest.param(*v, id=k) for k, v in LOST_PICTURES.items()]
)
async def test_whole_pictures_of_an_answer_that_is_lost_are_kept_though_it_is_asked_again(
    fault: Answer, n_pictures: int, job: Path
) -> None:
    with FaultServer(servers.once(fault)) as server:
        ran = await run_job(job, server)
    assert ran.told == [("bad_reply", "retry", "maybe"), ("image", "done", "yes")]
    assert server.requests == {"cat": 2}
    kept = [path.read_bytes() for path in ran.quarantined]
    assert kept == [servers.png("a draft")] * n_pictures
    told = ran.attempts[0]["images"]
    assert [image["role"] for image in told] == ["quarantine"] * n_pictures
    assert (ran.directory / "images/cat.png").read_bytes() == servers.png("cat 2")


@pytest.mark.parametrize("fault", [pytest.param(v, id=k) for k, v in LOST.items()])
async def test_connection_lost_before_an_answer_is_retried_once(fault: Answer, job: Path) -> None:
    with FaultServer(servers.once(fault)) as server:
        ran = await run_job(job, server)
    assert ran.told == [("connection", "retry", "maybe"), ("image", "done", "yes")]
    assert server.requests == {"cat": 2}
    assert ran.attempts[0]["http_status"] is None
    assert ran.exit_code == 0


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(stalls(), id="no answer"),
        pytest.param(stalls(b"HTTP/1.1 200 OK\r\nContent-Ty"), id="in its headers"),
        pytest.param(stalls(HEAD), id="after its headers"),
        pytest.param(stalls(HEAD + INSIDE_BASE64), id="inside its base64"),
        pytest.param(stalls(servers.chunked(CAT[:9000], terminated=False)), id="between chunks"),
    ],
)
async def test_an_answer_that_stalls_is_given_up_and_retried_once(fault: Answer, job: Path) -> None:
    with FaultServer(servers.once(fault)) as server:
        ran = await run_job(job, server)
    assert ran.told == [("timeout", "retry", "maybe"), ("image", "done", "yes")]
    assert server.requests == {"cat": 2}
    assert ran.exit_code == 0


async def test_an_answer_that_drips_is_given_up_when_its_time_is_over(job: Path) -> None:
    drip = servers.drips([HEAD, *(CAT[at : at + 1] for at in range(100))], pause_s=0.05)
    with FaultServer(servers.once(drip)) as server:
        ran = await run_job(job, server)
    assert ran.told == [("timeout", "retry", "maybe"), ("image", "done", "yes")]


async def test_a_slow_answer_that_never_stalls_is_taken(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"], timeouts={"idle": 0.5})
    step = -(-len(CAT) // 8)
    pieces = [HEAD, *(CAT[at : at + step] for at in range(0, len(CAT), step))]
    with FaultServer(lambda _: servers.drips(pieces, pause_s=0.12)) as server:
        ran = await run_job(job, server)
    assert ran.told == [("image", "done", "yes")]


async def test_a_second_cut_reply_fails_its_item_and_is_kept_in_quarantine(job: Path) -> None:
    cut = sends(HEAD + INSIDE_BASE64, end=End.BROKEN)
    with FaultServer(lambda _: cut) as server:
        ran = await run_job(job, server)
    assert ran.told == [("bad_reply", "retry", "maybe"), ("bad_reply", "failed", "maybe")]
    assert server.requests == {"cat": 2}
    assert ran.exit_code == 4
    assert ran.summary.maybe_billed.count == 2
    [kept] = ran.quarantined
    assert servers.png("a draft").startswith(kept.read_bytes())
    [told] = ran.attempts[1]["images"]
    assert (told["role"], told["path"]) == ("quarantine", f"quarantine/{kept.name}")
    assert told["bytes"] == kept.stat().st_size > 1000


async def test_unsure_zero_never_asks_twice(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"], retries={"unsure": 0})
    with FaultServer(lambda _: RESET) as server:
        ran = await run_job(job, server)
    assert ran.told == [("connection", "failed", "maybe")]
    assert server.requests == {"cat": 1}


async def test_nesting_without_end_is_not_asked_for_again(job: Path) -> None:
    with FaultServer(lambda _: sends(http(200, UNBOUNDED_NESTING))) as server:
        ran = await run_job(job, server)
    assert ran.told == [("bad_reply", "failed", "maybe")]
    assert server.requests == {"cat": 1}


async def test_a_compression_bomb_is_cut_at_the_largest_answer(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "MAX_ANSWER_BYTES", 2 << 20)
    filler = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    head = CAT[: CAT.index(b'"data": "') + 9]
    bomb = filler.compress(head) + filler.compress(b"A" * (48 << 20)) + filler.flush()
    assert len(bomb) < 100_000
    with FaultServer(servers.once(sends(http(200, bomb, GZIP)))) as server:
        ran = await run_job(job, server)
    assert ran.told == [("bad_reply", "failed", "maybe")]
    assert "MiB" in ran.attempts[0]["error"]["message"]


async def test_an_endless_answer_is_cut_at_the_largest_answer(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "MAX_ANSWER_BYTES", 1 << 20)
    endless = CAT[: CAT.index(b'"data": "') + 9] + b"A" * (4 << 20)
    fault = sends(servers.chunked(endless, terminated=False), end=End.BROKEN)

    def tolerant(asked: servers.Asked) -> Answer:
        return _although_the_client_leaves(fault) if asked.nth == 1 else servers.draws(asked)

    with FaultServer(tolerant) as server:
        ran = await run_job(job, server)
    assert ran.told == [("bad_reply", "failed", "maybe")]
    assert ran.attempts[0]["bytes_in"] < 3 << 20


def _although_the_client_leaves(answer: Answer) -> Answer:
    def answered(connection: socket.socket) -> End:
        try:
            return answer(connection)
        except OSError:
            return End.BROKEN

    return answered


# --- odd, but whole: kept, because it was paid for ---------------------------------------------

ODD_BUT_WHOLE: dict[str, Answer] = {
    "gzip": sends(http(200, ZIPPED, GZIP)),
    "deflate": sends(http(200, zlib.compress(CAT), {"Content-Encoding": "deflate"})),
    "chunks without their end": sends(servers.chunked(CAT, terminated=False), end=End.BROKEN),
    "a length that is too large": sends(http(200, CAT, length=len(CAT) + 9), end=End.BROKEN),
    "closed without a length": sends(
        b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + CAT, end=End.CLOSED
    ),
    "early hints before it": sends(
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + http(200, CAT)
    ),
    "no content type": sends(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CAT) + CAT),
    "text/plain": sends(http(200, CAT, content_type="text/plain")),
    "a byte order mark": sends(http(200, b"\xef\xbb\xbf" + CAT)),
    "a list of one": sends(http(200, b"[" + CAT + b"]")),
    "white space around it": sends(http(200, b"\n\n" + CAT + b"\n\n")),
    "many small packets": sends(HEAD, *(CAT[at : at + 999] for at in range(0, len(CAT), 999))),
}


@pytest.mark.parametrize("odd", [pytest.param(v, id=k) for k, v in ODD_BUT_WHOLE.items()])
async def test_an_odd_but_whole_answer_is_kept(odd: Answer, job: Path) -> None:
    with FaultServer(lambda _: odd) as server:
        ran = await run_job(job, server)
    assert ran.told == [("image", "done", "yes")]
    assert server.requests == {"cat": 1}
    assert (ran.directory / "images/cat.png").read_bytes() == servers.png("a draft")
    assert ran.summary.exit_code == 0


@pytest.mark.parametrize("limit", ["idle", "attempt"])
async def test_a_whole_answer_on_a_connection_that_stays_open_is_kept(
    limit: str, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"], timeouts={limit: 0.3})
    with FaultServer(lambda _: stalls(servers.chunked(CAT, terminated=False))) as server:
        ran = await run_job(job, server)
    assert ran.told == [("image", "done", "yes")]
    assert server.n_requests == 1
