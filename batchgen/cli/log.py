"""`--log-format` and `--log-file` of `run`: which lines there are, and who has stderr.

               text (unless told)            json
no --log-file  stderr as ever, no log        stderr: the log, and nothing else
--log-file     stderr as ever, log: text     stderr as ever, log: json
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchgen.cli.streams import say

if TYPE_CHECKING:
    from decimal import Decimal

    from batchgen.events import Event
    from batchgen.journal import Format, Journal
    from batchgen.progress import Observer, Style
    from batchgen.report.summary import Summary
    from batchgen.runner import Runner


def _kept(context: click.Context, option: click.Parameter, value: Any) -> None:
    """Keep what a flag says for `Log.asked_for`: the command itself does not need it."""
    context.meta[f"{__name__}.{option.name}"] = value


LOG_FORMAT = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    expose_value=False,
    callback=_kept,
    help="json: stderr has one JSON object a line, and nothing else; with --log-file, the file.",
)
LOG_FILE = click.option(
    "--log-file",
    type=click.Path(path_type=Path),
    expose_value=False,
    callback=_kept,
    help="Append one line here for each thing that happens, in the format of --log-format.",
)


class Log:
    """The log that a command line asks for, if it asks for one.

    Attributes:
        owns_stderr: Its lines go there, so that nothing else may.
    """

    def __init__(self, style: "Format" = "text", path: Path | None = None) -> None:
        """Set what it is; a file is opened by `begin`."""
        self._style, self._path = style, path
        self._journal: Journal | None = None
        self.owns_stderr = style == "json" and path is None
        if self.owns_stderr:
            self._hold_stderr()

    @classmethod
    def asked_for(cls, arguments: Sequence[str], group: click.Group) -> "Log":
        """What the flags and the environment of a run say, however wrong the rest of them is.

        Args:
            arguments: The whole command line, without the program.
            group: All commands. `run` remembers the names of its help from its first context on,
                and has them from the context of the group.
        """
        if arguments[:1] != ["run"]:
            return cls()
        context = group.commands["run"].make_context(
            "run",
            list(arguments[1:]),
            click.Context(group, **group.context_settings),
            resilient_parsing=True,
            ignore_unknown_options=True,
        )
        if context.params.get("dry_run"):
            return cls()
        style = context.meta.get(f"{__name__}.log_format")
        return cls(style or "text", context.meta.get(f"{__name__}.log_file"))

    def begin(self, progress: "Style", *, is_quiet: bool, is_verbose: bool) -> "Observer":
        """What the events of a run are told to.

        Raises:
            UsageError: The file cannot be written, or stderr cannot be both a log and a bar.
        """
        from batchgen.errors import UsageError
        from batchgen.events import Warned
        from batchgen.journal import Journal, LogFile
        from batchgen.progress import observer

        if self._journal is not None and self.owns_stderr:
            if progress == "bar":
                raise UsageError("--progress bar: with --log-format json stderr is for the log")
            self._journal.is_quiet = is_quiet
            return self._journal
        watch = observer(progress, is_quiet=is_quiet, is_verbose=is_verbose)
        if self._path is None:
            return watch
        # Where stderr shows nothing but errors, this is one.
        tell = say if is_quiet else lambda message: watch(Warned(message))
        self._journal = Journal(LogFile(self._path, tell), self._style)
        return _Both(watch, self._journal)

    def is_of(self, runner: "Runner") -> None:
        """Whose log it is, from the moment at which that is known."""
        if self._journal is not None:
            self._journal.names = lambda: (
                getattr(runner, "run_id", None),
                runner.directory.name if hasattr(runner, "directory") else None,
            )

    def ended(self, summary: "Summary", planned_usd: "Decimal | None") -> None:
        """Write what the run came to."""
        if self._journal is None:
            return
        import msgspec

        from batchgen.journal import RunEnded

        self._journal.ended(
            RunEnded(
                exit_code=summary.exit_code or 0,
                stop_reason=summary.stop_reason,
                items=msgspec.to_builtins(summary.items),
                n_attempts=summary.attempts.total,
                by_outcome=summary.attempts.by_outcome,
                images=summary.images,
                cost_usd=summary.cost_usd,
                maybe_usd=summary.cost_maybe_usd,
                n_unknown=summary.cost_unknown_attempts,
                planned_usd=planned_usd,
                wall_s=summary.wall_s,
            )
        )

    def failed(self, kind: str, message: str, exit_code: int, *, shown: str | None = None) -> None:
        """Tell why there was no run, or why it broke off; on stderr maybe in other words."""
        if not self.owns_stderr:
            say(message if shown is None else shown)
        if self._journal is None and self._path is not None:
            from batchgen.errors import UsageError
            from batchgen.journal import Journal, LogFile

            with suppress(UsageError):  # which may be what is told
                self._journal = Journal(LogFile(self._path, say), self._style)
        if self._journal is not None:
            self._journal.failed(kind, message, exit_code)

    def warned(self, message: str) -> None:
        """Tell of something that stops nothing, before the run begins."""
        if self._journal is not None:
            self._journal.warned(message)
        else:
            say(message)

    def close(self) -> None:
        """Nothing comes any more."""
        if self._journal is not None:
            self._journal.close()

    def _hold_stderr(self) -> None:
        """Take stderr, and what libraries would write there on their own."""
        from batchgen.journal import Journal, StreamLines
        from batchgen.journal.libraries import hear_libraries

        self._journal = Journal(StreamLines(sys.stderr), "json")
        hear_libraries(self._journal.warned)


class _Both:
    """What stderr shows, and beside it the log."""

    def __init__(self, watch: "Observer", journal: "Journal") -> None:
        self._watch, self._journal = watch, journal

    def __call__(self, event: "Event") -> None:
        """Tell both."""
        self._watch(event)
        self._journal(event)

    def close(self) -> None:
        """The run has ended; its log is closed after its last line."""
        self._watch.close()
