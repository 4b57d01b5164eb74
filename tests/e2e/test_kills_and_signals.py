"""Ctrl-C, SIGTERM and SIGKILL in the middle of a run, and the run that finishes the rest."""

import json
import re
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import ledgers, servers
from tests.commands import ROOT, batchgen, started, until
from tests.runs import KEY, write_job
from tests.servers import Answer, Asked, FaultServer

Tried = Callable[[str, int, str], None]
N_ITEMS = 12
IDS = [f"item-{n:02}" for n in range(N_ITEMS)]
STOPS = [(signal.SIGINT, 130, "sigint"), (signal.SIGTERM, 143, "sigterm")]


class Gate:
    """A server that answers the first few requests, and the others when it is opened."""

    def __init__(self, n_free: int) -> None:
        self._free = threading.Semaphore(n_free)
        self._opened = threading.Event()

    def __call__(self, asked: Asked) -> Answer:
        if self._free.acquire(blocking=False):
            return servers.draws(asked)
        return servers.waits_for(self._opened, servers.draws(asked))

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write_job(tmp_path / "job.jsonl", IDS, limits={"concurrency": 4})


def start(job: Path, server: FaultServer, *flags: str) -> Any:
    where = ("-o", job.parent, "--base-url", server.url, "--progress", "plain")
    return started("run", job, *where, *flags, COMETAPI_KEY=KEY)


def finish(job: Path, server: FaultServer) -> None:
    """The run that makes the rest."""
    done = batchgen("run", job, "-o", job.parent, "--base-url", server.url, COMETAPI_KEY=KEY)
    assert done.code == 0, done.err


def until_under_way(server: FaultServer, job: Path, *, n_answered: int, n_open: int) -> None:
    """Until so many have their picture and so many wait for their answer."""

    def reached() -> bool:
        recorded = list((job.parent / "job/ledger").glob("*.jsonl"))
        n_recorded = sum(path.read_bytes().count(b'"outcome":"image"') for path in recorded)
        return n_recorded == n_answered and server.n_requests == n_answered + n_open

    until(reached, f"{n_answered} answered, {n_open} open")


def until_answered(server: FaultServer, n_answered: int) -> None:
    """Until the server has completely answered so many requests."""
    until(lambda: server.answered.total() >= n_answered, f"{n_answered} answers")


@pytest.mark.parametrize(("number", "code", "reason"), STOPS)
def test_a_first_signal_lets_what_is_under_way_end_and_the_next_run_makes_the_rest(
    job: Path, number: signal.Signals, code: int, reason: str, tried: Tried
) -> None:
    gate = Gate(3)
    with FaultServer(gate) as server:
        with start(job, server) as run:
            until_under_way(server, job, n_answered=3, n_open=4)
            run.signal(number)
            run.until_stopping()
            gate.open()
            assert run.end().code == code
        assert server.n_requests == server.answered.total() == 7
        directory = job.parent / "job"
        ledgers.check_directory(directory)
        summary = ledgers.summary(directory)
        assert (summary["stop_reason"], summary["exit_code"]) == (reason, code)
        assert (summary["items"]["done"], summary["items"]["pending"]) == (7, 5)
        finish(job, server)
        assert server.requests == dict.fromkeys(IDS, 1)
    ledgers.check_directory(directory)
    tried("P15", 1, "exit codes")
    tried("P13", 1, "signals")


def test_what_does_not_end_within_the_grace_is_cancelled_and_may_be_billed(
    job: Path, tried: Tried
) -> None:
    with FaultServer(Gate(3)) as server:
        with start(job, server, "--grace", "0.2") as run:
            until_under_way(server, job, n_answered=3, n_open=4)
            run.signal(signal.SIGINT)
            assert run.end().code == 130
        _check_cancelled(job, server)
    tried("P13", 1, "signals")


