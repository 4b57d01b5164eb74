"""A file is read as it was when it was first opened, or not at all.

A job, and a table that it names, is read more than once and may take minutes. Somebody may write it
anew meanwhile; half of one version and half of another would be a job that nobody wrote.

What tells versions apart is what the system says of an open file: which one it is, its size, and
when it was last written. So whatever is done to it between the first opening and the end of the
last reading is noticed, and who replaces it by a rename changes nothing of what is open. Three
things are not: a writer that had begun before and pauses for as long as the reading takes, whose
half file looks whole; a change of bytes, not of size, in the very tick of the file system's clock
(some milliseconds) that the file was last written in; and one whose author sets the time back.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, UnsupportedOperation
from pathlib import Path
from typing import BinaryIO

from batchgen.errors import JobError, Problem
from batchgen.objects import as_written


def _open(path: Path) -> BufferedReader:
    return path.open("rb")


@dataclass(slots=True)
class Version:
    """One file, as it was when it was first opened.

    Attributes:
        path: Where it is.
        shown_path: How messages name it.
        open_file: How it is opened.
        sha256: Of its bytes, once it has been read whole.
    """

    path: Path
    shown_path: Path
    open_file: Callable[[Path], BufferedReader] = _open
    sha256: str = ""
    _known: tuple[int, ...] | None = None

    @contextmanager
    def opened(self, *, whole: bool = False) -> Iterator[BufferedReader]:
        """Open it for a reading; one that is given up halfway may be of any version.

        Args:
            whole: It is read to its end; then its digest is noted as well.

        Raises:
            OSError: It cannot be opened, the first time.
            JobError: It is another version, or became one before the reading ended.
        """
        try:
            file = self.open_file(self.path)
        except OSError as error:
            if self._known is None:
                raise
            raise self._changed() from error
        with file, self.held(file):
            yield file
            if whole and not self.sha256:
                file.seek(0)  # and not opened again: by now there may be another of its name
                self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()

    @contextmanager
    def held(self, file: BinaryIO) -> Iterator[None]:
        """Hold an open file against this version before it is read and after.

        Raises:
            JobError: It is another one.
        """
        self._compare(file)
        yield
        self._compare(file)

    def _compare(self, file: BinaryIO) -> None:
        try:
            told = os.fstat(file.fileno())
        except UnsupportedOperation:
            return  # bytes in memory, which nobody else writes to
        found: tuple[int, ...] = (told.st_dev, told.st_ino)
        if stat.S_ISREG(told.st_mode):  # a pipe has its own times and sizes, and is read once
            found += (told.st_size, told.st_mtime_ns)
        if self._known is None:
            self._known = found
        elif self._known != found:
            raise self._changed()

    def _changed(self) -> JobError:
        message = "it changed while it was read: run again when it is written"
        return JobError((Problem(as_written(self.shown_path), 1, 1, "", message),))
