"""The ledger: an append-only log of what was sent and what came of it; the only truth.

A line is durable before what it announces happens: `sent` before the request leaves, `attempt`
before the item counts as done. Lines that arrive while the disk is busy share its next sync, so
durability costs one sync for many calls in flight.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, TypeVar

import msgspec

from batchgen.errors import StoreError, store_errors
from batchgen.model import Attempt, ImageFile, Item, Status, Tokens, content_key
from batchgen.sanitize import Secrets
from batchgen.selection import Selection
from batchgen.store.inside import open_inside, open_to_append, refuse_links

VERSION: Final = 1


class Run(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="run"):
    """The first line of a segment.

    Attributes:
        head: What a job file needs to run the same way.
        selection, limit: What part of the job the run is about.
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


class Sent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="sent"):
    """A request that is about to leave. Without an `attempt` line after it, it may be billed.

    Attributes:
        est_tokens: About how many input tokens, for a limit of them in a run that comes after it.
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

    @property
    def call(self) -> "Call":
        """What joins it to its `attempt` line."""
        return (self.run_id, self.item, self.turn, self.attempt)


class Filed(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="filed"):
    """An existing image now belongs to an item."""

    v: int = VERSION
    run_id: str
    item: str
    key: str
    at: str
    path: str


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

AddableT = TypeVar("AddableT", Tokens, Decimal)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)


class _Envelope(msgspec.Struct):
    v: int = VERSION
    event: str = ""


class Ledger:
    """One run's segment, open for appending; `async with` opens and closes it."""

    def __init__(self, path: Path, secrets: Secrets) -> None:
        """Set the segment, which must not exist yet, and what must never be written to it."""
        self._path = path
        self._secrets = secrets
        self._lines: list[bytes] = []
        self._failed: StoreError | None = None

    async def __aenter__(self) -> Self:
        """Create the segment."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        with store_errors(self._path):
            self._descriptor = os.open(self._path, flags, 0o644)
            sync_directory(self._path.parent)
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
        os.close(self._descriptor)

    async def append(self, *lines: Line) -> None:
        """Append lines; they are on disk when this returns, and will be even if it is cancelled.

        Raises:
            StoreError: The disk could not take them. The ledger takes no more after that.
        """
        if self._failed is not None:
            raise self._failed
        if self._closing:
            raise StoreError(f"{self._path}: a line came after its end")
        self._lines += [self._secrets.redact_bytes(_encoder.encode(line)) for line in lines]
        self._wake.set()
        await asyncio.shield(self._durable)

    async def _commit(self) -> None:
        """Write and sync whatever has gathered, one sync at a time."""
        while True:
            if not self._lines:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            data = b"".join(line + b"\n" for line in self._lines)
            self._lines.clear()
            durable, self._durable = self._durable, asyncio.get_running_loop().create_future()
            try:
                await asyncio.to_thread(self._write, data)
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
        with store_errors(self._path):
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            sync_file(self._descriptor)


def sync_file(descriptor: int) -> None:
    """Make a file's bytes durable, by the cheaper call where the system has it."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- reading ----------------------------------------------------------------------------------


