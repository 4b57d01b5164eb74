"""`batchgen run`."""

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from batchgen.cli import choice
from batchgen.cli.plan import show_plan
from batchgen.cli.streams import print_json, say
from batchgen.sanitize import printable
from batchgen.wording import bill, counted, duration, read_duration, usd

if TYPE_CHECKING:
    from batchgen.progress import Style
    from batchgen.report import Summary

_REMEDY: Final = dict.fromkeys(("sigint", "sigterm"), "; run again for what is left")


def _concurrency(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> str | None:
    """`auto`, a whole number of at least 1, or MIN-MAX."""
    from batchgen.limits import read_concurrency

    if value is not None and read_concurrency(value) is None:
        raise click.BadParameter("expected auto, a whole number of at least 1, or MIN-MAX")
    return value


def _duration(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    """Seconds, or a time such as 5h."""
    if value is None:
        return None
    seconds = read_duration(value)
    if seconds is None:
        raise click.BadParameter("expected seconds, or a time such as 30m or 1h30m")
    return seconds


@click.command()
@click.argument("job", type=click.Path(path_type=Path))
@choice.output
@choice.provider
@click.option("--base-url", help="Another address; key and auth stay the provider's.")
@choice.model
@click.option(
    "--concurrency",
    callback=_concurrency,
    metavar="auto|N|MIN-MAX",
    help="Requests in flight; auto finds out how many the service takes.",
)
@click.option("--rpm", type=click.FloatRange(min=0.01), help="Requests a minute for each model.")
@click.option("--tpm", type=click.FloatRange(min=1), help="Input tokens a minute for each model.")
@click.option("--ipm", type=click.FloatRange(min=0.01), help="Images a minute for each model.")
@click.option(
    "--rpd",
    type=click.IntRange(min=1),
    help="Requests a day for each model, earlier runs included; a day ends at midnight Pacific.",
)
@click.option(
    *("--max-cost", "max_cost_usd"),
    type=click.FloatRange(min=0),
    metavar="USD",
    help="No request leaves that might make the run cost more.",
)
@click.option(
    "--max-duration",
    callback=_duration,
    metavar="TIME",
    help="No new requests after 90s, 30m, 5h …; what is under way may end.",
)
@click.option(
    "--deadline",
    metavar="HH:MM",
    help="No new requests after the next HH:MM by this machine's clock.",
)
@choice.prices
@click.option(
    "--yes",
    is_flag=True,
    help="Go on though the run should cost more than budget.confirm_above_usd.",
)
@choice.retry_failed
@choice.redo
@choice.ignore_change
@choice.force
@choice.limit
@choice.sample
@choice.only
@choice.tag
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Read the key from here instead of the environment.",
)
@click.option("--ca-file", type=click.Path(path_type=Path), help="Trust these certificates.")
@click.option("--proxy", help="http://HOST:PORT, instead of the environment's.")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=120.0,
    show_default=True,
    help="Seconds for what is under way, after the first Ctrl-C.",
)
@click.option(
    "--progress",
    type=click.Choice(["auto", "bar", "plain", "none"]),
    default="auto",
    show_default=True,
    help="How to tell how it goes.",
)
@click.option("--dry-run", is_flag=True, help="Tell what would be made, like `plan`; send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors and the last line.")
@click.option("-v", "--verbose", is_flag=True, help="A line for each call.")
def run(
    job: Path,
    progress: "Style",
    grace: float,
    *,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **flags: Any,
) -> int:
    """Make what JOB asks for and is not done yet.

    JOB is a YAML, JSONL, CSV or TSV file; `-` reads JSON Lines from standard input. A part of it is
    named with --only, --tag, --sample and --limit; what is left out keeps the state that it has.

    Pictures, results, the ledger and a report land in OUTPUT/NAME; those of a failed.jsonl that a
    run wrote, without -o, in the directory in which it lies.

    Running a job again sends what is not done, except items that were last refused for good
    (blocked, bad_request, wrong_size) and what builds on them: --retry-failed sends those too.
    --force sends also what is done, and it is paid again. What an item asks for counts, not its
    name: a renamed item keeps its picture, and items that ask for the same are made once.

    The first request goes alone. The service's own limits are found out and kept to; a service
    that is away is waited for (retries.patience in the job).

    Exit codes: 0 all done, 1 a bug, 2 wrong usage or no key, 3 errors in the job, 4 some items
    failed, 5 stopped and a later run will help, 7 stopped and running again will not help, 8 the
    cost budget is used up, 10 the time is over, 11 the directory is in use, 12 the disk failed,
    130 and 143 stopped by a signal with items left.
    """
    from batchgen.cli.question import asker
    from batchgen.executors.local import run_local
    from batchgen.progress import observer
    from batchgen.runner import Runner

    options = choice.chosen(**flags)
    if dry_run:
        return show_plan(job, options, as_json=as_json)
    style: Style = "none" if quiet else progress
    watch = observer(style, is_verbose=verbose)
    runner = Runner(job, on_event=watch, confirm=asker(), **options)
    try:
        summary = run_local(runner, grace_s=grace, ends_process=True)
    finally:
        watch.close()
    if as_json:
        print_json(summary)
    _print_end(summary, runner.directory, runner.planned_usd, is_quiet=quiet)
    return summary.exit_code or 0


