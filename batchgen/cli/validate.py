"""`batchgen validate`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchgen.cli.streams import print_json, say

if TYPE_CHECKING:
    from batchgen.errors import Problem


@click.command()
@click.argument("jobs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="JOB…")
@click.option("--model", help="For items that name none, as in a run.")
@click.option("--json", "as_json", is_flag=True, help="Print errors and warnings as JSON.")
def validate(jobs: tuple[Path, ...], model: str | None, *, as_json: bool) -> int:
    """Find every error in JOB without sending anything."""
    from batchgen.errors import MAX_SHOWN_PROBLEMS, JobError

    errors: list[Problem] = []
    n_items = 0
    for job in jobs:
        try:
            found, n = _check(job, model)
        except JobError as error:
            found, n = list(error.problems), 0
        errors += found
        n_items += n
    if as_json:
        # Nothing warns yet; the name is promised.
        print_json({"errors": errors, "warnings": [], "items": n_items})
    else:
        for problem in errors[:MAX_SHOWN_PROBLEMS]:
            say(str(problem))
        if len(errors) > MAX_SHOWN_PROBLEMS:
            say(f"… and {len(errors) - MAX_SHOWN_PROBLEMS} more")
    say(f"{n_items} items, {len(errors)} errors")
    return JobError.exit_code if errors else 0


def _check(job: Path, model: str | None) -> "tuple[list[Problem], int]":
    from batchgen.manifest import open_manifest
    from batchgen.references import ReferenceLibrary

    manifest = open_manifest(job)
    for _ in manifest.items(ReferenceLibrary().open, model=model):
        pass
    problems = sorted(manifest.problems, key=lambda one: (one.line, one.column))
    return problems, manifest.n_items
