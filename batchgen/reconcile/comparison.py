"""A ledger held against a gateway's bill: every call and every row gets exactly one class."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from batchgen.clock import stamp
from batchgen.cost import PriceBook
from batchgen.reconcile.bill import Bill, Models, Request
from batchgen.reconcile.calls import Call, Calls, Said
from batchgen.reconcile.findings import (
    CallClass,
    CallClasses,
    CallExample,
    Drift,
    Reconciliation,
    RowClass,
    RowClasses,
    RowExample,
    Span,
)
from batchgen.reconcile.joining import Joined, join
from batchgen.reconcile.money import as_ratio, as_usd
from batchgen.reconcile.multiplier import Prices, multipliers

MAX_EXAMPLES: Final = 5


def reconcile(ledgers: Iterable[Path], log: Path, book: PriceBook) -> Reconciliation:
    """Hold ledgers against the usage log that a gateway exported.

    Args:
        ledgers: The segments, `ledger/*.jsonl` of one or more jobs.
        log: The gateway's export, in one of the forms of `batchgen.reconcile.rows`.
        book: The prices, over which those of the jobs are laid; what was recorded is compared with
            the bill, and the list prices, without a multiplier, tell what would have been right.

    Returns:
        Every call and every row in exactly one class.

    Raises:
        UsageError: The log cannot be read.
        StoreError: A ledger cannot be read, or is of a newer version.

    Cost: about 220 bytes for a call and its row, of however long a line.
    """
    models = Models()
    bill = Bill(log, models)
    calls = Calls(ledgers, book, models)
    return _Comparison(calls, bill, models, join(calls, bill)).told()


@dataclass(slots=True)
class _Class:
    """Calls of one class, while they are counted."""

    n: int = 0
    n_by_time: int = 0
    book_nano_usd: int = 0
    billed_nano_usd: int = 0
    said: Counter[int] = field(default_factory=Counter)
    examples: list[int] = field(default_factory=list)

    def add(self, n: int, call: Call, billed_nano_usd: int, *, by_time: bool) -> None:
        self.n += 1
        self.n_by_time += by_time
        self.book_nano_usd += call.book_nano_usd or 0
        self.billed_nano_usd += billed_nano_usd
        self.said[call.said] += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(n)


@dataclass(slots=True)
class _Rows:
    """Rows of one class, while they are counted."""

    n: int = 0
    requests: int = 0
    nano_usd: int = 0
    examples: list[int] = field(default_factory=list)

    def add(self, place: int, request: Request) -> None:
        self.n += request.n_rows
        self.requests += 1
        self.nano_usd += request.nano_usd
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(place)


@dataclass(slots=True)
class _Drift:
    n: int = 0
    n_unknown: int = 0
    book_nano_usd: int = 0
    billed_nano_usd: int = 0

    def add(self, book_nano_usd: int | None, billed_nano_usd: int) -> None:
        if book_nano_usd is None:
            self.n_unknown += 1
            return
        self.n += 1
        self.book_nano_usd += book_nano_usd
        self.billed_nano_usd += billed_nano_usd

    def told(self) -> Drift:
        book, billed = self.book_nano_usd, self.billed_nano_usd
        return Drift(
            n=self.n,
            n_unknown=self.n_unknown,
            book_usd=as_usd(book),
            billed_usd=as_usd(billed),
            drift=as_ratio(Decimal(billed) / book) if book else None,
        )


@dataclass
class _Comparison:
    """What is known of both sides, and what was joined."""

    calls: Calls
    bill: Bill
    models: Models
    joined: Joined

    def told(self) -> Reconciliation:
        """Put everything in its class and count."""
        call_classes, drifts, prices = self._count_calls()
        row_classes = self._count_rows()
        of_all = _Drift()
        for one in drifts.values():
            of_all.n += one.n
            of_all.n_unknown += one.n_unknown
            of_all.book_nano_usd += one.book_nano_usd
            of_all.billed_nano_usd += one.billed_nano_usd
        multiplier, by_model = multipliers(prices)
        return Reconciliation(
            log=self._log_span(),
            ledger=self._ledger_span(),
            drift=of_all.told(),
            drift_by_model={model: one.told() for model, one in sorted(drifts.items())},
            calls=self._told_calls(call_classes),
            rows=self._told_rows(row_classes),
            multiplier=multiplier,
            multiplier_by_model=dict(sorted(by_model.items())),
            multiplier_set=self.calls.book.multiplier,
            undated=self.bill.n_undated,
            odd=tuple(self.bill.odd),
            unreadable=tuple(self.calls.unreadable),
        )

    # --- calls ---------------------------------------------------------------------------------

    def _pairs(self) -> Iterator[tuple[int, Call, int | None]]:
        """Each call with what was billed for it; None where the log has nothing of it."""
        nano_usd = self.bill.requests.column("nano_usd")
        sides = zip(self.calls.each, self.joined.request_of, strict=True)
        for n, (call, place) in enumerate(sides):
            yield n, call, None if place < 0 else nano_usd[place]

    def _count_calls(self) -> tuple[dict[str, _Class], dict[str, _Drift], dict[str, Prices]]:
        classes = {name: _Class() for name in CallClasses.__struct_fields__}
        drifts: dict[str, _Drift] = {}
        prices: dict[str, Prices] = {}
        paid_again = self._paid_last()
        for n, call, billed in self._pairs():
            by_time = n in self.joined.by_time
            name = self._class_of(n, call, billed, paid_again)
            classes[name].add(n, call, billed or 0, by_time=by_time)
            if billed is None or billed <= 0 or by_time or call.said != Said.YES:
                continue
            model = self.models.names[call.model]
            drifts.setdefault(model, _Drift()).add(call.book_nano_usd, billed)
            if call.drew and call.list_nano_usd is not None and call.list_nano_usd > 0:
                prices.setdefault(model, Prices()).add(call.list_nano_usd, billed)
        return classes, drifts, prices

    def _class_of(self, n: int, call: Call, billed: int | None, paid_last: dict[int, int]) -> str:
        if billed is None:
            return self._class_without_row(call)
        if billed <= 0:
            return "logged_free"
        if call.drew:
            return "billed_image"
        if call.said == Said.MAYBE and paid_last[call.work] > n:
            return "double_billed"
        return "billed_without_image"

    def _class_without_row(self, call: Call) -> str:
        if call.said == Said.NO:
            return "not_billed"
        if not self._log_reaches(call):
            return "beyond_log"
        return "not_in_log" if call.said == Said.YES else "maybe_not_billed"

    def _log_reaches(self, call: Call) -> bool:
        """Whether a row of a call could stand between the first of the log and the last."""
        first_s, last_s = self.bill.first_at_s, self.bill.last_at_s
        if first_s is None or last_s is None:
            return False
        if call.at_ms is None:
            return True
        from_ms, until_ms = call.window_ms
        return until_ms >= first_s * 1000 and from_ms <= last_s * 1000

    def _paid_last(self) -> dict[int, int]:
        """The last call that was paid, of work of which a call was paid that is in doubt.

        Calls are in the order in which they ended; one that was made again ended later.
        """
        doubtful = {
            call.work
            for _, call, billed in self._pairs()
            if call.said == Said.MAYBE and billed is not None and billed > 0
        }
        last: dict[int, int] = {}
        if not doubtful:
            return last
        for n, call, billed in self._pairs():
            is_paid = call.said == Said.YES if billed is None else billed > 0
            if is_paid and call.work in doubtful:
                last[call.work] = n
        return last

    def _told_calls(self, classes: dict[str, _Class]) -> CallClasses:
        shown = {n for one in classes.values() for n in one.examples} & self.joined.by_time
        places = (self.joined.request_of[n] for n in shown)
        ids = self.bill.ids({self.bill.requests[place].number for place in places})
        return CallClasses(
            **{
                name: CallClass(
                    n=one.n,
                    book_usd=as_usd(one.book_nano_usd),
                    billed_usd=as_usd(one.billed_nano_usd),
                    by_time=one.n_by_time,
                    ledger_said={said.name.lower(): one.said[said] for said in reversed(Said)},
                    examples=tuple(self._call_example(n, ids) for n in one.examples),
                )
                for name, one in classes.items()
            }
        )

    def _call_example(self, n: int, ids: dict[int, str | None]) -> CallExample:
        line, place = self.calls.line(self.calls.each[n]), self.joined.request_of[n]
        request = None if place < 0 else self.bill.requests[place]
        by_time = n in self.joined.by_time
        return CallExample(
            item=line.item,
            at=line.at,
            model=line.model,
            outcome=line.outcome.value,
            request_id=ids.get(request.number) if request and by_time else line.request_id,
            usd=None if request is None else as_usd(request.nano_usd),
            by=None if request is None else "time" if by_time else "id",
        )

    # --- rows ----------------------------------------------------------------------------------

    def _count_rows(self) -> dict[str, _Rows]:
        names = ("by_id", "by_time", "unknown", "unknown_outside", "unknown_free")
        classes = {name: _Rows() for name in names}
        is_outside = self._outside_ledger()
        for place, request in enumerate(self.bill.requests):
            call = self.joined.call_of[place]
            if call >= 0:
                name = "by_time" if call in self.joined.by_time else "by_id"
            elif not request.nano_usd:
                name = "unknown_free"
            else:
                name = "unknown_outside" if is_outside(request) else "unknown"
            classes[name].add(place, request)
        return classes

    def _outside_ledger(self) -> Callable[[Request], bool]:
        """Whether a request was billed before or after all that the ledger has."""
        first_ms, last_ms = self.calls.billed_ms.first, self.calls.billed_ms.last

        def is_outside(request: Request) -> bool:
            if request.at_s is None or first_ms is None or last_ms is None:
                return request.at_s is not None
            return not first_ms <= request.at_s * 1000 <= last_ms

        return is_outside

    def _told_rows(self, classes: dict[str, _Rows]) -> RowClasses:
        shown = classes["unknown"].examples
        ids = self.bill.ids({self.bill.requests[place].number for place in shown})
        return RowClasses(
            **{name: self._told_class(name, one, ids) for name, one in classes.items()},
            no_calls=RowClass(n=self.bill.n_besides, requests=0, usd=as_usd(0)),
            odd=RowClass(n=self.bill.n_odd, requests=0, usd=as_usd(0)),
        )

    def _told_class(self, name: str, one: _Rows, ids: dict[int, str | None]) -> RowClass:
        examples = one.examples if name == "unknown" else []
        return RowClass(
            n=one.n,
            requests=one.requests,
            usd=as_usd(one.nano_usd),
            examples=tuple(self._row_example(self.bill.requests[place], ids) for place in examples),
        )

    def _row_example(self, request: Request, ids: dict[int, str | None]) -> RowExample:
        return RowExample(
            row=request.number,
            at=_stamp(request.at_s),
            model=None if request.model is None else self.models.names[request.model],
            request_id=ids.get(request.number),
            usd=as_usd(request.nano_usd),
        )

    # --- both ----------------------------------------------------------------------------------

    def _log_span(self) -> Span:
        return Span(
            n=self.bill.n_rows,
            usd=as_usd(sum(self.bill.requests.column("nano_usd"))),
            first_at=_stamp(self.bill.first_at_s),
            last_at=_stamp(self.bill.last_at_s),
        )

    def _ledger_span(self) -> Span:
        first_ms, last_ms = self.calls.at_ms.first, self.calls.at_ms.last
        return Span(
            n=len(self.calls.each),
            usd=as_usd(self.calls.book_nano_usd),
            first_at=None if first_ms is None else _stamp(first_ms / 1000),
            last_at=None if last_ms is None else _stamp(last_ms / 1000),
        )


def _stamp(at_s: float | None) -> str | None:
    return None if at_s is None else stamp(datetime.fromtimestamp(at_s, UTC))
