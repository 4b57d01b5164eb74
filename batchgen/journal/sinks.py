"""Where the lines of a log go. A line is one write, and what cannot be written stops nothing.

Several processes may append to one file: each write goes to its end as a whole. A file that was
renamed, as logrotate does, is left for a new one under the old name.
"""

import errno
import os
import select
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TextIO

from batchgen.errors import UsageError

# O_NONBLOCK: a pipe without a reader is refused, and one that is full loses a line; a file of a
# disk ignores it.
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
_LOOKS: Final = 5
_BETWEEN_LOOKS_S: Final = 0.01


class StreamLines:
    """Lines on a stream such as stderr; once its reader has left, they go nowhere."""

    def __init__(self, stream: TextIO | None) -> None:
        """Set the stream; None if the process was started without one."""
        self._descriptor = None if stream is None else stream.fileno()

    def write(self, line: bytes) -> None:
        """Write a line, as long as somebody reads."""
        while line and self._descriptor is not None:
            try:
                line = line[os.write(self._descriptor, line) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])
            except OSError:
                self._descriptor = None

    def close(self) -> None:
        """The stream is not ours."""


class LogFile:
    """A file to which lines are appended, until the end of the run."""

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        """Open it.

        Args:
            path: The file, which may be there; its folder must be.
            tell: Told, once, when a line cannot be written.

        Raises:
            UsageError: It cannot be written.
        """
        self._path, self._tell = path, tell
        self._is_told = False
        try:
            self._open()
        except OSError as error:
            raise UsageError(f"--log-file {path}: {error.strerror}; nothing was sent") from error
        self._is_torn = self._ends_torn()

    def write(self, line: bytes) -> None:
        """Append a line; whoever runs this goes on whether or not it can be written."""
        if self._is_moved():
            with suppress(OSError):  # then the old one, wherever it is now, takes the line
                self._reopen()
        data = b"\n" + line if self._is_torn else line
        try:
            while data:
                n_written = os.write(self._descriptor, data)
                self._is_torn = not data[:n_written].endswith(b"\n")
                data = data[n_written:]
        except OSError as error:
            self._failed(error)

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            os.close(self._descriptor)

    def _open(self) -> None:
        self._descriptor = os.open(self._path, _FLAGS, 0o644)
        self._status = os.fstat(self._descriptor)

    def _reopen(self) -> None:
        old = self._descriptor
        self._open()
        os.close(old)
        self._is_torn = self._ends_torn()

    def _is_moved(self) -> bool:
        """Whether another file, or none, lies under the name by now."""
        try:
            return not os.path.samestat(self._path.stat(), self._status)
        except OSError:
            return True

    def _ends_torn(self) -> bool:
        """Whether somebody's last line was not written to its end, on a disk that was full.

        A line that another run is about to write looks the same, but not for long.
        """
        if not stat.S_ISREG(self._status.st_mode):
            return False
        for _ in range(_LOOKS):
            if self._last_byte() in {b"", b"\n"}:
                return False
            time.sleep(_BETWEEN_LOOKS_S)
        return True

    def _last_byte(self) -> bytes:
        with suppress(OSError), self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1)
        return b""

    def _failed(self, error: OSError) -> None:
        if self._is_told:
            return
        self._is_told = True
        why = "its reader is too slow" if error.errno == errno.EAGAIN else error.strerror
        self._tell(f"warning: --log-file {self._path}: {why}; lines are missing, the run goes on")
