"""The seal of a job of which all is done: what the next run may take as this report left it.

Reading a ledger takes as long as the job is large, however little there is to do, and so does
writing what people read. A report that found every item done therefore leaves a seal: the files
that it went by and wrote, and the few figures that the next one would find again. A run that finds
the same job, an unbroken seal and each picture in its place knows what it would have read.

The seal is no record: everything in it can be found again, and is, as soon as a file of it is not
as it was left. That is told by its size and by two times, of which nobody can set the second one;
so one that was copied here, or written by hand, holds nothing.

Source: docs/adr/0025.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from batchgen._version import __version__
from batchgen.errors import store_errors
from batchgen.model import ImageFile
from batchgen.report.past import RunPoint
from batchgen.report.summary import ItemTotals, Review
from batchgen.store.broken import Broken
from batchgen.store.inside import open_inside
from batchgen.store.layout import Layout
from batchgen.store.replace import replaced

# Size in bytes, mtime and ctime in nanoseconds; None where there is no such file.
Mark: TypeAlias = tuple[int, int, int] | None
_MAX_BYTES: Final = 64 << 20


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """What a report found in a job of which every item was done.

    Attributes:
        version: Of batchgen; another one may tell it otherwise.
        marks: Of the files that it went by and wrote, by their names in the job's directory.
        items: Where they stand: all of them are done.
        review: As the summary has it.
        cost_usd: What was billed in the last run; None if that is not known.
        points: What each run came to, by the ledger.
        charts: Those of the last run that sent anything, as HTML.
        charts_of: That run.
        has_thumbnails: Each picture on the page has one.
    """

    version: str = __version__
    marks: dict[str, Mark]
    items: ItemTotals
    review: Review | msgspec.UnsetType = msgspec.UNSET
    cost_usd: Decimal | None
    points: dict[str, RunPoint]
    charts: str
    charts_of: str
    has_thumbnails: bool

    @property
    def n_items(self) -> int:
        """How many items there are."""
        return self.items.counts.total

    def is_unbroken(self, marks: Mapping[str, Mark]) -> bool:
        """Whether everything is as it was left, by the marks of this moment."""
        return self.version == __version__ and self.marks == marks


class _Done(msgspec.Struct):
    """What is wanted of a line of results.jsonl."""

    images: tuple[ImageFile, ...] = ()


_decoder: Final = msgspec.json.Decoder(_Done)


def inputs(layout: Layout) -> list[Path]:
    """What a report goes by, besides pictures."""
    kept = layout.root / "quarantine"
    own = [layout.items, layout.review, layout.broken, layout.shards, kept, kept / "images"]
    return [*own, *layout.segments]


def results(layout: Layout) -> list[Path]:
    """What it writes of the items."""
    return [layout.results, layout.root / "failed.jsonl"]


def pages(layout: Layout) -> list[Path]:
    """What it writes to be looked at."""
    return [layout.root / "report.html", layout.thumbnails]


def marks_of(layout: Layout, paths: Iterable[Path]) -> dict[str, Mark]:
    """The marks of some files and directories at this moment.

    Raises:
        OSError: The disk does not say.
    """
    return {layout.relative(path): _mark(path) for path in paths}


def _mark(path: Path) -> Mark:
    try:
        now = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return now.st_size, now.st_mtime_ns, now.st_ctime_ns


def write_seal(layout: Layout, seal: Seal | None) -> None:
    """Leave a seal; without one, whatever is there goes away.

    Raises:
        OSError: The disk failed.
    """
    if seal is None:
        layout.seal.unlink(missing_ok=True)
        return
    with replaced(layout.seal) as file:
        file.write(msgspec.json.encode(seal))


def read_seal(layout: Layout) -> Seal | None:
    """The seal that was left; None if there is none, or none that can be read."""
    with (
        suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError),
        open_inside(layout.seal) as file,
    ):
        return msgspec.json.decode(file.read(_MAX_BYTES), type=Seal)
    return None


def find_unbroken(layout: Layout, go_on: Callable[[], None]) -> Seal | None:
    """The seal of a job, if nothing has changed since and each picture is there in its size.

    Args:
        layout: The job's directory, which the caller holds; it has its `items.jsonl`.
        go_on: Called for each item; raises if looking is to end.

    Raises:
        StoreError: The disk failed.

    Cost: four microseconds an item.
    """
    seal = read_seal(layout)
    with store_errors(layout.root):
        if seal is None or not seal.is_unbroken(marks_of(layout, all_paths(layout))):
            return None
        if any(layout.parts.iterdir()):  # a run was killed
            return None
        return seal if _are_pictures_there(layout, go_on) else None


def all_paths(layout: Layout) -> list[Path]:
    """Everything that a seal has marks of."""
    return [*inputs(layout), *results(layout), *pages(layout)]


def _are_pictures_there(layout: Layout, go_on: Callable[[], None]) -> bool:
    decode, size_bytes = _decoder.decode, layout.shelf.size_bytes
    broken = Broken.read(layout.broken)
    with open_inside(layout.results) as file:
        for line in file:
            go_on()
            for image in decode(line).images:
                if image.role != "final":
                    continue
                if size_bytes(image.path) != image.bytes or broken.names(image, layout.root):
                    return False
    return True
