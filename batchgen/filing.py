"""What was made already goes to whoever asks for it now: to renamed items, and to twins.

    search.Search   job × ledger -> Filing…                  what belongs where, moved or copied
    Filer.file      held and noted -> `filed` in the ledger -> placed
    finish_filings  what a killed run had noted and not placed yet

A picture is held under a second name in `.parts/` before the ledger says where it belongs, and let
go of when it lies there: so two items may change places. What they are held for is noted as a
whole before the ledger has any of it: so whenever the process is killed, either nothing has moved
yet, or the next run writes and places all that is left.

Source: docs/adr/0012.
"""

import asyncio
import os
import shutil
import stat
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from batchgen.clock import Clock
from batchgen.errors import store_errors
from batchgen.search import Filing, Search
from batchgen.store.history import History, Name
from batchgen.store.images import sha256_of
from batchgen.store.layout import Layout
from batchgen.store.ledger import (
    Filed,
    Ledger,
    append_late,
    read_lines,
    run_id_of,
    segments,
    sync_directory,
    sync_file,
)
from batchgen.store.pictures import FindMade, make_directory, make_room
from batchgen.store.replace import replaced

NOTHING_USD: Final = Decimal("0.000000")
_HELD: Final = ".filed"
_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class _Move:
    """What a filing means on disk; `moved_from` is None for a copy."""

    sha256: str
    path: str
    moved_from: str | None
    source: Name
    item_id: str
    turn: int

    @classmethod
    def of(cls, line: Filed) -> "_Move":
        made = line.made
        return cls(
            made.images[0].sha256,
            line.path,
            line.moved_from,
            (made.item, made.key),
            line.item,
            made.turn,
        )


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Pictures on disk, held by one name while they get another.

    Attributes:
        find_made: Says what was made last under a path, so that nothing else is written over.
    """

    layout: Layout
    history: History
    find_made: FindMade

    def hold(self, lines: Iterable[Filed], vacated: Container[str | None]) -> None:
        """Give pictures a second name, which outlives whatever takes the first; note what for.

        What lies in the way of a final picture is kept, unless it moves on itself.

        The note is durable before the ledger has any of it: of pictures that take each other's
        places, the lines of some alone would leave the others without one.
        """
        with store_errors(self.layout.parts):
            with replaced(self.note) as file:
                for line in lines:
                    self._hold(line, vacated)
                    file.write(msgspec.json.encode(line) + b"\n")
                file.flush()
                sync_file(file.fileno())
            sync_directory(self.layout.parts)

    def _hold(self, line: Filed, vacated: Container[str | None]) -> None:
        picture = line.made.images[0]
        if picture.path == line.path:
            return
        _link(self.layout.root / picture.path, self._held(picture.sha256))
        target = self.layout.root / line.path
        if line.path not in vacated and target.is_relative_to(self.layout.images):
            make_room(self.layout, target, self.find_made)
        content = self.layout.turn(line.made.item, line.made.turn, "json")
        if content.is_file():
            _link(content, self._held_content(picture.sha256))

    @property
    def note(self) -> Path:
        """What the pictures are held for."""
        return self.layout.parts / "filed.jsonl"

    def noted(self) -> Iterator[Filed]:
        """The lines that were noted, in their order."""
        for _, line in read_lines(self.note):
            if isinstance(line, Filed):
                yield line

    def _held(self, sha256: str) -> Path:
        return self.layout.parts / f"{sha256}{_HELD}"

    def _held_content(self, sha256: str) -> Path:
        return self.layout.parts / f"{sha256}.content"

    def place(self, moves: Sequence[_Move]) -> None:
        """Put pictures where the ledger says that they are. May be done twice."""
        root = self.layout.root
        targets = {move.path for move in moves}
        with store_errors(root):
            for move in moves:
                target = root / move.path
                if not _is(target, move.sha256):
                    draft = self.layout.parts / f"{move.sha256}.draft"
                    (_copy if move.moved_from is None else _link)(self._held(move.sha256), draft)
                    make_directory(root, target.parent)
                    draft.replace(target)
                    draft.unlink(missing_ok=True)  # two names of one file do not replace each other
                self._take_along(move)
            for directory in {(root / move.path).parent for move in moves}:
                sync_directory(directory)
            for move in moves:
                old = move.moved_from
                # Whoever came to lie there since has written it down.
                is_left = old not in targets and self.history.was_written_by(move.source, old or "")
                if old is not None and is_left:
                    (root / old).unlink(missing_ok=True)
            self._remove_what_was_said(moves)

    def let_go(self, moves: Sequence[_Move]) -> None:
        """Everything lies where it belongs: nothing is held any more."""
        with store_errors(self.layout.root):
            # Without a note nobody looks for what is held.
            self.note.unlink(missing_ok=True)
            for move in moves:
                self._held_content(move.sha256).unlink(missing_ok=True)
                self._held(move.sha256).unlink(missing_ok=True)

    async def send(self, moves: Sequence[_Move]) -> None:
        """Have the same done in the place that the directory is but the mirror of."""
        await self.layout.shelf.move(
            [path for move in moves for path in self._placed(move)],
            [path for move in moves for path in self._left(move)],
        )

    def _placed(self, move: _Move) -> Iterator[str]:
        """What was put somewhere, as far as it is there."""
        text = self.layout.relative(self.layout.text(move.item_id))
        for path in (move.path, self._said(move.item_id, move.turn), text):
            if (self.layout.root / path).is_file():
                yield path

    def _left(self, move: _Move) -> Iterator[str]:
        """What may lie there no more."""
        if move.moved_from is not None:
            yield move.moved_from
            yield self._said(move.source[0], move.turn)
            yield self.layout.relative(self.layout.text(move.source[0]))

    def _said(self, item_id: str, turn: int) -> str:
        return self.layout.relative(self.layout.turn(item_id, turn, "json"))

    def _take_along(self, move: _Move) -> None:
        """What was said in a turn goes with its picture: the conversation goes on with it."""
        held = self._held_content(move.sha256)
        if held.is_file():
            make_directory(self.layout.root, self.layout.root / "turns")
            _copy(held, self.layout.turn(move.item_id, move.turn, "json"))

    def _remove_what_was_said(self, moves: Sequence[_Move]) -> None:
        """Of items that have another name now nothing stays behind under the old one."""
        said = {(move.item_id, move.turn) for move in moves}
        words = {move.item_id for move in moves}
        for move in moves:
            old_id, _ = move.source
            if move.moved_from is not None and old_id != move.item_id:
                if (old_id, move.turn) not in said:
                    self.layout.turn(old_id, move.turn, "json").unlink(missing_ok=True)
                if old_id not in words:
                    self.layout.text(old_id).unlink(missing_ok=True)

    def write_words(self, lines: Iterable[Filed]) -> None:
        """The words that came with a picture stand beside it, under the item's name."""
        for line in lines:
            path = self.layout.text(line.item)
            if line.made.images[0].role != "final" or line.item == line.made.item:
                continue
            if line.made.text is None:
                path.unlink(missing_ok=True)  # those of another picture that lay here
                continue
            path.parent.mkdir(exist_ok=True)
            with replaced(path, drafts=self.layout.parts) as file:
                file.write(line.made.text.encode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class Filer:
    """Gives pictures to items: durable in the ledger first, and then on disk."""

    layout: Layout
    history: History
    ledger: Ledger
    run_id: str
    clock: Clock
    find_made: FindMade
    _one_by_one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def file_all(self, search: Search, filings: list[Filing]) -> tuple[int, int]:
        """File what was found, and what can be found then: pictures that were made from those.

        Returns:
            How many pictures were moved, or got another item, and how many were copied.
        """
        n_moved = n_copied = 0
        while filings:
            await self.file(filings)
            n_moved += sum(one.is_moved for one in filings)
            n_copied += sum(not one.is_moved for one in filings)
            filings = await asyncio.to_thread(search.filings)
        return n_moved, n_copied

    async def file(self, filings: Sequence[Filing]) -> None:
        """See filings through.

        Raises:
            StoreError: The disk failed; the next run sees them through.
        """
        async with self._one_by_one:
            await self._file(filings)

    async def _file(self, filings: Sequence[Filing]) -> None:
        shelf = _Shelf(self.layout, self.history, self.find_made)
        vacated = {one.vacates for one in filings}
        await self.layout.shelf.fetch(path for one in filings for path in self._needed(one))
        await asyncio.to_thread(shelf.hold, map(self._line, filings), vacated)
        moves: list[_Move] = []
        noted = shelf.noted()
        while lines := list(islice(noted, _AT_ONCE)):
            begins = await self.ledger.append(*lines)
            for line, place in zip(lines, begins, strict=True):
                self.history.apply(line, self.history.place_in(self.ledger.path, place))
            await asyncio.to_thread(shelf.write_words, lines)
            moves += _moves(lines)
        await asyncio.to_thread(shelf.place, moves)
        await shelf.send(moves)
        await asyncio.to_thread(shelf.let_go, moves)

    def _needed(self, filing: Filing) -> Iterator[str]:
        """What must be at hand: the picture, what was said with it, and what lies in its way."""
        past = self.history.past(filing.source)
        yield filing.source_path
        yield filing.path
        if past is not None and past.made is not None:
            said = self.layout.turn(filing.source[0], past.made.turn, "json")
            yield self.layout.relative(said)

    def _line(self, filing: Filing) -> Filed:
        past = self.history.past(filing.source)
        assert past is not None  # noqa: S101 - it was found in the history
        assert past.made is not None  # noqa: S101 - and so was its picture
        is_other = filing.source != filing.name
        path = past.made.images[0].path
        line = Filed(
            run_id=self.run_id,
            item=filing.name[0],
            key=filing.name[1],
            at=self.clock.stamp(),
            path=filing.path,
            made=past.made,
            moved_from=path if filing.is_moved and path != filing.path else None,
        )
        if not is_other:
            return line
        if not filing.is_moved:
            return msgspec.structs.replace(line, cost_usd=NOTHING_USD)
        return msgspec.structs.replace(
            line, attempts=past.n_attempts, tokens=past.tokens, cost_usd=past.cost_usd
        )


def _moves(lines: Iterable[Filed]) -> Iterator[_Move]:
    return (_Move.of(line) for line in lines if line.path != line.made.images[0].path)


async def finish_filings(layout: Layout, history: History) -> None:
    """End what a killed run had noted; what it only held is let go of.

    A run that came after it, on another machine that goes by the same store, has found its own way:
    then the note tells nothing any more.

    Raises:
        StoreError: The disk failed.
    """
    shelf = _Shelf(layout, history, history.made_at)
    if not shelf.note.is_file():
        return
    moves = await asyncio.to_thread(_finish_here, shelf)
    await shelf.send(moves)
    await asyncio.to_thread(shelf.let_go, moves)


def _finish_here(shelf: _Shelf) -> list[_Move]:
    layout, history = shelf.layout, shelf.history
    run_ids = {line.run_id for line in shelf.noted()}
    killed = next((path for path in segments(layout.ledger) if run_id_of(path) in run_ids), None)
    if killed is None or (layout.away is not None and max(history.runs) > max(run_ids)):
        return []
    written = {_name(line) for _, line in read_lines(killed) if isinstance(line, Filed)}
    unwritten = [line for line in shelf.noted() if _name(line) not in written]
    for line, place in zip(unwritten, append_late(killed, unwritten), strict=True):
        history.apply(line, history.place_in(killed, place))
    with store_errors(layout.root):
        shelf.write_words(shelf.noted())
    moves = list(_moves(shelf.noted()))
    shelf.place(moves)
    return moves


def _name(line: Filed) -> tuple[str, ...]:
    return (line.item, line.key, line.path, line.at)


def _link(path: Path, other: Path) -> None:
    """Give a file another name as well; a copy, on a disk that has no links."""
    if other.exists():
        return
    try:
        os.link(path, other)
    except OSError:
        _copy(path, other)


def _copy(path: Path, other: Path) -> None:
    """Copy a file, durably; it is there whole or not at all."""
    draft = other.with_name(f".{other.name}.copy")
    with path.open("rb") as source, draft.open("wb") as target:
        shutil.copyfileobj(source, target)
        target.flush()
        sync_file(target.fileno())
    draft.replace(other)


def _is(path: Path, sha256: str) -> bool:
    """Whether a file, and no link to one, has these bytes."""
    with suppress(OSError):
        return stat.S_ISREG(path.lstat().st_mode) and sha256_of(path) == sha256
    return False
