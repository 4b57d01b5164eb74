"""What a comparison of ledger and bill came to; its JSON form is the report."""

from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

JoinedBy: TypeAlias = Literal["id", "time"]
Pricing: TypeAlias = Literal["multiplier", "by_model", "per_request", "not_constant", "too_few"]


class CallExample(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a class. `usd` is what was billed for it; None where the log has nothing."""

    item: str
    at: str
    model: str
    outcome: str
    request_id: str | None
    usd: Decimal | None
    by: JoinedBy | None


class CallClass(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of which the same is to be said.

    Attributes:
        n: How many.
        book_usd: What the ledger counts for those that it has as billed.
        billed_usd: What the gateway billed.
        by_time: How many of them were joined by model and time, for want of an id.
        ledger_said: How many the ledger has as billed `yes`, `no` and `maybe`.
        examples: The first of them.
    """

    n: int
    book_usd: Decimal
    billed_usd: Decimal
    by_time: int
    ledger_said: dict[str, int]
    examples: tuple[CallExample, ...]


class CallClasses(msgspec.Struct, frozen=True, kw_only=True):
    """Every call is in one of these.

    Attributes:
        billed_image: Billed, and a picture came of it.
        billed_without_image: Billed, and none did.
        double_billed: The ledger says `maybe`, it was billed, and so was the call that was made
            for the same later.
        logged_free: The log has it, and it came to nothing: an error, or paid back.
        maybe_not_billed: The ledger says `maybe`, and the log has nothing.
        not_in_log: The ledger says that it was billed, and the log has nothing.
        beyond_log: As the last two, but before or after all that the log has.
        not_billed: Both say that nothing was billed.
    """

    billed_image: CallClass
    billed_without_image: CallClass
    double_billed: CallClass
    logged_free: CallClass
    maybe_not_billed: CallClass
    not_in_log: CallClass
    beyond_log: CallClass
    not_billed: CallClass


class RowExample(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a class of rows; `row` counts them from 1."""

    row: int
    at: str | None
    model: str | None
    request_id: str | None
    usd: Decimal


class RowClass(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of which the same is to be said, `n` of them about `requests` requests."""

    n: int
    requests: int
    usd: Decimal
    examples: tuple[RowExample, ...] = ()


class RowClasses(msgspec.Struct, frozen=True, kw_only=True):
    """Every row is in one of these.

    Attributes:
        by_id, by_time: Of a call of the ledger.
        unknown: With money, and no call of the ledger has them.
        unknown_outside: The same, before or after all that the ledger has.
        unknown_free: Without money, and no call of the ledger has them.
        no_calls: Top-ups and the like.
        odd: Not to be read.
    """

    by_id: RowClass
    by_time: RowClass
    unknown: RowClass
    unknown_outside: RowClass
    unknown_free: RowClass
    no_calls: RowClass
    odd: RowClass


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that both have as billed, joined by id: what each says that they cost.

    Attributes:
        n: Those whose cost the ledger knows; `n_unknown` others are in neither sum.
        drift: Billed by book; None without a book.
    """

    n: int
    n_unknown: int
    book_usd: Decimal
    billed_usd: Decimal
    drift: Decimal | None


class Multiplier(msgspec.Struct, frozen=True, kw_only=True):
    """How the bill is to the list prices, over pictures joined by id.

    Attributes:
        n: How many pictures.
        list_usd, billed_usd: Their sums.
        ratio: Billed by list.
        low, high: Between these nine of ten calls are, one by one.
        pricing: What fits: one multiplier, one for each model, a price for each request, or none;
            `too_few` where there are not enough to say so.
        value: The multiplier, rounded; None where none fits.
        per_request_usd: The price of a request, where it is that.
        yaml: The line for a job file.
    """

    n: int
    list_usd: Decimal
    billed_usd: Decimal
    ratio: Decimal | None
    low: Decimal | None
    high: Decimal | None
    pricing: Pricing
    value: Decimal | None = None
    per_request_usd: Decimal | None = None
    yaml: str | None = None


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """How many there are, what they come to, and from when to when they reach."""

    n: int
    usd: Decimal
    first_at: str | None
    last_at: str | None


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger held against a bill.

    Attributes:
        log: Its rows, and what was billed in all.
        ledger: Its calls, and what those cost that it has as billed.
        drift, drift_by_model: Of what both have as billed.
        calls, rows: Each is in exactly one class, so that the sums are those of the whole.
        multiplier: Over all models; `multiplier_by_model` where they differ.
        multiplier_set: What the prices are multiplied by as it is.
        undated: Rows about calls without a time that can be read.
        odd: Where rows of the log cannot be read and why, the first of them.
        unreadable: The same of lines of the ledger.
    """

    v: int = 1
    log: Span
    ledger: Span
    drift: Drift
    drift_by_model: dict[str, Drift]
    calls: CallClasses
    rows: RowClasses
    multiplier: Multiplier
    multiplier_by_model: dict[str, Multiplier]
    multiplier_set: Decimal
    undated: int
    odd: tuple[str, ...]
    unreadable: tuple[str, ...]
