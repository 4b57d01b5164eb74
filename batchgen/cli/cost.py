"""`batchgen cost`."""

import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from batchgen.cli.streams import paper, print_bytes, print_json, print_text, say
from batchgen.sanitize import printable
from batchgen.wording import counted

if TYPE_CHECKING:
    from batchgen.cost import PriceBook
    from batchgen.spending import Spending

_TIERS: Final = ("standard", "batch", "flex", "priority", "offpeak", "provisioned")


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH…")
@click.option(
    "--by",
    multiple=True,
    metavar="NAME[,NAME…]",
    help="model (unless told), day (UTC), run, outcome, item, tag:NAME; several at once.",
)
@click.option("--since", metavar="TIME", help="From a day, a stamp or an age (7d, 24h) on.")
@click.option("--until", metavar="TIME", help="Up to a stamp or an age, or the end of a day.")
@click.option(
    "--prices",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Price everything by this list, what our ledgers recorded included.",
)
@click.option(
    "--format",
    "_format",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    allow_from_autoenv=False,  # other commands have other formats
)
@click.option("--model", allow_from_autoenv=False, help="The model of lines that name none.")
@click.option(
    "--size",
    type=click.Choice(["512", "1K", "2K", "4K"], case_sensitive=False),
    allow_from_autoenv=False,
    help="The size of pictures whose tokens no details tell; 1K unless told.",
)
@click.option(
    "--tier",
    type=click.Choice(_TIERS),
    allow_from_autoenv=False,
    help="How calls were served that do not say; lines of a batch: batch.",
)
@click.option(
    "--reconcile",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Hold the ledgers against the usage log that a gateway exported.",
)
@click.option("--show-prices", is_flag=True, help="Print the prices of today; needs no PATH.")
def cost(
    paths: tuple[str, ...],
    *,
    _format: str,
    prices: Path | None,
    reconcile: Path | None,
    show_prices: bool,
    **flags: Any,
) -> None:
    """Add up tokens and cost of our ledgers, and of token logs from elsewhere.

    A PATH is a job's directory, a folder above several, a folder of logs, a file, a pattern, or -
    for standard input; s3://, gs:// and az:// are for ledgers there. Files may be gzip. A line may
    be one of ours; a usageMetadata; an answer of generateContent, or what google-genai dumps of it;
    a line that a Gemini, Vertex or OpenAI style batch gave; or an object with one of these inside,
    and a model or a time beside it.

    Of our ledgers the recorded figures are added up, each call once. Other lines are priced by the
    model that answered, as of their day, of today if they have none. What a call cost is rounded
    to the micro-dollar, and then added up. Cost is what was billed for sure; waste is the part of
    it without a picture, and maybe comes on top. A +? says that calls of unknown cost do too.

    Lines that are none of these are counted and the first are named, on stderr. Exit codes: 0 if
    anything could be read, else 2; 12 if the disk failed.
    """
    now = datetime.now(UTC)
    book = _price_book(prices)
    if show_prices:
        _show_prices(book, now.date().isoformat(), _format)
    elif not paths:
        raise click.UsageError("Missing argument 'PATH…': a job's directory, a log, or -")
    else:
        from batchgen.mirror.reading import open_ledgers

        with ExitStack() as stack:
            places = tuple(stack.enter_context(open_ledgers(path)) for path in paths)
            if reconcile is not None:
                _refuse_beside_reconcile(flags)
                _hold_against(reconcile, places, book, _format)
                return
            spending = _read(places, book, now, reprice=prices is not None, **flags)
            _tell(spending)
            _print(spending, _format)


def _price_book(prices: Path | None) -> "PriceBook":
    """The prices by which calls are priced."""
    from batchgen.pricing import choose_book

    return choose_book(prices, None, lambda told: say(printable(told, 500)))


def _refuse_beside_reconcile(flags: dict[str, Any]) -> None:
    """Refuse what would go unheard."""
    if unheard := sorted(f"--{name}" for name, value in flags.items() if value):
        raise click.UsageError(f"--reconcile compares all calls: leave {', '.join(unheard)} out")


