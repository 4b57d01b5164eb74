"""The lines of a ledger, as a run in another process writes them."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from batchgen.errors import BatchgenError, store_errors
from batchgen.store.inside import open_inside
from batchgen.store.ledger import End, Line, read_line, run_id_of, segments

# Of a ledger that is none, the first places tell enough.
_MAX_UNREADABLE: Final = 100


class LedgerReplaced(BatchgenError):
    """What was read of the ledger is there no more: another one has taken its place."""


@dataclass(slots=True)
class _Segment:
    """How far one segment has been read.

    Attributes:
        inode: Which file it is.
        read_bytes: So much of it, all whole lines.
        n_lines: How many these are.
        has_ended: Its run has: nothing is ever written behind that.
    """

    inode: int
    read_bytes: int = 0
    n_lines: int = 0
    has_ended: bool = False


@dataclass(slots=True)
class Follower:
    """Reads the segments of a ledger in order, each line once.

    Attributes:
        ledger: Their directory, which need not exist yet.
        go_on: Called before each line; what it raises ends the reading.
        unreadable: Places (`NAME:LINE: why`) of lines that are none.

    A last line without its end is left for later: the run is writing it, or the next one will cut
    it off or end it. A killed run's segment may grow once more, before the next run's begins; one
    whose run has ended is not looked at again.

    Cost: one look at the directory, and one at each segment whose run has not ended and at the
    newest; nothing is read where nothing grew. One line is held.
    """

    ledger: Path
    go_on: Callable[[], None] = lambda: None
    unreadable: list[str] = field(default_factory=list)
    _segments: dict[Path, _Segment] = field(default_factory=dict)

    def lines(self) -> Iterator[tuple[Path, int, Line]]:
        """Yield what is new: the segment, where in it the line begins in bytes, and the line.

        Raises:
            LedgerReplaced: Something that was read is there no more.
            StoreError: A line is of a newer batchgen, or the disk failed.
        """
        paths = segments(self.ledger)
        if not self._segments.keys() <= set(paths):
            raise LedgerReplaced(f"{self.ledger}: a segment has gone")
        over = {run_id_of(path) for path, one in self._segments.items() if one.has_ended}
        for path in paths:
            # Those of a run's workers end with it, and no line of theirs says so.
            is_read = path in self._segments and run_id_of(path) in over
            if not is_read or path == paths[-1]:
                yield from self._new_lines(path)

    def again(self) -> Iterator[Line]:
        """Yield what was read so far once more.

        Raises:
            StoreError: The disk failed.
        """
        for path in sorted(self._segments):
            n_left = self._segments[path].read_bytes
            with store_errors(path), open_inside(path) as file:
                for number, text in enumerate(file, 1):
                    self.go_on()
                    n_left -= len(text)
                    if n_left < 0:
                        break
                    line, _ = read_line(text, path, number)
                    if line is not None:
                        yield line

    def _new_lines(self, path: Path) -> Iterator[tuple[Path, int, Line]]:
        with store_errors(path):
            seen = os.stat(path)  # noqa: PTH116 - twice a second
        segment = self._segments.setdefault(path, _Segment(seen.st_ino))
        if seen.st_ino != segment.inode or seen.st_size < segment.read_bytes:
            raise LedgerReplaced(f"{path}: another file is there now")
        if seen.st_size == segment.read_bytes:
            return
        with store_errors(path), open_inside(path) as file:
            file.seek(segment.read_bytes)
            for text in file:
                self.go_on()
                if not text.endswith(b"\n"):
                    return
                yield from self._line(path, segment, text)

    def _line(self, path: Path, segment: _Segment, text: bytes) -> Iterator[tuple[Path, int, Line]]:
        line, why = read_line(text, path, segment.n_lines + 1)
        begins = segment.read_bytes + text.rfind(b"\0") + 1
        segment.n_lines += 1
        segment.read_bytes += len(text)
        if why is not None and len(self.unreadable) < _MAX_UNREADABLE:
            self.unreadable.append(f"{path.name}:{segment.n_lines}: {why}")
        segment.has_ended = isinstance(line, End)
        if line is not None:
            yield path, begins, line
