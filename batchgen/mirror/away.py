"""The files of a job's directory belong into an object store; here they are only on their way.

    settled ──> keep ──────────────> the ledger's line ──> recorded
                sent, and seen there                       may go from the disk

A picture is sent when it is whole and checked, and recorded when the store has it. A store that is
away is waited for: all seats of the pool wait with it, and nothing more is paid meanwhile. Where no
patience is left, no line is written; the receipt stays in the mirror, and the next run on this
machine sends the picture without asking for it again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, Self

from batchgen.clock import Clock
from batchgen.errors import StoreError, store_errors
from batchgen.mirror.arrivals import Arrivals
from batchgen.mirror.claim import Claim
from batchgen.mirror.contents import Contents
from batchgen.mirror.lending import Lender
from batchgen.mirror.patience import Patience
from batchgen.mirror.remote import Remote
from batchgen.mirror.shipping import SLICE_S, Shipper, ship_whole
from batchgen.model import Attempt, Item, ReferenceFile
from batchgen.objects.bucket import Bucket
from batchgen.store.history import History, final_image
from batchgen.store.images import sha256_of
from batchgen.store.layout import EXTENSIONS, Layout
from batchgen.store.ledger import Call, read_lines, run_id_of, segments
from batchgen.store.receipts import RECEIPT, part_name
from batchgen.store.staged import made_by, record_name, records

# The last pictures stay until the end of a run, so that those of a small job have thumbnails.
_KEPT_BYTES: Final = 1 << 30
_FOLDERS: Final = ("images", "thoughts", "drafts", "text", "turns", "quarantine")


class Away(Remote):
    """Keeps a run's files in a store; `async with` opens and closes its threads."""

    def __init__(
        self,
        layout: Layout,
        bucket: Bucket,
        claim: Claim,
        contents: Contents,
        *,
        clock: Clock,
        patience_s: float,
        warn: Callable[[str], None],
    ) -> None:
        """Set the mirror, and what lies in the store."""
        super().__init__(layout.root, bucket, contents)
        self._layout, self._claim, self._clock = layout, claim, clock
        self._patience = Patience(self.address, clock, patience_s, warn)
        self._arrivals = Arrivals(bucket, contents)
        self._lender = Lender(layout.root, bucket, contents, self._do)
        self._shippers: dict[Path, Shipper] = {}
        self._displacing = asyncio.Lock()
        self._here: deque[tuple[Path, int]] = deque()
        self._here_bytes = 0
        self._shipping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start the threads."""
        await self._patience.__aenter__()
        # Pictures on their way hold the ledger up no more than the claim.
        self._ledger_thread = ThreadPoolExecutor(1, "batchgen-slices")
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop sending slices; what is on its way in a thread is not waited for."""
        if self._shipping is not None:
            self._shipping.cancel()
            with suppress(asyncio.CancelledError):
                await self._shipping
        await self._patience.__aexit__(*exc)
        self._ledger_thread.shutdown(wait=False, cancel_futures=True)

    def give_up(self) -> None:
        """Wait for a store that is away no more: the next run sends what is left."""
        self._patience.give_up()

    # --- what a run asks for --------------------------------------------------------------------

    async def fetch(self, paths: Iterable[str]) -> None:
        """Have files at hand that lie in the store alone.

        Raises:
            StoreError: The store or the disk failed.
        """
        for path in paths:
            if path in self._contents and not (self._root / path).is_file():
                await self._patience.until_done(lambda: self.bring(path))  # noqa: B023 - awaited here

    async def clear(self, item: Item) -> None:
        """Have at hand what lies where an item's picture will."""
        await self.fetch(self._layout.image_name(item, one) for one in EXTENSIONS)

    async def keep(self, item: Item, line: Attempt, staged: Sequence[str] = ()) -> None:
        """Send all that a call made, and take away what its picture replaced.

        Args:
            item: What the call was for.
            line: Its line.
            staged: What is in the store already, and is copied there to where it belongs.

        Raises:
            StoreError: The store does not take it, or is away for longer than we wait.
        """
        async with self._displacing:  # one at a time: whose they are, nobody can tell
            for path in await asyncio.to_thread(lambda: list(self._displaced())):
                await self._send(path)
                (self._root / path).unlink(missing_ok=True)
        for path in staged:
            await self._do(lambda: self._arrivals.place(line, path))  # noqa: B023
            (self._root / path).unlink(missing_ok=True)  # what is here of it is older
        made = [path for path in made_by(self._layout, line) if (self._root / path).is_file()]
        replaced: list[str] = []
        if final_image(line.images) is not None:
            names = [self._layout.image_name(item, one) for one in EXTENSIONS]
            replaced = [*names, self._relative(self._layout.text(item.id))]
        await self.move(made, (path for path in replaced if path not in (*made, *staged)))

    def _displaced(self) -> Iterator[str]:
        """What lay where a picture is now, and is kept."""
        for path in (self._root / "quarantine/images").rglob("*"):
            if path.is_file():
                yield self._relative(path)

    async def move(self, paths: Iterable[str], vacated: Iterable[str]) -> None:
        """Send files, and delete objects that have no file here; raises what `keep` does."""
        for path in paths:
            await self._send(path)
        for path in vacated:
            if path in self._contents and not (self._root / path).exists():
                await self._do(lambda: self.drop(path))  # noqa: B023

    # --- for workers elsewhere --------------------------------------------------------------------

    async def lend(self, file: ReferenceFile) -> ReferenceFile:
        """Have a file in the store for workers; see `Lender`."""
        return await self._lender.lend(file)

    async def bring_parts(self, stem: str, parts: Iterable[Path]) -> None:
        """Have here what a worker staged of pictures that are not whole.

        Raises:
            StoreError: The store or the disk failed.
        """
        for part in parts:
            bring = partial(self._arrivals.bring_part, stem, part)
            await self._do(bring)

    async def bring_record(self, stem: str) -> None:
        """Have the record of a staged call among the parts, if there is one.

        Raises:
            StoreError: The store or the disk failed.
        """
        bring = partial(self._arrivals.bring_record, stem, self._layout.parts)
        await self._do(bring)

    def recorded(self, item: Item, line: Attempt) -> None:  # noqa: ARG002 - as a shelf is told
        """Let the oldest files go where there are too many; who needs one again fetches it."""
        if self._arrivals.are_placed(line):
            self._arrivals.recorded(line)
            return
        for path in made_by(self._layout, line):
            file = self._root / path
            with suppress(OSError):
                size_bytes = file.stat().st_size
                self._here.append((file, size_bytes))
                self._here_bytes += size_bytes
        while self._here_bytes > _KEPT_BYTES and self._here:
            file, size_bytes = self._here.popleft()
            self._here_bytes -= size_bytes
            file.unlink(missing_ok=True)

    # --- from the start of a run to its end -------------------------------------------------------

    async def catch_up(self, history: History) -> None:
        """Send what earlier runs of this machine recorded and somebody took away there.

        Raises:
            StoreError: The store or the disk failed.
        """
        for path in await asyncio.to_thread(lambda: list(self._files())):
            if path in self._contents:
                continue
            made = history.made_at(path)
            if made is not None and made == await asyncio.to_thread(self._digest, path):
                await self._send(path)
        await self._do(self._bring_records)

    def _bring_records(self) -> None:
        """Have the records of staged answers among the parts, unless the ledger has their lines.

        One that has another line came when its worker had been given up, and of one that came while
        its run was ending, files may be set aside already: the rest of both is set aside as well.
        """
        parts = self._layout.parts
        for path in parts.glob(record_name("*")):  # what it tells of may be gone by now
            path.unlink()
        there = self._arrivals.with_record()
        for stem in there:
            self._arrivals.bring_record(stem, parts)
        brought = list(records(parts))
        lines = self._lines_of({one.sent.call for one in brought})
        for staged in brought:
            stem, line = part_name(staged.sent), lines.get(staged.sent.call)
            if line is not None and line.outcome is staged.line.outcome:
                self._arrivals.recorded(staged.line, staged.paths)
            if line is not None or not there[stem].issuperset(staged.paths):
                (parts / record_name(stem)).unlink(missing_ok=True)

    async def begin(self, segment: Path) -> None:
        """Send closed segments, empty the mirror, and begin with the segment of this run.

        What was recorded was sent by `catch_up`, and what was found by its recovery. What else lies
        here is of a time that another machine knows more of; only quarantine is sent.

        Raises:
            StoreError: The store or the disk failed.
        """
        await self._send_ledgers(but=segment)
        await self._send("items.jsonl")
        for path in await asyncio.to_thread(lambda: list(self._files())):
            if path.startswith("quarantine/") and path not in self._contents:
                await self._send(path)
            (self._root / path).unlink(missing_ok=True)
        await asyncio.to_thread(self._remove_left)
        if self._arrivals.n_needless:  # or nobody else would know of what is cleared away now
            shipper = self._shippers[segment] = Shipper(self._bucket, segment)
            await self._do(shipper.ship)
        await self._do(self._arrivals.clear)
        self._shipping = asyncio.create_task(self._ship(segment))

    def _remove_left(self) -> None:
        """Remove what killed runs were fetching."""
        with store_errors(self._root):
            for left in self._root.rglob(".*.fetched"):
                left.unlink(missing_ok=True)

    async def end(self) -> None:
        """Send the ledger as a whole, what is left, and what was made of it; the summary last.

        Raises:
            StoreError: The store or the disk failed; the next run sends what is left.
        """
        if self._shipping is not None:
            self._shipping.cancel()
            with suppress(asyncio.CancelledError):
                await self._shipping
            self._shipping = None
        await self._claim.confirm()
        for path in await asyncio.to_thread(lambda: list(self._files())):
            if path not in self._contents:
                await self._send(path)
        await self._send_ledgers()
        await self._do(lambda: self._arrivals.clear(but_recorded=True))
        await self._do(self._lender.take_back)
        for path in list(self.results()):
            await self._do(lambda: self.replace(path))  # noqa: B023
        if not any(self._layout.parts.glob(f"*{RECEIPT}")):  # else an answer is not recorded yet
            for path in await asyncio.to_thread(lambda: list(self._files())):
                (self._root / path).unlink(missing_ok=True)

    async def _send_ledgers(self, but: Path | None = None) -> None:
        """Send segments that the store does not have as they are."""
        for path in segments(self._layout.ledger):
            there = self._contents.size_bytes(f"ledger/{path.name}")
            if path != but and there != path.stat().st_size:
                await self._do(lambda: ship_whole(self._bucket, path, self._contents))  # noqa: B023

    async def _ship(self, own: Path) -> None:
        """Send what is new of the ledger every few seconds; what fails is sent the next time.

        The run has a segment of its own, and others for workers, as they come.
        """
        while True:
            await self._clock.sleep(SLICE_S)
            n_needless = self._arrivals.n_needless
            with suppress(StoreError):
                for segment in sorted(own.parent.glob(f"{own.stem}*.jsonl")):
                    if segment not in self._shippers:
                        self._shippers[segment] = Shipper(self._bucket, segment)
                    ship = self._shippers[segment].ship
                    await self._patience.once(self._held(ship), self._ledger_thread)
                sweep = partial(self._arrivals.sweep, n_needless)
                await self._patience.once(self._held(sweep), self._ledger_thread)

    def _lines_of(self, calls: AbstractSet[Call]) -> dict[Call, Attempt]:
        """The lines of some calls, as far as the ledger has them."""
        runs = {run_id for run_id, *_ in calls}
        found: dict[Call, Attempt] = {}
        for segment in segments(self._layout.ledger):
            if run_id_of(segment) in runs:
                for _, line in read_lines(segment):
                    if isinstance(line, Attempt):
                        call = (line.run_id, line.item, line.turn, line.attempt)
                        if call in calls:
                            found[call] = line
        return found

    # --- one object -------------------------------------------------------------------------------

    async def _send(self, path: str) -> None:
        await self._do(lambda: self.send(path))

    async def _do(self, job: Callable[[], None]) -> None:
        """Do a job while the place is ours, again and again as long as the store is away."""
        await self._patience.until_done(self._held(job))

    def _held(self, job: Callable[[], None]) -> Callable[[], None]:
        """A job that is done only while the place is ours."""

        def held() -> None:
            self._claim.check()
            with store_errors(self._root):
                job()

        return held

    def _files(self) -> Iterator[str]:
        """What a run made and lies here."""
        for folder in _FOLDERS:
            for path in sorted((self._root / folder).rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    yield self._relative(path)

    def _digest(self, path: str) -> str:
        with store_errors(self._root):
            return sha256_of(self._root / path)

    def _relative(self, path: Path) -> str:
        return self._layout.relative(path)
