"""What a scheduler starts, and what the files of all schedulers have in common."""

import math
import shlex
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from batchgen.errors import UsageError
from batchgen.schedule.when import When

# After the grace a run writes its ledger's end, its results and its report, and posts how it ended,
# for which it may try for a minute.
_MARGIN_S: Final = 150


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What is started, when, where and as whom. Paths are absolute unless told.

    Attributes:
        name: The job's name, of `[A-Za-z0-9._-]`.
        program: The words that start batchgen.
        job: The job file.
        flags: Flags of `run`, as the user wrote them.
        asked: The names of the options that these flags set.
        paths: What the flags name of files, as the user wrote them.
        directory: Where it is started: relative paths in flags and job begin there.
        output: The parent of the job's directory.
        writes: Other directories in which files of the run land.
        key_env: The variables that hold the key here; empty if none may be shown.
        key_file: The file that will hold it; None if the provider needs none.
        hook_env: The variable that the job's hook is in; None if it has none.
        user: Who the run belongs to.
        home: Where the user's own files are.
        grace_s: Seconds for what is under way, when it is told to stop.
    """

    name: str
    when: When
    program: tuple[str, ...]
    job: str
    flags: tuple[str, ...] = ()
    asked: frozenset[str] = frozenset()
    paths: tuple[str, ...] = ()
    directory: str
    output: str
    writes: tuple[str, ...] = ()
    key_env: tuple[str, ...] = ()
    key_file: str | None = None
    hook_env: str | None = None
    user: str = "root"
    home: str = "/root"
    grace_s: float = 120.0

    @property
    def unit(self) -> str:
        """What it is called among all that a machine starts: `batchgen-NAME`."""
        return f"batchgen-{self.name}"

    @property
    def end_s(self) -> int:
        """How many seconds it may take to end, once it has been told to."""
        return math.ceil(self.grace_s) + _MARGIN_S

    @property
    def job_from_here(self) -> str:
        """The job as it is named in the directory, if it lies there; else by its whole path."""
        try:
            return f"./{PurePath(self.job).relative_to(self.directory)}"
        except ValueError:
            return self.job

    def unless(self, asked: str, *words: str) -> tuple[str, ...]:
        """The words, unless the user set that option."""
        return () if asked in self.asked else words

    def key_steps(self, path: str, *, sudo: bool) -> list[str]:
        """How the key gets into a file that only its owner reads, and past no command line."""
        if self.key_file is None:
            return []
        to = f"{'sudo ' if sudo else ''}install -D -m 600 /dev/stdin {shlex.quote(path)}"
        if self.key_env:
            return [f"printenv {self.key_env[0]} | {to}"]
        return [f"{to}   # paste the key, Enter, Ctrl-D"]

    def hook_steps(self, to: str) -> list[str]:
        """How the address of the hook gets there, as a line NAME=VALUE; `printf` shows it nobody.

        Args:
            to: A command that takes such lines.
        """
        if self.hook_env is None:
            return []
        return [f"printf '{self.hook_env}=%s\\n' \"${self.hook_env}\" | {to}"]


def check_texts(start: Start) -> None:
    """Refuse what a line of no scheduler's file can hold.

    Raises:
        UsageError: A path or a flag has a line break, a control code or no valid UTF-8 in it.
    """
    texts = (
        *(*start.program, start.job, *start.flags, start.directory, start.output),
        *(*start.writes, start.key_file or "", start.user, start.home),
    )
    for text in texts:
        if not text.isprintable():
            raise UsageError(
                f"{text!r}: it has a line break, a control code or no valid UTF-8 in it, "
                "and no scheduler's file can hold that"
            )


def commented(lines: list[str]) -> str:
    """The lines as comments, which systemd, cron and YAML write alike."""
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)
