"""`batchgen report`."""

from pathlib import Path

import click


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout.")
def report(directory: Path, *, as_json: bool) -> None:
    """Rebuild results, summary and report.html of a job's directory from its ledger."""
    import msgspec

    from batchgen.report import rebuild

    summary = rebuild(directory)
    if as_json:
        click.echo(msgspec.json.encode(summary).decode())
    items = summary.items
    click.echo(f"{items.done}/{items.total} done, {items.failed} failed", err=True)
    click.echo(f"report    {directory / 'report.html'}", err=True)
