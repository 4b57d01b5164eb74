"""`batchgen doctor`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from batchgen.cli import choice
from batchgen.cli.commands import cli
from batchgen.cli.streams import Colour, paint, paper, print_json, print_text
from batchgen.sanitize import printable
from batchgen.wording import counted

if TYPE_CHECKING:
    from batchgen.doctor import Diagnosis, Finding
    from batchgen.paper import Paper

_COLOURS: Final[dict[str, Colour]] = {"ok": "green", "warning": "yellow", "problem": "red"}
_FIELDS: Final = ("check", "status", "message", "remedy")
_MAX_CHARS: Final = 1000


@click.command()
@click.argument("job", type=click.Path(path_type=Path), required=False)
@choice.output
@choice.provider
@choice.base_url
@choice.model
@choice.prices
@choice.api_key_file
@choice.ca_file
@choice.proxy
@click.option(
    "--spend",
    is_flag=True,
    allow_from_autoenv=False,  # a variable that was forgotten pays for nothing
    help="Ask for one real picture, the cheapest of the model; it is paid.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON on stdout.")
@click.pass_context
def doctor(
    context: click.Context, /, job: Path | None, *, spend: bool, as_json: bool, **options: Any
) -> int:
    """Look for what would keep a run from going well; each finding has its remedy.

    Key, address, model, prices, clock, disk, open files, what BATCHGEN_… tells `run`; with JOB also
    its mistakes, what nobody would confirm, who holds its directory, and what earlier runs left.
    Without JOB the provider is cometapi unless told.

    It sends one request, which costs nothing: which models are there. Only --spend asks for a
    picture; what that costs is told, and in no ledger. Nothing is left on the disk.

    Exit codes: 0 nothing keeps a run from going well (there may be warnings), 2 wrong usage, no key
    or an odd one, 3 errors in the job, 5 the service cannot be reached, 7 it refuses the key or is
    at another address, 12 the disk.
    """
    import asyncio

    from batchgen.doctor import examine

    of_run, refused = _of_environment(context.command)
    found = asyncio.run(examine(job, spend=spend, besides=refused, **of_run, **options))
    if as_json:
        told = [{name: getattr(one, name) for name in _FIELDS} for one in found.findings]
        print_json({"findings": told, "ok": found.is_ok})
    else:
        print_text("".join(f"{line}\n" for line in _lines(found, paper(sys.stdout))))
    return found.exit_code


def _of_environment(own: click.Command) -> tuple[dict[str, Any], list["Finding"]]:
    """What the environment tells a run, beside the flags that are also doctor's.

    Returns:
        The options of a run that it sets, and what a run would refuse.
    """
    from batchgen.doctor.findings import BAD_USAGE, problem
    from batchgen.errors import UsageError
    from batchgen.options import RunOptions, check_options

    options: dict[str, Any] = {}
    refused: list[Finding] = []
    run = cli.commands["run"]
    context = click.Context(run, info_name="run")
    shared = {parameter.name for parameter in own.params}
    for option in run.params:
        if not option.envvar or option.name in shared:
            continue
        try:
            value, _ = option.handle_parse_result(context, {}, [])
            is_set = context.get_parameter_source(option.name) is ParameterSource.ENVIRONMENT
            if is_set and option.name in RunOptions.__annotations__:
                check_options({option.name: value})  # type: ignore[misc]
                options[option.name] = value
        except (click.BadParameter, UsageError) as error:
            told = error.message if isinstance(error, click.BadParameter) else str(error)
            remedy = "correct this variable, or unset it: `run` ends with exit code 2"
            refused.append(problem("environment", f"{option.envvar}: {told}", remedy, BAD_USAGE))
    return options, refused


def _lines(found: "Diagnosis", sheet: "Paper") -> Iterator[str]:
    """`problem  address    https://… : …`, and its remedy below."""
    width = max(len(one.check) for one in found.findings)
    for one in found.findings:
        first = f"{one.status:7}  {one.check:{width}}  "
        lines = list(sheet.wrapped(printable(one.message, _MAX_CHARS), first, whole=True))
        if one.status in _COLOURS:
            lines[0] = paint(lines[0], one.status, _COLOURS[one.status], sys.stdout)
        yield from lines
        if one.remedy is not None:
            remedy = printable(one.remedy, _MAX_CHARS)
            yield from sheet.wrapped(remedy, " " * (len(first) - 2) + "→ ", whole=True)
    problems, warnings = found.count("problem"), found.count("warning")
    yield f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}"
