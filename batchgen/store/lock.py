"""One writer a directory: a lock that ends with the process that held it."""

import fcntl
import json
import os
import socket
import time
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from batchgen.clock import stamp
from batchgen.errors import OutputHeld, StoreError, store_errors
from batchgen.store.inside import open_inside, refuse_links

_N_LOOKS: Final = 10
_BETWEEN_LOOKS_S: Final = 0.02
_MAX_BYTES: Final = 4096
_NAMELESS: Final = "which has not said its name yet"


def is_held(path: Path) -> bool:
    """Whether a run holds a directory at this moment, by its lock file; nothing is waited for.

    Where there is no such file, or it cannot be read, none is known to.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    finally:
        os.close(descriptor)
    return False


def may_be_held_by(path: Path, run_id: str) -> bool:
    """Whether a run holds a directory at this moment, by its lock file; nothing is waited for.

    One that another run holds is not held by this one; where the file does not say, it may be.
    """
    return is_held(path) and _said_by(path) in {None, run_id}


def held_by(path: Path) -> str | None:
    """Who holds a directory at this moment, as its lock file says; None if nobody is known to."""
    if not is_held(path):
        return None
    try:
        with open_inside(path) as file:
            return _in_words(file.read(_MAX_BYTES)) or _NAMELESS
    except OSError:
        return _NAMELESS


def _in_words(says: bytes) -> str | None:
    """What a lock file says of who holds it; None if it does not say it yet."""
    try:
        told = json.loads(says)
        return f"{told['run_id']}, process {told['pid']} on {told['host']} since {told['since']}"
    except (ValueError, KeyError, TypeError):
        return None


def _said_by(path: Path) -> str | None:
    """The run that a lock file names; None if it names none."""
    try:
        with open_inside(path) as file:
            run_id = json.loads(file.read(_MAX_BYTES))["run_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return run_id if isinstance(run_id, str) else None


class OutputLock:
    """Hold a job's directory for as long as the process lives, at most.

    The kernel lets go of the lock when its holder dies, however it dies; the file stays and says
    who held it last, which harms nobody.
    """

    def __init__(self, path: Path, *, run_id: str, at: datetime) -> None:
        """Set the file and what it will say."""
        self._path = path
        self._says = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "run_id": run_id,
            "since": stamp(at),
        }

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            OutputHeld: Another run has it; the message says which.
            StoreError: The directory cannot be written.
        """
        refuse_links(self._path.parent, [self._path])  # it is emptied
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._descriptor = os.open(self._path, flags, 0o644)
        except OSError as error:
            raise StoreError.of(error, self._path) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            held_by = self._holder()
            os.close(self._descriptor)
            raise OutputHeld(
                f"{self._path.parent} is held by another run ({held_by}); "
                "wait for it, or choose another directory with -o"
            ) from error
        except OSError as error:
            os.close(self._descriptor)
            raise StoreError.of(error, self._path) from error
        try:
            self._write()
        except StoreError:
            os.close(self._descriptor)
            raise
        return self

    def rename(self, run_id: str) -> None:
        """Say another name of the run that holds it.

        Raises:
            StoreError: The file cannot be written.
        """
        if run_id != self._says["run_id"]:
            self._says["run_id"] = run_id
            self._write()

    def __exit__(self, *exc: object) -> None:
        """Let go."""
        os.close(self._descriptor)

    def _write(self) -> None:
        with store_errors(self._path):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(self._says).encode(), 0)

    def _holder(self) -> str:
        """Who holds it; one that has just taken it says so within a moment."""
        for _ in range(_N_LOOKS):
            if (says := self._read()) is not None:
                return says
            time.sleep(_BETWEEN_LOOKS_S)
        return _NAMELESS

    def _read(self) -> str | None:
        try:
            return _in_words(os.pread(self._descriptor, _MAX_BYTES, 0))
        except OSError:
            return None
