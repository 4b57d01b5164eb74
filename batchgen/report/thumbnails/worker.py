"""A process that makes thumbnails, as whoever started it sees it: a pipe to it, and one back."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Final

from batchgen.report.thumbnails.folder import Source

# A picture of 4K takes a third of a second. A disk may be slow; nobody waits for ever.
PATIENCE_S: Final = 60.0
NICENESS: Final = 10
NO_WORKER: Final = "no process to make them could be started"
_ENDING_S: Final = 5.0
# Whatever the folder, the environment and site-packages hold, it gets the standard library, and
# behind it the Pillow that is used here. UTF-8, so that the bytes of its paths arrive as they are.
_ALONE: Final = ("-I", "-S", "-X", "utf8")
_PROGRAM: Final = Path(__file__).with_name("draw.py")


class Worker:
    """A process that makes one thumbnail at a time.

    It says `ready` first; then each `give` is followed by one answer. It ends when it is told to,
    and when this process does, however that ends.

    Raises:
        OSError: No process can be started.
    """

    def __init__(self, niceness: int = NICENESS) -> None:
        pillow = find_spec("PIL")
        # A frozen program is no interpreter: it would begin its work once more.
        if pillow is None or pillow.origin is None or hasattr(sys, "frozen") or not sys.executable:
            raise OSError(NO_WORKER)
        home = Path(pillow.origin).parents[1]
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and a file of ours
            [sys.executable, *_ALONE, str(_PROGRAM), str(home), str(niceness)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            process_group=0,  # Ctrl-C is for this process, which then ends the worker
        )
        self.pid = self._process.pid

    def fileno(self) -> int:
        """What can be read when an answer is there."""
        return self._process.stdout.fileno()  # type: ignore[union-attr] # it is a pipe

    def give(self, source: Source, target: Path) -> None:
        """Ask for a thumbnail.

        Raises:
            OSError: The worker has gone.
        """
        job = {
            "sha256": source.sha256,
            "source": os.fsencode(source.path.absolute()).decode("latin-1"),
            "target": os.fsencode(target.absolute()).decode("latin-1"),
        }
        # Less than a pipe holds, and it has taken what was written before: this does not wait.
        os.write(self._process.stdin.fileno(), json.dumps(job).encode() + b"\n")  # type: ignore[union-attr]

    def answer(self) -> str:
        """What it says, waited for; nothing if it has gone."""
        return os.read(self.fileno(), 64).decode().strip()

    def answer_within(self, within_s: float) -> str:
        """The same, but nothing also if it takes too long."""
        return self.answer() if with_answers([self], within_s) else ""

    def kill(self) -> None:
        """End it at once. A draft that it may leave is removed by the next report."""
        self._process.kill()

    def end(self) -> None:
        """End it, and let go of it."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        with suppress(subprocess.TimeoutExpired):  # a disk that does not answer lets nobody go
            self._process.wait(_ENDING_S)


def with_answers(workers: Iterable[Worker], within_s: float) -> list[Worker]:
    """Those that have said something, or have gone; none if nobody does in that time."""
    with DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker, EVENT_READ, worker)
        return [key.data for key, _ in selector.select(within_s)]
