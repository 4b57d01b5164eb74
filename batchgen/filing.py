"""What was made already goes to whoever asks for it now: to renamed items, and to twins.

    find_filings    job × ledger -> Filing…                  what belongs where, moved or copied
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
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from batchgen.clock import Clock
from batchgen.errors import store_errors
from batchgen.model import Attempt, ImageFile, Item, content_key
from batchgen.store.broken import Broken
from batchgen.store.history import History, Name, turn_names
from batchgen.store.images import sha256_of
from batchgen.store.inside import refuse_links
from batchgen.store.layout import Layout
from batchgen.store.ledger import (
    Filed,
    Ledger,
    append_late,
    read_lines,
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
class Filing:
    """A picture that belongs to an item from now on.

    Attributes:
        name: The item, and what it asks for up to the turn that the picture is of.
        path: Where it shall lie, relative to the job's directory.
        source: Whose it was, or is.
        source_path: Where it lies.
        is_moved: The source is given up; else the picture is copied.
    """

    name: Name
    path: str
    source: Name
    source_path: str
    is_moved: bool

    @property
    def vacates(self) -> str | None:
        """The path that is free afterwards."""
        return self.source_path if self.is_moved else None


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


# --- what belongs where -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A turn of an item that has no picture; `keys` are those that it would take."""

    name: Name
    turn: int
    item: Item
    keys: tuple[str, ...]
    is_selected: bool

    @property
    def is_last(self) -> bool:
        return self.turn >= len(self.item.turns)


@dataclass(slots=True)
class Search:
    """Looks for pictures that are there and belong to an item of the job, or should lie elsewhere.

    It looks at all items, selected or not: what one of them takes may be in the place of another's.

    Attributes:
        marked_items: Gives the items of the job, each with the content key that it has by all that
            is known, and whether it is selected; called several times.
        broken: The pictures that were found not to be what was made.
        any_model: A picture will do that another model made of the same.
        wanted: Ids of the selected items that lacked a picture when it looked last.
    """

    layout: Layout
    history: History
    marked_items: Callable[[], Iterable[tuple[Item, bool]]]
    broken: Broken = field(default_factory=Broken)
    any_model: bool = False
    wanted: frozenset[str] = frozenset()

    def filings(self) -> list[Filing]:
        """Find them. Nothing is changed.

        Cost: a `stat` for each item; if any lacks its picture, the ledger is read once more.
        """
        self.wanted = frozenset()
        if self.history.is_empty:
            return []
        found: list[Filing] = []
        wanted: list[_Wanted] = []
        for item, is_selected in self.marked_items():
            for turn, name in enumerate(turn_names(item), 1):
                picture = self._picture(name, is_final=turn >= len(item.turns))
                if picture is None:
                    keys = tuple(self._keys(item, turn, name))
                    wanted.append(_Wanted(name, turn, item, keys, is_selected))
                elif (path := place_of(self.layout, item, turn, picture)) != picture.path:
                    found.append(Filing(name, path, name, picture.path, is_moved=True))
        self.wanted = frozenset(one.name[0] for one in wanted if one.is_selected)
        return self._without_overwriting([*found, *self._matched(wanted)])

    def _keys(self, item: Item, turn: int, name: Name) -> Iterator[str]:
        yield name[1]
        if self.any_model and item.request is None:
            for model in sorted(self.history.models - {item.model}):
                other = msgspec.structs.replace(item, model=model)
                yield content_key(other, turn=turn if turn < len(item.turns) else None)

    def _matched(self, wanted: Sequence[_Wanted]) -> Iterator[Filing]:
        """Match what is wanted with what somebody has; who gives his up is moved, once."""
        sources = self._sources({key for one in wanted for key in one.keys})
        owners = {item_id for ids in sources.values() for item_id in ids}
        claimed: set[Name] = set()
        if owners:
            for item, _ in self.marked_items():
                if item.id in owners:
                    claimed.update(turn_names(item))
        for one in wanted:
            source = self._source(one, sources, claimed)
            if source is not None:
                is_moved = source not in claimed
                claimed.add(source)
                yield self._filing(one, source, is_moved=is_moved)

    def _source(
        self, one: _Wanted, sources: Mapping[str, Sequence[str]], claimed: Container[Name]
    ) -> Name | None:
        """Who has what is wanted; itself, under another key, before any other.

        Given up it may be by anyone. Copied are only whole items, and those that are selected: not
        what was said early in a conversation, nor what an item of the job has of another model.
        """
        own_id, own_key = one.name
        for key in one.keys:
            for item_id in sorted(sources.get(key, ()), key=lambda item_id: item_id != own_id):
                name = (item_id, key)
                is_copied = one.is_last and one.is_selected and key == own_key
                if (name not in claimed or is_copied) and self._picture(name, is_final=one.is_last):
                    return name
        return None

    def _filing(self, one: _Wanted, source: Name, *, is_moved: bool) -> Filing:
        picture = self._picture(source, is_final=one.is_last)
        assert picture is not None  # noqa: S101 - just found
        path = place_of(self.layout, one.item, one.turn, picture)
        return Filing(one.name, path, source, picture.path, is_moved)

    def _without_overwriting(self, filings: list[Filing]) -> list[Filing]:
        """Leave out those that would take the place of a picture that stays where it is."""
        owners = {one.path: self.history.owner(one.path) for one in filings}
        others = {owner for path, owner in owners.items() if owner is not None}
        present = (
            {item.id for item, _ in self.marked_items() if item.id in others} if others else others
        )
        while True:
            vacated = {one.vacates for one in filings}
            kept = [
                one
                for one in filings
                if owners[one.path] in (None, one.name[0])
                or owners[one.path] not in present
                or one.path in vacated
            ]
            if len(kept) == len(filings):
                return kept
            filings = kept

    def _sources(self, keys: set[str]) -> dict[str, list[str]]:
        """Who was given a picture under any of these keys, the latest first."""
        found: dict[str, list[str]] = {}
        if keys:
            for path in segments(self.layout.ledger):
                for _, line in read_lines(path):
                    if isinstance(line, Attempt | Filed) and line.key in keys:
                        found.setdefault(line.key, []).append(line.item)
        return {key: list(dict.fromkeys(reversed(ids))) for key, ids in found.items()}

    def _picture(self, name: Name, *, is_final: bool) -> ImageFile | None:
        """The picture that somebody has under a name, if it is there.

        That of a turn in the middle of a conversation is no item's picture.
        """
        past = self.history.past(name)
        if past is None or past.made is None:
            return None
        if not self.history.has_files(past.made, self.layout.root):
            return None
        picture = past.made.images[0]
        if is_final and picture.role != "final":
            return None
        if self.broken.names(picture, self.layout.root):
            return None
        is_there = picture.role == "final" or (self.layout.root / picture.path).is_file()
        return picture if is_there else None


