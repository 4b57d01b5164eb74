"""Everything that holds requests to one model back. Nothing here waits: it says how long to."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from batchgen.ending import EXIT_LEFT, EXIT_STOPPED
from batchgen.errors import (
    AttemptError,
    BadReply,
    BadRequest,
    Blocked,
    BrokenImage,
    ConnectionDropped,
    Forbidden,
    ModelUnavailable,
    NoAnswer,
    NoImage,
    OutOfFiles,
    RateLimited,
    ServerError,
    ServerRefused,
    Unreachable,
    WrongSize,
)
from batchgen.limits.adaptive import Adaptive, Departure
from batchgen.limits.settings import Limits
from batchgen.limits.trouble import Trouble
from batchgen.limits.windows import Demand, Entry, Wait, Window, Windows
from batchgen.wording import duration

# The service did its work, whatever came of it.
_WORKED: Final = (Blocked, NoImage, WrongSize, BrokenImage)
# It said no to this request alone.
_REFUSED: Final = (BadRequest, Forbidden)
# It, or the way to it, may be broken.
_FAILED: Final = (Unreachable, ServerRefused, ServerError, ConnectionDropped, NoAnswer, BadReply)
_HINT_JITTER: Final = 0.1
_MOST_JITTER_S: Final = 0.25
_MAX_STEPS: Final = 100
_PROBE_AFTER: Final = 3
# A line takes milliseconds to be durable; what leaves so much later was held up.
_LATE_S: Final = 1.0
_ITEMS_OF_A_GONE_MODEL: Final = 3


@dataclass(frozen=True, slots=True)
class Out:
    """Why nothing goes to a model any more in this run.

    Attributes:
        reason: A sentence that says what to do.
        exit_code: What the run exits with if nothing else is left to do.
        fails: Whether its items fail; else they stay to be done.
    """

    reason: str
    exit_code: int
    fails: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A change of what may be in flight, `at_s` seconds into the run."""

    at_s: float
    model: str
    limit: int
    per_min: float | None
    why: str


@dataclass(slots=True)
class Call:
    """A request that has left, or is about to."""

    model: str
    item_id: str
    attempt: int
    departure: Departure
    is_probe: bool
    request: Entry | None = None
    tokens: Entry | None = None
    images: Entry | None = None
    usd: Entry | None = None


