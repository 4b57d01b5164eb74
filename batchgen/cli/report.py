"""`batchgen report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchgen.cli.streams import print_json, say
from batchgen.sanitize import printable
from batchgen.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tqdm import tqdm

    from batchgen.report.page import MakeThumbnails
    from batchgen.report.thumbnails import Source


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout.")
@click.option(
    "--serve",
    "is_served",
    is_flag=True,
    help="Serve the page on 127.0.0.1, live while a run goes on, until Ctrl-C; write no reports.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    allow_from_autoenv=False,  # BATCHGEN_PORT is the emulator's
    help="The port of --serve; 0 for any. By default 8642, or the next one that is free.",
)
@click.option("--no-thumbnails", is_flag=True, help="Make no small pictures for the page.")
@click.option(
    "--history",
    "is_history",
    is_flag=True,
    allow_from_autoenv=False,  # BATCHGEN_HISTORY is the plan's
    help="List all runs, the oldest first, and write nothing; --json prints them as JSON.",
)
@click.pass_context
def report(
    context: click.Context,
    directory: Path,
    *,
    as_json: bool,
    is_served: bool,
    port: int | None,
    no_thumbnails: bool,
    is_history: bool,
) -> None:
    """Rebuild results, summary and report.html in DIR from its ledger and items.jsonl.

    DIR is the directory of a job, such as output/NAME. With --serve it need not be there yet.
    """
    if is_history:
        from batchgen.cli.history import refuse_beside_history, show_history

        refuse_beside_history(context, ("is_served", "port", "no_thumbnails"))
        show_history(directory, as_json=as_json)
        return
    if is_served:
        if as_json:
            raise click.UsageError("--json prints the summary of a report; --serve writes none")
        _serve(directory, port, makes_thumbnails=not no_thumbnails)
        return
    if port is not None:
        raise click.UsageError("--port is for --serve")
    from batchgen.mirror.reading import open_place
    from batchgen.mirror.remote import Remote
    from batchgen.objects import as_written
    from batchgen.report.rebuild import rebuild

    with open_place(directory) as layout:
        is_here = layout.away is None
        thumbnails = None if no_thumbnails or not is_here else _thumbnails(directory)
        summary = rebuild(layout, warn=_warn, thumbnails=thumbnails)
        if isinstance(layout.away, Remote):
            for path in list(layout.away.results()):
                layout.away.replace(path)
    if as_json:
        print_json(summary)
    say(summary.items.in_words)
    say(f"report    {as_written(directory / 'report.html')}")


def _thumbnails(directory: Path) -> "MakeThumbnails":
    """What makes the thumbnails, and tells on a terminal how far it is."""
    from tqdm import tqdm

    from batchgen.report.thumbnails import Made, make_thumbnails

    def make(sources: "Iterable[Source]") -> Made:
        with tqdm(desc="thumbnails", unit="", disable=None, leave=False) as bar:
            made = make_thumbnails(
                directory, sources, on_progress=lambda now: _show(bar, now.n_made + now.n_failed)
            )
        if made.n_left:
            _warn(f"{counted(made.n_left, 'picture')} without a thumbnail: {made.problem}")
        return made

    return make


def _show(bar: "tqdm[Any]", n: int) -> None:
    bar.update(n - bar.n)


def _serve(directory: Path, port: int | None, *, makes_thumbnails: bool) -> None:
    from batchgen.objects import address_of

    if address_of(directory) is not None:
        raise click.UsageError(
            "--serve shows a directory; of an object store, open its report.html instead"
        )
    from batchgen.live.app import Options, serve

    def announce(url: str) -> None:
        say(f"serving {directory} at {url} (Ctrl-C ends it)")
        if not directory.is_dir():
            say(f"{directory} is not there yet: waiting for a run")

    serve(directory, Options(port=port, makes_thumbnails=makes_thumbnails), announce, _warn)


def _warn(told: str) -> None:
    say(f"warning: {printable(told)}")
