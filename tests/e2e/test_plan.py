"""`batchgen plan`, `run --dry-run` and `validate`: what they tell, and that this is all they do."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import ledgers, servers
from tests.commands import Done, batchgen, environment, started, until
from tests.runs import KEY, MODEL, write_job
from tests.servers import Answer, Asked, FaultServer

Json = dict[str, Any]
PLANS = [("plan",), ("run", "--dry-run")]
# 1 token in, 360 of words, 225 of thoughts, and 5 % on top of all these for a second call; 1120 of
# a picture out.
PRICE = "0.141773"
# Prints what would reach the network, and ends: nothing may.
NO_NETWORK = """
import sys

def refuse(event, arguments):
    if event.startswith("socket.") and event != "socket.gethostname":
        print("TRIED", event, arguments, file=sys.stderr, flush=True)
        raise SystemExit(99)

sys.addaudithook(refuse)
from batchgen.cli import main
main()
"""


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(servers.draws) as running:
        yield running


@pytest.fixture
def job(tmp_path: Path, server: FaultServer) -> Path:
    """Three items, for the server as it stands in the job: a plan takes no address."""
    return write_job(tmp_path / "job.jsonl", ["a", "b", "c"], provider=_provider(server))


def _provider(server: FaultServer) -> Json:
    return {"base_url": server.url, "api_key_env": "MY_KEY", "auth": "x-goog-api-key"}


def run(job: Path, *flags: str) -> Done:
    return batchgen("run", job, "-o", job.parent / "out", *flags, MY_KEY=KEY)


def plan(job: Path, *flags: str, command: tuple[str, ...] = ("plan",)) -> Json:
    """The plan as JSON; there is no key, and there must be no need of one."""
    done = batchgen(*command, job, "-o", job.parent / "out", "--json", *flags)
    assert done.code == 0, done.err
    return dict(done.json)


def fates(told: Json) -> Json:
    """Why items are made or not, by id."""
    groups = {**told["to_make"], **told["left_alone"]}
    assert all(group["count"] == len(group["ids"]) for group in groups.values())
    return {item: fate for fate, group in groups.items() for item in group["ids"]}


def tree(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything under a directory: when it was changed, by whom it can be read, what it holds."""
    found = {}
    for path in sorted([directory, *directory.rglob("*")]):
        told = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(directory))] = (told.st_mtime_ns, told.st_mode, data)
    return found


# --- nothing is done ------------------------------------------------------------------------------


def _new(_: Path, __: FaultServer) -> None:
    pass


def _finished(job: Path, _: FaultServer) -> None:
    assert run(job).code == 0


def _half_finished(job: Path, server: FaultServer) -> None:
    """One item is done, one was under way when the run was killed; its last line is torn."""
    server.script = lambda asked: servers.draws(asked) if asked.prompt == "a" else servers.stalls()
    where = ("-o", job.parent / "out")
    with started("run", job, *where, "--concurrency", "1", MY_KEY=KEY) as killed:
        until(lambda: server.requests["b"], "the second request")
        killed.signal(signal.SIGKILL)
        killed.end()
    [segment] = (job.parent / "out/job/ledger").glob("*.jsonl")
    with segment.open("ab") as file:
        file.write(b'{"v":1,"event":"att')
    assert (job.parent / "out/job/.parts").is_dir()


@pytest.mark.parametrize("before", [_new, _half_finished, _finished])
def test_nothing_is_sent_and_nothing_is_touched_whatever_was_there_before(
    before: Callable[[Path, FaultServer], None],
    job: Path,
    server: FaultServer,
    tried: Callable[[str, int, str], None],
) -> None:
    before(job, server)
    n_connections, found = server.n_connections, tree(job.parent)
    told = [plan(job, command=command) for command in PLANS]
    assert batchgen("validate", job).code == 0
    assert server.n_connections == n_connections
    assert tree(job.parent) == found
    assert told[0] == told[1]
    expected = {
        _new: {"a": "new", "b": "new", "c": "new"},
        _half_finished: {"a": "done", "b": "pending", "c": "new"},
        _finished: {"a": "done", "b": "done", "c": "done"},
    }
    assert fates(told[0]) == expected[before]
    tried("P11", 3, "runs")


