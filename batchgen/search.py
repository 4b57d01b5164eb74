"""What was made already and belongs elsewhere now: pictures of renamed items, and of twins.

Looks only; `filing` moves what is found.

Source: docs/adr/0012.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from batchgen.model import Attempt, ImageFile, Item, content_key
from batchgen.store.broken import Broken
from batchgen.store.history import History, Name, turn_names
from batchgen.store.layout import Layout
from batchgen.store.ledger import Filed, read_lines, segments


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
        only_selected: Others look after the items that are not selected, at this moment; nothing is
            taken away that one of them may need.
        wanted: Ids of the selected items that lacked a picture when it looked last.
        open: Of each item of the job, in its order, whether it may need anything; an item without
            turns that has its picture, where it belongs, does not. None before it has looked.
    """

    layout: Layout
    history: History
    marked_items: Callable[[], Iterable[tuple[Item, bool]]]
    broken: Broken = field(default_factory=Broken)
    any_model: bool = False
    only_selected: bool = False
    wanted: frozenset[str] = frozenset()
    open: bytearray | None = None

    def filings(self) -> list[Filing]:
        """Find them. Nothing is changed.

        Cost: a `stat` for each item; if any lacks its picture, the ledger is read once more.
        """
        self.wanted, self.open = frozenset(), None
        if self.history.is_empty:
            return []
        found: list[Filing] = []
        wanted: list[_Wanted] = []
        is_open = bytearray()
        for item, is_selected in self.marked_items():
            n_before = len(found) + len(wanted)
            for turn, name in enumerate(turn_names(item), 1):
                picture = self._picture(name, is_final=turn >= len(item.turns))
                if picture is None:
                    keys = tuple(self._keys(item, turn, name))
                    wanted.append(_Wanted(name, turn, item, keys, is_selected))
                elif self.only_selected and not is_selected:
                    continue
                elif (path := place_of(self.layout, item, turn, picture)) != picture.path:
                    found.append(Filing(name, path, name, picture.path, is_moved=True))
            is_open.append(len(found) + len(wanted) > n_before or len(item.turns) > 1)
        self.open = is_open
        self.wanted = frozenset(one.name[0] for one in wanted if one.is_selected)
        return self._without_overwriting([*found, *self._matched(wanted)])

    def _keys(self, item: Item, turn: int, name: Name) -> Iterator[str]:
        yield name[1]
        if self.any_model:
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
                is_moved = source not in claimed and not self.only_selected
                claimed.add(source)
                if self.only_selected and not one.is_selected:
                    continue
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
        shelf = self.layout.shelf
        if not self.history.has_files(past.made, shelf):
            return None
        picture = past.made.images[0]
        if is_final and picture.role != "final":
            return None
        if self.broken.names(picture, self.layout.root):
            return None
        is_there = picture.role == "final" or shelf.size_bytes(picture.path) is not None
        return picture if is_there else None


def place_of(layout: Layout, item: Item, turn: int, picture: ImageFile) -> str:
    """Where the picture of a turn of an item belongs, relative to the job's directory."""
    extension = picture.path.rpartition(".")[2]
    if turn >= len(item.turns):
        return layout.image_name(item, extension)
    return layout.relative(layout.turn(item.id, turn, extension))
