"""What the shards of a job have in common, put together from what each has for itself.

Each shard keeps the expanded job as it read it. They are all the same, but for what was fetched:
an address may have had another picture when another shard asked for it.
"""

from collections.abc import Iterator

from batchgen.errors import BatchgenError
from batchgen.model import Item
from batchgen.selection import Shard
from batchgen.store.expanded import read_groups, read_items, write_items
from batchgen.store.layout import Layout
from batchgen.store.ledger import segments


class _OtherJobError(BatchgenError):
    """Two shards did not read the same job."""


def last_shard(layout: Layout) -> Shard | None:
    """Which shard of its job the last run was; None if it was the whole of it, or there is none."""
    paths = segments(layout.ledger)
    parts = paths[-1].name.split(".") if paths else []
    return Shard.named(parts[1]) if len(parts) > 2 else None  # noqa: PLR2004 - RUN_ID.sI-N.jsonl


def gather_items(layout: Layout) -> None:
    """Let `items.jsonl` be the job that its shards ran; where it was not run in any, as it is.

    Of each item the line counts that its own shard has. Shards that read another job than the one
    that read it last do not count.

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
    if not files:
        return
    read_at = {shard: one.items.stat().st_mtime_ns for shard, one in files.items()}
    if layout.items.is_file() and layout.items.stat().st_mtime_ns > max(read_at.values()):
        return
    newest = files[max(read_at, key=lambda shard: read_at[shard])]
    apart = {one.items.stat().st_ino: one for one in (newest, *files.values())}
    try:
        items = read_items(newest.items) if len(apart) == 1 else _by_owner(newest, files)
        write_items(layout.items, items)
    except _OtherJobError:
        write_items(layout.items, read_items(newest.items))


def _by_owner(newest: Layout, files: dict[Shard, Layout]) -> Iterator[Item]:
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
