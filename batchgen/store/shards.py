"""What the shards of a job have in common, put together from what each has for itself.

Each shard keeps the expanded job as it read it. They are all the same, but for what was fetched:
an address may have had another picture when another shard asked for it.
"""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Final

import msgspec

from batchgen.errors import BatchgenError, OutputHeld, store_errors
from batchgen.model import Item
from batchgen.selection import Shard, key_by_address
from batchgen.store.expanded import is_same, read_groups, read_items, write_items
from batchgen.store.layout import Layout
from batchgen.store.ledger import segments
from batchgen.store.lock import held_by, held_run
from batchgen.store.replace import replaced

# In which files `items.jsonl` was put together from which.
_GATHERED: Final = "gathered"


class _OtherJobError(BatchgenError):
    """Two shards did not read the same job."""


def last_shard(layout: Layout) -> Shard | None:
    """Which shard of its job the last run was; None if it was the whole of it, or there is none."""
    paths = segments(layout.ledger)
    return _shard_of(paths[-1]) if paths else None


def _shard_of(segment: Path) -> Shard | None:
    parts = segment.name.split(".")
    return Shard.named(parts[1]) if len(parts) > 2 else None  # noqa: PLR2004 - RUN_ID.sI-N.jsonl


def gather_items(layout: Layout) -> None:
    """Let `items.jsonl` be the job that its shards ran; where it was not run in any, as it is.

    Of each item the line counts that its own shard has. Shards that read another job than the one
    that ran last do not count.

    Raises:
        StoreError: The disk failed.
    """
    last = last_shard(layout)
    if last is None:
        return
    files = {
        one.shard: one
        for one in layout.others
        if one.shard is not None and one.shard.total == last.total and one.items.is_file()
    }
    ran = [shard for shard in map(_shard_of, segments(layout.ledger)) if shard in files]
    if not ran:
        return
    with store_errors(layout.root):
        if _read(layout) == _marks(layout, files):
            return
    newest = files[ran[-1]]
    apart = {one.items.stat().st_ino: one for one in (newest, *files.values())}
    try:
        items = read_items(newest.items) if len(apart) == 1 else _by_owner(newest, files)
        write_items(layout.items, items)
    except _OtherJobError:
        write_items(layout.items, read_items(newest.items))
    with store_errors(layout.shards), replaced(layout.shards / _GATHERED) as file:
        file.write(_marks(layout, files))


def _marks(layout: Layout, files: Mapping[Shard, Layout]) -> bytes:
    """Which files were put together, and to what: by these one sees that nothing has changed."""
    seen = [one.items.stat() for one in files.values()]
    if layout.items.is_file():
        seen.append(layout.items.stat())
    marks = [(one.st_ino, one.st_size, one.st_mtime_ns) for one in seen]
    return msgspec.json.encode([sorted(map(str, files)), marks])


def _read(layout: Layout) -> bytes | None:
    path = layout.shards / _GATHERED
    return path.read_bytes() if path.is_file() else None


def refuse_other_job(layout: Layout, draft: Path) -> None:
    """Make sure that no shard goes on with another version of the job: parts would overlap.

    Raises:
        OutputHeld: One does.
        StoreError: A file cannot be read.
    """
    for other in layout.others:
        if other.shard is None or layout.shard is None or other.shard.total != layout.shard.total:
            continue
        run_id = held_run(other.lock)
        if run_id is None or not other.segment(run_id).exists() or is_same(other.items, draft):
            continue
        ours, theirs = _asked(draft), _asked(other.items)
        if any(one != two for one, two in zip_longest(ours, theirs)):
            who = f"shard {other.shard} goes on with another version of the job"
            raise OutputHeld(
                f"{who} ({held_by(other.lock)}): wait for it, or run the version that it runs"
            )


def _asked(path: Path) -> Iterator[tuple[str, str]]:
    return ((item.id, key_by_address(item)) for item in read_items(path))


def _by_owner(newest: Layout, files: Mapping[Shard, Layout]) -> Iterator[Item]:
    groups = read_groups(newest.items)
    shards = [shard for shard, one in files.items() if one != newest]
    others = [read_items(files[shard].items) for shard in shards]
    for item in read_items(newest.items):
        smallest_id = groups.get(item.id, item.id)
        told = item
        for shard, lines in zip(shards, others, strict=True):
            line = next(lines, None)
            if line is None or line.id != item.id:
                raise _OtherJobError(f"{shard} has another job")
            if shard.holds(smallest_id):
                told = line
        yield told
