"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere."""

import math
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal, Never, Protocol, TextIO, TypeAlias

from tqdm import tqdm

from batchgen.events import AttemptEnded, Event, ItemEnded, RunBegan, Stopping, Ticked, Warned
from batchgen.model import Attempt
from batchgen.sanitize import printable
from batchgen.wording import bill, duration, usd

Style: TypeAlias = Literal["auto", "bar", "plain", "none"]
PLAIN_EVERY_S: Final = 30.0
_RECENT_ENDS: Final = 200
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


@dataclass(slots=True)
class Tally:
    """What has happened so far, and when it may end."""

    monotonic_s: Callable[[], float] = time.monotonic
    n_total: int = 0
    n_done: int = 0
    n_failed: int = 0
    cost_usd: Decimal = Decimal(0)
    n_unknown: int = 0
    now: Ticked = Ticked()
    _started_s: float = 0.0
    _ends_s: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT_ENDS))

    def take(self, event: Event) -> None:
        """Count an event."""
        match event:
            case RunBegan():
                self.n_total = event.n_items
                self.n_done, self.n_failed = event.n_reused, event.n_settled
                self._started_s = self.monotonic_s()
                # What came before was found: a killed run had sent it.
                self.cost_usd, self.n_unknown = Decimal(0), 0
            case AttemptEnded(attempt):
                if attempt.billed == "yes":
                    self.cost_usd += attempt.cost_usd or 0
                self.n_unknown += attempt.billed != "no" and attempt.cost_usd is None
            case ItemEnded(result):
                self.n_done += result.status == "done"
                self.n_failed += result.status in {"failed", "skipped"}
                self._ends_s.append(self.monotonic_s())
            case Ticked():
                self.now = event
            case _:
                pass

    @property
    def per_min(self) -> float | None:
        """Ends a minute, over the last ones; None before there are two."""
        if len(self._ends_s) < 2:  # noqa: PLR2004
            return None
        # From the start while it is near: the first ends come together after the first wait.
        since_s = self._started_s if len(self._ends_s) < _RECENT_ENDS else self._ends_s[0]
        elapsed_s = self.monotonic_s() - since_s
        return len(self._ends_s) * 60 / elapsed_s if elapsed_s > 0 else None

    @property
    def eta_s(self) -> float | None:
        """Seconds left at the present rate; None where nothing can be said yet."""
        left = self.n_total - self.n_done - self.n_failed
        per_min = self.per_min
        return left * 60 / per_min if per_min else None

    def words(self) -> str:
        """The state in a few words."""
        words = [f"{self.n_failed} failed", bill(self.cost_usd, self.n_unknown)]
        words += traffic(self.now)
        if (per_min := self.per_min) is not None:
            words.append(f"{per_min:.1f}/min")
        # While something cools, the rate so far tells nothing of the time to come.
        if not self.now.cooling and (eta_s := self.eta_s) is not None:
            words.append(f"{duration(eta_s)} left")
        return " · ".join(words)


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
                tqdm.write(opening(event), file=self._stream)
                self._bar = tqdm(
                    total=event.n_items,
                    initial=event.n_reused + event.n_settled,
                    desc=event.job,
                    file=self._stream,
                    bar_format=_FORMAT,
                    mininterval=0.2,
                    dynamic_ncols=True,
                    leave=False,
                )
            case ItemEnded(result):
                self._show(1 if result.status != "pending" else 0)
            case AttemptEnded():
                self._show(0)
            case Ticked():
                self._show(0, refresh=True)
            case Warned(message):
                tqdm.write(message, file=self._stream)
            case Stopping():
                tqdm.write(stopping(event), file=self._stream)

    def close(self) -> None:
        """Take the bar away, so that the last line stands alone."""
        if self._bar is not None:
            self._bar.close()

    def _show(self, n: int, *, refresh: bool = False) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(self._tally.words(), refresh=refresh)
            self._bar.update(n)


class NullObserver:
    """Says nothing."""

    def __call__(self, event: Event) -> None:
        """Ignore the event."""

    def close(self) -> None:
        """Nothing is left open."""


def observer(style: Style, stream: TextIO | None = None, *, is_verbose: bool = False) -> Observer:
    """The observer of a style; `auto` is a bar on a terminal and plain lines elsewhere.

    Args:
        style: How to tell how it goes.
        stream: Where to; stderr if it is left out. Its reader may leave.
        is_verbose: Tell of each call as well.
    """
    stream = stream or sys.stderr
    patient = PatientStream(stream)
    if style == "auto":
        style = "bar" if stream.isatty() else "plain"
    watch = _observer(style, patient)
    return VerboseObserver(watch, patient) if is_verbose else watch


def _observer(style: Literal["bar", "plain", "none"], stream: PatientStream) -> Observer:
    match style:
        case "bar":
            return BarObserver(stream)
        case "plain":
            return PlainObserver(stream)
        case "none":
            return NullObserver()


def traffic(now: Ticked) -> list[str]:
    """What is on the road: `running 12/16`, `cooling down 38s after a 429 on MODEL`, `retrying 3`.

    Nothing while nothing is known.
    """
    words = [f"running {now.n_in_flight}/{now.limit}"] if now.limit else []
    words += [
        f"{'cooling down' if one.why.startswith('after') else 'waiting'} "
        f"{math.ceil(one.for_s)}s {one.why} on {printable(one.model)}"
        for one in now.cooling
    ]
    return words + ([f"retrying {now.n_retrying}"] if now.n_retrying else [])


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
            tqdm.write(call_line(event.attempt), file=self._stream)
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
