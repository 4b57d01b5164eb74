"""Each exit code where a scheduler starts the command: no terminal, no language, nobody to ask.

What leads to each of them is tried in test_exit_codes.py; here, what such a place needs of it.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests import ledgers, servers
from tests.commands import DEADLINE_S, ROOT, Done, until
from tests.runs import KEY, write_job
from tests.servers import Answer, Asked, FaultServer, refuses

Started: TypeAlias = subprocess.Popen[bytes]

IDS = ["a", "b", "c"]
BUG = "import batchgen.attempt as here\nhere.endpoint_path = None\n"
A_DAY = {
    "error": {
        "code": 429,
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}],
            }
        ],
    }
}


class Service:
    """Draws, and counts what it was paid for, unless it is to answer something else."""

    def __init__(self, otherwise: Callable[[Asked], Answer | None] = lambda _: None) -> None:
        self.otherwise = otherwise
        self.paid: Counter[str] = Counter()

    def __call__(self, asked: Asked) -> Answer:
        if (answer := self.otherwise(asked)) is not None:
            return answer
        self.paid[asked.prompt] += 1
        return servers.draws(asked)


@contextmanager
def nightly(
    job: Path, url: str, *flags: str, closed: bool = False, **env: str
) -> Iterator[Started]:
    """A run as cron starts it: a session of its own, and an environment of next to nothing.

    Args:
        job: Its output lies beside it.
        url: Where to send to.
        flags: Of the run.
        closed: Standard input is closed, and not only empty.
        env: What is set besides.
    """
    close = ["sh", "-c", 'exec "$@" <&-', "sh"] if closed else []
    command = [sys.executable, "-m", "batchgen", "run", str(job), "--base-url", url, *flags]
    plain = {"PATH": "/usr/bin:/bin", "HOME": str(job.parent), "SHELL": "/bin/sh"}
    ours = {"PYTHONPATH": str(ROOT), "BATCHGEN_NO_THUMBNAILS": "1", "COMETAPI_KEY": KEY}
    process = subprocess.Popen(
        [*close, *command],
        env={**plain, **ours, **env},
        cwd=job.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # so that there is no terminal to be opened either
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_words(run: Started, words: bytes) -> None:
    """Read what the run says up to the line with these words."""
    assert run.stderr is not None
    assert any(words in line for line in iter(run.stderr.readline, b"")), "it ended without them"


def end(run: Started) -> Done:
    """The end of a run, whose words are fit for a mail and for a log."""
    out, err = run.communicate(timeout=DEADLINE_S)
    done = Done(run.returncode, out.decode(), err.decode())
    assert done.out == ""
    assert done.err.endswith("\n")
    assert not set("\x1b\r\b\0") & set(done.err), repr(done.err)
    assert "[y/N]" not in done.err
    assert "Traceback" not in done.err
    return done


def night(job: Path, url: str, *flags: str, closed: bool = False, **env: str) -> Done:
    with nightly(job, url, *flags, closed=closed, **env) as run:
        return end(run)


def job_in(directory: Path, **head: Any) -> Path:
    return write_job(directory / "job.jsonl", IDS, **{"limits": {"concurrency": 1}, **head})


def odd(asked: Asked) -> Answer | None:
    return refuses(400) if asked.prompt == "b" else None


def test_0_when_all_is_made_and_when_there_is_nothing_to_do(tmp_path: Path) -> None:
    job, service = job_in(tmp_path), Service()
    with FaultServer(service) as server:
        assert [night(job, server.url, closed=closed).code for closed in (False, True)] == [0, 0]
    assert service.paid == Counter(IDS)


def test_1_for_a_bug_of_ours(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BUG)
    with FaultServer(servers.draws) as server:
        done = night(job_in(tmp_path), server.url, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.code == 1


@pytest.mark.parametrize("closed", [False, True], ids=["empty", "closed"])
def test_2_where_somebody_would_have_to_say_yes_and_nobody_is_there(
    closed: bool,  # noqa: FBT001 - a parameter of pytest
    tmp_path: Path,
) -> None:
    job = job_in(tmp_path, budget={"confirm_above_usd": 0.1})
    with FaultServer(servers.draws) as server:
        done = night(job, server.url, closed=closed)
    assert (done.code, server.n_connections) == (2, 0)
    assert "--yes" in done.err


def test_2_without_a_key_and_3_for_a_mistake(tmp_path: Path) -> None:
    with FaultServer(servers.draws) as server:
        assert night(job_in(tmp_path), server.url, COMETAPI_KEY="").code == 2
        assert night(job_in(tmp_path, limits={"rpm": "many"}), server.url).code == 3
    assert server.n_connections == 0


@pytest.mark.parametrize(
    ("code", "flags", "otherwise"),
    [
        (4, (), odd),
        (8, ("--max-cost", "0.3"), lambda _: None),
        (5, (), lambda asked: refuses(429, retry_after="7200") if asked.prompt == "b" else None),
    ],
)
def test_what_a_night_left_is_made_by_the_next_and_nothing_is_paid_twice(
    code: int,
    flags: tuple[str, ...],
    otherwise: Callable[[Asked], Answer | None],
    tmp_path: Path,
) -> None:
    job, service = job_in(tmp_path), Service(otherwise)
    with FaultServer(service) as server:
        assert night(job, server.url, *flags).code == code
        assert 0 < service.paid.total() < len(IDS)
        service.otherwise = lambda _: None
        assert night(job, server.url, "--retry-failed").code == 0
    assert service.paid == Counter(IDS)
    ledgers.check_directory(tmp_path / "output/job")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(refuses(401), id="a wrong key"),
        pytest.param(refuses(429, A_DAY), id="the quota of the day"),
    ],
)
def test_7_when_running_again_now_would_not_help(answer: Answer, tmp_path: Path) -> None:
    with FaultServer(lambda _: answer) as server:
        assert night(job_in(tmp_path), server.url).code == 7
    assert server.n_requests == 1


def test_7_where_the_service_speaks_no_tls(tmp_path: Path) -> None:
    with servers.HastyServer(refuses(400)) as server:
        assert night(job_in(tmp_path), server.url.replace("http:", "https:")).code == 7


def test_10_when_the_time_is_over_and_the_next_night_makes_the_rest(tmp_path: Path) -> None:
    job, service, released = job_in(tmp_path), Service(), threading.Event()
    with FaultServer(lambda asked: servers.waits_for(released, service(asked))) as server:
        with nightly(job, server.url, "--max-duration", "2s") as run:
            until(lambda: server.n_requests, "a request")
            wait_for_words(run, b"the time is over")
            released.set()
            assert end(run).code == 10
        assert service.paid == Counter(["a"])
        assert night(job, server.url).code == 0
    assert service.paid == Counter(IDS)
    ledgers.check_directory(tmp_path / "output/job")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_130_and_143_for_signals_while_items_are_left_and_11_for_who_comes_meanwhile(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    job, service, released = job_in(tmp_path), Service(), threading.Event()
    with FaultServer(lambda asked: servers.waits_for(released, service(asked))) as server:
        with nightly(job, server.url) as run:
            until(lambda: server.n_requests, "a request")
            refused = night(job, server.url)
            assert refused.code == 11
            says = json.loads((tmp_path / "output/job/.lock").read_text())
            holder = f"{says['run_id']}, process {run.pid} on {os.uname().nodename} since "
            assert holder + says["since"] in refused.err
            run.send_signal(number)
            wait_for_words(run, b"stopping")
            released.set()
            assert end(run).code == code
        assert night(job, server.url).code == 0
    assert service.paid == Counter(IDS)


def test_12_where_the_output_cannot_be_written(tmp_path: Path) -> None:
    job = job_in(tmp_path)
    (tmp_path / "output").mkdir()
    (tmp_path / "output/job").write_text("a file")
    with FaultServer(servers.draws) as server:
        assert night(job, server.url).code == 12
    assert server.n_connections == 0


def test_a_lock_that_nobody_holds_stops_no_night(tmp_path: Path) -> None:
    """The file may say what it likes, a process that lives included: the kernel's lock counts."""
    job, service = job_in(tmp_path), Service()
    lock = tmp_path / "output/job/.lock"
    lock.parent.mkdir(parents=True)
    says = {"pid": os.getpid(), "host": os.uname().nodename, "run_id": "r", "since": "2026"}
    lock.write_text(json.dumps(says))
    with FaultServer(service) as server:
        assert night(job, server.url).code == 0
        with lock.open("r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert night(job, server.url).code == 11
    assert service.paid == Counter(IDS)
