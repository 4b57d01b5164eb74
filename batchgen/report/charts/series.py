"""What one pass over the ledger gathers for the charts of the last run.

Memory is bounded whatever the number of calls: stretches of time are joined in pairs as a run goes
on, latencies are counted on a fixed logarithmic grid, and only calls in flight are known by name.
"""

import math
from collections.abc import Collection, Iterable
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from itertools import pairwise
from typing import Any, Final, TypeAlias

from batchgen.model import Attempt, Outcome
from batchgen.report.last_run import Round
from batchgen.report.summary import NO_USD
from batchgen.store.ledger import Call, End, Line, Run, Sent

MAX_SLOTS: Final = 240
MAX_SPANS: Final = 64
# Bins of latency to a doubling: each is about 2 % wide.
BINS_AN_OCTAVE: Final = 32

_FIRST_SLOT_S: Final = 1 / 16
# What a broken clock says is no reason to count in millennia.
_MAX_S: Final = 10 * 365 * 86_400.0
_MIN_LATENCY_S: Final = 0.001
_MAX_USD: Final = Decimal(10) ** 15
# Killed runs leave calls open, but never more than they had in flight.
_MAX_OPEN: Final = 20_000

Span: TypeAlias = tuple[float, float]


@dataclass(slots=True)
class Slot:
    """What happened in one stretch of time.

    Attributes:
        begun_rest_s, ended_rest_s: From each beginning, and each end, of a call to the end of the
            stretch, added up: with them the calls in flight are known exactly, on average.
        n_limited: Calls that were answered with 429; they are part of the others.
    """

    n_begun: int = 0
    begun_rest_s: float = 0.0
    n_ended: int = 0
    ended_rest_s: float = 0.0
    n_pictures: int = 0
    n_retried: int = 0
    n_failed: int = 0
    n_limited: int = 0

    def add(self, later: "Slot", later_width_s: float) -> None:
        """Take in the stretch that comes next."""
        self.begun_rest_s += self.n_begun * later_width_s + later.begun_rest_s
        self.ended_rest_s += self.n_ended * later_width_s + later.ended_rest_s
        self.n_begun += later.n_begun
        self.n_ended += later.n_ended
        self.n_pictures += later.n_pictures
        self.n_retried += later.n_retried
        self.n_failed += later.n_failed
        self.n_limited += later.n_limited


