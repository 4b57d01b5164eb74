"""The log of a run: one line a transition, as JSON for programs or as text for people.

event ──> entries ──> lines ──> sinks
          fields      JSON,     stderr, or a file
                      text
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, assert_never

from batchgen.clock import Clock
from batchgen.events import (
    AttemptBegan,
    AttemptEnded,
    Event,
    ItemEnded,
    RunBegan,
    Stopping,
    Ticked,
    Warned,
)
from batchgen.journal import entries
from batchgen.journal.coolings import Coolings
from batchgen.journal.entries import Entry, RunEnded
from batchgen.journal.lines import Format, as_json, as_text
from batchgen.journal.sinks import LogFile, StreamLines
from batchgen.tally import Tally

if TYPE_CHECKING:
    from batchgen.model import Attempt

__all__ = ["Format", "Journal", "LogFile", "RunEnded", "StreamLines"]

PROGRESS_EVERY_S: Final = 30.0

# The run's id and its job's name, each None as long as it is not known.
Names: TypeAlias = tuple[str | None, str | None]


class Sink(Protocol):
    """Takes lines; must not raise."""

    def write(self, line: bytes) -> None:
        """Take a whole line."""

    def close(self) -> None:
        """There are no more."""


def _nameless() -> Names:
    return None, None


class Journal:
    """Writes down the events of one run, and how it ended.

    Attributes:
        names: Tells whose log it is, asked at each line.
        is_quiet: Nothing is written but warnings, errors and the end of the run.
    """

    def __init__(
        self, sink: Sink, style: Format, *, clock: Clock | None = None, is_quiet: bool = False
    ) -> None:
        """Set where lines go; a quiet log has warnings, errors and the run's end alone."""
        self._sink, self._style, self.is_quiet = sink, style, is_quiet
        self._clock = clock or Clock()
        self._tally = Tally(self._clock.monotonic_s)
        self._coolings = Coolings()
        self._last: Attempt | None = None
        self._said_s: float | None = None
        self.names: Callable[[], Names] = _nameless

    def __call__(self, event: Event) -> None:
        """Write down what an event says, and every 30 s how far the run is."""
        self._tally.take(event)
        for entry in self._entries(event):
            self._write(entry)
        now_s = self._clock.monotonic_s()
        if self._said_s is not None and now_s - self._said_s >= PROGRESS_EVERY_S:
            self._said_s = now_s
            self._write(entries.progress(self._tally))

    def warned(self, message: str) -> None:
        """Write down a warning that is no event of the run."""
        self._write(entries.warning(message))

    def ended(self, end: RunEnded) -> None:
        """Write down what the run came to."""
        self._write(entries.run_ended(end))

    def failed(self, kind: str, message: str, exit_code: int) -> None:
        """Write down why there was no run, or why it broke off."""
        self._write(entries.error(kind, message, exit_code))

    def close(self) -> None:
        """Close what the lines go to."""
        self._sink.close()

    def _entries(self, event: Event) -> Iterator[Entry]:
        match event:
            case RunBegan():
                self._said_s = self._clock.monotonic_s()
                yield entries.run_began(event)
            case AttemptBegan():
                yield entries.sent(event)
            case AttemptEnded(attempt):
                self._last = attempt
                yield entries.attempt(attempt)
                yield from self._coolings.after(attempt)
            case ItemEnded(result):
                # An item ends right after its last call, before another one can.
                last = self._last
                is_its = last is not None and last.item == result.id
                yield entries.item(result, last.latency_s if last and is_its else None)
            case Stopping():
                yield entries.stopping(event)
            case Warned(message):
                yield entries.warning(message)
            case Ticked():
                yield from self._coolings.at(self._clock.now(), event)
            case _:
                assert_never(event)

    def _write(self, entry: Entry) -> None:
        if self.is_quiet and entry.level == "info" and entry.event != "run_ended":
            return
        at = self._clock.stamp()
        if self._style == "text":
            self._sink.write(as_text(at, entry))
            return
        run_id, job = self.names()
        self._sink.write(as_json(at, run_id, job, entry))
