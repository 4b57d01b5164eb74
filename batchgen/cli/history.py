"""`batchgen report --history`: the runs of a job, one after the other."""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from batchgen.cli.streams import paper, print_bytes, print_text, say
from batchgen.paper import columns
from batchgen.sanitize import printable
from batchgen.wording import bill, counted, duration

if TYPE_CHECKING:
    from batchgen.paper import Paper
    from batchgen.report.past import RunPoint

_MISSING: Final = "–"
# What an exit code means, in a word.
_EXITS: Final = {
    0: "ok",
    1: "bug",
    2: "refused",
    4: "failures",
    5: "later",
    7: "stopped",
    8: "cost",
    10: "time",
    12: "disk",
    130: "sigint",
    143: "sigterm",
}
_ITEMS: Final = ("exit", "done/total", "made", "failed", "new", "fixed", "still", "took")
_MONEY: Final = ("cost", "plan", "p50", "p95")
_WHEN: Final = "when (UTC)"
_A_COUNT: Final = re.compile("[0-9][0-9,]*")
_COUNTS: Final = re.compile("[0-9,–]+(/[0-9,–]+)?")
_ALWAYS: Final = frozenset({"exit", "done/total", "made", "failed", "took", "cost"})


def show_history(directory: Path, *, as_json: bool) -> None:
    """Print the runs of a job's directory, the oldest first.

    Raises:
        UsageError: There is none.
        StoreError: The disk failed, or a newer batchgen wrote the ledger.
    """
    from batchgen.mirror.reading import open_place
    from batchgen.report.past import read_history_of_runs

    with open_place(directory) as layout:
        runs, warnings = read_history_of_runs(layout)
    for warning in warnings:
        say(f"warning: {printable(warning, 500)}")
    if as_json:
        print_bytes(_json(runs))
    else:
        print_text("".join(f"{line}\n" for line in _table(runs, paper(sys.stdout))))


def refuse_beside_history(context: click.Context, names: Sequence[str]) -> None:
    """Refuse flags that would go unheard; what the environment says is for all commands.

    Raises:
        UsageError: One of them was written.
    """
    written = click.core.ParameterSource.COMMANDLINE
    flags = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    unheard = [flags[name] for name in names if context.get_parameter_source(name) is written]
    if unheard:
        raise click.UsageError(f"--history prints, and no more: leave {', '.join(unheard)} out")


def _json(runs: Sequence["RunPoint"]) -> Iterator[bytes]:
    """`{"runs": […]}`, run by run, on one line."""
    yield b'{"runs":['
    for n, run in enumerate(runs):
        yield b"," * bool(n) + msgspec.json.encode(run)
    yield b"]}\n"


def _table(runs: Sequence["RunPoint"], sheet: "Paper") -> Iterator[str]:
    """Aligned columns, a line for each run and one for all of them.

    Columns of which no run has anything are left out. What is too wide for one table is told in
    two: items, then money and time. Counts are shortened if they must be.
    """
    heads = (*_ITEMS, *_MONEY)
    names = [_WHEN, *map(_when, runs), counted(len(runs), "run")]
    rows = [heads, *map(_cells, runs), _total(runs)]
    told = [n for n, column in enumerate(zip(*rows, strict=True)) if _is_told(*column)]
    parts = [told]
    if not sheet.fits(_joined(names, rows, told)):
        money = [n for n in told if heads[n] in _MONEY]
        parts = [[n for n in told if n not in money], money]
    for n, part in enumerate(parts):
        if n:
            yield ""
        yield from _ruled(_joined(names, rows, part), 2 if 0 in part else 1, sheet)


def _ruled(rows: Sequence[Sequence[str]], n_names: int, sheet: "Paper") -> Iterator[str]:
    """The lines of a table with a rule above the last."""
    if not sheet.fits(rows, n_names):
        rows = [tuple(map(_short, row)) for row in rows]
    lines = sheet.table(rows, n_names)
    yield from lines[:-1]
    yield "-" * max(map(columns, lines))
    yield lines[-1]


def _short(cell: str) -> str:
    """Counts in three digits, `9.9M/10M`; what is none stays as it is."""
    from batchgen.report.charts.scales import number

    if not _COUNTS.fullmatch(cell):
        return cell
    return _A_COUNT.sub(lambda found: number(int(found[0].replace(",", ""))), cell)


def _joined(
    names: Sequence[str], rows: Sequence[Sequence[str]], told: Sequence[int]
) -> list[tuple[str, ...]]:
    return [(name, *(row[n] for n in told)) for name, row in zip(names, rows, strict=True)]


def _is_told(head: str, *cells: str) -> bool:
    return head in _ALWAYS or not {*cells} <= {_MISSING, "0", ""}


def _cells(run: "RunPoint") -> tuple[str, ...]:
    items, latency_s = run.items, run.latency_s
    return (
        _exit(run),
        f"{_count(items.done)}/{_count(items.total)}",
        _count(run.images),
        _count(items.failed),
        *map(_count, (run.n_new_failures, run.n_fixed, run.n_still_failing)),
        duration(run.wall_s),
        bill(run.cost_usd, run.cost_unknown_attempts or 0),
        _MISSING if run.planned_usd is None else bill(run.planned_usd, 0),
        duration(latency_s.p50),
        duration(latency_s.p95),
    )


def _total(runs: Sequence["RunPoint"]) -> tuple[str, ...]:
    """What can be added up; what some run does not tell is marked."""
    wall_s = [run.wall_s for run in runs if run.wall_s is not None]
    return (
        *("", ""),
        f"{sum(run.images or 0 for run in runs):,}",
        "",
        _sum(runs, lambda run: run.n_new_failures),
        _sum(runs, lambda run: run.n_fixed),
        "",
        duration(sum(wall_s)) if wall_s else _MISSING,
        _bill(runs),
        _planned(runs),
        *("", ""),
    )


def _sum(runs: Sequence["RunPoint"], count: Callable[["RunPoint"], int | None]) -> str:
    return f"{sum(count(run) or 0 for run in runs):,}"


def _bill(runs: Sequence["RunPoint"]) -> str:
    n_unknown = sum((run.cost_unknown_attempts or 0) + (run.cost_usd is None) for run in runs)
    return bill(_added_up([run.cost_usd for run in runs]), n_unknown)


def _planned(runs: Sequence["RunPoint"]) -> str:
    planned = [run.planned_usd for run in runs]
    known = _added_up(planned)
    return _MISSING if known is None else bill(known, planned.count(None))


def _added_up(amounts: Sequence[Decimal | None]) -> Decimal | None:
    known = [usd for usd in amounts if usd is not None]
    return sum(known, Decimal(0)) if known else None


def _exit(run: "RunPoint") -> str:
    """`0 ok`, `4 failures`; or that there is no end."""
    if run.exit_code is None:
        return run.state
    return f"{run.exit_code} {_EXITS.get(run.exit_code, '')}".rstrip()


def _count(n: int | None) -> str:
    return _MISSING if n is None else f"{n:,}"


def _when(run: "RunPoint") -> str:
    """`2026-11-21 03:00`; its name, if it does not say when it began."""
    if not run.started_at:
        return printable(run.run_id, 40)
    return f"{datetime.fromisoformat(run.started_at).astimezone(UTC):%Y-%m-%d %H:%M}"