def place_of(layout: Layout, item: Item, turn: int, picture: ImageFile) -> str:
    """Where the picture of a turn of an item belongs, relative to the job's directory."""
    extension = picture.path.rpartition(".")[2]
    is_last = turn >= len(item.turns)
    path = layout.image(item, extension) if is_last else layout.turn(item.id, turn, extension)
    return layout.relative(path)


# --- the pictures follow ------------------------------------------------------------------------


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
                    refuse_links(root, [target.parent])
                    make_directory(target.parent)
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
            # Without a note nobody looks for what is held.
            self.note.unlink(missing_ok=True)
            for move in moves:
                self._held_content(move.sha256).unlink(missing_ok=True)
                self._held(move.sha256).unlink(missing_ok=True)

    def _take_along(self, move: _Move) -> None:
        """What was said in a turn goes with its picture: the conversation goes on with it."""
        held = self._held_content(move.sha256)
        if held.is_file():
            make_directory(self.layout.root / "turns")
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


def finish_filings(layout: Layout, history: History) -> None:
    """End what a killed run had noted; what it only held is let go of.

    Raises:
        StoreError: The disk failed.
    """
    shelf = _Shelf(layout, history, history.made_at)
    if not shelf.note.is_file() or not (paths := segments(layout.ledger)):
        return
    killed = paths[-1]
    written = {_name(line) for _, line in read_lines(killed) if isinstance(line, Filed)}
    unwritten = [line for line in shelf.noted() if _name(line) not in written]
    for line, place in zip(unwritten, append_late(killed, unwritten), strict=True):
        history.apply(line, history.place_in(killed, place))
    with store_errors(layout.root):
        shelf.write_words(shelf.noted())
    shelf.place(list(_moves(shelf.noted())))


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
