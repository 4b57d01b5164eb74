"""The calls of ledgers, as far as they are to be compared with a bill."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from batchgen.cost import PriceBook, price_tokens
from batchgen.manifest.prices import prices_of_job
from batchgen.model import Attempt, Outcome
from batchgen.reconcile.bill import Models
from batchgen.reconcile.columns import Columns
from batchgen.reconcile.rows import MAX_USD, NANO
from batchgen.store.history import as_attempt
from batchgen.store.layout import Layout
from batchgen.store.ledger import Call as CallName
from batchgen.store.ledger import Run, Sent, read_lines
from batchgen.store.lock import is_held
from batchgen.store.numbered import Numbered
from batchgen.store.places import Places
from batchgen.wire.grounding import count_queries

# How long a call may have been under way of which nobody saw the end: the longest by default.
LONGEST_MS: Final = 600_000
# Clocks differ, and a gateway writes its row when it has ended the call, not when we have.
BEFORE_MS: Final = 5_000
AFTER_MS: Final = 120_000
_MAX_LATENCY_S: Final = 86_400.0


class Said(IntEnum):
    """What the ledger says of a call: whether it was billed."""

    NO = 0
    MAYBE = 1
    YES = 2


class Call(NamedTuple):
    """One call.

    Attributes:
        place: Where its line stands.
        key: The hash of its request id; None without one.
        at_ms, latency_ms: When it left (Unix time), and when it had ended after that.
        model: A number of `Models`.
        work: The hash of what was asked for: item, key and turn.
        said: A `Said`.
        drew: Whether a picture came of it.
        book_nano_usd: What the ledger has it cost, if it says that it was billed.
        list_nano_usd: What it costs by the prices without their multiplier.
    """

    place: int
    key: int | None
    at_ms: int | None
    latency_ms: int | None
    model: int
    work: int
    said: int
    drew: int
    book_nano_usd: int | None
    list_nano_usd: int | None

    @property
    def end_ms(self) -> int | None:
        """When it had ended; where that is not known, when it began."""
        return None if self.at_ms is None else self.at_ms + (self.latency_ms or 0)

    @property
    def window_ms(self) -> tuple[int, int]:
        """Between which times its row may have been written."""
        at_ms = self.at_ms or 0
        latency_ms = LONGEST_MS if self.latency_ms is None else self.latency_ms
        return at_ms - BEFORE_MS, at_ms + latency_ms + AFTER_MS


@dataclass(slots=True)
class _Between:
    """The first and the last of some times; None where there is none."""

    first: int | None = None
    last: int | None = None

    def reach(self, first: int, last: int) -> None:
        self.first = first if self.first is None else min(first, self.first)
        self.last = last if self.last is None else max(last, self.last)


class Calls:
    """The calls of some ledgers, oldest run first.

    Attributes:
        book: The prices of the newest run, those of its job included.
        unreadable: Places of lines that do not parse.
        book_nano_usd: What those cost that the ledger has as billed.
        at_ms: When the first and the last left.
        billed_ms: Between which times they may have been billed.

    Cost: 100 bytes a call.
    """

    def __init__(self, ledgers: Iterable[Path], book: PriceBook, models: Models) -> None:
        """Read ledgers.

        Args:
            ledgers: Their segments, in any order; one that is named twice is read once.
            book: What prices the calls again.
            models: Gives the models their numbers.

        Raises:
            StoreError: One cannot be read, or is of a newer version.
        """
        self.each: Columns[Call] = Columns(Call)
        self.unreadable: list[str] = []
        self.book_nano_usd = 0
        self.at_ms = _Between()
        self.billed_ms = _Between()
        self._places = Places()
        self.book, self._lists = book, book.without_multipliers()
        self._base = book
        for place, attempt in self._attempts(ledgers):
            call = _call(place, attempt, self._lists, models)
            self.each.append(call)
            self.book_nano_usd += call.book_nano_usd or 0
            if call.at_ms is not None:
                self.at_ms.reach(call.at_ms, call.at_ms)
                self.billed_ms.reach(*call.window_ms)

    def _take_prices(self, run: Run) -> None:
        """From here on, calls are of this run's job."""
        self.book = self._base.with_job(prices_of_job(run.head))
        self._lists = self.book.without_multipliers()

    def line(self, call: Call) -> Attempt:
        """The whole line of a call, read again."""
        return as_attempt(self._places.read(call.place))

    def _attempts(self, ledgers: Iterable[Path]) -> Iterator[tuple[int, Attempt]]:
        """Each call's line with its place; those that never got one come last, as interrupted.

        What is under way at this moment is no call yet. A disk that failed may give a line twice,
        and a ledger may have been copied.
        """
        open_calls: dict[CallName, tuple[Sent, Path]] = {}
        known = Numbered()
        segments = {path.resolve(): path for path in ledgers}
        for path in sorted(segments.values(), key=lambda path: (path.name, path)):
            for begins, line in read_lines(path, self.unreadable):
                match line:
                    case Run():
                        self._take_prices(line)
                    case Sent() if hash(line.call) not in known:
                        open_calls[line.call] = line, path.parent
                    case Attempt() if line.attempt:
                        name = (line.run_id, line.item, line.turn, line.attempt)
                        open_calls.pop(name, None)
                        if known.put(hash(name)) is None:
                            yield self._places.place_in(path, begins), line
        under_way = {place for _, place in open_calls.values() if _is_running(place)}
        for sent, place in open_calls.values():
            if place not in under_way:
                attempt = _interrupted(sent)
                yield self._places.keep(attempt), attempt


