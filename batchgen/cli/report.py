"""`batchgen report`."""

from pathlib import Path

import click

from batchgen.cli.streams import print_json, say
from batchgen.sanitize import printable


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout.")
def report(directory: Path, *, as_json: bool) -> None:
    """Rebuild results, summary and report.html in DIR from its ledger and items.jsonl.

    DIR is the directory of a job, such as output/NAME.
    """
    from batchgen.report import rebuild

    summary = rebuild(directory, warn=lambda told: say(f"warning: {printable(told)}"))
    if as_json:
        print_json(summary)
    items = summary.items
    say(f"{items.done}/{items.total} done, {items.failed} failed")
    say(f"report    {directory / 'report.html'}")