def test_not_even_a_name_is_looked_up(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    item = {"id": "a", "prompt": "x", "references": ["https://pictures.invalid/a.png"]}
    job = write_job(tmp_path / "job.jsonl", [item])

    def look(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", NO_NETWORK, *words, str(job)],
            env=environment(COMETAPI_KEY=KEY),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )

    for words in (("validate",), *PLANS):
        done = look(*words)
        assert (done.returncode, "TRIED" in done.stderr) == (0, False), done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["job.jsonl"]
    assert "TRIED" in look("run", "--provider", "emulator").stderr  # it does catch what tries
    tried("P11", 3, "runs")


def test_a_plan_can_be_had_while_a_run_goes_on_and_disturbs_it_in_nothing(
    job: Path, server: FaultServer
) -> None:
    released = threading.Event()

    def script(asked: Asked) -> Answer:
        picture = servers.draws(asked)
        return picture if asked.prompt == "a" else servers.waits_for(released, picture)

    server.script = script
    where = ("-o", job.parent / "out")
    with started("run", job, *where, "--concurrency", "1", MY_KEY=KEY) as going_on:
        until(lambda: server.requests["b"], "the second request")
        told = plan(job)
        assert fates(told) == {"a": "done", "b": "pending", "c": "new"}
        assert told["n_unfinished"] == 1
        released.set()
        assert going_on.end().code == 0
    assert server.n_requests == 3
    ledgers.check_directory(job.parent / "out/job")


# --- what is told -----------------------------------------------------------------------------


def test_the_figures_and_the_words(job: Path) -> None:
    told = plan(job)
    assert told["by_model"] == {MODEL: 3}
    assert (told["job"], told["last_run_id"]) == ("job", None)
    assert float(told["planned_usd"]) == pytest.approx(3 * float(PRICE), rel=1e-4)
    assert run(job, "--only", "a").code == 0
    [segment] = (job.parent / "out/job/ledger").glob("*.jsonl")
    done = batchgen("plan", job, "-o", job.parent / "out")
    assert (done.code, done.err) == (0, "")
    text = " ".join(done.out.split())
    first = f"job → {job.parent}/out/job (last run {segment.stem})"
    assert text.startswith(f"{first} make 2 new b, c leave 1 unchanged a expected low high ")
    *_, tokens, cost, time, basis, last = (line.split() for line in done.out.splitlines())
    assert tokens == ["tokens", "3,471", "2,265", "5,595"]
    assert cost == ["cost", "$0.28", "$0.24", "$0.38"]
    assert (time[0], len(time)) == ("duration", 4)
    assert " ".join(basis) == "from published figures; about 2 at once"
    assert " ".join(last) == f"2/3 to make, planned $0.28 · {MODEL} 2"


def test_the_plan_reads_like_a_diff(job: Path, server: FaultServer) -> None:
    assert run(job).code == 0
    items: list[str | Json] = ["b", {"id": "c", "prompt": "c\u202e", "image_size": "2K"}, "d"]
    write_job(job, items, provider=_provider(server))
    done = batchgen("plan", job, "-o", job.parent / "out")
    steps = re.split(r"\n(?! {15})", done.out)  # each with its further lines
    lines = [" ".join(step.split()) for step in steps]
    assert [line for line in lines if line.startswith(("make", "leave"))] == [
        "make 1 new d",
        "make 1 changed c (prompt, image_size unset → 2K)",
        "leave 1 unchanged b",
        "leave 1 orphaned a (in the job no more; their pictures stay where they are)",
    ]
    told = plan(job)
    assert told["to_make"]["changed"] == {
        "count": 1,
        "ids": ["c"],
        "changes": {"c": ["prompt", "image_size unset → 2K"]},
    }
    assert told["orphaned"] == {"count": 1, "ids": ["a"]}


def test_what_a_run_would_refuse_is_refused_with_its_code(job: Path) -> None:
    wrong = write_job(job.parent / "wrong.jsonl", [{"id": "a", "prompt": "x", "modle": "m"}])
    priceless = write_job(job.parent / "priceless.jsonl", ["a"], model="without-a-price")
    refused = [
        batchgen("plan", wrong),
        batchgen("run", "--dry-run", priceless, "--max-cost", "1"),
        batchgen("plan", job, "--provider", "nobody"),
    ]
    assert [(done.code, done.out) for done in refused] == [(3, ""), (3, ""), (2, "")]
    assert all(done.err for done in refused)
