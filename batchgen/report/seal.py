"""The seal of a job that is done: what the next run may take as this one left it.

To read a ledger takes as long as the job is large, however little there is to do, and so does
writing what people read. A run that leaves every item done therefore leaves a seal: how the files
are that its report went by and wrote, and the few figures that the next one would find again. A run
that finds the same job, the seal unbroken and each picture in its place knows what it would read.

The seal is no record: everything in it can be found again, and is, as soon as a file of it is not
as it was left.

Source: docs/adr/0025.
"""

import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from batchgen._version import __version__
from batchgen.errors import store_errors
from batchgen.model import ImageFile
from batchgen.report.charts.series import Series
from batchgen.report.past import RunPoint
from batchgen.report.summary import ItemTotals, Review
from batchgen.store.broken import Broken
from batchgen.store.inside import open_inside
from batchgen.store.layout import Layout
from batchgen.store.replace import replaced

# Inode, size in bytes, mtime and ctime in nanoseconds; None where there is no such file.
Stamp: TypeAlias = tuple[int, int, int, int] | None
_MAX_BYTES: Final = 64 << 20
_A_SECOND_NS: Final = 10**9


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """What a run found and left when every item was done.

    Attributes:
        version: Of batchgen; another one may tell it otherwise.
        stamps: Of the files that its report went by and wrote, by their names in the directory.
        items: Where they stand, as the next run finds them.
        review: As the summary has it.
        cost_usd: What was billed in the run; None if that is not known.
        points: What each run came to, by the ledger.
        series: The last run that sent anything.
        has_thumbnails: Each picture on the page has one.
    """

    version: str = __version__
    stamps: dict[str, Stamp]
    items: ItemTotals
    review: Review | msgspec.UnsetType = msgspec.UNSET
    cost_usd: Decimal | None
    points: dict[str, RunPoint]
    series: Series
    has_thumbnails: bool

    @property
    def n_items(self) -> int:
        """How many items there are."""
        return self.items.counts.total


@dataclass(slots=True)
class Stamps:
    """How files are, noted one after the other; what is noted again is as it is now.

    Attributes:
        are_sound: All of them tell whether a file was touched since.
    """

    layout: Layout
    by_name: dict[str, Stamp] = field(default_factory=dict)
    are_sound: bool = True

    def note(self, paths: Iterable[Path]) -> None:
        """Note how files and directories are.

        A link says nothing of what it leads to, and where times are whole seconds a second change
        within one is not seen.
        """
        for path in paths:
            try:
                now = path.stat(follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                stamp = None
            except OSError:
                stamp, self.are_sound = None, False
            else:
                is_plain = stat.S_ISREG(now.st_mode) or stat.S_ISDIR(now.st_mode)
                self.are_sound &= is_plain and now.st_ctime_ns % _A_SECOND_NS != 0
                stamp = now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns
            self.by_name[self.layout.relative(path)] = stamp


def inputs(layout: Layout) -> list[Path]:
    """What a report goes by, besides pictures."""
    kept = layout.root / "quarantine"
    own = [layout.items, layout.review, layout.broken, layout.shards, kept, kept / "images"]
    return [*own, *layout.segments]


def outputs(layout: Layout) -> list[Path]:
    """What it writes, besides the summary."""
    return [layout.results, layout.failed, layout.page, layout.runs, layout.thumbnails]


def write_seal(layout: Layout, seal: Seal) -> None:
    """Leave a seal. Where that cannot be, the next run reads everything, and nothing is lost."""
    with suppress(OSError), replaced(layout.seal) as file:
        file.write(msgspec.json.encode(seal))


def read_seal(layout: Layout) -> Seal | None:
    """The seal that was left; None if there is none, or none that can be read."""
    with (
        suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError),
        open_inside(layout.seal) as file,
    ):
        return msgspec.json.decode(file.read(_MAX_BYTES), type=Seal)
    return None


def is_unbroken(seal: Seal, layout: Layout, *, besides: Path | None = None) -> bool:
    """Whether everything is as it was left.

    Args:
        seal: What was left.
        layout: The job's directory.
        besides: The segment that the run is writing, which is new.
    """
    now = Stamps(layout)
    now.note(path for path in (*inputs(layout), *outputs(layout)) if path != besides)
    return now.are_sound and seal.version == __version__ and seal.stamps == now.by_name


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
    if seal is None or not is_unbroken(seal, layout):
        return None
    with store_errors(layout.root):
        if any(layout.parts.iterdir()):  # a run was killed
            return None
        return seal if _are_pictures_there(layout, go_on) else None


class _Done(msgspec.Struct):
    """What is wanted of a line of results.jsonl."""

    images: tuple[ImageFile, ...] = ()


_decoder: Final = msgspec.json.Decoder(_Done)


def _are_pictures_there(layout: Layout, go_on: Callable[[], None]) -> bool:
    size_bytes, broken = layout.shelf.size_bytes, Broken.read(layout.broken)
    with open_inside(layout.results) as file:
        for line in file:
            go_on()
            try:
                images = _decoder.decode(line).images
            except (msgspec.MsgspecError, UnicodeDecodeError):  # whoever forged the seal
                return False
            for image in images:
                if image.role != "final":
                    continue
                if size_bytes(image.path) != image.bytes or broken.names(image, layout.root):
                    return False
    return True
