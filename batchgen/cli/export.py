"""`batchgen export`."""

from pathlib import Path

import click

from batchgen.cli.streams import print_bytes, say
from batchgen.wording import counted


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--format",
    "_format",
    type=click.Choice(["gemini-batch", "csv"]),
    required=True,
    allow_from_autoenv=False,  # other commands have other formats
    help="gemini-batch: a line an item, as the Gemini Batch API answers; csv: for a spreadsheet.",
)
@click.option(
    "--without-images",
    is_flag=True,
    help="Name the files of pictures (fileData) instead of holding them as base64 (inlineData).",
)
def export(directory: Path, _format: str, *, without_images: bool) -> None:
    """Print the results in DIR as lines that other tools read, on stdout.

    gemini-batch: each item that has ended is a line {"key": …, "response": …} or {"key": …,
    "error": …}, in the order of the job. The key is what the line of a batch file was called, else
    the item's id. What has not ended has no line.

    csv: every item is a line: state, picture, model, tokens, cost, error, and a column for each
    tag. It begins with a byte order mark, as Excel wants it; a text that a spreadsheet would take
    for a formula begins with an apostrophe.
    """
    from batchgen.mirror.reading import open_place

    if _format == "csv":
        from batchgen.spreadsheet import results_as_csv

        if without_images:
            raise click.UsageError("--without-images goes with --format gemini-batch")
        with open_place(directory) as layout:
            print_bytes(results_as_csv(layout))
        return
    from batchgen.export import BatchExport

    with open_place(directory) as layout:
        lines = BatchExport(layout, holds_images=not without_images)
        print_bytes(lines)
    if lines.n_left:
        say(f"{counted(lines.n_left, 'item')} without a line: not ended yet; run the job again")
