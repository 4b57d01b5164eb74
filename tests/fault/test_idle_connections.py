"""A server that closes an idle connection just when it is used again: nobody's fault, and free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batchgen.transport import session
from tests import servers
from tests.fault.test_network import certificate, needs_openssl, tls_with
from tests.runs import run_job, write_job
from tests.servers import BROKEN, RESET, Answer, Asked, End, IdleClosingServer, sends

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from tests.runs import Ran

IDS = [f"item-{n}" for n in range(8)]
NOTE = "sent again on a new connection: the idle one had been closed"
RETRIED = ("connection", "retry", "maybe")
DONE = ("image", "done", "yes")
DROPS = [pytest.param(BROKEN, id="closed"), pytest.param(RESET, id="reset")]


def one_after_the_other(directory: Path, ids: list[str], **head: Any) -> Path:
    return write_job(directory / "job.jsonl", ids, limits={"concurrency": 1}, **head)


def notes(ran: Ran) -> list[str | None]:
    return [attempt.get("note") for attempt in ran.attempts]


@pytest.mark.parametrize("drop", DROPS)
async def test_an_idle_connection_that_was_closed_costs_no_attempt(
    drop: Answer, tmp_path: Path
) -> None:
    job = one_after_the_other(tmp_path, IDS)
    with IdleClosingServer(drop) as server:
        ran = await run_job(job, server)
    assert ran.told == [DONE] * len(IDS)
    assert [attempt["attempt"] for attempt in ran.attempts] == [1] * len(IDS)
    assert server.requests == server.answered == dict.fromkeys(IDS, 1)
    # Every second request finds an idle connection; the one in its place is not kept.
    assert server.n_dropped == 4
    assert server.n_connections == len(IDS)
    assert notes(ran) == [None, NOTE] * 4
    assert ran.summary.maybe_billed.count == 0
    assert ran.exit_code == 0


@pytest.mark.parametrize("drop", DROPS)
async def test_many_at_once_do_not_meet_each_others_idle_connections(
    drop: Answer, tmp_path: Path
) -> None:
    ids = [f"item-{n}" for n in range(40)]
    job = write_job(tmp_path / "job.jsonl", ids, limits={"concurrency": 8})
    with IdleClosingServer(drop) as server:
        ran = await run_job(job, server)
    assert ran.told == [DONE] * 40
    assert server.requests == server.answered == dict.fromkeys(ids, 1)
    assert server.n_dropped == notes(ran).count(NOTE) > 8
    assert ran.summary.maybe_billed.count == 0


@needs_openssl
@pytest.mark.parametrize("drop", DROPS)
async def test_an_idle_tls_connection_that_was_closed_costs_no_attempt(
    drop: Answer, tmp_path: Path
) -> None:
    job = one_after_the_other(tmp_path, IDS)
    pem = certificate(tmp_path, "ours")
    with IdleClosingServer(drop, tls=tls_with(pem)) as server:
        ran = await run_job(job, server, ca_file=pem)
    assert ran.told == [DONE] * len(IDS)
    assert notes(ran) == [None, NOTE] * 4


@needs_openssl
async def test_a_goodbye_of_tls_is_no_answer(tmp_path: Path) -> None:
    def says_goodbye(connection: ssl.SSLSocket) -> End:
        connection.settimeout(0.2)  # it waits for the other's goodbye
        with pytest.raises(OSError):  # noqa: PT011 - the client sends its request instead
            connection.unwrap()
        return End.BROKEN

    job = one_after_the_other(tmp_path, IDS[:2])
    pem = certificate(tmp_path, "ours")
    with IdleClosingServer(says_goodbye, tls=tls_with(pem)) as server:  # type: ignore[arg-type]
        ran = await run_job(job, server, ca_file=pem)
    assert ran.told == [DONE] * 2
    assert notes(ran) == [None, NOTE]


async def test_what_is_sent_again_is_sent_from_its_start(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(servers.png("a reference", 400))  # of several steps
    items = [{"id": one, "prompt": one, "references": ["cat.png"]} for one in IDS[:2]]
    job = write_job(tmp_path / "job.jsonl", items, limits={"concurrency": 1})
    with IdleClosingServer(RESET) as server:
        ran = await run_job(job, server)
    assert ran.told == [DONE] * 2
    assert server.n_dropped == 1
    first, second = (asked.body for asked in server.log)
    assert second.replace(b"item-1", b"item-0") == first
    assert len(first) > 400_000


@pytest.mark.parametrize("end", [End.BROKEN, End.RESET])
@pytest.mark.parametrize("beginning", [b"H", b"HTTP/1.1 200 OK\r\nContent-Ty"])
async def test_an_idle_connection_that_began_an_answer_may_have_been_billed(
    beginning: bytes, end: End, tmp_path: Path
) -> None:
    job = one_after_the_other(tmp_path, IDS[:2])
    with IdleClosingServer(sends(beginning, end=end)) as server:
        ran = await run_job(job, server)
    assert ran.told == [DONE, RETRIED, DONE]
    assert notes(ran) == [None, None, None]


async def test_a_used_connection_that_is_dropped_late_may_have_been_billed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "IDLE_CLOSED_WITHIN_S", 0.0)
    job = one_after_the_other(tmp_path, IDS[:2])
    with IdleClosingServer(BROKEN) as server:
        ran = await run_job(job, server)
    assert ran.told == [DONE, RETRIED, DONE]
    assert notes(ran) == [None, None, None]
    assert ran.summary.maybe_billed.count == 1


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        pytest.param(BROKEN, RETRIED, id="closed"),
        pytest.param(RESET, RETRIED, id="reset"),
        pytest.param(servers.stalls(), ("timeout", "retry", "maybe"), id="no answer"),
    ],
)
async def test_it_is_sent_again_once_and_what_comes_of_that_holds(
    fault: Answer, expected: tuple[str, str, str], tmp_path: Path
) -> None:
    def faulty(asked: Asked) -> Answer:
        is_second = asked.prompt == "item-1" and asked.nth == 1
        return fault if is_second else servers.draws(asked)

    job = one_after_the_other(tmp_path, IDS[:2], timeouts={"attempt": 0.8})
    with IdleClosingServer(RESET, faulty) as server:
        ran = await run_job(job, server)
    assert ran.told == [DONE, expected, DONE]
    assert server.requests == {"item-0": 1, "item-1": 2}
    assert notes(ran) == [None, NOTE, None]
    assert ran.summary.maybe_billed.count == 1


async def test_beside_it_stands_what_else_is_noted(tmp_path: Path) -> None:
    item = {"id": "cat", "prompt": "cat", "aspect_ratio": "16:9"}
    job = write_job(tmp_path / "job.jsonl", ["a", item], limits={"concurrency": 1})
    with IdleClosingServer(BROKEN) as server:
        ran = await run_job(job, server)
    _, note = notes(ran)
    assert note is not None
    assert note.startswith(f"{NOTE}; ")
    assert "16:9" in note
