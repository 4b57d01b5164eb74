"""`items.jsonl`: the expanded job of the last run, which everything after reading goes by.

Writing it is the last step of reading a job: a file that the user changes while a run goes on
changes nothing in that run, and the plan and the reports stream over the same lines.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from batchgen.errors import StoreError, UsageError
from batchgen.model import Item, Reference
from batchgen.store.replace import replaced

_decoder = msgspec.json.Decoder(Item)


def write_items(path: Path, items: Iterable[Item]) -> int:
    """Write items, a line each; the file is there whole or not at all.

    Returns:
        How many there are.

    Raises:
        StoreError: The disk could not take them.
    """
    base = path.parent.resolve()
    n = 0
    try:
        with replaced(path) as file:
            for item in items:
                line = msgspec.json.encode(_moved(item, base, to_relative=True))
                file.write(line + b"\n")
                n += 1
    except OSError as error:
        raise StoreError.of(error, path) from error
    return n


def read_items(path: Path) -> Iterator[Item]:
    """Yield the items of a job's directory in order, their references absolute again.

    Raises:
        UsageError: There are none: no run has been here.
        StoreError: A line is no item.
    """
    base = path.parent.resolve()
    try:
        with path.open("rb") as file:
            for line in file:
                yield _moved(_decoder.decode(line), base, to_relative=False)
    except FileNotFoundError as error:
        raise UsageError(f"{path.parent} holds no run: {path.name} is missing") from error
    except msgspec.MsgspecError as error:
        raise StoreError(f"{path} cannot be read: {error}") from error


def _moved(item: Item, base: Path, *, to_relative: bool) -> Item:
    if not item.references and not item.turns:
        return item

    def moved(references: tuple[Reference, ...]) -> tuple[Reference, ...]:
        return tuple(_moved_reference(ref, base, to_relative=to_relative) for ref in references)

    turns = tuple(
        msgspec.structs.replace(turn, references=moved(turn.references)) for turn in item.turns
    )
    return msgspec.structs.replace(item, references=moved(item.references), turns=turns)


def _moved_reference(reference: Reference, base: Path, *, to_relative: bool) -> Reference:
    if reference.path is None:
        return reference
    path = (
        os.path.relpath(reference.path, base)
        if to_relative
        else os.path.normpath(base / reference.path)
    )
    return msgspec.structs.replace(reference, path=path)
