"""The log of a run by the command itself: on stderr and in a file, held against the ledger."""

import signal
import threading
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import journals, ledgers, servers
from tests.commands import ROOT, Done, batchgen, started, until
from tests.journals import Json, of_event
from tests.runs import KEY, write_job
from tests.servers import Answer, Asked, FaultServer, refuses

SOON = {"unsure": 1, "no_image": 0, "transport": 1}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write_job(tmp_path / "job.jsonl", ["a", "b"], limits={"concurrency": 1})


def flags(job: Path, server: FaultServer) -> tuple[Any, ...]:
    return ("run", job, "-o", job.parent / "output", "--base-url", server.url)


def run(job: Path, server: FaultServer, *more: str | Path, **env: str) -> Done:
    return batchgen(*flags(job, server), *more, **{"COMETAPI_KEY": KEY, **env})


def as_json(done: Done) -> list[Json]:
    """The lines on stderr, the last of which says the exit code of the command."""
    lines = journals.read(done.err)
    assert lines[-1]["event"] in {"run_ended", "error"}, done.err
    assert lines[-1]["exit_code"] == done.code
    return lines


def calls(lines: list[Json]) -> dict[str, list[tuple[Any, ...]]]:
    """What was sent and what came of it, in order, for each item."""
    found = defaultdict(list)
    for line in of_event(lines, "sent", "attempt"):
        names = ("event", "turn", "attempt", "key", "outcome", "decision", "billed", "cost_usd")
        found[line["item"]].append(tuple(line.get(name) for name in names))
    return found


OFTEN = "import batchgen.journal as here\nhere.PROGRESS_EVERY_S = 0.5\n"


def every_event(asked: Asked) -> Answer:
    if asked.prompt == "limited" and asked.nth == 1:
        return refuses(429, retry_after="1.2")
    if asked.prompt == "away" and asked.nth == 1:
        threading.Event().wait(1.5)  # until somebody has looked at what cools
        return refuses(502)
    return refuses(400) if asked.prompt.startswith("bad") else servers.draws(asked)


def test_a_run_that_meets_everything_tells_each_item_as_the_ledger_does(tmp_path: Path) -> None:
    child = {"id": "child", "prompt": "child", "references": ["item:bad-1"]}
    poster = {"id": "poster", "turns": [{"prompt": "first turn"}, {"prompt": "second turn"}]}
    items: list[str | Json] = ["limited", "away", "bad-1", child]
    items += [poster, "bad-2", "last"]
    job = write_job(
        tmp_path / "job.jsonl",
        items,
        retries=SOON,
        limits={"concurrency": 1},
        budget={"max_failures": 1},
    )
    (tmp_path / "sitecustomize.py").write_text(OFTEN)
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "BATCHGEN_TYPO": "1"}
    with FaultServer(every_event) as server:
        done = run(job, server, "--log-format", "json", "--json", **env)
        wrong = run(job, server, "--log-format", "json", "--rpm", "many")
        lines = as_json(done)
        assert {line["event"] for line in lines + as_json(wrong)} == set(journals.fields())
        told = calls(lines)
        [segment] = ledgers.segments(tmp_path / "output/job")
        assert told == calls(segment)
        n_sent = sum(one[0] == "sent" for of_item in told.values() for one in of_item)
        assert n_sent == server.n_requests
    _check_the_end(lines, done)
    ledgers.check_directory(tmp_path / "output/job")


def _check_the_end(lines: list[Json], done: Done) -> None:
    assert done.code == 4
    end = lines[-1]
    for name in ("exit_code", "stop_reason", "items", "attempts", "images", "cost_usd", "wall_s"):
        assert end[name] == done.json[name]
    [began] = of_event(lines, "run_began")
    assert all(line["run_id"] == done.json["run_id"] for line in lines[lines.index(began) :])
    ended = [line["status"] for line in of_event(lines, "item")]
    for status in ("done", "failed", "skipped"):
        assert ended.count(status) == done.json["items"][status]
    assert [one["state"] for one in of_event(lines, "cooling")][:2] == ["begin", "end"]
    assert "BATCHGEN_TYPO" in of_event(lines, "warning")[0]["message"]


def test_2_and_3_before_anything_is_sent_are_one_line(job: Path) -> None:
    bad = job.parent / "bad.yaml"
    bad.write_text("items: [{id: a, prompt: x, modle: m}]")
    with FaultServer(servers.draws) as server:
        dones = [
            run(job, server, "--log-format", "json", COMETAPI_KEY=""),
            run(job, server, BATCHGEN_LOG_FORMAT="json", BATCHGEN_PROGRESS="bar"),
            run(bad, server, "--log-format=json"),
        ]
        assert server.n_connections == 0
    told = [[(line["kind"], line["exit_code"]) for line in as_json(done)] for done in dones]
    assert told == [[("UsageError", 2)], [("UsageError", 2)], [("JobError", 3)]]
    assert "modle" in dones[2].err