@dataclass(slots=True)
class ItemHistory:
    """What all runs did for one item and content key, that is for one turn of an item.

    Attributes:
        last: The last attempt, whose decision says what came of it.
        place: Where that stands among all attempts, in the order of the ledger.
    """

    last: Attempt
    place: int = 0
    n_attempts: int = 0
    tokens: Tokens | None = None
    cost_usd: Decimal | None = None

    def add(self, attempt: Attempt, place: int) -> None:
        """Count one more attempt."""
        self.last, self.place = attempt, place
        self.n_attempts += 1 if attempt.attempt else 0
        self.tokens = _sum(self.tokens, attempt.tokens)
        if attempt.billed == "yes":
            self.cost_usd = _sum(self.cost_usd, attempt.cost_usd)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an item stands, by all that was done for it.

    Attributes:
        last: The latest attempt, of whatever turn.
        n_attempts, tokens, cost_usd: Over all turns.
    """

    status: Status
    last: Attempt
    n_attempts: int
    tokens: Tokens | None
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Departed:
    """A request that left in an earlier run, and what it took of the limits.

    Attributes:
        usd: What it cost, or may have; None if that is not known.
    """

    at: str
    model: str
    input_tokens: int
    usd: Decimal | None


@dataclass(slots=True)
class History:
    """All segments of a directory, read in the order of their runs.

    Attributes:
        items: By item id and content key, a key for each turn.
        unfinished: Requests that left and whose outcome nobody wrote.
        writers: Who wrote a final picture last, by its path: id and content key.
        unreadable: Places (`NAME:LINE`) of lines that are no ledger line.
        n_attempts: Of all items.
        since: From this stamp on, requests are listed in `recent`; None lists none.
    """

    items: dict[tuple[str, str], ItemHistory] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    ends: dict[str, End] = field(default_factory=dict)
    unfinished: dict[Call, Sent] = field(default_factory=dict)
    writers: dict[str, tuple[str, str]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    n_attempts: int = 0
    since: str | None = None
    recent: list[Departed] = field(default_factory=list)

    def apply(self, line: Line) -> None:
        """Take one line, in the order of the ledger."""
        match line:
            case Attempt():
                call = (line.run_id, line.item, line.turn, line.attempt)
                self._attempt(line, self.unfinished.pop(call, None))
            case Sent():
                self.unfinished[line.call] = line
            case Run():
                self.runs[line.run_id] = line
            case End():
                self.ends[line.run_id] = line
            case Filed():
                pass

    def standing(self, item: Item) -> Standing | None:
        """Where an item stands, over all its turns; None if nothing was done for it yet.

        Of all its turns the latest attempt decides, so that a conversation that is held anew is
        not taken for done by its last turn of the time before.
        """
        turns = [past for name in turn_names(item) if (past := self.items.get(name)) is not None]
        if not turns:
            return None
        latest = max(turns, key=lambda turn: turn.place).last
        tokens: Tokens | None = None
        cost_usd: Decimal | None = None
        for turn in turns:
            tokens, cost_usd = _sum(tokens, turn.tokens), _sum(cost_usd, turn.cost_usd)
        n_attempts = sum(turn.n_attempts for turn in turns)
        return Standing(_status(item, latest), latest, n_attempts, tokens, cost_usd)

    def _attempt(self, attempt: Attempt, sent: Sent | None) -> None:
        name = (attempt.item, attempt.key)
        history = self.items.get(name)
        if history is None:
            history = self.items[name] = ItemHistory(attempt)
        history.add(attempt, self.n_attempts)
        self.n_attempts += 1
        if self.since is not None and attempt.attempt and attempt.at >= self.since:
            self.recent.append(_departed(attempt, sent))
        if (picture := final_image(attempt.images)) is not None:
            self.writers[picture.path] = name

    def has_files(self, last: Attempt, root: Path) -> bool:
        """Whether the final picture of an attempt is there in its recorded size, and still its own.

        What was made since under the same name, of an item that changed, is another picture. Who
        throws away the drafts does not want the picture made, and paid for, again.
        """
        name = (last.item, last.key)
        for image in last.images:
            if image.role != "final":
                continue
            try:
                if (root / image.path).stat().st_size != image.bytes:
                    return False
            except OSError:
                return False
            if self.writers.get(image.path, name) != name:
                return False
        return True


def _departed(attempt: Attempt, sent: Sent | None) -> Departed:
    """What is known of a request, and else what was reserved for it."""
    n_input: int | msgspec.UnsetType = msgspec.UNSET if sent is None else sent.est_tokens
    if attempt.tokens is not None:
        n_input = attempt.tokens.input_text + attempt.tokens.input_image
    usd = attempt.cost_usd
    if usd is None and sent is not None:
        usd = sent.est_usd
    is_known = not isinstance(n_input, msgspec.UnsetType)
    return Departed(attempt.at, attempt.model, n_input if is_known else 0, usd)  # type: ignore[arg-type]


def turn_names(item: Item) -> list[tuple[str, str]]:
    """What the turns of an item go by in a history; the last is the item's own name."""
    earlier = [(item.id, content_key(item, turn=turn)) for turn in range(1, len(item.turns))]
    return [*earlier, (item.id, item.key)]


def final_image(images: Iterable[ImageFile]) -> ImageFile | None:
    """The picture that an item was made for; None where there is none."""
    return next((image for image in images if image.role == "final"), None)


def _status(item: Item, latest: Attempt) -> Status:
    match latest.decision:
        case "failed" | "skipped":
            return latest.decision
        case "retry" | "stop":
            return "pending"
        case "done":
            # What was a turn in the middle of a longer conversation made no final picture.
            is_last = latest.key == item.key and final_image(latest.images) is not None
            return "done" if is_last else "pending"


def _sum(total: AddableT | None, more: AddableT | None) -> AddableT | None:
    """What is known of a sum."""
    if total is None or more is None:
        return more if total is None else total
    return total + more


def segments(directory: Path) -> list[Path]:
    """The segments of a ledger, oldest run first."""
    return sorted(directory.glob("*.jsonl"))


def read_history(paths: Iterable[Path], *, since: str | None = None) -> History:
    """Read segments into one history.

    Args:
        paths: The segments, oldest first.
        since: From this stamp on, requests are listed one by one.

    Raises:
        StoreError: A line is of a newer version of batchgen, or a segment cannot be read.
    """
    history = History(since=since)
    for path in paths:
        for line in read_lines(path, history.unreadable):
            history.apply(line)
    return history


def read_lines(path: Path, unreadable: list[str] | None = None) -> Iterator[Line]:
    """Yield the lines of one segment; a last line without its end is left out.

    Args:
        path: The segment.
        unreadable: Takes the places of lines that do not parse.
    """
    with store_errors(path), open_inside(path) as file:
        for number, text in enumerate(file, 1):
            if not text.endswith(b"\n"):
                return
            try:
                line = _decoder.decode(text)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                _refuse_newer(_version(text), path, number)
                if unreadable is not None:
                    unreadable.append(f"{path.name}:{number}: {error}")
            else:
                _refuse_newer(line.v, path, number)
                yield line


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
        file.truncate(size - len(torn))
        os.fsync(file.fileno())
    return aside
