"""`batchgen report`."""

from pathlib import Path

import click

from batchgen.cli.stdout import print_json


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout.")
def report(directory: Path, *, as_json: bool) -> None:
    """Rebuild results, summary and report.html of a job's directory from its ledger."""
    from batchgen.report import rebuild

    summary = rebuild(directory)
    if as_json:
        print_json(summary)
    items = summary.items
    click.echo(f"{items.done}/{items.total} done, {items.failed} failed", err=True)
    click.echo(f"report    {directory / 'report.html'}", err=True)
