"""Room on the disk for answers that are not there yet: set aside before a request leaves.

One file without a name is at least as long as what is set aside for all calls under way. The disk
gives that room now (`fallocate`), or refuses it before anything is paid. Where bytes of an answer
do not fit, or leave little beside them, the file is cut by what was written since: they find the
room that was kept for them, whatever other programs have written meanwhile. On a disk with room
enough it stays as it is for the next calls. A killed process leaves nothing: the file goes with its
last descriptor.

Where the system cannot set room aside, the free space is looked at instead.

Source: docs/adr/0013.
"""

import asyncio
import ctypes
import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

from batchgen.errors import StoreError, store_errors
from batchgen.store.parts import Writer

# The largest seen of a size, about 1.75 bytes a pixel of PNG; 4K has come as JPEG so far, of 8 MB,
# and 1.5 times the figure here holds one of PNG.
IMAGE_BYTES: Final = {"512": 500_000, "1K": 2_000_000, "2K": 7_500_000, "4K": 20_000_000}
# Of what is asked for, pictures vary, and there may be a draft, signatures and a receipt.
_MARGIN: Final = 1.5
# What stays free beside all that is set aside, for the ledger; and for each call, for its names.
_SPARE_BYTES: Final = 1 << 20
_SPARE_BYTES_A_CALL: Final = 64 << 10
# So much may be written between two looks at the disk: less than what stays free.
_UNSEEN_BYTES: Final = _SPARE_BYTES // 2
_BLOCK_BYTES: Final = 4096
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
# What a file system says that does not know how, and one on which files may not be so large.
_CANNOT: Final = frozenset(
    {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.ENODEV, errno.EFBIG}
)


def image_bytes(size: str) -> int:
    """The largest picture seen of a size; of an odd size, of any."""
    return IMAGE_BYTES.get(size, max(IMAGE_BYTES.values()))


def room_bytes(size: str, n_images: int) -> int:
    """What an answer with so many images of a size may need; of an odd size, the most."""
    return int(n_images * image_bytes(size) * _MARGIN)


T = TypeVar("T")


class _NoRoomError(StoreError):
    """The disk has no room for one more answer."""


@dataclass(eq=False)
class Share:
    """What is set aside for one call; used by one thread at a time, which may wait for the disk."""

    reserve: "Reserve"
    held_bytes: int = 0

    def write(self, job: Callable[[], T], n_bytes: int) -> T:
        """Run a job that writes so many bytes to the disk, in the room that is kept for them.

        Another program may be quicker than the job: then more of the room is given up.

        Raises:
            OSError: As the job does.
        """
        self._spend(n_bytes)
        while True:
            try:
                return job()
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                if not self.reserve.give_back() and not self._spend(n_bytes):
                    raise

    def _spend(self, n_bytes: int) -> bool:
        """Need so many bytes no more, as they are being written; whether there were any."""
        n_bytes = min(_in_blocks(n_bytes), self.held_bytes)
        if n_bytes:
            self.held_bytes -= n_bytes
            self.reserve.spend(n_bytes)
        return n_bytes > 0


