"""What items have to do with one another: the same id, the same file, the same request, circles.

A first reading leaves marks, eight bytes an item; where they call for it, a second reading looks
at the items that are marked, which is when messages and places are made.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from batchgen.manifest.expand import Draft
from batchgen.manifest.fields import Mistake, shown
from batchgen.manifest.graph import Graph
from batchgen.manifest.nodes import Steps
from batchgen.manifest.origins import Origin
from batchgen.manifest.problems import Problems, dotted, written_id
from batchgen.model import Item
from batchgen.naming import collision_key, file_stem
from batchgen.seen import Seen

# Ids that are their own file names but for capitals; device names have at most four characters.
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9_-]{5,160}\Z")
_MAX_SHOWN_CHARS: Final = 100
_KEY_DIGITS: Final = 32  # of 64: 128 bits tell all keys of a job apart in half the memory


class Entry(Protocol):
    """Something that was read as an item, and where it stands."""

    @property
    def home(self) -> Origin:
        """Where it stands."""

    def draft(self) -> Draft:
        """The same with all its fields and their places."""


class Marks:
    """What a first reading leaves for a second one, eight bytes an item for ids and for keys.

    Where `output.name` names the pictures, it is eight more.
    """

    def __init__(self) -> None:
        """Start without marks."""
        self.paths, self.keys, self.files, self.graph = Seen(), Seen(), Seen(), Graph()

    def take(self, item: Item) -> None:
        """Mark a good item."""
        self.paths.add(path_hash(item.id))
        self.keys.add(hash(item.key))
        if item.file is not None:
            self.files.add(hash(collision_key(item.file)))
        if item.references or item.turns:
            self.graph.add(item)

    def take_bad(self, entry: Entry) -> None:
        """Mark an item with mistakes, whose id is taken all the same."""
        if (identity := _bad_id(entry)) is not None:
            self.paths.add(path_hash(identity))

    @property
    def call_for_more(self) -> bool:
        """Whether a second reading has something to find."""
        seen = (self.paths, self.keys, self.files)
        return any(one.repeated() for one in seen) or bool(self.graph)


class _First(msgspec.Struct, frozen=True, gc=False):
    """The first item of those that share something; there may be very many of them."""

    id: str
    path: Path
    line: int


class Comparison:
    """Finds items that share an id, a file name or a key."""

    def __init__(self, problems: Problems, marks: Marks) -> None:
        """Take what the first reading left; look only at what it marked."""
        self._problems = problems
        self._paths, self._keys = marks.paths.repeated(), marks.keys.repeated()
        self._graph = marks.graph
        self._by_path: dict[str, _First] = {}
        self._by_key: dict[int, _First] = {}
        self._files = marks.files.repeated()
        self._by_file: dict[str, _First] = {}

    def take(self, entry: Entry, items: Sequence[Item]) -> None:
        """Compare what was read with what came before it."""
        if not items and (identity := _bad_id(entry)) is not None:
            self._graph.found_bad(identity)
            self._compare_path(entry, identity)
        for item in items:
            self._graph.found(item.id)
            is_told = self._compare_path(entry, item.id)
            if item.file is not None and not is_told:
                self._compare_file(entry, item, item.file)
            self._compare_key(entry, item)

    def tell_faults(
        self, entry: Entry, items: Sequence[Item], faults: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Report the references of an item to others that are not there, or lead back to it."""
        found = {
            (steps, faults[item.id][named]): item.id  # copies share what is wrong with them
            for item in reversed(items)
            if item.id in faults
            for steps, named in _item_references(item)
            if named in faults[item.id]
        }
        for (steps, message), owner in found.items():
            path, place = entry.draft().place(Mistake(steps, message))
            self._problems.error(path, place, dotted((f"items[{owner}]", *steps)), message)

    def _compare_path(self, entry: Entry, identity: str) -> bool:
        """Report an item whose id makes the same file names as an earlier one; whether it does."""
        if path_hash(identity) not in self._paths:
            return False
        name = collision_key(file_stem(identity))
        if (first := self._by_path.get(name)) is None:
            self._by_path[name] = _first(identity, entry)
            return False
        where = _where(first, entry.home)
        message = (
            f"duplicate id {shown(identity)} (first {where}){_remedy(entry)}"
            if first.id == identity
            else f"{shown(identity)} and {shown(first.id)} ({where}) would share a file name on "
            "some disks; rename one"
        )
        place = entry.home.place(("id",))
        self._problems.error(entry.home.path, place, f"items[{identity}].id", message)
        return True

    def _compare_file(self, entry: Entry, item: Item, file: str) -> None:
        """Report an item whose picture would have the name of an earlier one's.

        It cannot have that of a folder: all paths of a job have the same number of parts.
        """
        name = collision_key(file)
        if hash(name) not in self._files:
            return
        if (first := self._by_file.get(name)) is None:
            self._by_file[name] = _first(item.id, entry)
            return
        message = (
            f"{shown(item.id)} and {shown(first.id)} ({_where(first, entry.home)}) would "
            f"share the file {_shown_file(file)}; change output.name, or what it reads"
        )
        place = entry.home.place(("id",))
        self._problems.error(entry.home.path, place, f"items[{item.id}]", message)

    def _compare_key(self, entry: Entry, item: Item) -> None:
        if hash(item.key) not in self._keys:
            return
        key = int(item.key[:_KEY_DIGITS], 16)
        if (first := self._by_key.get(key)) is None:
            self._by_key[key] = _first(item.id, entry)
        if first is None or first.id == item.id:
            return
        message = (
            f"it asks for the same picture as {shown(first.id)} "
            f"({_where(first, entry.home)}) and gets a copy of it; "
            "for several of one kind write count"
        )
        place = entry.home.place(())
        self._problems.warning(entry.home.path, place, f"items[{item.id}]", message)


def path_hash(identity: str) -> int:
    """What ids share whose files would collide on some disk."""
    if _PLAIN_ID.match(identity):
        return hash(identity.lower())
    return hash(collision_key(file_stem(identity)))


def _shown_file(file: str) -> str:
    is_long = len(file) > _MAX_SHOWN_CHARS
    return f"images/{file[:_MAX_SHOWN_CHARS]}{'…' if is_long else '.*'}"


def _remedy(entry: Entry) -> str:
    is_expanded = isinstance(entry, Draft) and entry.is_expanded
    return "; put what tells the items apart into the id" if is_expanded else ""


def _first(identity: str, entry: Entry) -> _First:
    return _First(identity, entry.home.path, entry.home.line)


def _where(first: _First, seen_from: Origin) -> str:
    """Where an item stands, told in another place."""
    if first.path == seen_from.path:
        return f"on line {first.line}"
    return f"at {first.path}:{first.line}"


def _item_references(item: Item) -> Iterator[tuple[Steps, str]]:
    """The ids that an item names, with the steps that lead to each."""
    for n, reference in enumerate(item.references):
        if reference.item is not None:
            yield ("references", n), reference.item
    for k, turn in enumerate(item.turns):
        for n, reference in enumerate(turn.references):
            if reference.item is not None:
                yield ("turns", k, "references", n), reference.item


def _bad_id(entry: Entry) -> str | None:
    """The id of an item that has mistakes."""
    return written_id(entry.fields) if isinstance(entry, Draft) else None
