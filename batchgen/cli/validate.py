"""`batchgen validate`."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from batchgen.cli.streams import print_json, say
from batchgen.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchgen.errors import Problem


@click.command()
@click.argument("jobs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="JOB…")
@click.option("--model", help="For items that name none themselves; wins over defaults.model.")
@click.option("--json", "as_json", is_flag=True, help="Print errors and warnings as JSON.")
def validate(jobs: tuple[Path, ...], model: str | None, *, as_json: bool) -> int:
    """Find every error in JOB, and what may be one, without sending anything.

    JOB may be `-` for JSON Lines from standard input.
    """
    from batchgen.errors import JobError

    found = [_check(job, model) for job in jobs]
    errors = [error for one in found for error in one.errors]
    warnings = [warning for one in found for warning in one.warnings]
    n_errors = sum(one.n_errors for one in found)
    n_warnings = sum(one.n_warnings for one in found)
    n_items = sum(one.n_items for one in found)
    if as_json:
        told = {"errors": _as_json(errors), "warnings": _as_json(warnings), "items": n_items}
        print_json(told)
    else:
        _list(errors, n_errors)
        _list(warnings, n_warnings)
    say(
        ", ".join(
            (
                counted(n_items, "item"),
                counted(n_errors, "error"),
                counted(n_warnings, "warning"),
            )
        )
    )
    return JobError.exit_code if n_errors else 0


class _Found(NamedTuple):
    """What was found in one job."""

    errors: "Sequence[Problem]"
    warnings: "Sequence[Problem]"
    n_errors: int
    n_warnings: int
    n_items: int


def _check(job: Path, model: str | None) -> _Found:
    from batchgen.errors import JobError
    from batchgen.manifest import open_manifest
    from batchgen.references import ReferenceLibrary

    try:
        manifest = open_manifest(job)
        for _ in manifest.items(ReferenceLibrary(), model=model):
            pass
    except JobError as error:
        return _Found(error.problems, (), error.n_problems, 0, 0)
    problems = manifest.problems
    return _Found(
        errors=problems.sorted_errors,
        warnings=problems.warnings,
        n_errors=problems.n_errors,
        n_warnings=problems.n_warnings,
        n_items=manifest.n_items,
    )


def _list(problems: "Sequence[Problem]", n_problems: int) -> None:
    """Show the first of them, and count the rest."""
    from batchgen.errors import MAX_SHOWN_PROBLEMS

    shown = problems[:MAX_SHOWN_PROBLEMS]
    for problem in shown:
        say(str(problem))
    if n_problems > len(shown):
        say(f"… and {n_problems - len(shown)} more")


def _as_json(problems: "Sequence[Problem]") -> list[dict[str, str | int]]:
    names = ("path", "line", "column", "field", "message")
    return [{name: getattr(problem, name) for name in names} for problem in problems]
