"""`items.jsonl`: the expanded job of the last run, which everything after reading goes by.

Writing it is the last step of reading a job: a file that the user changes while a run goes on
changes nothing in that run, and the plan and the reports stream over the same lines.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from batchgen.errors import StoreError, UsageError
from batchgen.model import Item, Reference
from batchgen.store.inside import open_inside
from batchgen.store.replace import replaced

T = TypeVar("T")


class _Named(msgspec.Struct):
    id: str


_decoder = msgspec.json.Decoder(Item)
_id_decoder = msgspec.json.Decoder(_Named)
# No text in JSON holds it as it stands, so that a line without it builds on no other item.
_ITEM_REFERENCE: Final = b'"item":'


def write_items(path: Path, items: Iterable[Item]) -> None:
    """Write items, a line each; the file is there whole or not at all.

    Raises:
        StoreError: The disk could not take them.
    """
    base = path.parent.resolve()
    try:
        with replaced(path) as file:
            for item in items:
                line = msgspec.json.encode(_moved(item, base, to_relative=True))
                file.write(line + b"\n")
    except OSError as error:
        raise StoreError.of(error, path) from error


def read_items(path: Path) -> Iterator[Item]:
    """Yield the items of a job's directory in order, their references absolute again.

    Raises:
        UsageError: There are none: no run has been here.
        StoreError: A line is no item.
    """
    base = path.parent.resolve()
    for item in _lines(path, _decoder):
        yield _moved(item, base, to_relative=False)


def read_ids(path: Path) -> Iterator[str]:
    """Yield the ids of the items of a job's directory in order.

    Raises:
        UsageError: There are none: no run has been here.
        StoreError: A line is no item.
    """
    return (named.id for named in _lines(path, _id_decoder))


def decode_item(line: bytes, base: Path) -> Item:
    """The item of one line, its references absolute again.

    Args:
        line: A line of `items.jsonl`.
        base: The job's directory, without links on the way to it.

    Raises:
        MsgspecError: It is no item; also UnicodeDecodeError and RecursionError.
    """
    return _moved(_decoder.decode(line), base, to_relative=False)


def decode_id(line: bytes) -> str:
    """The id in one line; raises what `decode_item` does."""
    return _id_decoder.decode(line).id


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
    ids = {named.id for named in _lines(path, _id_decoder) if named.id in names}
    return {name: name if name in ids else f"{name}#1" for name in names}


def with_references(item: Item, change: Callable[[Reference], Reference]) -> Item:
    """The item with each of its references changed, those of its turns as well."""
    if not item.references and not item.turns:
        return item
    turns = tuple(
        msgspec.structs.replace(turn, references=tuple(map(change, turn.references)))
        for turn in item.turns
    )
    references = tuple(map(change, item.references))
    return msgspec.structs.replace(item, references=references, turns=turns)


def _lines(path: Path, decoder: msgspec.json.Decoder[T], *, holding: bytes = b"") -> Iterator[T]:
    """Decode the lines that hold some bytes."""
    try:
        with open_inside(path) as file:
            for line in file:
                if holding in line:
                    yield decoder.decode(line)
    except FileNotFoundError as error:
        raise UsageError(f"{path.parent} holds no run: {path.name} is missing") from error
    except OSError as error:
        raise StoreError.of(error, path) from error
    except msgspec.MsgspecError as error:
        raise StoreError(f"{path} cannot be read: {error}") from error


def _moved(item: Item, base: Path, *, to_relative: bool) -> Item:
    return with_references(item, lambda ref: _moved_reference(ref, base, to_relative=to_relative))


def _moved_reference(reference: Reference, base: Path, *, to_relative: bool) -> Reference:
    if reference.path is None:
        return reference
    path = (
        os.path.relpath(reference.path, base)
        if to_relative
        else os.path.normpath(base / reference.path)
    )
    return msgspec.structs.replace(reference, path=path)
