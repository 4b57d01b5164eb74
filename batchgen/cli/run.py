"""`batchgen run`."""

import shlex
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from batchgen.cli import choice
from batchgen.cli.log import LOG_FILE, LOG_FORMAT, Log
from batchgen.cli.plan import show_plan
from batchgen.cli.streams import Colour, paint, paper, print_json, say
from batchgen.sanitize import printable
from batchgen.wording import bill, counted, duration, read_duration, usd

if TYPE_CHECKING:
    from batchgen.paper import Paper
    from batchgen.progress import Style
    from batchgen.report.summary import Summary
    from batchgen.runner import Runner

_MAX_CAUSES: Final = 5
_MAX_CHARS: Final = 2000
_REMEDY: Final = dict.fromkeys(("sigint", "sigterm"), "; run again for what is left")


def _concurrency(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> str | None:
    """`auto`, a whole number of at least 1, or MIN-MAX."""
    if value is None:
        return None
    from batchgen.limits import read_concurrency

    if read_concurrency(value) is None:
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


def _fail_on(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """`any`, `new`, `none`, a number of items, or a percentage of them."""
    if value is None:
        return None
    from batchgen.ending import read_fail_on

    if read_fail_on(value) is None:
        raise click.BadParameter("expected any, new, none, a number of items, or N%")
    return value


@click.command()
@click.argument("job", type=click.Path(path_type=Path))
@choice.output
@choice.provider
@choice.base_url
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
@click.option(
    "--fail-on",
    callback=_fail_on,
    metavar="any|new|none|N|N%",
    help="Exit with 4 for any failed or skipped item, new ones only, none, or from N on.",
)
@click.option(
    "--notify",
    metavar="URL",
    help="Post how the run ended to this web hook; BATCHGEN_NOTIFY keeps it out of ps.",
)
@click.option(
    "--metrics-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the figures of the run here at its end, for Prometheus' textfile collector; each "
    "job has a file of its own.",
)
@choice.prices
@click.option(
    "--yes",
    is_flag=True,
    help="Go on though the run should cost more than budget.confirm_above_usd.",
)
@click.option(
    "--no-thumbnails",
    is_flag=True,
    help="Make no small pictures for the report; `batchgen report DIR` makes them later.",
)
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
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Who makes the calls: this process, or workers on a Ray cluster.",
)
@click.option(
    "--ray-address",
    metavar="auto|HOST:PORT",
    help="The cluster to use; without it one is started on this machine.",
)
@click.option(
    "--ray-workers",
    type=click.IntRange(min=1),
    help="How many workers; one for each node unless told.",
)
@choice.api_key_file
@choice.ca_file
@choice.proxy
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
    help="How to tell how it goes; none leaves warnings and the end.",
)
@click.option("--dry-run", is_flag=True, help="Tell what would be made, like `plan`; send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout.")
@LOG_FORMAT
@LOG_FILE
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
    no_thumbnails: bool,
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
    from batchgen.executors.choice import ExecutorOptions, choose_hands
    from batchgen.executors.local import run_local
    from batchgen.runner import Runner

    who = ExecutorOptions(
        executor=flags.pop("executor"),
        ray_address=flags.pop("ray_address"),
        ray_workers=flags.pop("ray_workers"),
    )
    options = choice.chosen(thumbnails=not no_thumbnails, **flags)
    if dry_run:
        return show_plan(job, options, as_json=as_json)
    hands = choose_hands(who, options)
    log: Log = click.get_current_context().obj
    watch = log.begin(progress, is_quiet=quiet, is_verbose=verbose)
    confirm = None if log.owns_stderr else asker()
    runner = Runner(job, on_event=watch, confirm=confirm, hands=hands, **options)
    log.is_of(runner)
    try:
        summary = run_local(runner, grace_s=grace, ends_process=True)
    except KeyboardInterrupt:  # it came before the run could hear it
        from batchgen.ending import EXIT_BY_SIGNAL
        from batchgen.errors import Stopped

        raise Stopped("sigint", EXIT_BY_SIGNAL["sigint"]) from None
    finally:
        watch.close()
    if as_json:
        print_json(summary)
    log.ended(summary, runner.planned_usd)
    if not log.owns_stderr:
        _print_end(summary, runner, is_quiet=quiet, is_part=flags["shard"] is not None)
    return summary.exit_code or 0


