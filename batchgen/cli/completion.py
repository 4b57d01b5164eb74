"""`batchgen completion`, and what a shell is told when it asks how a line may go on.

The scripts in shells/ ask batchgen itself, with the line in COMP_WORDS and _BATCHGEN_COMPLETE set,
which click answers. Paths are left to the shell: it is told of which kind, and what is typed.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

from batchgen.cli.streams import print_text

_SHELLS: Final = ("bash", "zsh", "fish")
_OUTPUT: Final = Path("output")
_WRITES_A_NEW_ONE: Final = "init"
# Behind it, the words of `schedule` are flags of `run`.
_END_OF_FLAGS: Final = "--"
_ITS_VALUE_MAY_BE_MISSING: Final = "--retry-failed"


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print a script that completes commands in SHELL.

    Tab then completes commands, flags, their values, job files and the directories of jobs.

    \b
    bash  eval "$(batchgen completion bash)"     in ~/.bashrc (bash 4.4 or later)
    zsh   eval "$(batchgen completion zsh)"      in ~/.zshrc, after compinit
    fish  batchgen completion fish | source      in ~/.config/fish/config.fish

    Each Tab asks batchgen, which reads the line and the names of files, and nothing else.
    """  # noqa: D301 - click looks for the backspace itself
    from importlib import resources

    print_text(
        resources.files("batchgen").joinpath(f"cli/shells/batchgen.{shell}").read_text("utf-8")
    )


def let_it_ask(group: click.Group) -> None:
    """Let the commands answer a shell: with job files, directories, providers and models."""
    for shell in (_Bash, _Zsh, _Fish):
        add_completion_class(shell)
    for name, command in group.commands.items():
        for parameter in command.params if name != _WRITES_A_NEW_ONE else ():
            if complete := _COMPLETE.get(str(parameter.name)):
                parameter.type = _Completed(complete)


class _Asked(ShellComplete):
    """What click does not know of a line of ours."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """How a line with these words may go on."""
        return super().get_completions(*_understood(args, incomplete))


def _understood(args: Sequence[str], incomplete: str) -> tuple[list[str], str]:
    """The line as click is to see it: behind `schedule JOB --` as one of `run`.

    A flag whose value may be missing has none in the next word. Only flags come behind the `--`.
    """
    words = [f"{one}=" if one == _ITS_VALUE_MAY_BE_MISSING else one for one in args]
    if words[:1] != ["schedule"] or _END_OF_FLAGS not in words:
        return words, incomplete
    flags = words[words.index(_END_OF_FLAGS) + 1 :]
    return ["run", "JOB", *flags], incomplete if flags else incomplete or "--"


class _Zsh(_Asked, ZshComplete):
    """Zsh."""


class _Fish(_Asked, FishComplete):
    """Fish."""


class _Bash(_Asked, BashComplete):
    """Bash, which splits words at `=` and `:` as well."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one at the cursor, and that word."""
        args, incomplete = super().get_completion_args()
        *before, last = _joined([*args, incomplete])
        return before, last


def _joined(words: Sequence[str]) -> list[str]:
    """Words as they were typed: `--provider`, `=`, `google` is one.

    Bash takes a space between them away as well; nobody types one there.
    """
    joined: list[str] = []
    is_open = False
    for word in words:
        is_mark = bool(word) and not word.strip("=:")
        if joined and (is_mark or is_open):
            joined[-1] += word
        else:
            joined.append(word)
        is_open = is_mark
    return joined


class _Completed(click.ParamType[str]):
    """A value of any kind, and what it may be when this much is typed."""

    name = "completed"

    def __init__(self, complete: Callable[[str], Iterator[CompletionItem]]) -> None:
        self._complete = complete

    def shell_complete(
        self, _context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return list(self._complete(incomplete))


def _jobs(incomplete: str) -> Iterator[CompletionItem]:
    yield CompletionItem(incomplete, type="job")


def _directories(incomplete: str) -> Iterator[CompletionItem]:
    """The directories of jobs in `output`, or any if there are none that begin so."""
    yield from _in_output(incomplete) or [CompletionItem(incomplete, type="dir")]


def _logs(incomplete: str) -> Iterator[CompletionItem]:
    """The directories of jobs in `output`, or whatever else there is."""
    yield from _in_output(incomplete) or [CompletionItem(incomplete, type="file")]


def _in_output(incomplete: str) -> list[CompletionItem]:
    found = sorted(path.parent.as_posix() for path in _OUTPUT.glob("*/ledger"))
    return [CompletionItem(path) for path in found if path.startswith(incomplete)]


def _words(words: Callable[[], Sequence[str]]) -> Callable[[str], Iterator[CompletionItem]]:
    def complete(incomplete: str) -> Iterator[CompletionItem]:
        yield from (CompletionItem(word) for word in words() if word.startswith(incomplete))

    return complete


def _lists(words: Callable[[], Sequence[str]]) -> Callable[[str], Iterator[CompletionItem]]:
    """Several of these words, with commas between them: the last one is completed."""

    def complete(incomplete: str) -> Iterator[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        for word in words():
            if word.startswith(last):
                yield CompletionItem(f"{before}{comma}{word}")

    return complete


def _failures() -> Sequence[str]:
    from batchgen.model import Outcome

    return tuple(one for one in Outcome if one is not Outcome.IMAGE)


def _providers() -> Sequence[str]:
    from batchgen.provider import PROVIDERS

    return tuple(PROVIDERS)


def _models() -> Sequence[str]:
    from batchgen.known_models import KnownModels

    return KnownModels.shipped().names


def _groupings() -> Sequence[str]:
    from batchgen.spending.tally import GROUPINGS, TAG

    return (*GROUPINGS, TAG)


# What a parameter of this name may be, in whichever command it stands.
_COMPLETE: Final[dict[str, Callable[[str], Iterator[CompletionItem]]]] = {
    "job": _jobs,
    "jobs": _jobs,
    "directory": _directories,
    "paths": _logs,
    "provider": _words(_providers),
    "model": _words(_models),
    "by": _lists(_groupings),
    "fail_on": _words(lambda: ("any", "new", "none")),
    "retry_failed": _lists(_failures),
}
