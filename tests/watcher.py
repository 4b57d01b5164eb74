"""Looks at every picture of a folder, again and again, until its standard input is closed.

`python -m tests.watcher FOLDER` prints `{"looks": N, "partial": [[NAME, WHY], …]}` at its end. A
look is a file under a final name that was opened, read and followed to its last checksum. Each
pass looks at what is new, and at some of what was there before.
"""

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.crashes import FOLDERS, is_shown, why_partial

PAUSE_S = 0.002
MAX_OLD = 40  # in one pass


class Watcher:
    """What was seen so far."""

    def __init__(self, folder: str) -> None:
        self._folders = [Path(folder) / name for name in FOLDERS]
        self._known: set[str] = set()
        self._old: list[str] = []
        self._at = 0
        self.n_looks = 0
        self.partial: list[tuple[str, str]] = []

    def look(self) -> None:
        """Make one pass."""
        new = [path for path in self._shown() if path not in self._known]
        n_old = min(MAX_OLD, len(self._old))
        old = [self._old[(self._at + n) % len(self._old)] for n in range(n_old)]
        self._at += n_old
        for path in new + old:
            self._parse(path)
        self._known.update(new)
        self._old += new

    def _shown(self) -> Iterator[str]:
        """The pictures under names that a user takes for final."""
        for folder in self._folders:
            with suppress(FileNotFoundError), os.scandir(folder) as entries:
                yield from (one.path for one in entries if is_shown(one.name))

    def _parse(self, path: str) -> None:
        try:
            with Path(path).open("rb") as file:
                # What is there now, not what may come while it is read.
                data = file.read(os.fstat(file.fileno()).st_size)
        except FileNotFoundError:
            return  # a file may be replaced by one with another ending
        self.n_looks += 1
        if (why := why_partial(data)) is not None:
            self.partial.append((path, why))


def main() -> None:
    """Watch until standard input ends."""
    watcher = Watcher(sys.argv[1])
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    while not ended.wait(PAUSE_S):
        watcher.look()
    json.dump({"looks": watcher.n_looks, "partial": watcher.partial}, sys.stdout)


if __name__ == "__main__":
    main()
