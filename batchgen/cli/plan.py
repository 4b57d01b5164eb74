"""`batchgen plan`, and what `batchgen run --dry-run` prints."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from batchgen.cli import choice
from batchgen.cli.streams import Colour, paint, paper, print_json, print_text, say
from batchgen.sanitize import printable
from batchgen.wording import counted, duration, usd

if TYPE_CHECKING:
    from batchgen.forecast.duration import DurationFigures
    from batchgen.forecast.figures import Figures
    from batchgen.forecast.turns import Basis
    from batchgen.options import RunOptions
    from batchgen.paper import Paper
    from batchgen.preview import Preview
    from batchgen.preview.foresight import Group

_WORDS: Final = {
    "new": "new",
    "changed": "changed",
    "pending": "begun before",
    "failed": "failed before",
    "file_missing": "file missing",
    "forced": "done, forced",
    "marked": "marked to be redone",
    "unfetched": "address not fetched",
    "waiting": "waits for another",
    "done": "unchanged",
    "filed": "made under another name",
    "shared": "same as another",
    "received": "answer on disk",
    "settled": "failed, left alone",
    "skipped": "builds on a failure",
    "beyond_limit": "beyond the limit",
    "orphaned": "orphaned",
    "written_over": "written over",
}
_NO_MORE: Final = {
    "orphaned": "in the job no more; their pictures stay where they are",
    "written_over": "in the job no more; other pictures take the places of theirs",
}
_BASES: Final = {
    "history": "from {} of this job",
    "similar_history": "from {} of this job that were alike",
    "other_history": "from {} of other jobs",
    "table": "from published figures",
}
_COLOURS: Final[dict[str, Colour]] = {"make": "green", "leave": "yellow", "lose": "red"}
_MAX_CHARS: Final = 2000
_MANY: Final = 10


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
@choice.shard
@choice.only
@choice.tag
@click.option(
    "--history",
    "histories",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    help="Another job's directory, or a folder of several: its figures, where JOB has none yet.",
)
@choice.prices
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON on stdout.")
def plan(job: Path, *, histories: tuple[Path, ...], as_json: bool, **flags: Any) -> int:
    """Tell what `run` would make of JOB now, why, and what that should take.

    Tokens, cost and duration are told as expected, and from low to high: by what earlier pictures
    of this job took; where there are too few, by those of --history; else by published figures.

    What asks for something else than in the last run is told with what has changed; pictures of
    items that the job has no more are told too, and stay where they are.

    Needs no key, sends nothing and writes nothing, and may be asked while a run goes on. References
    from https:// addresses count as they were when a run fetched them last.
    """
    return show_plan(job, choice.chosen(**flags), as_json=as_json, histories=histories)


def show_plan(
    job: Path, options: "RunOptions", *, as_json: bool, histories: tuple[Path, ...] = ()
) -> int:
    """Print what a run with these options would do."""
    from batchgen.preview import preview

    found = preview(job, warn=say, histories=histories, **options)
    if as_json:
        print_json(found)
    else:
        print_text("".join(f"{line}\n" for line in _lines(found, paper(sys.stdout))))
    return 0


def _lines(found: "Preview", sheet: "Paper") -> Iterator[str]:
    since = f"last run {found.last_run_id}" if found.last_run_id else "no run yet"
    yield from sheet.wrapped(f"{found.job} → {found.directory} ({since})", whole=True)
    yield from _steps(found, sheet)
    if found.n_addresses:
        addresses = counted(found.n_addresses, "address", "addresses")
        told = f"{addresses} not asked: what changed there since it was fetched is not in this"
        yield from sheet.wrapped(told)
    if found.n_unfinished:
        requests = counted(found.n_unfinished, "request")
        told = f"{requests} without an outcome: a run goes on, or was killed, and may be billed"
        yield from sheet.wrapped(told)
    if found.figures is not None:
        yield from _figures(found.figures, sheet)
    models = ", ".join(f"{printable(name, 100)} {n:,}" for name, n in found.by_model.items())
    told = f"{found.n_to_make:,}/{found.n_items:,} to make, planned {usd(found.planned_usd)}"
    yield from sheet.wrapped(told + (f" · {models}" if models else ""))


def _steps(found: "Preview", sheet: "Paper") -> Iterator[str]:
    """`make         2  changed  hero (prompt, image_size 1K → 2K), poster (turns 2: prompt)`."""
    steps: list[tuple[str, str, Group, str]] = [
        ("make", fate, group, "") for fate, group in found.to_make.items()
    ]
    steps += [("leave", fate, group, "") for fate, group in found.left_alone.items()]
    gone = (("leave", "orphaned", found.orphaned), ("lose", "written_over", found.written_over))
    steps += [(verb, fate, group, _NO_MORE[fate]) for verb, fate, group in gone if group.count]
    width = max((len(_WORDS[fate]) for _, fate, *_ in steps), default=0)
    for verb, fate, group, note in steps:
        first = f"{verb:5}  {group.count:>7,}  {_WORDS[fate]:{width}}  "
        told = _named(group, sheet, sheet.width - len(first)) + (f" ({note})" if note else "")
        for number, line in enumerate(sheet.wrapped(told, first)):
            yield paint(line, verb, _COLOURS[verb], sys.stdout) if number == 0 else line


def _named(group: "Group", sheet: "Paper", width: int) -> str:
    """The first items of a group, each with what has changed of it."""
    n_more = group.count - len(group.ids)
    changes = group.changes or {}
    told = []
    for item_id in group.ids:
        name = sheet.cut(printable(item_id), width - 1)
        what = printable(", ".join(changes.get(item_id, ())), _MAX_CHARS)
        told.append(f"{name} ({what})" if what else name)
    return ", ".join(told) + (", …" if n_more else "")


def _figures(told: "Figures", sheet: "Paper") -> Iterator[str]:
    """What it takes: as expected, from low to high, and what tells it."""
    tokens, cost, time = told.tokens, told.cost_usd, told.duration_s
    rows: list[tuple[str, ...]] = [("", "expected", "low", "high")]
    rows.append(("tokens", f"{tokens.expected:,}", f"{tokens.low:,}", f"{tokens.high:,}"))
    if cost is not None:
        rows.append(("cost", usd(cost.expected), usd(cost.low), usd(cost.high)))
    rows.append(("duration", *map(duration, (time.expected, time.low, time.high))))
    yield from sheet.table(rows, 1)
    if cost is None:
        models = printable(", ".join(told.unpriced), _MAX_CHARS)
        unknown = f"unknown: no price, or none for how it is served, of {models}"
        yield from sheet.wrapped(unknown, "cost      ")
    yield from sheet.wrapped(f"{_told_by(tokens.basis)}; {_at_once(time)}")


def _at_once(time: "DurationFigures") -> str:
    n_at_once = time.concurrency.expected
    digits = 0 if n_at_once >= _MANY or n_at_once == int(n_at_once) else 1
    as_before = " as in earlier runs" if time.concurrency_basis == "history" else ""
    return f"about {n_at_once:,.{digits}f} at once{as_before}"


def _told_by(basis: "list[Basis]") -> str:
    """`from 160 earlier pictures of this job; 12 of 60 from published figures`."""
    n_all = sum(one.pictures for one in basis)
    told = []
    for name, words in _BASES.items():
        these = [one for one in basis if one.basis == name]
        n, n_samples = sum(one.pictures for one in these), sum(one.samples for one in these)
        if these:
            share = "" if n == n_all else f"{n:,} of {n_all:,} "
            told.append(share + words.format(counted(n_samples, "earlier picture")))
    return "; ".join(told)
