"""Names and places in a job's directory."""

import itertools
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Final

from batchgen.model import Item
from batchgen.naming import file_stem
from batchgen.selection import Shard
from batchgen.store.shelf import Here, Shelf

# What a final picture may end in.
EXTENSIONS: Final = ("png", "jpg", "webp")
_SHARES: Final = 4096
_RUN_ID: Final = re.compile(r"([0-9]{8}T[0-9]{6})Z-([0-9a-f]{3})[0-9a-f]{5}")


@dataclass(frozen=True)
class Layout:
    """The files of one job's directory. Paths inside files are relative to `root`.

    Attributes:
        shard: The part of the job whose run has these files, where several write at once: its own
            expanded job, parts, lock and segments; all else they have in common.
        away: Where the files belong, if this is but the mirror of another place.
        worker: Who receives answers for the run, in a directory of its own.
    """

    root: Path
    shard: Shard | None = None
    away: Shelf | None = field(default=None, compare=False, repr=False)
    worker: str | None = None

    @classmethod
    def at(cls, place: "Path | Layout") -> "Layout":
        """The files of a directory, for whoever takes either."""
        return cls(place) if isinstance(place, Path) else place

    @property
    def shelf(self) -> Shelf:
        """Where the files belong."""
        return self._here if self.away is None else self.away

    @cached_property
    def _here(self) -> Shelf:
        return Here(self.root)

    @property
    def own(self) -> Path:
        """Where a run keeps what no other may touch while it goes on."""
        return self.root if self.shard is None else self.shards / self.shard.name

    @property
    def shards(self) -> Path:
        """What shards keep for themselves."""
        return self.root / ".shards"

    @property
    def others(self) -> list["Layout"]:
        """The same directory as a run of the whole job has it, and each shard that was here."""
        found = (Shard.named(path.name) for path in sorted(self.shards.glob("s*-*")))
        shards = [None, *(shard for shard in found if shard is not None)]
        return [Layout(self.root, shard) for shard in shards if shard != self.shard]

    @property
    def items(self) -> Path:
        """The expanded job of the last run."""
        return self.own / "items.jsonl"

    @property
    def results(self) -> Path:
        """Where each item stands after the last run."""
        return self.root / "results.jsonl"

    @property
    def failed(self) -> Path:
        """The items that are not done, as a job."""
        return self.root / "failed.jsonl"

    @property
    def page(self) -> Path:
        """The pictures, to be looked at."""
        return self.root / "report.html"

    @property
    def ledger(self) -> Path:
        """The directory of the ledger's segments."""
        return self.root / "ledger"

    @property
    def segments(self) -> list[Path]:
        """The segments of the ledger, oldest run first."""
        return sorted(self.ledger.glob("*.jsonl"))

    @cached_property  # each call needs it, several times
    def parts(self) -> Path:
        """Answers that are being received."""
        parts = self.own / (".parts" if self.shard is None else "parts")
        return parts if self.worker is None else parts / self.worker

    @property
    def references(self) -> Path:
        """References that were fetched or scaled down."""
        return self.root / ".references"

    @property
    def lock(self) -> Path:
        """Held by the run that writes here."""
        return self.own / (".lock" if self.shard is None else "lock")

    @property
    def review(self) -> Path:
        """What somebody thinks of the pictures."""
        return self.root / "review.jsonl"

    @property
    def runs(self) -> Path:
        """Each run's summary; of a shard only its own, for who is told how it went."""
        return self.own / "runs"

    @property
    def images(self) -> Path:
        """The final pictures."""
        return self.root / "images"

    @property
    def thumbnails(self) -> Path:
        """Small copies of pictures for a report. A run makes none, and minds none."""
        return self.root / "thumbnails"

    @property
    def broken(self) -> Path:
        """The pictures that were found not to be what was made."""
        return self.root / "broken.jsonl"

    @property
    def seal(self) -> Path:
        """What the next run may take as the last one left it; it may go away at any time."""
        return self.root / ".seal"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every directory that a run may make in here."""
        kinds = ("images", "thoughts", "drafts", "text", "turns", "quarantine")
        ours = (self.ledger, self.shards, self.parts, self.references, self.runs)
        return (*ours, *(self.root / kind for kind in kinds))

    def segment(self, run_id: str) -> Path:
        """The ledger segment of one run."""
        shard = "" if self.shard is None else f".{self.shard.name}"
        return self.ledger / f"{run_id}{shard}.jsonl"

    def image(self, item: Item, extension: str) -> Path:
        """The final place of an item's picture."""
        return self.root / self.image_name(item, extension)

    @staticmethod
    def image_name(item: Item, extension: str) -> str:
        """The same as it is written into files: without a path object for each of a million."""
        file = file_stem(item.id) if item.file is None else item.file
        return f"images/{file}.{extension}"

    def turn(self, item_id: str, turn: int, extension: str) -> Path:
        """What one turn of a conversation came to: the model's content, or its picture."""
        return self.root / self.turn_name(item_id, turn, extension)

    @staticmethod
    def turn_name(item_id: str, turn: int, extension: str) -> str:
        """The same as it is written into files."""
        return f"turns/{file_stem(item_id)}.{turn}.{extension}"

    @staticmethod
    def beside_name(kind: str, item_id: str, turn: int, number: int, extension: str) -> str:
        """A picture of an answer besides the final one: one of its `drafts` or `thoughts`."""
        return f"{kind}/{file_stem(item_id)}.{turn}.{number}.{extension}"

    def text(self, item_id: str) -> Path:
        """The words that came with an item's picture."""
        return self.root / f"text/{file_stem(item_id)}.txt"

    def quarantine(self, part_name: str, extension: str) -> Path:
        """Bytes that were paid for and could not be accepted."""
        return self.root / "quarantine" / f"{part_name}.{extension}"

    def displaced(self, path: Path) -> Path:
        """A free name for what lies where a picture belongs, and is not what was made there."""
        below = self.root / "quarantine" / path.relative_to(self.root)
        names = (below.with_name(f"{path.stem}.{n}{path.suffix}") for n in itertools.count(1))
        return next(
            name
            for name in names
            if not os.path.lexists(name) and self.shelf.size_bytes(self.relative(name)) is None
        )

    def set_aside(self, part_name: str) -> Iterator[Path]:
        """What is in quarantine of one call."""
        return (self.root / "quarantine").glob(f"{part_name}.*")

    def relative(self, path: Path) -> str:
        """A path as it is written into files."""
        return path.relative_to(self.root).as_posix()


def new_run_id(at: datetime) -> str:
    """Name a run by its start: `20261121T030000Z-4f2a9c31`; names sort by time.

    Two runs of one directory may begin in the same second, and the ledger is read in the order of
    its names: the first three digits say which 4096th of the second it was, the others are chance.
    """
    share = at.microsecond * _SHARES // 1_000_000
    return f"{at:%Y%m%dT%H%M%SZ}-{share:03x}{secrets.token_hex(3)[1:]}"


def follow(run_id: str, ledger: Path) -> str:
    """The same run's name, or the next one that comes after all names in a ledger.

    A clock that was set back, or a run that had a long job to read and let another one pass, must
    not put a later run before an earlier one: what came last would not count.
    """
    names = (_RUN_ID.match(path.name) for path in ledger.glob("*.jsonl"))
    newest = max((name for name in names if name), key=lambda name: name[0], default=None)
    if newest is None or run_id > newest[0]:
        return run_id
    second = datetime.strptime(newest[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    # Rounded up, so that it falls into the share after the newest one's.
    later = timedelta(microseconds=-(-(int(newest[2], 16) + 1) * 1_000_000 // _SHARES))
    return new_run_id(second + later)
