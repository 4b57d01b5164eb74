"""`batchgen schema`."""

from typing import Final

import click

from batchgen.cli.streams import print_bytes

SCHEMA_FILE: Final = "job.schema.json"


@click.command()
def schema() -> None:
    """Print the JSON Schema of the job file.

    An editor that knows it explains and completes the fields of a job and marks mistakes. Write it
    beside the job with `batchgen schema > job.schema.json`, and begin the job with the line
    `# yaml-language-server: $schema=job.schema.json`.
    """
    print_bytes([schema_text().encode()])


def schema_text() -> str:
    """The schema as it is shipped, with its line breaks."""
    from importlib import resources

    return resources.files("batchgen").joinpath(SCHEMA_FILE).read_text("utf-8")
