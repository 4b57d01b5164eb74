"""`batchgen init`."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import click

from batchgen.cli.schema import SCHEMA_FILE
from batchgen.cli.streams import say

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_JOB: Final = "catalog.yaml"


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
def init(directory: Path) -> None:
    """Write an example job into DIR, which runs at once on the emulator.

    A job file, a table of four products with their photos, and the schema for your editor. Files
    that are there are never overwritten.
    """
    import shlex

    from batchgen.errors import store_errors

    files = _example()
    _refuse_to_overwrite([directory / name for name in files])
    with store_errors(directory):
        for name, source in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(source.read_bytes())
            say(f"{'wrote':8}  {path}")
    say(f"{'next':8}  batchgen run {shlex.quote(str(directory / _JOB))}")


def _example() -> "dict[str, Traversable]":
    """The files to write, by their path below DIR, the job first."""
    from importlib import resources

    package = resources.files("batchgen")
    files = {str(path): source for path, source in _below(package / "example", PurePosixPath())}
    return {_JOB: files.pop(_JOB), **files, SCHEMA_FILE: package / SCHEMA_FILE}


def _below(
    directory: "Traversable", path: PurePosixPath
) -> Iterator[tuple[PurePosixPath, "Traversable"]]:
    for entry in sorted(directory.iterdir(), key=lambda one: one.name):
        if entry.is_dir():
            yield from _below(entry, path / entry.name)
        else:
            yield path / entry.name, entry


def _refuse_to_overwrite(paths: list[Path]) -> None:
    """Find what is in the way before anything is written.

    Raises:
        click.UsageError: It names the file, or what stands where a directory is needed.
    """
    for path in paths:
        nearest = next(one for one in (path, *path.parents) if os.path.lexists(one))
        if nearest == path or not nearest.is_dir():
            raise click.UsageError(f"{nearest} is there already; name another directory")
