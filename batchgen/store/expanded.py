"""`items.jsonl`: the expanded job of the last run, which everything after reading goes by.

Writing it is the last step of reading a job: a file that the user changes while a run goes on
changes nothing in that run, and the plan and the reports stream over the same lines.
"""

import filecmp
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from itertools import compress
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from batchgen.errors import StoreError, UsageError, store_errors
from batchgen.model import Item, Reference
from batchgen.seen import Seen
from batchgen.selection import find_groups
from batchgen.store.inside import open_inside
from batchgen.store.layout import Layout
from batchgen.store.replace import replaced

T = TypeVar("T")


class Named(msgspec.Struct):
    """What an item is called, and who makes it, if that can be read."""

    id: str
    model: Any = None


_decoder = msgspec.json.Decoder(Item)
_named_decoder = msgspec.json.Decoder(Named)
# No text in JSON holds it as it stands, so that a line without it builds on no other item.
_ITEM_REFERENCE: Final = b'"item":'
_BLOCK_BYTES: Final = 1 << 16  # to write them line by line takes longer


def write_items(path: Path, items: Iterable[Item]) -> None:
    """Write items, a line each; the file is there whole or not at all.

    Raises:
        StoreError: The disk could not take them.
    """
    relative = partial(_relative, str(path.parent.resolve()))
    encode_into = msgspec.json.Encoder().encode_into
    block = bytearray()
    try:
        with replaced(path) as file:
            for item in items:
                encode_into(with_references(item, relative), block, -1)
                block += b"\n"
                if len(block) > _BLOCK_BYTES:
                    file.write(block)
                    block.clear()
            file.write(block)
    except OSError as error:
        raise StoreError.of(error, path) from error


def read_items(path: Path, wanted: Iterable[object] | None = None) -> Iterator[Item]:
    """Yield the items of a job's directory in order, their references absolute again.

    Args:
        path: The file.
        wanted: Of each line, whether it is wanted: no other is decoded. All are, unless it is told.

    Raises:
        UsageError: There are none: no run has been here.
        StoreError: A line is no item.
    """
    absolute = partial(_absolute, str(path.parent.resolve()))
    for item in _lines(path, _decoder, wanted=wanted):
        yield with_references(item, absolute)


def read_ids(path: Path) -> Iterator[str]:
    """Yield the ids of the items of a job's directory in order.

    Raises:
        UsageError: There are none: no run has been here.
        StoreError: A line is no item.
    """
    return (named.id for named in _lines(path, _named_decoder))


def decode_item(line: bytes, base: Path) -> Item:
    """The item of one line, its references absolute again.

    Args:
        line: A line of `items.jsonl`.
        base: The job's directory, without links on the way to it.

    Raises:
        MsgspecError: It is no item; also UnicodeDecodeError and RecursionError.
    """
    return with_references(_decoder.decode(line), partial(_absolute, str(base)))


def decode_named(line: bytes) -> Named:
    """Read no more of a line of `items.jsonl` than must be.

    Raises:
        MsgspecError, UnicodeDecodeError, RecursionError: It is none.
    """
    return _named_decoder.decode(line)


def decode_id(line: bytes) -> str:
    """The id in one line; raises what `decode_item` does."""
    return decode_named(line).id


def read_parents(path: Path) -> dict[str, str]:
    """Find the items that others build on: their ids, by the names that references use for them.

    A name that is no id means the first of several copies: `hero` is `hero#1`.

    Cost: memory for these names alone; a job without such references is searched, not decoded.

    Raises:
        UsageError: There are none: no run has been here.
        StoreError: A line is no item.
    """
    names = {
        reference.item
        for item in _lines(path, _decoder, holding=_ITEM_REFERENCE)
        for reference in item.all_references
        if reference.item is not None
    }
    if not names:
        return {}
    ids = {named.id for named in _lines(path, _named_decoder) if named.id in names}
    return {name: name if name in ids else f"{name}#1" for name in names}


def read_groups(
    path: Path, parents: Mapping[str, str] | None = None, twins: frozenset[int] | None = None
) -> dict[str, str]:
    """Find which items belong together, for whoever parts a job; see `find_groups`.

    Args:
        path: The items.
        parents: As `read_parents` has them; found here, unless they are told.
        twins: Hashes of the content keys that several items have; the same.

    Raises:
        UsageError: There are none: no run has been here.
        StoreError: A line is no item.
    """
    parents = read_parents(path) if parents is None else parents
    if twins is None:
        seen = Seen()
        for item in read_items(path):
            seen.add(hash(item.key))
        twins = seen.repeated()
    return find_groups(read_items(path), parents, twins) if parents or twins else {}


def place_items(draft: Path, layout: Layout) -> None:
    """Let a draft be the expanded job of a run. Shards of one job have one file with many names.

    A file that is the same already stays as it is: that nobody has touched it tells the job's seal.

    Raises:
        StoreError: The disk failed.
    """
    with store_errors(layout.items):
        if is_same(layout.items, draft):
            draft.unlink()
            return
        if layout.shard is not None:
            for other in layout.others:
                if other.shard is not None and is_same(other.items, draft):
                    _link_instead(draft, other.items)
                    break
        draft.replace(layout.items)
        draft.unlink(missing_ok=True)  # two names of one file do not replace each other


def is_same(path: Path, draft: Path) -> bool:
    """Whether an expanded job is there and is the same as another one, byte by byte."""
    is_ours = path.is_file() and not path.is_symlink()
    return is_ours and filecmp.cmp(path, draft, shallow=False)


def _link_instead(draft: Path, path: Path) -> None:
    """Have a file with two names instead of two files; where a disk has no links, as it is."""
    link = draft.with_suffix(".link")
    try:
        os.link(path, link)
    except OSError:
        return
    link.replace(draft)


def with_references(item: Item, change: Callable[[Reference], Reference]) -> Item:
    """The item with each of its references changed, those of its turns as well."""
    if item.references:
        item = msgspec.structs.replace(item, references=tuple(map(change, item.references)))
    if item.turns:
        turns = tuple(
            msgspec.structs.replace(turn, references=tuple(map(change, turn.references)))
            for turn in item.turns
        )
        item = msgspec.structs.replace(item, turns=turns)
    return item


def _lines(
    path: Path,
    decoder: msgspec.json.Decoder[T],
    *,
    holding: bytes = b"",
    wanted: Iterable[object] | None = None,
) -> Iterator[T]:
    """Decode the lines that are wanted and hold some bytes."""
    try:
        with open_inside(path) as file:
            for line in file if wanted is None else compress(file, wanted):
                if holding in line:
                    yield decoder.decode(line)
    except FileNotFoundError as error:
        raise UsageError(f"{path.parent} holds no run: {path.name} is missing") from error
    except OSError as error:
        raise StoreError.of(error, path) from error
    except msgspec.MsgspecError as error:
        raise StoreError(f"{path} cannot be read: {error}") from error


@lru_cache(1024)  # many items name few files
def _relative(base: str, reference: Reference) -> Reference:
    if reference.path is None:
        return reference
    return msgspec.structs.replace(reference, path=os.path.relpath(reference.path, base))


@lru_cache(1024)
def _absolute(base: str, reference: Reference) -> Reference:
    if reference.path is None:
        return reference
    path = os.path.normpath(os.path.join(base, reference.path))  # noqa: PTH118 - as text
    return msgspec.structs.replace(reference, path=path)
