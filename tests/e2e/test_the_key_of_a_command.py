"""The command with a key that its service quotes back: killed, aborted, interrupted, debugged."""

import itertools
import json
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.canary import Canary
from tests.commands import Done, Started, batchgen, started, until
from tests.runs import write_job
from tests.servers import Answer, Asked, FaultServer, document, http, image_part, png, sends

Tried: TypeAlias = Callable[[str, int, str], None]

pytestmark = pytest.mark.reliability

WHAT = "runs with a canary key"
DEBUGGED = {"PYTHONASYNCIODEBUG": "1", "PYTHONDEVMODE": "1", "PYTHONFAULTHANDLER": "1"}
N_ITEMS = 40


class Echo:
    """A service that quotes the key in every answer, each time in another spelling and place."""

    def __init__(self, canary: Canary, released: threading.Event | None = None) -> None:
        self._spellings = itertools.cycle(canary.spellings().values())
        self._released = released
        self._lock = threading.Lock()

    def __call__(self, asked: Asked) -> Answer:
        with self._lock:
            written = next(self._spellings)
        if self._released is not None and asked.prompt != "item-0":
            self._released.wait(30)
        if asked.nth == 1 and asked.prompt.endswith("7"):
            said: dict[str, object] = {"error": {"message": "K-HERE", "status": "UNAVAILABLE"}}
            return sends(http(503, self._body(said, written), {"x-request-id": "busy"}))
        picture = image_part(png(asked.prompt, 256), thoughtSignature="K-HERE")
        said = document({"text": "K-HERE"}, picture, responseId="K-HERE", usage={"note": "K-HERE"})
        return sends(http(200, self._body(said, written)))

    @staticmethod
    def _body(said: dict[str, object], written: str) -> bytes:
        return json.dumps(said).replace("K-HERE", written).encode()


@contextmanager
def running(
    directory: Path, canary: Canary, script: Callable[[Asked], Answer]
) -> Iterator[tuple[FaultServer, Started]]:
    job = write_job(
        directory / "job.jsonl",
        [f"item-{n}" for n in range(N_ITEMS)],
        limits={"concurrency": 8},
        retries={"patience": 1},
    )
    with (
        FaultServer(script) as server,
        started(
            *("run", job, "-v", "--base-url", server.url, "-o", directory / "out"),
            COMETAPI_KEY=canary.key,
            **DEBUGGED,
        ) as run,
    ):
        yield server, run


def check(canary: Canary, done: Done, directory: Path) -> None:
    assert not canary.found_in(done.out + done.err)
    assert not canary.found_below(directory / "out")


@pytest.mark.parametrize("number", range(6))
def test_a_kill_leaves_no_key_behind_and_neither_does_the_run_after_it(
    number: int, tmp_path: Path, tried: Tried
) -> None:
    canary = Canary()
    parts = tmp_path / "out/job/.parts"
    with running(tmp_path, canary, Echo(canary)) as (server, run):
        if number % 2:  # while an answer that is whole waits for its line in the ledger
            until(lambda: any(parts.glob("*.json")), "a receipt")
        else:
            least = random.Random(number).randrange(2, N_ITEMS - 8)
            until(lambda: server.n_requests >= least, "some requests")
        run.signal(signal.SIGKILL)
        check(canary, run.end(), tmp_path)
        assert server.log[0].headers["x-goog-api-key"] == canary.key
        again = batchgen(
            *("run", tmp_path / "job.jsonl", "--json", "--base-url", server.url),
            *("-o", tmp_path / "out"),
            COMETAPI_KEY=canary.key,
        )
    assert again.json["items"]["done"] == N_ITEMS
    check(canary, again, tmp_path)
    tried("P17", 2, WHAT)


@pytest.mark.parametrize(
    ("how", "code"),
    [((signal.SIGABRT,), -6), ((signal.SIGINT,), 130), ((signal.SIGINT, signal.SIGINT), 130)],
    ids=["aborted", "interrupted", "interrupted twice"],
)
def test_a_signal_makes_nobody_tell_the_key(
    how: tuple[signal.Signals, ...], code: int, tmp_path: Path, tried: Tried
) -> None:
    canary, released = Canary(), threading.Event()
    with running(tmp_path, canary, Echo(canary, released)) as (server, run):
        until(lambda: server.n_requests > 4, "requests that are under way")
        shown = Path(f"/proc/{run.process.pid}/cmdline").read_bytes()
        run.signal(how[0])
        if how == (signal.SIGINT,):
            released.set()
        elif how[1:]:  # two at once may come as one
            threading.Event().wait(1)
            run.signal(how[1])
        done = run.end()
        released.set()
    assert done.code == code
    assert "Fatal Python error: Aborted" in done.err or code != -6
    assert b"run\0" in shown
    assert not canary.found_in(shown)
    check(canary, done, tmp_path)
    tried("P17", 1, WHAT)


def test_a_key_from_a_file_shows_in_no_process_list_and_in_no_output(
    tmp_path: Path, tried: Tried
) -> None:
    canary, released = Canary(), threading.Event()
    (tmp_path / "key").write_text(canary.key + "\n")
    job = write_job(tmp_path / "job.jsonl", ["item-0", "item-1"])
    with (
        FaultServer(Echo(canary, released)) as server,
        started(
            *("run", job, "-v", "--json", "--base-url", server.url, "-o", tmp_path / "out"),
            *("--api-key-file", tmp_path / "key"),
            **DEBUGGED,
        ) as run,
    ):
        until(lambda: server.n_requests > 1, "a request that is under way")
        shown = [
            path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _is_there(path)
        ]
        environment = Path(f"/proc/{run.process.pid}/environ").read_bytes()
        released.set()
        done = run.end()
    assert done.code == 0
    assert not [line for line in shown if canary.found_in(line)]
    assert not canary.found_in(environment)  # a file leaves it out of there as well
    check(canary, done, tmp_path)
    tried("P17", 1, WHAT)


def _is_there(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except OSError:
        return False
