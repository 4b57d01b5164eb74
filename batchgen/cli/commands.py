"""The command group, and what every command has in common: environment, errors, exit codes.

Of the commands only the one that is named is imported.
"""

import io
import os
from collections import UserDict
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Final

import click

from batchgen._version import __version__
from batchgen.cli.log import Log
from batchgen.cli.streams import prepare

_BUG: Final = 1
_ENVIRONMENT: Final = "BATCHGEN_"
# Set by the scripts in shells/, with what is asked; click answers.
_COMPLETION: Final = "_BATCHGEN_COMPLETE"
# Each is the name of a module here, and of the command in it; and what `--help` says of it.
_COMMANDS: Final = {
    "init": "Write an example job, which runs at once on the emulator.",
    "validate": "Find every error in a job, without sending anything.",
    "plan": "Tell what a run would make, why, and what that may cost.",
    "run": "Make what a job asks for and is not done yet.",
    "report": "Rebuild results, summary and report.html, or serve them.",
    "verify": "Check that the pictures are what was made.",
    "cost": "Add up tokens and cost of ledgers and of other token logs.",
    "export": "Print the results as lines that other tools read.",
    "schedule": "Print what starts a job every night: systemd, cron, Kubernetes.",
    "doctor": "Look for what would keep a run from going well.",
    "emulate": "Serve a stand-in for Gemini's image API on 127.0.0.1.",
    "schema": "Print the JSON Schema of the job file.",
    "completion": "Print a script that completes commands in a shell.",
}


class _Commands(UserDict[str, click.Command]):
    """The commands by their names; the module of one is imported when it is first asked for."""

    def __missing__(self, name: str) -> click.Command:
        if name not in _COMMANDS:
            raise KeyError(name)
        command: click.Command = getattr(import_module(f"batchgen.cli.{name}"), name)
        command.short_help = _COMMANDS[name]
        for option in _options_of(command):
            option.envvar = _variable(option)
        self.data[name] = command
        return command

    def __contains__(self, name: object) -> bool:
        return name in _COMMANDS

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


class _Group(click.Group):
    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, in the order in which somebody comes to need them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_Group,
    commands=_Commands(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="batchgen %(version)s")
def cli() -> None:
    """Render pictures in bulk with Gemini's image models.

    A job file names prompts and reference images; batchgen makes what is not done yet, and keeps
    pictures, token counts and costs in an output directory. Run it again and only what is missing
    is made.
    """


def invoke(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; every message goes to stderr.

    A flag `--some-flag` may be set as BATCHGEN_SOME_FLAG; the flag wins.
    """
    prepare()
    spelt_out = _spelt_out(arguments)
    log = Log.asked_for(spelt_out, cli)
    if _COMPLETION in os.environ:  # a shell asks, and no person
        from batchgen.cli.completion import let_it_ask

        let_it_ask(cli)
    else:
        _warn_unknown_environment(log)
    try:
        code = cli.main(spelt_out, prog_name="batchgen", standalone_mode=False, obj=log)
    except click.ClickException as error:
        log.failed("UsageError", error.format_message(), error.exit_code, shown=_shown(error))
        return error.exit_code
    except click.Abort:
        return 130
    except Exception as error:  # noqa: BLE001 - the last line of defence
        return _failed(log, error)
    finally:
        log.close()
    return code if isinstance(code, int) else 0


def _failed(log: Log, error: Exception) -> int:
    """Tell of an error that no command expected, or of our own, and return its exit code."""
    from batchgen.errors import BatchgenError
    from batchgen.sanitize import printable

    if not isinstance(error, BatchgenError):
        log.failed("Bug", _told_bug(error), _BUG)
        return _BUG
    lines = [printable(line, 2000) for line in str(error).splitlines()]
    log.failed(type(error).__name__, "\n".join(lines), error.exit_code)
    return error.exit_code


def _shown(error: click.ClickException) -> str:
    """What click says of wrong usage, the hint at `--help` included."""
    told = io.StringIO()
    error.show(told)
    return told.getvalue().rstrip("\n")


def _spelt_out(arguments: Sequence[str]) -> list[str]:
    """Give a flag whose value may be missing an empty one, lest it take the job for its value."""
    return ["--retry-failed=" if one == "--retry-failed" else one for one in arguments]


def _told_bug(error: Exception) -> str:
    from batchgen.sanitize import printable

    where = _where(error)
    return (
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


def environment_names() -> dict[str, list[str]]:
    """The commands that read a variable of the environment, by its name."""
    readers: dict[str, list[str]] = {}
    for name, command in cli.commands.items():
        for option in _options_of(command):
            readers.setdefault(_variable(option), []).append(name)
    return dict(sorted(readers.items()))


def _options_of(command: click.Command) -> list[click.Option]:
    """The options that may be set in the environment."""
    return [
        parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name and parameter.allow_from_autoenv
    ]


def _variable(option: click.Option) -> str:
    """The environment variable of an option, named after its flag."""
    flag = next(name for name in option.opts if name.startswith("--"))
    return _ENVIRONMENT + flag.removeprefix("--").replace("-", "_").upper()


def _warn_unknown_environment(log: Log) -> None:
    there = [name for name in sorted(os.environ) if name.startswith(_ENVIRONMENT)]
    known = environment_names() if there else {}
    for name in there:
        if name not in known:
            log.warned(f"warning: {name} is set and means nothing to batchgen")