@dataclass(slots=True)
class Timeline:
    """Stretches of equal width since the start, never more than `MAX_SLOTS`."""

    width_s: float = _FIRST_SLOT_S
    slots: list[Slot] = field(default_factory=list)

    def begin(self, at_s: float) -> None:
        """A call left."""
        slot, rest_s = self._slot(at_s)
        slot.n_begun += 1
        slot.begun_rest_s += rest_s

    def end(self, at_s: float) -> Slot:
        """A call ended; return its stretch, to count what became of it."""
        slot, rest_s = self._slot(at_s)
        slot.n_ended += 1
        slot.ended_rest_s += rest_s
        return slot

    def grouped(self, until_s: float, at_most: int) -> "Timeline":
        """The same in fewer and wider stretches, from the start to some moment."""
        n_slots = max(1, math.ceil(until_s / self.width_s))
        n_each = -(-n_slots // at_most)
        wide = [Slot() for _ in range(-(-n_slots // n_each))]
        for n in range(n_each * len(wide)):
            wide[n // n_each].add(self.slots[n] if n < len(self.slots) else Slot(), self.width_s)
        for at_the_end in self.slots[n_each * len(wide) :]:
            wide[-1].add(replace(at_the_end, begun_rest_s=0.0, ended_rest_s=0.0), 0.0)
        return Timeline(self.width_s * n_each, wide)

    def in_flight(self, until_s: float) -> list[float]:
        """How many calls were in flight in each stretch, on average."""
        n_before, found = 0, []
        for n, slot in enumerate(self.slots):
            busy_s = n_before * self.width_s + slot.begun_rest_s - slot.ended_rest_s
            n_before += slot.n_begun - slot.n_ended
            busy_s -= n_before * max(0.0, (n + 1) * self.width_s - until_s)
            passed_s = min(self.width_s, until_s - n * self.width_s)
            found.append(max(0.0, busy_s / passed_s) if passed_s > 0 else 0.0)
        return found

    def _slot(self, at_s: float) -> tuple[Slot, float]:
        """The stretch of a moment, and the seconds from that to the end of the stretch."""
        self.reach(at_s)
        n = int(at_s / self.width_s)
        while n >= len(self.slots):
            self.slots.append(Slot())
        return self.slots[n], (n + 1) * self.width_s - at_s

    def reach(self, at_s: float) -> None:
        """Widen the stretches until so many of them as there may be reach a moment."""
        while at_s >= MAX_SLOTS * self.width_s:
            self._widen()

    def _widen(self) -> None:
        for slot, later in zip(self.slots[::2], [*self.slots[1::2], Slot()], strict=False):
            slot.add(later, self.width_s)
        del self.slots[1::2]
        self.width_s *= 2


@dataclass(slots=True)
class Series:
    """What the charts of a run are drawn from. All moments are in seconds since the run began.

    Attributes:
        ended_s: When it ended by itself; None as long as it did not.
        last_s: The latest moment that the ledger knows of.
        latencies: Calls that brought a picture, by bin of the grid.
        usd_by_outcome: What was billed for sure.
        cooldowns: When nothing left to some model, in order.
        steps, most: What the limit of calls in flight was, as the end of the run tells it.
    """

    run_id: str = ""
    began_at: datetime | None = None
    ended_s: float | None = None
    last_s: float = 0.0
    timeline: Timeline = field(default_factory=Timeline)
    latencies: dict[int, int] = field(default_factory=dict)
    usd_by_outcome: dict[Outcome, Decimal] = field(default_factory=dict)
    cooldowns: list[Span] = field(default_factory=list)
    steps: list[Any] = field(default_factory=list)
    most: Any = None

    def until_s(self, now: datetime | None = None) -> float:
        """How far the run has come: its end, or now, or else the last that is known of it."""
        if self.ended_s is not None or now is None or self.began_at is None:
            return self.last_s
        return max(self.last_s, min((now - self.began_at).total_seconds(), _MAX_S))

    def drawn(self) -> Timeline:
        """The timeline with what is in flight still so."""
        timeline = deepcopy(self.timeline)
        for at_s in self._open_s:
            timeline.begin(at_s)
        return timeline

    @property
    def n_open(self) -> int:
        """Calls that left and have no outcome."""
        return len(self._open_s)

    @property
    def n_ended_as(self) -> tuple[int, int, int]:
        """Calls that brought a picture, that were tried again, and that failed."""
        slots = self.timeline.slots
        return (
            sum(slot.n_pictures for slot in slots),
            sum(slot.n_retried for slot in slots),
            sum(slot.n_failed for slot in slots),
        )

    @property
    def _open_s(self) -> Collection[float]:
        """When the calls left that have no outcome: there is none, once all have ended."""
        return ()


@dataclass(slots=True)
class RunSeries(Series):
    """That of the last run; it can be asked at any moment, also while a run goes on.

    A run that has sent nothing leaves those of the run before as they are.
    """

    _open: dict[Call, float] = field(default_factory=dict)
    _next: Run | None = None
    _round: Round = field(default_factory=Round)

    @property
    def settled(self) -> Series:
        """The same, once every call has ended."""
        return Series(**{one.name: getattr(self, one.name) for one in fields(Series)})

    @property
    def _open_s(self) -> Collection[float]:
        return self._open.values()

    def take(self, line: Line) -> None:
        """Count one line, in the order of the ledger, of whichever run."""
        match line:
            case Run() if self._round.joins(line):  # of a further shard, or in a further segment
                self.run_id = line.run_id
            case Run():
                self._next = line
            case Sent() | Attempt() if (
                line.attempt and self._next is not None and self._next.run_id == line.run_id
            ):
                self._begin(self._next)
                self.take(line)
            case Sent() if line.run_id in self._round.run_ids and len(self._open) < _MAX_OPEN:
                if (at_s := self._since(line.at)) is not None:
                    self._open[line.call] = at_s
                    self.last_s = max(self.last_s, at_s)
            case Attempt() if line.run_id in self._round.run_ids and line.attempt > 0:
                self._open.pop((line.run_id, line.item, line.turn, line.attempt), None)
                self._count(line)
            case End() if line.run_id in self._round.run_ids:
                self.ended_s = self._since(line.at)
                self.last_s = max(self.last_s, self.ended_s or 0.0)
                history = line.concurrency.get("history")
                self.steps = history if isinstance(history, list) else []
                self.most = line.concurrency.get("most")
            case _:
                pass

    def _begin(self, run: Run) -> None:
        fresh = RunSeries(run_id=run.run_id, began_at=_moment(run.at), _round=Round.of(run))
        for one in fields(self):
            setattr(self, one.name, getattr(fresh, one.name))

    def _count(self, line: Attempt) -> None:
        usd = usable(line.cost_usd)
        if line.billed == "yes" and usd:
            self.usd_by_outcome[line.outcome] = self.usd_by_outcome.get(line.outcome, NO_USD) + usd
        latency_s = _seconds(line.latency_s)
        if line.outcome is Outcome.IMAGE and latency_s is not None:
            bin_ = math.floor(math.log2(max(latency_s, _MIN_LATENCY_S)) * BINS_AN_OCTAVE)
            self.latencies[bin_] = self.latencies.get(bin_, 0) + 1
        at_s = self._since(line.at)
        if at_s is None:
            return
        end_s = min(at_s + (latency_s or 0.0), _MAX_S)
        self.last_s = max(self.last_s, end_s)
        self.timeline.begin(at_s)
        slot = self.timeline.end(end_s)
        slot.n_limited += line.http_status == HTTPStatus.TOO_MANY_REQUESTS
        if line.outcome is Outcome.IMAGE:
            slot.n_pictures += 1
        elif line.decision == "retry":
            slot.n_retried += 1
        else:
            slot.n_failed += 1
        if isinstance(line.cools_until, str):
            self._cool(end_s, self._since(line.cools_until))

    def _cool(self, from_s: float, until_s: float | None) -> None:
        if until_s is not None and until_s > from_s:
            self.cooldowns = joined([*self.cooldowns, (from_s, until_s)], MAX_SPANS)

    def _since(self, at: str) -> float | None:
        """Seconds from the start to a moment; a clock that was set back says none before it."""
        moment = _moment(at)
        if moment is None or self.began_at is None:
            return None
        return min(max(0.0, (moment - self.began_at).total_seconds()), _MAX_S)


def usable(usd: Any) -> Decimal:
    """An amount that can be added up and drawn; nothing for what is none, or beyond reason."""
    is_amount = isinstance(usd, Decimal) and usd.is_finite() and 0 < usd < _MAX_USD
    return usd if is_amount else NO_USD


def joined(spans: Iterable[Span], at_most: int) -> list[Span]:
    """The same spans in order, those that overlap as one; if they are many, the closest as well."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    while len(merged) > at_most:
        gaps = [later[0] - one[1] for one, later in pairwise(merged)]
        n = gaps.index(min(gaps))
        merged[n : n + 2] = [(merged[n][0], merged[n + 1][1])]
    return merged


def _moment(at: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(at)
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def _seconds(value: float | None) -> float | None:
    if value is None or not math.isfinite(value) or value < 0:
        return None
    return min(value, _MAX_S)
