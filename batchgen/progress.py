"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, Never, Protocol, TextIO, TypeAlias

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
from batchgen.model import Attempt
from batchgen.sanitize import printable
from batchgen.tally import Tally
from batchgen.wording import duration, usd

if TYPE_CHECKING:
    from tqdm import tqdm

Style: TypeAlias = Literal["auto", "bar", "plain", "none"]
PLAIN_EVERY_S: Final = 30.0
_FORMAT: Final = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"


class Observer(Protocol):
    """Takes the events of a run."""

    def __call__(self, event: Event) -> None:
        """Take one event, at once; must not raise."""

    def close(self) -> None:
        """The run has ended."""


class PatientStream:
    """A stream whose reader may leave: what is written after that goes nowhere.

    All else is the stream's own: tqdm asks it for its encoding and its width.
    """

    def __init__(self, stream: TextIO) -> None:
        """Set the stream."""
        self._stream = stream
        self._is_gone = False

    def write(self, text: str) -> int:
        """Write, if there is still somebody who reads."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, if there is still somebody who reads."""
        self._try(self._stream.flush)

    def _try(self, do: Callable[[], object]) -> None:
        if self._is_gone:
            return
        try:
            do()
        except OSError:
            self._is_gone = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class PlainObserver:
    """A start line, a line every 30 s, nothing else: fit for a log and a cron mail."""

    def __init__(
        self, stream: PatientStream, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Set where lines go."""
        self._stream = stream
        self._tally = Tally(monotonic_s)
        self._monotonic_s = monotonic_s
        self._said_s = monotonic_s()

    def __call__(self, event: Event) -> None:
        """Count; say something only when it is time."""
        self._tally.take(event)
        match event:
            case RunBegan():
                self._say(opening(event))
            case Warned(message):
                self._say(message)
            case Stopping():
                self._say(stopping(event))
            case _ if self._monotonic_s() - self._said_s >= PLAIN_EVERY_S:
                tally = self._tally
                self._say(f"{tally.n_done}/{tally.n_total} done · {tally.words()}")

    def close(self) -> None:
        """Nothing is left open."""

    def _say(self, line: str) -> None:
        self._said_s = self._monotonic_s()
        print(line, file=self._stream, flush=True)


class BarObserver:
    """A bar that owns the terminal's line; messages go above it."""

    def __init__(self, stream: PatientStream) -> None:
        """Set the terminal."""
        self._stream = stream
        self._tally = Tally()
        self._bar: tqdm[Never] | None = None

    def __call__(self, event: Event) -> None:
        """Count, and let the bar redraw when it is due."""
        self._tally.take(event)
        match event:
            case RunBegan():
                _write(opening(event), self._stream)
                self._bar = _bar(event, self._stream)
            case ItemEnded(result):
                self._show(1 if result.status != "pending" else 0)
            case AttemptBegan() | AttemptEnded():
                self._show(0)
            case Ticked():
                self._show(0, refresh=True)
            case Warned(message):
                _write(message, self._stream)
            case Stopping():
                _write(stopping(event), self._stream)

    def close(self) -> None:
        """Take the bar away, so that the last line stands alone."""
        if self._bar is not None:
            self._bar.close()

    def _show(self, n: int, *, refresh: bool = False) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(self._tally.words(), refresh=refresh)
            self._bar.update(n)


def _bar(event: RunBegan, stream: PatientStream) -> "tqdm[Never]":
    from tqdm import tqdm  # noqa: PLC0415 - a log has no bar

    return tqdm(
        total=event.n_items,
        initial=event.n_reused + event.n_settled,
        desc=event.job,
        file=stream,
        bar_format=_FORMAT,
        mininterval=0.2,
        dynamic_ncols=True,
        leave=False,
    )


def _write(line: str, stream: PatientStream) -> None:
    """Write a line, above the bar if there is one."""
    from tqdm import tqdm  # noqa: PLC0415 - most runs that nobody watches say no such line

    tqdm.write(line, file=stream)


class WarningObserver:
    """Says nothing but what may be wrong, and that a run stops."""

    def __init__(self, stream: PatientStream) -> None:
        """Set where to."""
        self._stream = stream

    def __call__(self, event: Event) -> None:
        """Ignore everything else."""
        match event:
            case Warned(message):
                _write(message, self._stream)
            case Stopping():
                _write(stopping(event), self._stream)
            case _:
                pass

    def close(self) -> None:
        """Nothing is left open."""


class QuietObserver:
    """Says nothing but what was asked for and not done."""

    def __init__(self, stream: PatientStream) -> None:
        """Set where to."""
        self._stream = stream

    def __call__(self, event: Event) -> None:
        """Ignore everything else."""
        if isinstance(event, Warned) and event.is_error:
            _write(event.message, self._stream)

    def close(self) -> None:
        """Nothing is left open."""


def observer(
    style: Style,
    stream: TextIO | None = None,
    *,
    is_quiet: bool = False,
    is_verbose: bool = False,
) -> Observer:
    """The observer of a style; `auto` is a bar on a terminal and plain lines elsewhere.

    Args:
        style: How to tell how it goes.
        stream: Where to; stderr if it is left out. Its reader may leave.
        is_quiet: Say only what was asked for and not done.
        is_verbose: Tell of each call as well.
    """
    stream = stream or sys.stderr
    patient = PatientStream(stream)
    if style == "auto":
        style = "bar" if stream.isatty() else "plain"
    watch = QuietObserver(patient) if is_quiet else _observer(style, patient)
    return VerboseObserver(watch, patient) if is_verbose else watch


def _observer(style: Literal["bar", "plain", "none"], stream: PatientStream) -> Observer:
    match style:
        case "bar":
            return BarObserver(stream)
        case "plain":
            return PlainObserver(stream)
        case "none":
            return WarningObserver(stream)


def opening(event: RunBegan) -> str:
    """The first line: what is going to happen."""
    left = event.n_items - event.n_reused - event.n_settled
    told = f"{event.job}: {left} of {event.n_items} to make"
    if event.n_reused:
        told += f" ({event.n_reused} done already)"
    if event.n_settled:
        told += f" ({event.n_settled} failed for good before)"
    cost = "cost unknown" if event.planned_usd is None else f"about {usd(event.planned_usd)}"
    planned = f", {cost}" if left else ""
    return f"{told}, at most {event.concurrency} at once, {event.provider}{planned}"


def stopping(event: Stopping) -> str:
    """What stopping means for what is under way."""
    left = f"waiting for {event.n_in_flight} under way" if event.n_in_flight else "none under way"
    if event.reason in {"sigint", "sigterm"} and event.n_in_flight:
        left += ", unless it is asked again"
    return f"stopping, no new requests: {printable(event.reason)}; {left}"


class VerboseObserver:
    """Adds a line for each call to what another observer shows."""

    def __init__(self, observed: Observer, stream: PatientStream) -> None:
        """Set what it adds to; both write to one stream, or a bar would not make room."""
        self._observed = observed
        self._stream = stream

    def __call__(self, event: Event) -> None:
        """Say what a call came to, then pass the event on."""
        if isinstance(event, AttemptEnded):
            _write(call_line(event.attempt), self._stream)
        self._observed(event)

    def close(self) -> None:
        """Close what it adds to."""
        self._observed.close()


def call_line(attempt: Attempt) -> str:
    """One call on one line: `hero #2: rate_limited, retry · 0.2s · $0.00 · HTTP 429: …`."""
    words = [f"{attempt.item} #{attempt.attempt}: {attempt.outcome}, {attempt.decision}"]
    if attempt.latency_s is not None:
        words.append(duration(attempt.latency_s))
    words.append(usd(attempt.cost_usd) + (" maybe" if attempt.billed == "maybe" else ""))
    if attempt.error is not None:
        words.append(printable(attempt.error.message))
    return " · ".join(words)