@pytest.mark.parametrize("n_more", [1, 5])
def test_a_second_signal_cancels_at_once_and_more_of_them_do_no_harm(
    n_more: int, job: Path, tried: Tried
) -> None:
    with FaultServer(Gate(3)) as server:
        with start(job, server) as run:
            until_under_way(server, job, n_answered=3, n_open=4)
            run.signal(signal.SIGINT)
            run.until_stopping()
            for _ in range(n_more):
                run.signal(signal.SIGINT)
            assert run.end().code == 130
        _check_cancelled(job, server)
    tried("P13", 1, "signals")


def _check_cancelled(job: Path, server: FaultServer) -> None:
    directory = job.parent / "job"
    ledgers.check_directory(directory)
    told = Counter((a["outcome"], a["decision"], a["billed"]) for a in ledgers.attempts(directory))
    assert told == {("image", "done", "yes"): 3, ("cancelled", "stop", "maybe"): 4}
    assert ledgers.summary(directory)["maybe_billed"]["count"] == 4
    server.script = servers.draws
    finish(job, server)
    assert server.n_requests == N_ITEMS + 4
    assert server.answered == dict.fromkeys(IDS, 1)
    ledgers.check_directory(directory)


def test_a_signal_while_requests_wait_for_their_pace_sends_no_more(
    tmp_path: Path, tried: Tried
) -> None:
    paced = write_job(tmp_path / "job.jsonl", IDS, limits={"concurrency": 8, "rpm": 60})
    with FaultServer(servers.draws) as server:
        with start(paced, server) as run:
            until_under_way(server, paced, n_answered=1, n_open=0)
            run.signal(signal.SIGINT)
            run.until_stopping()
            n_sent = server.n_requests
            assert run.end().code == 130
        assert server.n_requests == n_sent <= 2
    ledgers.check_directory(tmp_path / "job")
    tried("P13", 1, "signals")


def test_a_signal_while_a_retry_waits_ends_the_run_without_it(tmp_path: Path, tried: Tried) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"])
    later = servers.refuses(429, retry_after="300")
    with FaultServer(lambda _: later) as server, start(job, server) as run:
        until(lambda: "rate_limited" in _ledger_text(tmp_path / "job"), "a recorded 429")
        run.signal(signal.SIGTERM)
        assert run.end().code == 143
    assert server.n_requests == 1
    ledgers.check_directory(tmp_path / "job")
    assert ledgers.results(tmp_path / "job")["cat"]["status"] == "pending"
    tried("P13", 1, "signals")


