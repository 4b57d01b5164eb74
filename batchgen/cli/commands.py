"""The command group, and what every command has in common: environment, errors, exit codes."""

import io
import os
from collections.abc import Sequence
from typing import Final

import click

from batchgen._version import __version__
from batchgen.cli.cost import cost
from batchgen.cli.emulate import emulate
from batchgen.cli.export import export
from batchgen.cli.init import init
from batchgen.cli.plan import plan
from batchgen.cli.report import report
from batchgen.cli.run import run
from batchgen.cli.schema import schema
from batchgen.cli.streams import say
from batchgen.cli.validate import validate
from batchgen.cli.verify import verify
from batchgen.errors import BatchgenError
from batchgen.sanitize import printable

_BUG: Final = 1
_ENVIRONMENT: Final = "BATCHGEN_"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="batchgen %(version)s")
def cli() -> None:
    """Render pictures in bulk with Gemini's image models.

    A job file names prompts and reference images; batchgen makes what is not done yet, and keeps
    pictures, token counts and costs in an output directory. Run it again and only what is missing
    is made.
    """


for command in (init, validate, plan, run, report, verify, cost, export, emulate, schema):
    cli.add_command(command)


def invoke(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; every message goes to stderr.

    A flag `--some-flag` may be set as BATCHGEN_SOME_FLAG; the flag wins.
    """
    _use_environment(cli)
    _warn_unknown_environment(cli)
    try:
        code = cli.main(_spelt_out(arguments), prog_name="batchgen", standalone_mode=False)
    except click.ClickException as error:
        say(_shown(error))
        return error.exit_code
    except click.Abort:
        return 130
    except BatchgenError as error:
        lines = [printable(line, 2000) for line in str(error).splitlines()]
        say("\n".join(lines))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last line of defence
        _tell_bug(error)
        return _BUG
    return code if isinstance(code, int) else 0


def _shown(error: click.ClickException) -> str:
    """What click says of wrong usage, the hint at `--help` included."""
    told = io.StringIO()
    error.show(told)
    return told.getvalue().rstrip("\n")


def _spelt_out(arguments: Sequence[str]) -> list[str]:
    """Give a flag whose value may be missing an empty one, lest it take the job for its value."""
    return ["--retry-failed=" if one == "--retry-failed" else one for one in arguments]


def _tell_bug(error: Exception) -> None:
    where = _where(error)
    say(
        f"a bug in batchgen: {type(error).__name__} in {where}: {printable(str(error))}\n"
        f"what was received is kept; please report this line with the version ({__version__})"
    )


def _where(error: BaseException) -> str:
    """The innermost place in our own code."""
    trace = error.__traceback__
    where = "?"
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "?")
        if str(module).startswith("batchgen"):
            where = f"{module}:{trace.tb_lineno}"
        trace = trace.tb_next
    return where


def _options(group: click.Group) -> list[click.Option]:
    """The options that may be set in the environment."""
    return [
        parameter
        for command in group.commands.values()
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name and parameter.allow_from_autoenv
    ]


def _use_environment(group: click.Group) -> None:
    """Name the environment variable of each option after its flag."""
    for option in _options(group):
        option.envvar = _variable(option)
        option.show_envvar = False


def _variable(option: click.Option) -> str:
    flag = next(name for name in option.opts if name.startswith("--"))
    return _ENVIRONMENT + flag.removeprefix("--").replace("-", "_").upper()


def _warn_unknown_environment(group: click.Group) -> None:
    known = {_variable(option) for option in _options(group)}
    for name in sorted(os.environ):
        if name.startswith(_ENVIRONMENT) and name not in known:
            say(f"warning: {name} is set and means nothing to batchgen")
