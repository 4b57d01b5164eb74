"""One writer a directory, or one for each shard: locks that end with the process that held them.

A run of the whole job has the directory's lock alone. A shard has a lock of its own alone, and
shares the directory's with the others; but the first one to come has that alone, too, until it has
taken over what earlier runs left.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from batchgen.clock import stamp
from batchgen.errors import OutputHeld, StoreError, store_errors
from batchgen.selection import Shard
from batchgen.store.inside import open_inside, refuse_links
from batchgen.store.layout import Layout

_N_LOOKS: Final = 10
_BETWEEN_LOOKS_S: Final = 0.02
_MAX_BYTES: Final = 4096
_NAMELESS: Final = "which has not said its name yet"


def is_held(path: Path) -> bool:
    """Whether a run holds a directory at this moment, by its lock file; nothing is waited for.

    Where there is no such file, or it cannot be read, none is known to.
    """
    return any(map(_is_locked, _locks(path)))


def _locks(path: Path) -> list[Path]:
    """The lock file of a directory, and those of its shards."""
    return [path, *sorted(path.parent.glob(".shards/*/lock"))]


def _is_locked(path: Path) -> bool:
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


def may_be_held_by(path: Path, run_ids: Collection[str]) -> bool:
    """Whether one of some runs holds a directory at this moment, by its lock file.

    Nothing is waited for. One that another run holds is not held by these; where the file does not
    say who does, it may be.
    """
    return any(_is_locked(one) and _said_by(one) in {None, *run_ids} for one in _locks(path))


def held_by(path: Path) -> str | None:
    """Who holds a directory at this moment, as its lock file says; None if nobody is known to."""
    held = next(filter(_is_locked, _locks(path)), None)
    if held is None:
        return None
    try:
        with open_inside(held) as file:
            return _in_words(file.read(_MAX_BYTES)) or _NAMELESS
    except OSError:
        return _NAMELESS


def held_run(path: Path) -> str | None:
    """The run that holds a shard at this moment, by its own lock file; None if none is known to."""
    return _said_by(path) if _is_locked(path) else None


def _in_words(says: bytes) -> str | None:
    """What a lock file says of who holds it; None if it does not say it yet."""
    try:
        told = json.loads(says)
        part = f"shard {told['shard']}, " if "shard" in told else ""
        where = f"process {told['pid']} on {told['host']} since {told['since']}"
        return f"{told['run_id']}, {part}{where}"
    except (ValueError, KeyError, TypeError, AttributeError):
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

    def __init__(
        self, path: Path, *, run_id: str, at: datetime, shard: Shard | None = None
    ) -> None:
        """Set the file and what it will say."""
        self._path = path
        self._root = path.parent if shard is None else path.parent.parent.parent
        self._says = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "run_id": run_id,
            "since": stamp(at),
            **({} if shard is None else {"shard": str(shard)}),
        }

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            OutputHeld: Another run has it; the message says which.
            StoreError: The directory cannot be written.
        """
        refuse_links(self._root, [self._path])  # it is emptied
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
            raise _refusal(self._root, held_by) from error
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
        shard = next(filter(_is_locked, _locks(self._path)[1:]), None)
        if shard is not None:
            return held_by(shard) or _NAMELESS
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


def _refusal(root: Path, holder: str) -> OutputHeld:
    return OutputHeld(
        f"{root} is held by another run ({holder}); "
        "wait for it, or choose another directory with -o"
    )


class ShardLock:
    """Hold a part of a job's directory, beside the other shards of the same job.

    Attributes:
        is_alone: No other shard goes on, and none begins before `share`: what earlier runs left,
            whatever they were, is this one's to take over.
    """

    def __init__(self, layout: Layout, shard: Shard, *, run_id: str, at: datetime) -> None:
        """Set the directory, the shard, and what its lock file will say."""
        self._layout, self._shard = layout, shard
        self._own = OutputLock(layout.lock, run_id=run_id, at=at, shard=shard)
        self.is_alone = False

    async def hold(self, stack: AsyncExitStack, wait: Callable[[], Awaitable[None]]) -> None:
        """Take it, until the stack is closed.

        Args:
            stack: Lets go of it.
            wait: Waits for a moment, while another shard takes over what earlier runs left.

        Raises:
            OutputHeld: A run of the whole job has it, or the same shard, or one of other shards.
            StoreError: The directory cannot be written.
        """
        stack.enter_context(self._own)
        root, whole = self._layout.root, Layout(self._layout.root).lock
        refuse_links(root, [whole])
        with store_errors(root):
            if not _flock(_opened(whole, stack), fcntl.LOCK_SH):
                raise _refusal(root, held_by(whole) or _NAMELESS)
            self._refuse_others()
            self._gate = _opened(self._layout.shards / "gate", stack)
            while not (self._takes_all() or _flock(self._gate, fcntl.LOCK_SH)):
                await wait()

    def rename(self, run_id: str) -> None:
        """Say another name of the run that holds it; see `OutputLock.rename`."""
        self._own.rename(run_id)

    async def share(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Let the other shards begin.

        For a moment nobody has it, and another one may come to be alone: that is waited for, too.
        """
        while self.is_alone and not _flock(self._gate, fcntl.LOCK_SH):
            await wait()
        self.is_alone = False

    def _takes_all(self) -> bool:
        self.is_alone = _flock(self._gate, fcntl.LOCK_EX)
        return self.is_alone

    def _refuse_others(self) -> None:
        """Make sure that nobody has the job in other parts: an item would be in two of them."""
        for path in _locks(Layout(self._layout.root).lock)[1:]:
            if not path.parent.name.endswith(f"-{self._shard.total}") and _is_locked(path):
                raise _refusal(self._layout.root, held_by(path) or _NAMELESS)


def _opened(path: Path, stack: AsyncExitStack) -> int:
    """Open a lock file; for writing, without which NFS lets nobody have it alone."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    stack.callback(os.close, descriptor)
    return descriptor


def _flock(descriptor: int, kind: int) -> bool:
    """Take a lock without waiting for it; whether it could be had."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
