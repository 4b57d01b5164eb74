"""`review.jsonl`: which pictures somebody wants to have made again.

A line marks one picture of an item: `{"item":"hero","sha256":"…","mark":"redo","note":"…"}`. Of
several lines about an item the last one counts. A mark is about the picture that was looked at, by
its SHA-256: once another one has been made, it is done with.

Source: docs/adr/0014.
"""

from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from batchgen.errors import UsageError, store_errors
from batchgen.store.inside import open_inside


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody thinks of a picture."""

    item: str
    sha256: str
    mark: Literal["keep", "redo"]
    note: str | None = None


_decoder = msgspec.json.Decoder(Mark)


def read_redo(path: Path) -> dict[str, str]:
    """The pictures to make again: their SHA-256, by the ids of their items.

    Raises:
        UsageError: There is no such file, or a line of it is no mark.
        StoreError: The disk failed.
    """
    if not path.exists():
        raise UsageError(f"{path} is not there: nothing is marked to be made again")
    marks: dict[str, Mark] = {}
    with store_errors(path), open_inside(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                mark = _decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise UsageError(
                    f"{path}:{number}: {error}; expected item, sha256 and mark (keep or redo)"
                ) from error
            marks[mark.item] = mark
    return {mark.item: mark.sha256 for mark in marks.values() if mark.mark == "redo"}


def read_kept(path: Path) -> frozenset[str]:
    """The pictures, by SHA-256, that are kept when another one takes their place.

    They are so in every run: one that was told to make them anew may have been killed.
    """
    with suppress(UsageError):
        return frozenset(read_redo(path).values())
    return frozenset()
