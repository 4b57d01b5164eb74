"""The ledger: an append-only log of what was sent and what came of it; the only truth.

A line is durable before what it announces happens: `sent` before the request leaves, `attempt`
before the item counts as done. Lines that arrive while the disk is busy share its next sync, so
durability costs one sync for many calls in flight.
"""

import asyncio
import os
import re
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import msgspec

from batchgen.errors import StoreError, store_errors
from batchgen.model import Attempt, Kind, Tokens
from batchgen.sanitize import Secrets
from batchgen.selection import Selection
from batchgen.store.inside import open_inside, open_to_append, refuse_links

VERSION: Final = 1
_COPY_BYTES: Final = 1 << 20
_LONGEST_S: Final = 1e9
_LAST_YEAR: Final = 9000


class Run(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="run"):
    """The first line of a segment.

    Attributes:
        head: What a job file needs to run the same way.
        selection, limit: What part of the job the run is about.
        planned_usd: What it should cost, as far as that was known.
        ahead: What will go wrong later: models on their way out, old prices, a small disk.
    """

    v: int = VERSION
    run_id: str
    at: str
    job: str
    job_sha256: str
    provider: str
    version: str
    shard: str | None = None
    head: dict[str, Any] = {}
    selection: Selection = Selection()
    limit: int | None = None
    planned_usd: Decimal | msgspec.UnsetType = msgspec.UNSET
    ahead: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


class Sent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="sent"):
    """A request that is about to leave. Without an `attempt` line after it, it may be billed.

    Attributes:
        est_tokens: About how many input tokens, for a limit of them in a run that comes after it.
        asks: What kind of picture it asks for, so that a forecast can learn from what it took,
            whatever became of the job since.
    """

    v: int = VERSION
    run_id: str
    item: str
    key: str
    turn: int
    attempt: int
    at: str
    model: str
    est_usd: Decimal | None = None
    est_tokens: int | msgspec.UnsetType = msgspec.UNSET
    asks: Kind | msgspec.UnsetType = msgspec.UNSET

    @property
    def call(self) -> "Call":
        """What joins it to its `attempt` line."""
        return (self.run_id, self.item, self.turn, self.attempt)


class Filed(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="filed"):
    """An existing image now belongs to an item, or lies under another name.

    Attributes:
        key: What the item asks for; of a conversation, up to the turn that the image is of.
        path: Where its image lies from now on.
        made: The line of the call that made it, as it stands in the ledger.
        moved_from: Where it lay, if it lies there no more.
        attempts, tokens, cost_usd: What was done for it under another name, if that is given up;
            of an image that two items have, the first one has the cost.
    """

    v: int = VERSION
    run_id: str
    item: str
    key: str
    at: str
    path: str
    made: Attempt
    moved_from: str | None = None
    attempts: int = 0
    tokens: Tokens | None = None
    cost_usd: Decimal | None = None


class End(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="end"):
    """The last line of a run that ended by itself; `n_selected` items it was about."""

    v: int = VERSION
    run_id: str
    at: str
    stop_reason: str
    exit_code: int
    wall_s: float
    concurrency: dict[str, Any]
    n_selected: int | None = None


Line: TypeAlias = Run | Sent | Attempt | Filed | End
Call: TypeAlias = tuple[str, str, int, int]

# How a line begins that is about one item, whose id stands there as it is.
_ITEM: Final = re.compile(
    rb'\{"event":"(?:sent|attempt)","v":1,"run_id":"[A-Za-z0-9-]*","item":"([ !#-\[\]-~]*)"'
)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)


class _Envelope(msgspec.Struct):
    v: int = VERSION
    event: str = ""


