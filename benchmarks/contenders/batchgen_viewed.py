"""The same run while three people look at it: `batchgen report --serve`, and three viewers."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from benchmarks.contenders import batchgen
from benchmarks.work import Work

N_VIEWERS = 3
# A thumbnail takes 0.06 s of a processor that has nothing else to do, and gives way to all others.
_SEEN_WITHIN_S_EACH = 0.4


@contextmanager
def beside(work: Work) -> Iterator[None]:
    """Serve and look; each viewer must have seen all pictures soon after the run."""
    page = Path(work.directory) / "output/bench"
    serve = [sys.executable, "-m", "batchgen", "report", str(page), "--serve", "--port", "0"]
    with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True) as server:
        try:
            url = _line(server.stderr).split(" at ")[1].split()[0]
            look = [sys.executable, "-m", "benchmarks.viewers", url, str(N_VIEWERS), str(work.n)]
            with subprocess.Popen(look, stdout=subprocess.PIPE, text=True) as viewers:
                try:
                    _expect(viewers.stdout, "ready")
                    yield
                    _wait(viewers, _SEEN_WITHIN_S_EACH * work.n)
                    _expect(viewers.stdout, "seen")
                finally:
                    viewers.kill()
        finally:
            server.terminate()


def run(work: Work) -> None:
    """Write the job file and run it."""
    batchgen.run(work)


def _wait(viewers: "subprocess.Popen[str]", within_s: float) -> None:
    try:
        viewers.wait(within_s)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"the viewers had not seen all within {within_s:.0f} s") from None


def _line(stream: IO[str] | None) -> str:
    return stream.readline() if stream is not None else ""


def _expect(stream: IO[str] | None, word: str) -> None:
    if (told := _line(stream).strip()) != word:
        raise SystemExit(f"expected {word!r} of the viewers, and not {told!r}")