def _print_end(summary: "Summary", runner: "Runner", *, is_quiet: bool, is_part: bool) -> None:
    """What came of the calls, what failed and why it stopped early, where things are, the end."""
    sheet, directory = paper(sys.stderr), runner.directory
    for line in () if is_quiet else outcome_table(summary, sheet):
        say(line)
    for line in failure_table(summary, sheet):
        say(paint(line, line.partition(" ")[0], "red", sys.stderr) if line[:1] != " " else line)
    if summary.stop_reason not in (None, "finished"):
        reason = printable(summary.stop_reason or "", _MAX_CHARS)
        for line in sheet.wrapped(f"stopped early: {reason}{_REMEDY.get(reason, '')}", whole=True):
            say(paint(line, "stopped early", "yellow", sys.stderr))
    places = (
        ("pictures", "images"),
        ("summary", "summary.md"),
        ("report", "report.html"),
    )
    for what, name in () if is_quiet else places[: 1 if is_part else None]:
        if runner.is_away or (directory / name).exists():  # a disk may not have taken it
            say(f"{what:8}  {runner.place}/{name}")
    if is_part and not is_quiet:
        say(f"report    batchgen report {shlex.quote(str(directory))}, once all shards have ended")
    say(_painted(closing(summary, runner.place, runner.planned_usd), summary))


def _painted(last_line: str, summary: "Summary") -> str:
    """The last line with what went well in green and what did not in red."""
    items = summary.items
    if items.failed:
        last_line = paint(last_line, f"{items.failed} failed", "red", sys.stderr)
    colour: Colour = "green" if items.done == items.total else "yellow"
    return paint(last_line, f"{items.done}/{items.total} done", colour, sys.stderr)


def outcome_table(summary: "Summary", sheet: "Paper") -> list[str]:
    """How many calls came to what: `rate_limited      3   2.1%`."""
    by_outcome = sorted(summary.attempts.by_outcome.items(), key=lambda pair: -pair[1])
    total = summary.attempts.total
    if not total:
        return []
    rows = [(outcome, f"{n:,}", f"{n / total:.1%}") for outcome, n in by_outcome]
    shown = sheet.table([("outcome", "calls", "share"), *rows], 1)
    if summary.maybe_billed.count:
        calls = counted(summary.maybe_billed.count, "call")
        up_to = usd(summary.cost_maybe_usd)
        shown += sheet.wrapped(f"{calls} may have been billed without a picture, up to {up_to}")
    return shown


def failure_table(summary: "Summary", sheet: "Paper") -> list[str]:
    """What failed: of each cause the number of items, one of them, and what to do about it."""
    groups = summary.failures[:_MAX_CAUSES]
    if not groups:
        return []
    from batchgen.model import Outcome
    from batchgen.report.remedies import remedy

    rows = [("failed", "items"), *((group.outcome, f"{group.count:,}") for group in groups)]
    head, *lines = sheet.table(rows, 1)
    width = max(map(len, (head, *lines))) + 2
    shown = [f"{head:{width}}for example, and what to do"]
    for line, group in zip(lines, groups, strict=True):
        name = sheet.cut(printable(group.item), sheet.width - width - 1)
        example = f"{name}: {printable(group.example, 400)}" if group.example else name
        shown += sheet.wrapped(example, f"{line:{width}}")
        shown += sheet.wrapped(remedy(Outcome(group.outcome)), " " * width + "→ ")
    if n_more := len(summary.failures) - len(groups):
        shown += sheet.wrapped(f"and {counted(n_more, 'more cause')}, in summary.json")
    return shown


def closing(summary: "Summary", place: Path | str, planned_usd: Decimal | None) -> str:
    """The last line: `998/1000 done (412 reused), 2 failed · $61.12 (planned $60.40) · …`."""
    told = summary.items.in_words
    cost = bill(summary.cost_usd, summary.cost_unknown_attempts)
    if summary.attempts.total:
        cost += f" (planned {usd(planned_usd)})"
    words = [told, cost]
    # A conversation draws a picture a turn: those count here, or it would look like retries.
    if n_pictures := summary.attempts.by_outcome.get("image"):
        words.append(f"{summary.attempts.total / n_pictures:.2f} attempts/image")
    return " · ".join([*words, duration(summary.wall_s)]) + f" → {place}"