class Reserve:
    """The file; any thread may use it, and each method may wait for the disk unless it says not.

    What a call has written, or left over, stays in the file for the next one while the disk has
    room for both, so that it is hardly ever asked for more.

    Attributes:
        held_bytes: Set aside for all calls.
        kept_bytes: The length of the file, which is no less.
    """

    def __init__(self, directory: Path) -> None:
        """Set where answers are received."""
        self._directory = directory
        self._descriptor = -1
        self.held_bytes = 0
        self.kept_bytes = 0
        self._unseen_bytes = 0
        self._lock = threading.RLock()

    def open(self) -> None:
        """Create the file, which has no name from then on.

        Raises:
            StoreError: The disk takes none.
        """
        path = self._directory / ".room"
        with store_errors(path):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o600)
            path.unlink()

    def close(self) -> None:
        """Give everything back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self.kept_bytes = -1, 0

    def take(self, share: Share, n_bytes: int, spare_bytes: int) -> None:
        """Set room aside for one call.

        Args:
            share: Takes it.
            n_bytes: How much.
            spare_bytes: What must be free beside.

        Raises:
            StoreError: There is none.
        """
        n_bytes = _in_blocks(n_bytes)
        with self._lock:
            # Looked at first: a disk that is asked for more than it has may be full until it says
            # no, and the ledger is written meanwhile.
            if not (self._fits(n_bytes, spare_bytes) and self._keeps(self.held_bytes + n_bytes)):
                self.give_back()
                raise self._no_room(n_bytes + spare_bytes)
            self._give(share, n_bytes)

    def take_at_hand(self, share: Share, n_bytes: int) -> bool:
        """Set aside for a call what the file keeps and nobody holds; whether it was enough.

        Waits for nothing: while another thread asks the disk for something, there is nothing here.
        """
        n_bytes = _in_blocks(n_bytes)
        if not self._lock.acquire(blocking=False):
            return False
        try:
            is_enough = self.held_bytes + n_bytes <= self.kept_bytes
            if is_enough:
                self._give(share, n_bytes)
            return is_enough
        finally:
            self._lock.release()

    def _give(self, share: Share, n_bytes: int) -> None:
        self.held_bytes += n_bytes
        share.held_bytes += n_bytes

    def end(self, share: Share) -> None:
        """Hold nothing more for a call."""
        with self._lock:
            self.held_bytes -= share.held_bytes
            share.held_bytes = 0

    def end_at_once(self, share: Share) -> bool:
        """The same, unless another thread asks the disk for something; waits for nothing."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self.end(share)
        finally:
            self._lock.release()
        return True

    def spend(self, n_bytes: int) -> None:
        """Hold so much less, as it is being written; what must stay free is looked after.

        A disk that cannot be looked at says more of that when it is written to.
        """
        with self._lock:
            self.held_bytes -= n_bytes
            self._unseen_bytes += n_bytes
            if self._unseen_bytes >= _UNSEEN_BYTES:
                self._unseen_bytes = 0
                with suppress(StoreError):
                    if not self._has_free(_SPARE_BYTES):
                        self.give_back()

    def give_back(self) -> bool:
        """Give the disk what no call holds; whether there was any."""
        with self._lock:
            kept_bytes = self.kept_bytes
            self._cut(min(self.held_bytes, kept_bytes))
            return self.kept_bytes < kept_bytes

    def _keeps(self, n_bytes: int) -> bool:
        """Whether the file is that long now; always, where it cannot be kept."""
        if self._descriptor < 0 or n_bytes <= self.kept_bytes:
            return True
        try:
            _allocate(self._descriptor, self.kept_bytes, n_bytes - self.kept_bytes)
        except OSError as error:
            if error.errno in _FULL:
                return False
            if error.errno not in _CANNOT:
                raise StoreError.of(error, self._directory) from error
            self.close()
        else:
            self.kept_bytes = n_bytes
        return True

    def _fits(self, n_bytes: int, spare_bytes: int) -> bool:
        """Whether the file can grow by what it lacks and leave enough beside it.

        Where no file can be kept, there must be room for all that is set aside.
        """
        wanted_bytes = self.held_bytes + n_bytes
        if self._has_free(max(wanted_bytes - self.kept_bytes, 0) + spare_bytes):
            return True
        self._cut(min(wanted_bytes, self.kept_bytes))  # what earlier calls have left over
        return self._has_free(wanted_bytes - self.kept_bytes + spare_bytes)

    def _cut(self, n_bytes: int) -> None:
        """Shorten the file; what cannot be given back stays set aside, which harms nobody."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.ftruncate(self._descriptor, n_bytes)
                self.kept_bytes = n_bytes

    def _has_free(self, n_bytes: int) -> bool:
        # A disk that does not know its size, as one in a network may, is taken at its word later.
        disk = self._look()
        return disk.f_blocks == 0 or disk.f_bavail * disk.f_frsize >= n_bytes

    def _look(self) -> os.statvfs_result:
        with store_errors(self._directory):
            return os.statvfs(self._directory)

    def _no_room(self, n_bytes: int) -> _NoRoomError:
        disk = self._look()
        free_bytes = disk.f_bavail * disk.f_frsize
        quota = ", though a quota may allow less" if free_bytes >= n_bytes else ""
        return _NoRoomError(
            f"{self._directory.parent}: no room for another answer: it may need "
            f"{n_bytes / 1e6:.1f} MB, and {free_bytes / 1e6:.1f} MB are free{quota}; make room, or "
            "choose another disk with -o, and run again"
        )


class Room:
    """Sets room aside for the calls of one run; `async with` opens and closes it.

    Cost: one descriptor, however many calls are under way; for each half MiB that is written a
    look at the disk.
    """

    def __init__(self, directory: Path, writer: Writer, warn: Callable[[str], None]) -> None:
        """Set where answers are received, whose thread asks the disk, and who hears of it."""
        self._reserve = Reserve(directory)
        self._writer = writer
        self._warn = warn
        self._has_warned = False
        self._n_shares = 0
        self._n_trying = 0
        self._n_changes = 0
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Open the file."""
        await self._writer.call(self._reserve.open)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close it."""
        await self._writer.call(self._reserve.close)

    async def take(self, n_bytes: int) -> Share:
        """Set room aside; waits while answers are under way that may leave some of theirs.

        Raises:
            StoreError: There is no room, or the disk has failed.
        """
        share = Share(self._reserve)
        try:
            await self._taken(share, n_bytes)
        except BaseException:
            self._end_later(share)  # it may be under way
            raise
        self._n_shares += 1
        return share

    def give_back(self, share: Share) -> None:
        """Give back what a call has not used."""
        self._n_shares -= 1
        if self._reserve.end_at_once(share):
            self._tell_changed()
        else:
            self._end_later(share)

    def _end_later(self, share: Share) -> None:
        """Behind whatever is asked of the disk for it."""
        self._writer.hand_over(lambda: self._reserve.end(share), 0)
        self._tell_changed()

    def _tell_changed(self) -> None:
        self._n_changes += 1
        self._changed.set()

    async def _taken(self, share: Share, n_bytes: int) -> None:
        while True:
            n_changes = self._n_changes
            try:
                await self._try(share, n_bytes)
            except _NoRoomError:
                if self._n_changes != n_changes:
                    continue
                if not self._n_shares and not self._n_trying:
                    raise
                self._tell_waiting()
                self._changed.clear()
                await self._changed.wait()
            else:
                return

    async def _try(self, share: Share, n_bytes: int) -> None:
        if self._writer.failed is None and self._reserve.take_at_hand(share, n_bytes):
            return
        self._n_trying += 1
        try:
            await self._writer.call(lambda: self._take(share, n_bytes))
        finally:
            self._n_trying -= 1

    def _tell_waiting(self) -> None:
        if self._n_shares and not self._has_warned:
            self._has_warned = True
            self._warn(
                f"the disk has room for {self._n_shares} answers at once; the next request leaves "
                "when one of them has left some of its room"
            )

    def _take(self, share: Share, n_bytes: int) -> None:
        if self._writer.failed is not None:
            raise self._writer.failed
        spare_bytes = _SPARE_BYTES + self._n_shares * _SPARE_BYTES_A_CALL
        self._reserve.take(share, n_bytes, spare_bytes)


def _in_blocks(n_bytes: int) -> int:
    return -(-n_bytes // _BLOCK_BYTES) * _BLOCK_BYTES


def _find_fallocate() -> Callable[[int, int, int, int], int] | None:
    """The system's own, which never writes zeros; `os.posix_fallocate` may, on a network disk."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        function = getattr(library, "fallocate64", None) or library.fallocate
    except (OSError, AttributeError, TypeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    function.restype = ctypes.c_int
    found: Callable[[int, int, int, int], int] = function
    return found


_fallocate: Final = _find_fallocate()


def _allocate(descriptor: int, at_byte: int, n_bytes: int) -> None:
    """Make the disk give room to a part of a file, and make the file that long."""
    number = errno.ENOSYS
    while _fallocate is not None:
        if _fallocate(descriptor, 0, at_byte, n_bytes) == 0:
            return
        if (number := ctypes.get_errno()) != errno.EINTR:
            break
    raise OSError(number, os.strerror(number))