def _is_running(ledger: Path) -> bool:
    layout = Layout(ledger.parent)
    return layout.ledger == ledger and is_held(layout.lock)


def _interrupted(sent: Sent) -> Attempt:
    """What the next run would write of a request whose outcome nobody wrote."""
    return Attempt(
        run_id=sent.run_id,
        item=sent.item,
        key=sent.key,
        turn=sent.turn,
        attempt=sent.attempt,
        at=sent.at,
        model=sent.model,
        provider="",
        outcome=Outcome.INTERRUPTED,
        decision="failed",
        cost_usd=sent.est_usd,
        cost_basis="unknown" if sent.est_usd is None else "inferred",
        billed="maybe",
    )


def _call(place: int, attempt: Attempt, lists: PriceBook, models: Models) -> Call:
    said = Said[attempt.billed.upper()]
    return Call(
        place=place,
        key=None if attempt.request_id is None else hash(attempt.request_id),
        at_ms=_ms(attempt.at),
        latency_ms=None
        if attempt.latency_s is None
        else int(min(attempt.latency_s, _MAX_LATENCY_S) * 1000),
        model=models.number(attempt.model),
        work=hash((attempt.item, attempt.key, attempt.turn)),
        said=said,
        drew=attempt.outcome is Outcome.IMAGE,
        book_nano_usd=_nano(attempt.cost_usd) if said is Said.YES else 0,
        list_nano_usd=_nano(_list_usd(attempt, lists)),
    )


def _list_usd(attempt: Attempt, lists: PriceBook) -> Decimal | None:
    if attempt.tokens is None:
        return None
    tier = attempt.service_tier
    return price_tokens(
        attempt.tokens,
        attempt.cost_basis,
        lists.find(attempt.model_version, attempt.model, at=attempt.at),
        tier="standard" if tier is msgspec.UNSET else tier,
        n_queries=count_queries(attempt.grounding),
    ).usd


def _nano(usd: Decimal | None) -> int | None:
    """Dollars as billionths; what nobody pays for a call is not known."""
    return None if usd is None or not abs(usd) < MAX_USD else int(usd * NANO)


def _ms(at: str) -> int | None:
    try:
        return round(datetime.fromisoformat(at).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
