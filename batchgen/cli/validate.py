"""`batchgen validate`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchgen.cli.stdout import print_json

if TYPE_CHECKING:
    from batchgen.errors import Problem


@click.command()
@click.argument("jobs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="JOB…")
@click.option("--json", "as_json", is_flag=True, help="Print errors and warnings as JSON.")
def validate(jobs: tuple[Path, ...], *, as_json: bool) -> int:
    """Find every error and warning in JOB without sending anything."""
    from batchgen.errors import MAX_SHOWN_PROBLEMS, JobError

    errors: list[Problem] = []
    warnings: list[Problem] = []
    n_items = 0
    for job in jobs:
        try:
            found, warned, n = _check(job)
        except JobError as error:
            found, warned, n = list(error.problems), [], 0
        errors += found
        warnings += warned
        n_items += n
    if as_json:
        print_json({"errors": errors, "warnings": warnings, "items": n_items})
    else:
        for problem in errors[:MAX_SHOWN_PROBLEMS]:
            click.echo(str(problem), err=True)
        if len(errors) > MAX_SHOWN_PROBLEMS:
            click.echo(f"… and {len(errors) - MAX_SHOWN_PROBLEMS} more", err=True)
        for problem in warnings[:MAX_SHOWN_PROBLEMS]:
            place = f"{problem.path}:{problem.line}:{problem.column}"
            click.echo(f"{place}: warning: {problem.field}: {problem.message}", err=True)
    click.echo(f"{n_items} items, {len(errors)} errors, {len(warnings)} warnings", err=True)
    return JobError.exit_code if errors else 0


def _check(job: Path) -> "tuple[list[Problem], list[Problem], int]":
    from batchgen.manifest import open_manifest
    from batchgen.references import ReferenceLibrary

    manifest = open_manifest(job)
    for _ in manifest.items(ReferenceLibrary().open):
        pass
    problems = sorted(manifest.problems, key=lambda one: (one.line, one.column))
    return problems, manifest.warnings, manifest.n_items
