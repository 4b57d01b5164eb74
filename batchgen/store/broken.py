"""`broken.jsonl`: the pictures that `verify` found not to be what was made; `run` makes them again.

An instruction, not a record: what was made is the ledger's to say. A line counts only as long as
the ledger still has that picture for that path, and the file is still as `verify` saw it. So a
picture is never made twice for one finding, and one that was put back from a backup is not made
at all; nobody has to take lines away.

Source: docs/adr/0014.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgspec

from batchgen.errors import store_errors
from batchgen.model import ImageFile
from batchgen.store.inside import open_inside
from batchgen.store.replace import replaced

VERSION = 1


class BrokenFile(msgspec.Struct, frozen=True, kw_only=True):
    """One picture that is not what was made.

    Attributes:
        sha256: What the ledger has of it.
        size, mtime_ns, ctime_ns: Of the file that was found; None where there was none. The last
            one is the only one that a copy from a backup cannot set back.
    """

    v: int = VERSION
    item: str
    path: str
    sha256: str
    problem: str
    size: int | None = None
    mtime_ns: int | None = None
    ctime_ns: int | None = None

    def is_still_there(self, root: Path) -> bool:
        """Whether nobody has touched the file since, so that it is still not what was made."""
        try:
            now = (root / self.path).stat()
        except OSError:
            return self.size is None
        return (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == (
            self.size,
            self.mtime_ns,
            self.ctime_ns,
        )


_decoder = msgspec.json.Decoder(BrokenFile)


@dataclass(frozen=True, slots=True)
class Broken:
    """The findings of the last `verify`, by path and digest."""

    files: Mapping[tuple[str, str], BrokenFile] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the findings; there are none without a file.

        A line that makes no sense is no reason not to run: it is passed over.

        Raises:
            StoreError: The disk failed.
        """
        files = {}
        with store_errors(path), suppress(FileNotFoundError), open_inside(path) as lines:
            for line in lines:
                with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                    found = _decoder.decode(line)
                    if found.v == VERSION:
                        files[found.path, found.sha256] = found
        return cls(files)

    def names(self, image: ImageFile, root: Path) -> bool:
        """Whether a picture was found not to be what was made, and its file is still that one."""
        found = self.files.get((image.path, image.sha256))
        return found is not None and found.is_still_there(root)


def found_broken(
    item_id: str, path: str, sha256: str, problem: str, seen: os.stat_result | None
) -> BrokenFile:
    """The line for a picture: what is recorded of it, and what file was found in its place."""
    return BrokenFile(
        item=item_id,
        path=path,
        sha256=sha256,
        problem=problem,
        size=None if seen is None else seen.st_size,
        mtime_ns=None if seen is None else seen.st_mtime_ns,
        ctime_ns=None if seen is None else seen.st_ctime_ns,
    )


def write_broken(path: Path, files: Iterable[BrokenFile]) -> None:
    """Replace the findings as a whole; without any, there is no file.

    Raises:
        StoreError: The disk could not take them.
    """
    lines = [msgspec.json.encode(one) + b"\n" for one in files]
    with store_errors(path):
        if not lines:
            path.unlink(missing_ok=True)
            return
        with replaced(path) as file:
            file.writelines(lines)
