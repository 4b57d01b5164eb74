"""`batchgen plan`, and what `batchgen run --dry-run` prints."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from batchgen.cli import choice
from batchgen.cli.streams import print_json, print_text, say
from batchgen.sanitize import printable
from batchgen.wording import counted, usd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchgen.options import RunOptions
    from batchgen.preview import Group, Preview

_WORDS: Final = {
    "new": "new",
    "pending": "begun before",
    "failed": "failed before",
    "file_missing": "file missing",
    "forced": "done, forced",
    "marked": "marked to be redone",
    "unfetched": "address not fetched",
    "waiting": "waits for another",
    "done": "done",
    "filed": "made under another name",
    "shared": "same as another",
    "received": "answer on disk",
    "settled": "failed, left alone",
    "skipped": "builds on a failure",
    "beyond_limit": "beyond the limit",
}
_WIDTH: Final = max(map(len, _WORDS.values()))


@click.command()
@click.argument("job", type=click.Path(path_type=Path))
@choice.output
@choice.provider
@choice.model
@choice.retry_failed
@choice.redo
@choice.ignore_change
@choice.force
@choice.limit
@choice.sample
@choice.only
@choice.tag
@choice.prices
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON on stdout.")
def plan(job: Path, *, as_json: bool, **flags: Any) -> int:
    """Tell what `run` would make of JOB now, why, and what that should cost.

    Needs no key, sends nothing and writes nothing, and may be asked while a run goes on. References
    from https:// addresses count as they were when a run fetched them last.
    """
    return show_plan(job, choice.chosen(**flags), as_json=as_json)


def show_plan(job: Path, options: "RunOptions", *, as_json: bool) -> int:
    """Print what a run with these options would do."""
    from batchgen.preview import preview

    found = preview(job, warn=say, **options)
    if as_json:
        print_json(found)
    else:
        print_text("".join(f"{line}\n" for line in _lines(found)))
    return 0


def _lines(found: "Preview") -> Iterator[str]:
    since = f"last run {found.last_run_id}" if found.last_run_id else "no run yet"
    yield f"{found.job} → {found.directory} ({since})"
    yield from _groups("make", found.to_make)
    yield from _groups("leave", found.left_alone)
    if found.n_addresses:
        addresses = counted(found.n_addresses, "address", "addresses")
        yield f"{addresses} not asked: what changed there since it was fetched is not in this"
    if found.n_unfinished:
        requests = counted(found.n_unfinished, "request")
        yield f"{requests} without an outcome: a run goes on, or was killed, and may be billed"
    models = ", ".join(f"{name} {n:,}" for name, n in found.by_model.items())
    told = f"{found.n_to_make:,}/{found.n_items:,} to make, planned {usd(found.planned_usd)}"
    yield told + (f" · {models}" if models else "")


def _groups(verb: str, groups: "Mapping[Any, Group]") -> Iterator[str]:
    for fate, group in groups.items():
        n_more = group.count - len(group.ids)
        ids = printable(", ".join(group.ids) + (", …" if n_more else ""), 2000)
        yield f"{verb:5}  {group.count:>7,}  {_WORDS[fate]:{_WIDTH}}  {ids}"