SLOW_END = """
import pathlib, time
import batchgen.cli.run as here
told = here.closing

def closing(*arguments):
    pathlib.Path("ended").touch()
    time.sleep(1)
    return told(*arguments)

here.closing = closing
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_end_of_the_run_changes_nothing_of_what_it_says(
    number: signal.Signals, job: Path, tried: Tried
) -> None:
    place = job.parent
    (place / "sitecustomize.py").write_text(SLOW_END.replace('"ended"', repr(f"{place}/ended")))
    where = ("-o", place, "--json", "--progress", "none")
    env = {"COMETAPI_KEY": KEY, "PYTHONPATH": f"{place}:{ROOT}"}
    with (
        FaultServer(servers.draws) as server,
        started("run", job, *where, "--base-url", server.url, **env) as run,
    ):
        until((place / "ended").exists, "the end of the run")
        run.signal(number)
        run.signal(number)
        done = run.end()
    assert (done.code, done.json["exit_code"]) == (0, 0)
    assert done.last_line.startswith("12/12 done")
    tried("P13", 1, "signals")


def _ledger_text(directory: Path) -> str:
    return "".join(path.read_text() for path in (directory / "ledger").glob("*.jsonl"))


def test_a_killed_run_is_recovered_and_no_whole_answer_is_asked_for_again(job: Path) -> None:
    gate = Gate(3)
    directory = job.parent / "job"
    with FaultServer(gate) as server:
        with start(job, server) as run:
            until_under_way(server, job, n_answered=3, n_open=4)
            run.signal(signal.SIGKILL)
            assert run.end().code == -signal.SIGKILL
        gate.open()
        finish(job, server)
        assert {server.requests[item] for item in IDS} <= {1, 2}
        assert server.n_requests == N_ITEMS + 4
    interrupted = [a for a in ledgers.attempts(directory) if a["outcome"] == "interrupted"]
    assert [(a["decision"], a["billed"]) for a in interrupted] == [("retry", "maybe")] * 4
    assert {a["item"] for a in interrupted} == {i for i in IDS if server.requests[i] == 2}
    assert all(a["cost_usd"] is not None for a in interrupted)
    ledgers.check_directory(directory, ended=False)


@pytest.mark.slow
def test_kills_at_any_moment_lose_nothing_and_ask_twice_only_what_was_under_way(
    job: Path,
) -> None:
    directory = job.parent / "job"

    def a_moment(asked: Asked) -> Answer:
        threading.Event().wait(0.02)
        return servers.draws(asked)

    n_open_at_kill = 0
    with FaultServer(a_moment) as server:
        for n_whole in (1, 3, 5, 8):
            with start(job, server) as run:
                until_answered(server, n_whole)
                run.signal(signal.SIGKILL)
                run.end()
            n_open_at_kill += _n_unfinished(directory)
        finish(job, server)
        n_extra = server.n_requests - N_ITEMS
    assert 0 <= n_extra <= n_open_at_kill
    attempts = ledgers.attempts(directory)
    n_interrupted = sum(a["outcome"] == "interrupted" for a in attempts)
    assert n_extra <= n_interrupted
    assert Counter(a["item"] for a in attempts if a["outcome"] == "image") == dict.fromkeys(IDS, 1)
    ledgers.check_directory(directory, ended=False)


def _n_unfinished(directory: Path) -> int:
    text = _ledger_text(directory)
    return text.count('"event":"sent"') - text.count('"event":"attempt"')


# --- the window between the last byte of an answer and its line --------------------------------


@pytest.fixture
def received(tmp_path: Path) -> Path:
    """A directory whose only run was killed when it had received everything.

    Made by running a job, and taking back what is written after the receipt.
    """
    job = write_job(tmp_path / "job.jsonl", ["cat"])
    with FaultServer(servers.draws) as server:
        where = ("-o", tmp_path, "--base-url", server.url)
        with started("run", job, *where, COMETAPI_KEY=KEY, PYTHONSTARTUP="") as run:
            assert run.end().code == 0
    return tmp_path / "job"


def _take_back(directory: Path, *, renamed: bool) -> None:
    """Put a directory into the state between receipt and `attempt` line."""
    [segment] = (directory / "ledger").glob("*.jsonl")
    lines = ledgers.lines(segment)
    [sent] = [line for line in lines if line["event"] == "sent"]
    [attempt] = [line for line in lines if line["event"] == "attempt"]
    raw = segment.read_bytes().split(b"\n")
    segment.write_bytes(b"\n".join(raw[:2]) + b"\n")
    [image] = attempt["images"]
    stem = ledgers.part_stem(sent)
    part = f"{stem}.0.part"
    document = servers.document(servers.image_part(b""))
    document["candidates"][0]["content"]["parts"][0]["inlineData"]["data"] = "0"
    item = json.loads((directory / "items.jsonl").read_text())
    receipt = {
        "v": 1,
        "sent": sent,
        "item": item,
        "http_status": 200,
        "request_id": None,
        "latency_s": 1.5,
        "bytes_in": attempt["bytes_in"],
        "skeleton": json.dumps(document),
        "images": [{"part": part, "sha256": image["sha256"], "size_bytes": image["bytes"]}],
    }
    (directory / ".parts" / f"{stem}.json").write_text(json.dumps(receipt))
    if not renamed:
        shutil.move(directory / image["path"], directory / ".parts" / part)
    for name in ("results.jsonl", "summary.json", "summary.md", "report.html"):
        (directory / name).unlink()


@pytest.mark.parametrize("renamed", [False, True], ids=["not renamed yet", "renamed already"])
def test_an_answer_that_was_whole_is_finished_locally_and_nothing_is_sent(
    received: Path, *, renamed: bool
) -> None:
    _take_back(received, renamed=renamed)
    job = received.parent / "job.jsonl"
    with FaultServer(servers.draws) as server:
        finish(job, server)
        assert server.n_connections == 0
    [attempt] = ledgers.attempts(received)
    assert (attempt["outcome"], attempt["decision"], attempt["billed"]) == ("image", "done", "yes")
    assert attempt["recovered"] is True
    assert attempt["cost_usd"] == "0.138160"
    assert (received / "images/cat.png").read_bytes() == servers.png("cat 1")
    ledgers.check_directory(received, ended=False)


@pytest.mark.parametrize("renamed", [False, True], ids=["not renamed yet", "renamed already"])
def test_an_answer_that_was_whole_is_finished_where_its_item_had_its_picture_and_then_moved(
    tmp_path: Path, *, renamed: bool
) -> None:
    item = {"id": "big cat", "prompt": "cat", "tags": {"kind": "pets/big"}}
    job = write_job(tmp_path / "job.jsonl", [item], output={"name": "{kind}/{id}"})
    directory = tmp_path / "job"
    with FaultServer(servers.draws) as server:
        finish(job, server)
        _take_back(directory, renamed=renamed)
        write_job(job, [item], output={"name": "other/{id}"})
        finish(job, server)
        assert server.n_requests == 1
    [attempt] = ledgers.attempts(directory)
    assert (attempt["decision"], attempt["recovered"]) == ("done", True)
    assert [image["path"] for image in attempt["images"]] == ["images/pets_big/big cat.png"]
    [filed] = ledgers.filed(directory)
    assert (filed["moved_from"], filed["path"]) == (
        "images/pets_big/big cat.png",
        "images/other/big cat.png",
    )
    assert (directory / "images/other/big cat.png").read_bytes() == servers.png("cat 1")
    ledgers.check_directory(directory, ended=False)


def test_a_part_without_a_receipt_is_no_answer(received: Path) -> None:
    _take_back(received, renamed=False)
    [receipt] = (received / ".parts").glob("*.json")
    receipt.unlink()
    with FaultServer(servers.draws) as server:
        finish(received.parent / "job.jsonl", server)
        assert server.requests == {"cat": 1}
    assert [a["outcome"] for a in ledgers.attempts(received)] == ["interrupted", "image"]
    ledgers.check_directory(received, ended=False)


def test_a_recovered_refusal_stays_refused(received: Path) -> None:
    _take_back(received, renamed=False)
    [path] = (received / ".parts").glob("*.json")
    receipt = json.loads(path.read_text())
    refused = servers.document(finish_reason="IMAGE_SAFETY")
    path.write_text(json.dumps({**receipt, "images": [], "skeleton": json.dumps(refused)}))
    job = received.parent / "job.jsonl"
    with FaultServer(servers.draws) as server:
        where = ("-o", job.parent, "--base-url", server.url)
        done = batchgen("run", job, *where, COMETAPI_KEY=KEY)
        assert server.n_connections == 0
    assert done.code == 4
    [attempt] = ledgers.attempts(received)
    assert (attempt["outcome"], attempt["recovered"]) == ("blocked", True)


def test_a_torn_last_line_is_moved_aside_and_told(received: Path) -> None:
    [segment] = (received / "ledger").glob("*.jsonl")
    lines = segment.read_bytes().split(b"\n")
    segment.write_bytes(b"\n".join([*lines[:-2], lines[-2][:40]]))
    job = received.parent / "job.jsonl"
    with FaultServer(servers.draws) as server:
        where = ("-o", job.parent, "--base-url", server.url)
        done = batchgen("run", job, *where, COMETAPI_KEY=KEY)
        assert server.n_connections == 0
    assert done.code == 0
    [torn] = (received / "ledger").glob("*.torn")
    assert torn.read_bytes().startswith(lines[-2][:40])
    assert re.search(rf"warning: .*{re.escape(torn.name)}", done.err)