def _print_end(
    summary: "Summary", directory: Path, planned_usd: Decimal | None, *, is_quiet: bool
) -> None:
    """What came of the calls, what failed and why it stopped early, where things are, the end."""
    for line in () if is_quiet else outcome_table(summary):
        say(line)
    for group in summary.failures[:5]:
        cause = f"{group.outcome} × {group.count}, for example {group.item}: {group.example}"
        say(printable(cause, 400))
    if summary.stop_reason not in (None, "finished"):
        say(f"stopped early: {summary.stop_reason}{_REMEDY.get(summary.stop_reason, '')}")
    places = (
        ("pictures", "images"),
        ("summary", "summary.md"),
        ("report", "report.html"),
    )
    for what, name in () if is_quiet else places:
        if (directory / name).exists():  # a disk that failed may not have taken it
            say(f"{what:8}  {directory / name}")
    say(closing(summary, directory, planned_usd))


def outcome_table(summary: "Summary") -> list[str]:
    """How many calls came to what, and what they cost: `rate_limited    3 calls, 2%`."""
    by_outcome = sorted(summary.attempts.by_outcome.items(), key=lambda pair: -pair[1])
    total = summary.attempts.total
    if not total:
        return []
    width = max(len(outcome) for outcome, _ in by_outcome)
    shown = [
        f"{outcome:{width}}  {counted(n, 'call'):>12}  {n / total:6.1%}"
        for outcome, n in by_outcome
    ]
    if summary.maybe_billed.count:
        shown.append(
            f"{counted(summary.maybe_billed.count, 'call')} may have been billed without a "
            f"picture, up to {usd(summary.cost_maybe_usd)}"
        )
    return shown


def closing(summary: "Summary", directory: Path, planned_usd: Decimal | None) -> str:
    """The last line: `998/1000 done (412 reused), 2 failed · $61.12 (planned $60.40) · …`."""
    items = summary.items
    told = f"{items.done}/{items.total} done"
    if items.reused:
        told += f" ({items.reused} reused)"
    told += f", {items.failed} failed"
    told += f", {items.skipped} skipped" if items.skipped else ""
    told += f", {items.pending} left" if items.pending else ""
    cost = bill(summary.cost_usd, summary.cost_unknown_attempts)
    if summary.attempts.total:
        cost += f" (planned {usd(planned_usd)})"
    words = [told, cost]
    # A conversation draws a picture a turn: those count here, or it would look like retries.
    if n_pictures := summary.attempts.by_outcome.get("image"):
        words.append(f"{summary.attempts.total / n_pictures:.2f} attempts/image")
    return " · ".join([*words, duration(summary.wall_s)]) + f" → {directory}"