def test_5_and_7_end_in_a_line_that_says_so(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b"], retries={"patience": "5s"})
    with FaultServer(lambda _: refuses(429, retry_after="7200")) as server:
        later = run(job, server, "--log-format", "json", "-q")
        server.script = lambda _: refuses(401)
        never = run(job, server, "--log-format", "json", "-q", "-v", "--progress", "plain")
    assert [later.code, never.code] == [5, 7]
    assert [line["event"] for line in as_json(later)] == ["stopping", "run_ended"]
    assert [line["event"] for line in as_json(never)] == ["stopping", "run_ended"]


def test_11_and_143_end_in_a_line_that_says_so(job: Path) -> None:
    released = threading.Event()
    log = ("--log-format", "json")
    with (
        FaultServer(lambda asked: servers.waits_for(released, servers.draws(asked))) as server,
        started(*flags(job, server), *log, COMETAPI_KEY=KEY) as first,
    ):
        until(lambda: server.n_requests, "a request")
        held = run(job, server, *log)
        first.signal(signal.SIGTERM)
        threading.Timer(0.5, released.set).start()
        stopped = first.end()
        rest = run(job, server, *log)
    assert (held.code, stopped.code, rest.code) == (11, 143, 0)
    assert [line["event"] for line in as_json(held)] == ["error"]
    assert [line["event"] for line in as_json(stopped)][-2:] == ["item", "run_ended"]
    assert as_json(rest)[-1]["items"]["done"] == 2


@pytest.mark.parametrize(
    ("raised", "code", "kind"), [("KeyboardInterrupt", 130, "Stopped"), ("KeyError", 1, "Bug")]
)
def test_1_and_a_signal_that_comes_early_are_one_line(
    raised: str, code: int, kind: str, job: Path
) -> None:
    (job.parent / "sitecustomize.py").write_text(
        "import batchgen.executors.local as here\n"
        f"def raise_file_limit(): raise {raised}\n"
        "here.raise_file_limit = raise_file_limit\n"
    )
    with FaultServer(servers.draws) as server:
        env = {"PYTHONPATH": f"{job.parent}:{ROOT}"}
        [line] = as_json(run(job, server, "--log-format", "json", **env))
    assert (line["kind"], line["exit_code"]) == (kind, code)


def test_a_file_has_the_lines_and_stderr_its_usual_text(job: Path) -> None:
    log, text = job.parent / "log.jsonl", job.parent / "log.txt"
    with FaultServer(servers.draws) as server:
        beside = run(job, server, "--force", "--log-format", "json", "--log-file", log)
        quiet = run(job, server, "--force", "-q", "--log-file", text)
        wrong = run(job, server, "--rpm", "x", "--log-format", "json", "--log-file", log)
    assert beside.err.startswith("job: 2 of 2 to make")
    assert [len(quiet.err.splitlines()), beside.code, quiet.code] == [1, 0, 0]
    assert "2/2 done" in beside.last_line
    lines = journals.read(log.read_bytes())
    events = [line["event"] for line in lines]
    each = ["sent", "attempt", "item"]
    assert events == ["run_began", *each, *each, "run_ended", "error"]
    assert (lines[-1]["exit_code"], wrong.code) == (2, 2)
    assert "Usage:" in wrong.err
    words = [line.split()[1].removesuffix(":") for line in text.read_text("utf-8").splitlines()]
    assert words == events[:-1]


def test_a_log_that_cannot_be_opened_sends_nothing(job: Path) -> None:
    with FaultServer(servers.draws) as server:
        done = run(job, server, "--log-file", job.parent / "absent/log")
        assert (done.code, server.n_connections) == (2, 0)
    assert "No such file" in done.err
    assert not (job.parent / "output").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is full")
@pytest.mark.parametrize("more", [(), ("-q",)])
def test_a_log_that_no_disk_takes_is_told_once_and_the_run_goes_on(
    more: tuple[str, ...], job: Path
) -> None:
    with FaultServer(servers.draws) as server:
        done = run(job, server, "--log-file", "/dev/full", *more)
        assert (done.code, server.n_requests) == (0, 2)
    assert done.err.count("/dev/full: No space left on device") == 1


def test_runs_that_append_to_one_log_tear_no_line(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    jobs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        jobs.append(write_job(tmp_path / name / "job.jsonl", [f"{name}-{n}" for n in range(30)]))
    more = ("--log-format", "json", "--log-file", log)
    with FaultServer(servers.draws) as server, ExitStack() as stack:
        both = [
            stack.enter_context(started(*flags(job, server), *more, COMETAPI_KEY=KEY))
            for job in jobs
        ]
        assert [one.end().code for one in both] == [0, 0]
    lines = journals.read(log.read_bytes())
    by_run = defaultdict(list)
    for line in lines:
        by_run[line["run_id"]].append(line["event"])
    assert [events.count("item") for events in by_run.values()] == [30, 30]
    assert [events[-1] for events in by_run.values()] == ["run_ended", "run_ended"]


def test_a_reader_of_the_log_that_leaves_changes_nothing(job: Path) -> None:
    with (
        FaultServer(servers.draws) as server,
        started(*flags(job, server), "--log-format", "json", COMETAPI_KEY=KEY) as alone,
    ):
        assert alone.process.stderr is not None
        alone.process.stderr.close()
        assert alone.process.wait(40) == 0
    ledgers.check_directory(job.parent / "output/job")


def test_a_dry_run_has_no_log(job: Path) -> None:
    log = job.parent / "log"
    done = batchgen("run", job, "--dry-run", "--log-format", "json", "--log-file", log)
    assert (done.code, log.exists()) == (0, False)