class Lane:
    """The way to one model.

    Attributes:
        n_in_flight: Requests that have left and have not ended.
        n_seats: Items that have a seat for it.
        out: Set once nothing goes to this model any more in this run.
        is_proven: A request has shown that key, address and model are right.
        cools_until_s, cools_why: Nothing leaves before.
    """

    def __init__(
        self,
        model: str,
        limits: Limits,
        *,
        patience_s: float,
        longest_pause_s: float,
        rng: random.Random,
        began_s: float,
    ) -> None:
        """Start with nothing known of the service."""
        self.model = model
        self.adaptive = Adaptive(limits.concurrency)
        self.trouble = Trouble(rng, longest_pause_s)
        self.n_in_flight = 0
        self.n_seats = 0
        self.out: Out | None = None
        self.is_proven = False
        self.cools_until_s = -math.inf
        self.cools_why = ""
        self.steps: list[Step] = []
        self._windows = Windows.of(limits)
        self._rng = rng
        self._patience_s = patience_s
        self._longest_pause_s = longest_pause_s
        self._began_s = began_s
        self._n_limited = 0  # pauses in a row for a 429, without a request taken between them
        self._limited_s: float | None = None
        self._is_probe_under_way = False
        self._unavailable_items: set[str] = set()
        self._note(began_s, "start")

    # --- before a request leaves

    def wait(self, now_s: float, now: datetime, demand: Demand) -> Wait:
        """What holds a request back, if anything does."""
        if now_s < self.cools_until_s:
            return Wait(self.cools_until_s - now_s, self.cools_why)
        if not self.is_proven and self.n_in_flight:
            return Wait(math.inf)
        if self._is_probing and self._is_probe_under_way:
            return Wait(math.inf)
        n_in_flight = 0 if self._is_probing else self.n_in_flight
        return max(
            Wait(self.adaptive.wait_s(now_s, n_in_flight)),
            self._windows.wait(now_s, demand),
            Wait(self._windows.day_wait_s(now), "for limits.rpd"),
        )

    @property
    def room(self) -> int:
        """How many requests may be in flight by now, pauses apart."""
        if self.out is not None:
            return self.n_in_flight
        if not self.is_proven or self._is_probing:
            return max(1, self.n_in_flight)
        return self.adaptive.limit

    def look_at_the_day(self, now: datetime) -> None:
        """Give up for this run if the requests of the day are used up, and it is far from over."""
        wait_s = self._windows.day_wait_s(now)
        if wait_s > self._patience_s and self.out is None:
            self.out = Out(
                f"limits.rpd: the requests of today to {self.model} are used up; "
                f"there are more after midnight Pacific, in {duration(wait_s)}",
                EXIT_STOPPED,
            )

    def leave(
        self, now_s: float, now: datetime, item_id: str, attempt: int, demand: Demand
    ) -> Call:
        """One leaves."""
        self.n_in_flight += 1
        windows = self._windows
        if windows.day is not None:
            windows.day.add(now)
        is_probe = self._is_probing
        self._is_probe_under_way = self._is_probe_under_way or is_probe
        return Call(
            self.model,
            item_id,
            attempt,
            self.adaptive.leaves(now_s, self.n_in_flight),
            is_probe,
            request=_reserved(windows.requests, now_s, 1),
            tokens=_reserved(windows.tokens, now_s, demand.tokens),
            images=_reserved(windows.images, now_s, 1),
            usd=_reserved(windows.usd, now_s, float(demand.usd or 0)),
        )

    def recall(self, at_s: float, at: datetime, demand: Demand) -> None:
        """Count a request that left before this run, `at_s` on this run's clock."""
        windows = self._windows
        if windows.day is not None:
            windows.day.add(at)
        for window, amount in (
            (windows.requests, 1.0),
            (windows.tokens, float(demand.tokens)),
            (windows.images, 1.0),
            (windows.usd, float(demand.usd or 0)),
        ):
            if window is not None:
                window.add(at_s, amount)

    # --- when it has ended

    def arrived(self, call: Call) -> None:
        """It is not in flight any more, whatever came of it."""
        self.n_in_flight -= 1
        if call.is_probe:
            self._is_probe_under_way = False
        for window, entry in self._counted(call):
            window.end(entry)

    def sent(self, call: Call, now_s: float) -> bool:
        """It leaves only now: everything counts from here; whether others may wait for that."""
        if now_s - call.departure.at_s > _LATE_S:
            call.departure = self.adaptive.leaves_late(call.departure, now_s)
        return self._count_from(call, now_s)

    def _count_from(self, call: Call, now_s: float) -> bool:
        was_overdue = False
        for window, entry in self._counted(call):
            was_overdue |= window.leaves(entry, now_s)
        return was_overdue

    def _counted(self, call: Call) -> Iterator[tuple[Window, Entry]]:
        windows = self._windows
        for window, entry in (
            (windows.requests, call.request),
            (windows.tokens, call.tokens),
            (windows.images, call.images),
            (windows.usd, call.usd),
        ):
            if window is not None and entry is not None:
                yield window, entry

    def settle(
        self, call: Call, *, tokens: int | None, n_images: int | None, usd: Decimal | None
    ) -> None:
        """Count what it took in place of what was reserved for it; None where that is unknown."""
        windows = self._windows
        if windows.tokens is not None and call.tokens is not None and tokens is not None:
            windows.tokens.settle(call.tokens, tokens)
        if windows.images is not None and call.images is not None and n_images is not None:
            windows.images.settle(call.images, n_images)
        if windows.usd is not None and call.usd is not None and usd is not None:
            windows.usd.settle(call.usd, float(usd))

    def heard(self, call: Call, error: AttemptError | None, now_s: float) -> None:
        """Learn from what a request came to."""
        if not self.is_proven:
            # The way to the service is new: when the first request arrived is known no better.
            self._count_from(call, now_s)
        match error:
            case None:
                self._worked(call, now_s)
            case RateLimited():
                self._limited(call, error, now_s)
            case OutOfFiles():
                self.adaptive.crowded(call.departure)
                self._note(now_s, "too many open files")
                self._failed(call, error, now_s)
            case ModelUnavailable():
                self._unavailable(call, error)
            case _ if isinstance(error, _WORKED):
                self._worked(call, now_s)
            case _ if isinstance(error, _REFUSED):
                self._answered(call, now_s)
            case _ if isinstance(error, _FAILED):
                self._failed(call, error, now_s)
            case _:
                self.adaptive.forget(call.departure)

    def _unavailable(self, call: Call, error: ModelUnavailable) -> None:
        """It is gone if the service names it, or says so of one item after the other."""
        self.adaptive.forget(call.departure)
        self._unavailable_items.add(call.item_id)
        # A gateway may have no route for one request of a model that it has served all along.
        is_named = self.model.rpartition("/")[2] in error.message and not self.is_proven
        if is_named or len(self._unavailable_items) >= _ITEMS_OF_A_GONE_MODEL:
            reason = f"{self.model} is not to be had: {error.message}"
            self.out = Out(reason, EXIT_STOPPED, fails=True)

    def _worked(self, call: Call, now_s: float) -> None:
        self.is_proven = True
        self._answered(call, now_s)

    def _answered(self, call: Call, now_s: float) -> None:
        """The service looked at a request: it is there."""
        self._unavailable_items.clear()
        before = self.adaptive.limit
        self.adaptive.taken(call.departure, now_s)
        if self.adaptive.limit != before:
            self._note(now_s, "all went well")
        self.trouble.refill(is_retry=call.attempt > 1)
        # What left before the trouble began says nothing about what came after it.
        if self._limited_s is not None and call.departure.at_s >= self._limited_s:
            self._n_limited, self._limited_s = 0, None
        if self.trouble.since_s is not None and call.departure.at_s >= self.trouble.since_s:
            if self.trouble.is_shared:
                self.adaptive.start_over()
                self._note(now_s, "the service is back")
            self.trouble.end()

    def _limited(self, call: Call, error: RateLimited, now_s: float) -> None:
        """A 429: nothing leaves for as long as was told, or for a while that doubles."""
        self.adaptive.forget(call.departure)
        self.trouble.charge(error)
        self._limited_s = now_s if self._limited_s is None else self._limited_s
        is_new = now_s >= self.cools_until_s and call.departure.at_s >= self.cools_until_s
        self._n_limited += is_new
        told_s = error.wait_s
        # What takes half a minute for an answer is not ready for the next one after a second.
        first_s = max(error.first_wait_s, self.adaptive.latency_s / 2)
        ceiling_s = first_s * 2.0 ** min(max(self._n_limited - 1, 0), 16)
        ceiling_s = min(ceiling_s, error.longest_wait_s, self._longest_pause_s)
        if told_s is None or (told_s < 1 and self._n_limited > 1):
            own_s = (told_s or 0) + self._rng.uniform(ceiling_s / 4, ceiling_s / 2)
        else:
            own_s = told_s + self._rng.uniform(0, min(_MOST_JITTER_S, _HINT_JITTER * told_s))
        self._cool(now_s, told_s or 0.0, own_s, self._limited_s, "after a 429", error)
        if is_new:
            self.adaptive.refused(
                call.departure,
                now_s,
                self.cools_until_s,
                self._n_limited,
                is_told=told_s is not None,
            )
            self._note(now_s, "429")

    def _failed(self, call: Call, error: AttemptError, now_s: float) -> None:
        self.adaptive.forget(call.departure)
        was_shared = self.trouble.is_shared
        self.trouble.charge(error)
        left_s = call.departure.at_s
        since_s = left_s if self.trouble.since_s is None else min(left_s, self.trouble.since_s)
        n_others = self.adaptive.n_left_between(since_s, left_s)
        self.trouble.failed(call.item_id, error, since_s, n_others)
        if self.trouble.is_shared and (call.is_probe or not was_shared):
            told_s, own_s = error.wait_s or 0.0, self.trouble.pause_s()
            self._cool(now_s, told_s, own_s, since_s, "after nothing but errors", error)
        elif isinstance(error, ServerRefused) and self.adaptive.was_too_many(call.departure, now_s):
            self._note(now_s, "refused")

    def _cool(
        self,
        now_s: float,
        told_s: float,
        own_s: float,
        since_s: float,
        why: str,
        error: AttemptError,
    ) -> None:
        """Let nothing leave for a while; give up for this run if patience is at its end.

        Args:
            now_s: When the answer came.
            told_s: So long at least, as the service says.
            own_s: So long if it does not say more, but not beyond all patience.
            since_s: When it began.
            why: `after …`.
            error: What came last.
        """
        left_s = since_s + self._patience_s - now_s
        until_s = now_s + max(told_s, min(own_s, left_s))
        if until_s > self.cools_until_s:
            self.cools_until_s, self.cools_why = until_s, why
        if (told_s > left_s or left_s <= 0) and self.out is None:
            self.out = Out(
                f"{self.model} cannot be asked within retries.patience "
                f"({duration(self._patience_s)}): {error.message.rstrip('.')}; run again later",
                EXIT_LEFT,
            )

    @property
    def _is_probing(self) -> bool:
        """One request at a time looks whether the service is back."""
        return self.trouble.is_shared or self._n_limited >= _PROBE_AFTER

    def _note(self, now_s: float, why: str) -> None:
        """Keep the steps, the later ones as far as there is room."""
        per_min = self.adaptive.per_min
        step = Step(
            round(now_s - self._began_s, 1),
            self.model,
            self.adaptive.limit,
            None if per_min is None else round(per_min, 1),
            why,
        )
        if len(self.steps) >= _MAX_STEPS:
            del self.steps[1:_MAX_STEPS:2]
        self.steps.append(step)


def _reserved(window: Window | None, at_s: float, amount: float) -> Entry | None:
    return None if window is None else window.add(at_s, amount, is_leaving=True)


def all_steps(lanes: Sequence[Lane]) -> list[Step]:
    """The steps of all lanes in the order of time."""
    return sorted((step for lane in lanes for step in lane.steps), key=lambda step: step.at_s)
