"""How files come from a run to its workers, and from them to where they belong.

    on a disk that all of them see    nothing has to be carried
    into a store                      a worker stages what it made, and the run puts it in place

Each way has two sides: `Workplace` is a worker's, and `Handover` is the run's.
"""

import asyncio
import platform
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from batchgen.clock import Clock
from batchgen.errors import BatchgenError, MissingReference, StoreError, store_errors
from batchgen.mirror.away import Away
from batchgen.mirror.outpost import Outpost, outpost
from batchgen.mirror.patience import Patience
from batchgen.model import ReferenceFile
from batchgen.objects import ObjectAddress
from batchgen.objects.bucket import Bucket
from batchgen.references import UnusableReferenceError
from batchgen.sanitize import Secrets
from batchgen.settle import CallEnd
from batchgen.store.layout import Layout
from batchgen.store.ledger import Sent
from batchgen.store.receipts import part_name
from batchgen.store.staged import Failed, Staged, made_by
from batchgen.wire.request import RequestBody

# So many files are on their way at a worker.
_AT_ONCE: Final = 8


def parts_of(run_id: str, worker: str) -> str:
    """The name of what a worker has for itself; no run has that of another one."""
    return f"{run_id}.{worker}"


class Workplace(Protocol):
    """Where a worker works."""

    @property
    def layout(self) -> Layout:
        """The directory that it settles in."""

    def at_hand(self, body: RequestBody) -> AbstractAsyncContextManager[RequestBody]:
        """Have a body's files here for a while; raises StoreError."""

    async def hand_in(self, end: CallEnd, sent: Sent | None) -> CallEnd:
        """Put what a call made where the run finds it; raises StoreError, and is told then."""

    def give_up(self) -> None:
        """Wait for nothing any more that may be away for long."""


class Handover(Protocol):
    """What a run does so that workers have what they need, and it has what they made."""

    async def lend(self, body: RequestBody) -> RequestBody:
        """A body as a worker is told of it.

        Raises:
            MissingReference: A file is not what it was, or went away; nothing was sent.
            StoreError: The store does not take it.
        """

    async def take_in(self, end: CallEnd) -> CallEnd:
        """The end of a call as if it had been made here; raises StoreError."""

    async def find(self, sent: Sent) -> None:
        """Have the record of a call whose worker is lost, if there is one; raises StoreError."""


# --- on a disk that all of them see ---------------------------------------------------------------


class SameDisk:
    """The run's side: every path is the same everywhere."""

    async def lend(self, body: RequestBody) -> RequestBody:
        """The same, wherever the worker's process stands."""
        return body.anywhere()

    async def take_in(self, end: CallEnd) -> CallEnd:
        """It lies where it belongs."""
        return end

    async def find(self, sent: Sent) -> None:
        """What a worker had is taken from its directory."""


@dataclass(frozen=True, slots=True)
class JobsDirectory:
    """A worker's side: the job's directory, with a place of its own to receive in."""

    layout: Layout

    @asynccontextmanager
    async def at_hand(self, body: RequestBody) -> AsyncIterator[RequestBody]:
        """They are."""
        yield body

    async def hand_in(self, end: CallEnd, sent: Sent | None) -> CallEnd:  # noqa: ARG002 - as all do
        """It lies where it belongs."""
        return end

    def give_up(self) -> None:
        """Nothing is waited for."""


@asynccontextmanager
async def in_jobs_directory(root: Path, run_id: str, worker: str) -> AsyncIterator[Workplace]:
    """Work in the directory of the run itself.

    Raises:
        StoreError: It is not here, or cannot be written.
    """
    layout = Layout(root, worker=parts_of(run_id, worker))
    with store_errors(layout.parts):
        # Another directory may lie here under the same path, as of an earlier run.
        if not layout.segment(run_id).is_file():
            raise StoreError(
                f"{root} on {platform.node()}, where a worker is, is not the directory of this "
                "run: every machine needs that one under the same path, or a store as output"
            )
        layout.parts.mkdir()
    yield JobsDirectory(layout)
    with suppress(OSError):  # what is left in it is looked at by the run
        layout.parts.rmdir()