def _hold_against(log: Path, paths: tuple[str, ...], book: "PriceBook", _format: str) -> None:
    """Print how ledgers and the log of a gateway agree."""
    from batchgen.cli.reconciled import folded, reconciled
    from batchgen.reconcile import reconcile
    from batchgen.spending.sources import find_ledgers

    if _format == "csv":
        raise click.UsageError("--reconcile goes with --format table or json")
    found = reconcile(find_ledgers(paths, _warn), log, book)
    if _format == "json":
        print_json(found)
    else:
        lines = (one for line in reconciled(found) for one in folded(line, paper(sys.stdout)))
        print_text("".join(f"{line}\n" for line in lines))


def _read(
    paths: tuple[str, ...], book: "PriceBook", now: datetime, *, reprice: bool, **flags: Any
) -> "Spending":
    """Read all files, and add them up.

    Raises:
        UsageError: There is nothing to read.
    """
    from batchgen.errors import UsageError
    from batchgen.spending import Assumed, Span, Tally, grouping, read_bound, spend

    since, until = flags["since"], flags["until"]
    span = Span(
        None if since is None else read_bound(since, now, is_end=False),
        None if until is None else read_bound(until, now, is_end=True),
    )
    tally = Tally(grouping(flags["by"] or ("model",)), span)
    assumed = Assumed(**{name: flags[name] for name in ("model", "size", "tier")})
    day = now.date().isoformat()
    spending = spend(paths, tally, book, assumed, day=day, reprice=reprice, warn=_warn)
    if not spending.n_lines:
        _tell(spending)
        raise UsageError("nothing that could be read tells of a call, or of a run")
    return spending


def _warn(told: str) -> None:
    say(f"warning: {printable(told, 500)}")


def _tell(spending: "Spending") -> None:
    """What there is to know besides the figures."""
    for one in spending.unreadable:
        _warn(str(one))
    if (n_more := spending.n_unreadable - len(spending.unreadable)) > 0:
        _warn(f"… and {counted(n_more, 'more line')} that cannot be read")
    counts, tally = spending.counts, spending.tally
    if counts.n_without_model:
        calls = counted(counts.n_without_model, "call")
        _warn(f"{calls} without a model, and so without a cost: --model NAME says which it was")
    if counts.n_batch:
        calls = counted(counts.n_batch, "call")
        say(f"{calls} of a batch at the batch tier's prices, unless they say otherwise: --tier")
    if tally.n_untimed:
        _warn(f"{counted(tally.n_untimed, 'call')} without a time left out of --since and --until")
    if spending.n_double:
        say(f"{counted(spending.n_double, 'line')} told of a call once more, and did not count")
    if spending.n_under_way:
        say(f"{counted(spending.n_under_way, 'request')} under way, not counted: a run goes on")


def _print(spending: "Spending", _format: str) -> None:
    from batchgen.spending import tables

    tally = spending.tally
    if _format == "json":
        print_bytes(tables.as_json(tally))
    elif _format == "csv":
        print_bytes(tables.as_csv(tally))
    else:
        sheet = paper(sys.stdout)
        lines = (*tables.as_table(tally, sheet), *sheet.wrapped(_basis(spending), "prices: "))
        print_text("".join(f"{line}\n" for line in lines))


def _basis(spending: "Spending") -> str:
    """Where the prices are from."""
    told = ["as recorded in our ledgers"] if spending.n_recorded and not spending.reprices else []
    for origin, checked in sorted(spending.pricer.used, key=str):
        told.append(origin + (f", checked {checked}" if checked else ""))
    return printable("; ".join(told) or "none", 500)


def _show_prices(book: "PriceBook", day: str, _format: str) -> None:
    from batchgen.spending import price_tables

    if _format == "json":
        print_bytes(price_tables.prices_as_json(book, day))
    elif _format == "csv":
        print_bytes(price_tables.prices_as_csv(book, day))
    else:
        lines = price_tables.prices_as_table(book, day, paper(sys.stdout))
        print_text("".join(f"{line}\n" for line in lines))