class Ledger:
    """One run's segment, open for appending; `async with` opens and closes it."""

    def __init__(self, path: Path, secrets: Secrets) -> None:
        """Set the segment, which must not exist yet, and what must never be written to it."""
        self.path = path
        self._secrets = secrets
        self._lines: list[bytes] = []
        self._size_bytes = 0
        self._failed: StoreError | None = None

    async def __aenter__(self) -> Self:
        """Create the segment."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        with store_errors(self.path):
            self._descriptor = os.open(self.path, flags, 0o644)
            sync_directory(self.path.parent)
        # A thread of its own: a line waits for the sync before it, and never for the pictures'.
        self._thread = ThreadPoolExecutor(1, "batchgen-ledger")
        self._durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wake = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._commit())
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Make the last lines durable and close."""
        self._closing = True
        self._wake.set()
        await self._task
        self._thread.shutdown()
        os.close(self._descriptor)

    async def append(self, *lines: Line) -> list[int]:
        """Append lines; they are on disk when this returns, and will be even if it is cancelled.

        Returns:
            Where in the segment each begins, in bytes.

        Raises:
            StoreError: The disk could not take them. The ledger takes no more after that.
        """
        if self._failed is not None:
            raise self._failed
        if self._closing:
            raise StoreError(f"{self.path}: a line came after its end")
        begins = []
        for line in lines:
            written = self._secrets.redact_bytes(_encoder.encode(line)) + b"\n"
            self._lines.append(written)
            begins.append(self._size_bytes)
            self._size_bytes += len(written)
        self._wake.set()
        await asyncio.shield(self._durable)
        return begins

    async def _commit(self) -> None:
        """Write and sync whatever has gathered, one sync at a time."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._lines:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            data = b"".join(self._lines)
            self._lines.clear()
            durable, self._durable = self._durable, loop.create_future()
            try:
                await loop.run_in_executor(self._thread, self._write, data)
            except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
                self._failed = error if isinstance(error, StoreError) else StoreError(repr(error))
                durable.set_exception(self._failed)
                durable.exception()  # seen, should nobody be waiting any more
            else:
                durable.set_result(None)

    def _write(self, data: bytes) -> None:
        # A failed write may have left half a line: nothing may come behind it.
        if self._failed is not None:
            raise self._failed
        with store_errors(self.path):
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            sync_file(self._descriptor)


def append_late(path: Path, lines: Sequence[Line]) -> list[int]:
    """Append the lines that a killed run did not live to write to its segment, durably.

    Args:
        path: The segment; its last line has its end.
        lines: Whatever had to be taken out of them has been.

    Returns:
        Where in the segment each begins, in bytes.

    Raises:
        StoreError: The disk could not take them.
    """
    if not lines:
        return []
    with store_errors(path), open_to_append(path) as file:
        begins = []
        at_byte = os.fstat(file.fileno()).st_size
        for line in lines:
            begins.append(at_byte)
            at_byte += file.write(_encoder.encode(line) + b"\n")
        file.flush()
        sync_file(file.fileno())
    return begins


def sync_file(descriptor: int) -> None:
    """Make a file's bytes durable, by the cheaper call where the system has it."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def sync_again(path: Path) -> None:
    """Make a file durable whose sync an earlier run was told has failed, or never asked for.

    Its bytes are written anew: after a failed sync the system takes for clean what never reached
    the disk, and another sync would only say that there is nothing to do.

    Source: https://wiki.postgresql.org/wiki/Fsync_Errors
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        at_byte = 0
        while data := os.pread(descriptor, _COPY_BYTES, at_byte):
            at_byte += os.pwrite(descriptor, data, at_byte)
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- reading ----------------------------------------------------------------------------------


def run_id_of(segment: Path) -> str:
    """The run that a segment is of, by its name."""
    return segment.name.partition(".")[0]


def segments(directory: Path) -> list[Path]:
    """The segments of a ledger, oldest run first."""
    return sorted(directory.glob("*.jsonl"))


def read_lines(
    path: Path, unreadable: list[str] | None = None, *, about: Container[str] | None = None
) -> Iterator[tuple[int, Line]]:
    """Yield the lines of one segment, each with where it begins in bytes.

    A last line without its end is left out.

    Args:
        path: The segment.
        unreadable: Takes the places of lines that do not parse.
        about: Leave out what is only about other items than these, as far as a look can tell; it
            costs a fifth of reading it.

    Raises:
        StoreError: A line is of a newer version of batchgen, or the segment cannot be read.
    """
    begins = 0
    with store_errors(path), open_inside(path) as file:
        for number, text in enumerate(file, 1):
            if not text.endswith(b"\n"):
                return
            if about is not None and (item_id := _names_alone(text)) and item_id not in about:
                begins += len(text)
                continue
            line, why = read_line(text, path, number)
            if why is not None and unreadable is not None:
                unreadable.append(f"{path.name}:{number}: {why}")
            if line is not None:
                yield begins + text.rfind(b"\0") + 1, line
            begins += len(text)


def _names_alone(text: bytes) -> str | None:
    """The item that a line is about, if it names no other and is written as we write it."""
    found = _ITEM.match(text)
    return None if found is None else found[1].decode("ascii")


def decode_line(text: bytes) -> Line:
    """Read one line.

    Raises:
        MsgspecError, UnicodeDecodeError, RecursionError: It is none of ours.
    """
    line: Line = _decoder.decode(text)
    try:
        _check_times(line)
    except ValueError as error:
        raise msgspec.ValidationError(f"a time is none: {error}") from error
    return line


def _check_times(line: Line) -> None:
    """Look at the times of a line, so that whoever reckons with them need not.

    Cost: half a microsecond.

    Raises:
        ValueError: One is no moment, or none that can be reckoned with.
    """
    _check_moment(line.at)
    if isinstance(line, Sent):
        return  # half of all lines
    if isinstance(line, Filed):
        _check_times(line.made)
    elif isinstance(line, Attempt):
        if line.latency_s is not None and not -_LONGEST_S < line.latency_s < _LONGEST_S:
            raise ValueError(f"latency_s {line.latency_s}")
        if isinstance(line.cools_until, str):
            _check_moment(line.cools_until)


def _check_moment(text: str) -> None:
    at = datetime.fromisoformat(text)
    # One without a zone can be compared with no other; one at the end of all years, not added to.
    if at.tzinfo is None or not 1 < at.year < _LAST_YEAR:
        raise ValueError(repr(text))


def read_line(text: bytes, path: Path, number: int) -> tuple[Line | None, str | None]:
    """Read one line, and say what is wrong with it; either may be None.

    Args:
        text: The line.
        path: Where it stands, for the message.
        number: The same.

    Raises:
        StoreError: It is of a newer version of batchgen.
    """
    line, why = _read_line(text)
    if line is None or line.v > VERSION:
        _refuse_newer(_version(text) if line is None else line.v, path, number)
    return line, why


def _read_line(text: bytes) -> tuple[Line | None, str | None]:
    """Read a line, and say what is wrong with it.

    A power cut may leave a page of NULs in a file; what was written behind it is a line all the
    same, for none of ours holds one.
    """
    try:
        return decode_line(text), None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        _, nul, behind = text.rpartition(b"\0")
        if nul:
            with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                return decode_line(behind), f"{text.count(nul)} NULs stand before the line"
        return None, str(error)


def _version(text: bytes) -> int:
    """The version of a line that could not be read as one of ours."""
    with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return msgspec.json.decode(text, type=_Envelope).v
    return VERSION


def _refuse_newer(version: int, path: Path, number: int) -> None:
    if version > VERSION:
        raise StoreError(
            f"{path}:{number}: written by a newer batchgen (v {version}); update this one"
        )


def move_torn_tail(path: Path) -> Path | None:
    """Move a last line without its end beside the segment, as a kill may leave one.

    If nothing but the end is missing, the line stays as well: it may be all that is known of a
    picture.

    Returns:
        Where it was put; None if the segment ends properly.

    Raises:
        StoreError: The disk failed.
    """
    aside = path.with_suffix(".torn")
    refuse_links(path.parent, [path, aside])
    with store_errors(path), open_inside(path, to_change=True) as file:
        size = file.seek(0, os.SEEK_END)
        tail = b""
        start = size
        while start and b"\n" not in tail:
            start = max(0, start - (1 << 16))
            file.seek(start)
            tail = file.read(size - start)
        torn = tail[tail.rfind(b"\n") + 1 :]
        if not torn:
            return None
        with open_to_append(aside) as kept:
            kept.write(torn + b"\n")
            kept.flush()
            os.fsync(kept.fileno())
        if _read_line(torn)[0] is None:
            file.truncate(size - len(torn))
        else:
            file.seek(size)
            file.write(b"\n")
            file.flush()
        os.fsync(file.fileno())
    return aside