# --- into a store ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ThroughStore:
    """The run's side."""

    away: Away
    layout: Layout

    async def lend(self, body: RequestBody) -> RequestBody:
        """The same, with its files in the store."""
        return body.with_files({file: await self._lent(file) for file in body.files})

    async def _lent(self, file: ReferenceFile) -> ReferenceFile:
        try:
            return await self.away.lend(file)
        except UnusableReferenceError as error:
            raise MissingReference(f"reference {file.path} {error}") from error

    async def take_in(self, end: CallEnd) -> CallEnd:
        """Bring what came of pictures that are not whole; all else is copied in the store."""
        parts = [name for name in end.staged if "/" not in name]
        if end.line is None or not parts:
            return end
        here = tuple(self.layout.parts / name for name in parts)
        await self.away.bring_parts(part_name(end.line), here)
        staged = tuple(path for path in end.staged if path not in parts)
        return replace(end, leftovers=here, staged=staged)

    async def find(self, sent: Sent) -> None:
        """Have it among the parts."""
        await self.away.bring_record(part_name(sent))


@dataclass(frozen=True, slots=True)
class OwnDirectory:
    """A worker's side: a directory that goes with it."""

    outpost: Outpost
    secrets: Secrets

    @property
    def layout(self) -> Layout:
        """Nobody else has it."""
        return self.outpost.layout

    @asynccontextmanager
    async def at_hand(self, body: RequestBody) -> AsyncIterator[RequestBody]:
        """Bring them from the store, unless they are here from another call."""
        async with self.outpost.at_hand(body.files) as files:
            yield body.with_files(files)

    async def hand_in(self, end: CallEnd, sent: Sent | None) -> CallEnd:
        """Stage what the call made, and remove it here."""
        if end.line is None or sent is None:
            return end
        line, root = end.line, self.layout.root
        made = [path for path in made_by(self.layout, line) if (root / path).is_file()]
        parts = _with_bytes(end) if end.is_unsettled and line.billed != "no" else []
        with store_errors(root):
            for part in parts:  # nobody looks at it before it is in the store
                await asyncio.to_thread(self.secrets.mask, part)
        record = None
        if end.is_whole:
            failed = None if end.error is None else Failed.of(end.error)
            record = Staged(sent=sent, item=end.item, line=line, paths=tuple(made), failed=failed)
        told = None if record is None else record.encoded(self.secrets)
        await self.outpost.stage(part_name(line), made, parts, told)
        await asyncio.to_thread(_remove, (*(root / path for path in made), *end.leftovers))
        staged = (*made, *(part.name for part in parts))
        return replace(end, leftovers=(), staged=staged)

    def give_up(self) -> None:
        """Wait for a store that is away no more."""
        self.outpost.give_up()


def _remove(files: Iterable[Path]) -> None:
    for path in files:
        with store_errors(path):
            path.unlink(missing_ok=True)


def _with_bytes(end: CallEnd) -> list[Path]:
    parts = (path for path in end.leftovers if path.suffix == ".part" and path.is_file())
    return [path for path in parts if path.stat().st_size]


@asynccontextmanager
async def in_own_directory(
    address: ObjectAddress,
    patience_s: float,
    name: str,
    secrets: Secrets,
    clock: Clock,
    warn: Callable[[str], None],
) -> AsyncIterator[Workplace]:
    """Work in a directory of this machine.

    Raises:
        StoreError: The store cannot be used from here, or the disk failed.
    """
    async with AsyncExitStack() as stack:
        try:
            bucket = Bucket.at(address)
            patience = Patience(str(address), clock, patience_s, warn, at_once=_AT_ONCE)
            place = await stack.enter_async_context(outpost(name, bucket, patience))
        except BatchgenError as error:
            raise StoreError(
                f"on {platform.node()}, where a worker is: {error}; every machine needs the extra "
                "`cloud`, and its own access to the store"
            ) from error
        yield OwnDirectory(place, secrets)
