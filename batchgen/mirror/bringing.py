"""What a run, or whoever reads, goes by is brought from an object store into the mirror.

The ledger wins where it knows more: a run of this machine that was killed has lines which the store
has not. Two that tell different things are never made one by guess.
"""

from collections import defaultdict
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import Final

from batchgen.errors import StoreError, store_errors
from batchgen.mirror.contents import Contents
from batchgen.mirror.shipping import SEGMENT, joined, shipped_mark, slice_of
from batchgen.objects.bucket import Bucket, StoreAway
from batchgen.store.layout import Layout
from batchgen.store.ledger import segments

# Top files that tell something to a run, besides the ledger; the last one only to those who read.
_FILES: Final = ("review.jsonl", "broken.jsonl")
_ITEMS: Final = "items.jsonl"
_COMPARED_BYTES: Final = 1 << 20
_N_TRIES: Final = 3


def bring(bucket: Bucket, layout: Layout) -> Contents:
    """Bring what a run goes by, and note what lies there.

    Raises:
        StoreError: The store did not answer, or its ledger is another one than ours.
    """
    return _brought(bucket, layout, _FILES)


def bring_to_read(bucket: Bucket, layout: Layout) -> Contents:
    """Bring what a report goes by into an empty directory; raises what `bring` does."""
    return _brought(bucket, layout, (*_FILES, _ITEMS))


def bring_ledgers(bucket: Bucket, into: Path) -> int:
    """Bring the ledgers of all jobs in a place, each into a folder of its own.

    Returns:
        How many segments there are.

    Raises:
        StoreError: The store did not answer.
    """
    whole: set[str] = set()
    slices: defaultdict[str, list[int]] = defaultdict(list)
    for stored in bucket.listed():
        below = stored.path.rpartition("ledger/")[1:]
        name = "".join(below)
        if (of := slice_of(name)) is not None:
            slices[stored.path.removesuffix(f".{of[1]:06}")].append(of[1])
        elif SEGMENT.fullmatch(name):
            whole.add(stored.path)
    with store_errors(into):
        for path in whole | slices.keys():
            (into / path).parent.mkdir(parents=True, exist_ok=True)
            if path in whole:
                bucket.fetch(path, into / path)
            else:
                joined(bucket, path, slices[path], into / path)
    return len(whole | slices.keys())


def _brought(bucket: Bucket, layout: Layout, names: tuple[str, ...]) -> Contents:
    """Bring all of it; a list that breaks off cannot be gone on with, and is begun again."""
    for _ in range(_N_TRIES - 1):
        with suppress(StoreAway):
            return _brought_once(bucket, layout, names)
    return _brought_once(bucket, layout, names)


def _brought_once(bucket: Bucket, layout: Layout, names: tuple[str, ...]) -> Contents:
    contents = Contents()
    whole: dict[str, int] = {}
    slices: defaultdict[str, list[int]] = defaultdict(list)
    with store_errors(layout.root):
        for directory in (layout.root, layout.ledger, layout.runs):
            directory.mkdir(parents=True, exist_ok=True)
        for stored in contents.read(bucket):
            path = stored.path
            if (of := slice_of(path)) is not None:
                slices[of[0]].append(of[1])
            elif path.startswith("ledger/") and path.endswith(".jsonl"):
                whole[path] = stored.size_bytes
            elif path.startswith("runs/") and not (layout.root / path).exists():
                bucket.fetch(path, layout.root / path)
        for name in names:
            if name in contents:
                bucket.fetch(name, layout.root / name)
            else:
                (layout.root / name).unlink(missing_ok=True)
        _drop_taken_away(layout, whole)
        for path, size_bytes in whole.items():
            _bring_whole(bucket, path, size_bytes, layout.root / path)
        for path, numbers in slices.items():
            if path not in whole:
                _bring_slices(bucket, path, numbers, layout.root / path)
    return contents


def _drop_taken_away(layout: Layout, whole: Container[str]) -> None:
    """Remove segments that were sent and are gone: somebody emptied the place, and meant it."""
    for segment in segments(layout.ledger):
        mark = shipped_mark(segment)
        if mark.exists() and f"ledger/{segment.name}" not in whole:
            segment.unlink()
            mark.unlink()


def _bring_whole(bucket: Bucket, path: str, size_bytes: int, into: Path) -> None:
    """Bring a closed segment, unless it is here; if more of it is here, that stays."""
    if into.is_file():
        if into.stat().st_size == size_bytes:
            return
        there = into.with_name(f".{into.name}.there")
        try:
            bucket.fetch(path, there)
            _choose(there, into, f"{bucket.address}/{path}")
        finally:
            there.unlink(missing_ok=True)
    else:
        bucket.fetch(path, into)


def _bring_slices(bucket: Bucket, path: str, numbers: list[int], into: Path) -> None:
    """Bring what there is of a segment whose run was killed, unless more of it is here."""
    there = into.with_name(f".{into.name}.there")
    try:
        joined(bucket, path, numbers, there)
        if into.is_file():
            _choose(there, into, f"{bucket.address}/{path}")
        else:
            there.replace(into)
    finally:
        there.unlink(missing_ok=True)


def _choose(there: Path, here: Path, where: str) -> None:
    """Keep the longer one of two, of which one must be the beginning of the other."""
    short, long = sorted((there, here), key=lambda path: path.stat().st_size)
    n_left = short.stat().st_size
    with short.open("rb") as first, long.open("rb") as second:
        while n_left:
            n_bytes = min(n_left, _COMPARED_BYTES)
            if first.read(n_bytes) != second.read(n_bytes):
                raise StoreError(
                    f"{where} and {here} tell different things of one run: keep the one that is "
                    "right, and move the other away"
                )
            n_left -= n_bytes
    if long == there:
        there.replace(here)
