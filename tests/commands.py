"""The command as a process of its own, in an environment of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.request import ProxyHandler, build_opener

ROOT = Path(__file__).parent.parent
Json: TypeAlias = dict[str, Any]
DEADLINE_S = 40.0


def environment(**more: str) -> dict[str, str]:
    """The environment without anything that means something to batchgen, and this besides.

    Without thumbnails, unless they are asked for: a run makes them by processes of their own.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BATCHGEN_", "COMETAPI", "GEMINI_", "GOOGLE_"))
        and not name.lower().endswith("_proxy")
    }
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    return {**kept, "PYTHONPATH": path, "BATCHGEN_NO_THUMBNAILS": "1", **more}


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.err.rstrip("\n").rpartition("\n")[2]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def batchgen(*arguments: str | Path, **env: str) -> Done:
    """Run a command to its end."""
    return batchgen_within(DEADLINE_S, *arguments, **env)


def batchgen_within(deadline_s: float, /, *arguments: str | Path, **env: str) -> Done:
    """Run a command to its end, which may take longer or shorter than usual."""
    done = subprocess.run(
        [sys.executable, "-m", "batchgen", *map(str, arguments)],
        env=environment(**env),
        capture_output=True,
        timeout=deadline_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@dataclass
class Started:
    """A command that is still running."""

    process: subprocess.Popen[bytes]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def until_stopping(self) -> None:
        """Wait until it has said that it stops: two signals that come at once have no order."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith(b"stopping"):
                return
        raise AssertionError("it never said that it stops")

    def end(self) -> Done:
        out, err = self.process.communicate(timeout=DEADLINE_S)
        return Done(self.process.returncode, out.decode(), err.decode())


@contextlib.contextmanager
def started(*arguments: str | Path, **env: str) -> Iterator[Started]:
    """Start a command; it is killed, should it still be running at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "batchgen", *map(str, arguments)],
        env=environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield Started(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def until(happened: Callable[[], object], what: str, *, within_s: float = DEADLINE_S) -> None:
    """Look again and again until something has happened, within a deadline."""
    give_up_s = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < give_up_s, f"never happened: {what}"
        threading.Event().wait(0.01)


@dataclass(frozen=True)
class EmulatorProcess:
    """`batchgen emulate`, in a process of its own. Its counts are the oracle."""

    url: str

    def counts(self) -> Json:
        opener = build_opener(ProxyHandler({}))
        with opener.open(f"{self.url}/emulator/counts", timeout=10) as answer:
            counted: Json = json.load(answer)
            return counted

    def received(self) -> list[Json]:
        """The requests that it remembers, oldest first, each image as its digest."""
        opener = build_opener(ProxyHandler({}))
        with opener.open(f"{self.url}/emulator/requests?limit=1000", timeout=10) as answer:
            return [dict(request) for request in json.load(answer)]

    @property
    def n_requests(self) -> int:
        return int(self.counts()["requests"])

    @property
    def by_prompt(self) -> dict[str, int]:
        """How many requests came for each prompt."""
        counted = self.counts()["by_prompt"]
        return {prompt: int(of["requests"]) for prompt, of in counted.items()}


@contextlib.contextmanager
def emulator(*flags: str) -> Iterator[EmulatorProcess]:
    """Start an emulator on a free port and wait until it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "batchgen", "emulate", "--port", "0", *flags],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        told = process.stderr.readline()
        assert told.startswith("listening on http://"), told + process.stderr.read()
        yield EmulatorProcess(told.split()[-1])
    finally:
        process.terminate()
        process.wait(10)
        process.stderr.close()
