"""What a person sees, in the words that they read."""

import io
from decimal import Decimal
from pathlib import Path

import pytest

from batchgen.events import AttemptEnded, ItemEnded, RunBegan, Stopping, Ticked, Warned
from batchgen.model import Attempt, Billed, Outcome, Result, Status
from batchgen.progress import PatientStream, PlainObserver, Style, observer
from batchgen.tally import Tally
from batchgen.wording import duration, usd

BEGAN = RunBegan(
    run_id="r",
    job="spring",
    directory=Path("output/spring"),
    provider="cometapi",
    n_items=100,
    n_reused=40,
    n_settled=1,
    concurrency=8,
    planned_usd=Decimal("2.5"),
)


OPENING = (
    "spring: 59 of 100 to make (40 done already) (1 failed for good before), at most 8 at once, "
    "cometapi, about $2.50"
)


class FakeTime:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def ended(status: Status) -> ItemEnded:
    return ItemEnded(Result(id="a", key="k", status=status, model="m"))


def attempt(cost: str | None, billed: Billed = "yes") -> AttemptEnded:
    return AttemptEnded(
        Attempt(
            run_id="r",
            item="a",
            key="k",
            turn=1,
            attempt=1,
            at="2026-11-21T03:00:04.120Z",
            model="m",
            provider="cometapi",
            outcome=Outcome.IMAGE,
            decision="done",
            cost_usd=None if cost is None else Decimal(cost),
            cost_basis="reported",
            billed=billed,
        )
    )


def test_plain_lines_come_at_the_start_and_every_thirty_seconds() -> None:
    clock, stream = FakeTime(), io.StringIO()
    watch = PlainObserver(PatientStream(stream), clock)
    watch(BEGAN)
    for _ in range(12):
        clock.now_s += 5
        watch(attempt("0.04"))
        watch(ended("done"))
    watch(ended("failed"))
    watch(Warned("warning: the ledger ended in a torn line"))
    watch(Stopping("sigint", 3))
    assert stream.getvalue().splitlines() == [
        OPENING,
        "45/100 done · 1 failed · $0.24 · 10.0/min · 5m24s left",
        "51/100 done · 1 failed · $0.48 · 11.0/min · 4m22s left",
        "warning: the ledger ended in a torn line",
        "stopping, no new requests: sigint; waiting for 3 under way, unless it is asked again",
    ]


def test_the_time_left_is_said_only_when_there_is_a_rate() -> None:
    clock = FakeTime()
    tally = Tally(clock)
    tally.take(BEGAN)
    assert tally.eta_s is None
    for _ in range(10):
        clock.now_s += 6
        tally.take(ended("done"))
    assert tally.per_min == pytest.approx(10)
    assert tally.eta_s == pytest.approx(49 * 6)


def test_an_unknown_cost_is_marked() -> None:
    tally = Tally(FakeTime())
    tally.take(BEGAN)
    tally.take(attempt("0.5"))
    tally.take(attempt(None))
    assert tally.words() == "1 failed · $0.50+?"


def test_only_what_was_billed_for_sure_is_told_as_the_cost() -> None:
    tally = Tally(FakeTime())
    tally.take(BEGAN)
    tally.take(attempt("0.5"))
    tally.take(attempt("0.25", "maybe"))
    tally.take(attempt(None, "no"))
    assert tally.words() == "1 failed · $0.50"
    tally.take(attempt(None, "maybe"))
    assert tally.words() == "1 failed · $0.50+?"


def test_what_a_killed_run_had_sent_is_no_cost_of_this_one() -> None:
    tally = Tally(FakeTime())
    tally.take(attempt("0.5"))
    tally.take(attempt(None))
    tally.take(BEGAN)
    assert tally.words() == "1 failed · $0.00"


def test_a_control_code_in_a_reason_never_reaches_the_stream() -> None:
    stream = io.StringIO()
    PlainObserver(PatientStream(stream), FakeTime())(Stopping("\x1b]0;owned\x07 \u202e no", 0))
    assert stream.getvalue() == "stopping, no new requests: ]0;owned no; none under way\n"


class Gone(io.StringIO):
    """A stream whose reader leaves after the first line."""

    def write(self, text: str) -> int:
        if self.getvalue():
            raise BrokenPipeError
        return super().write(text)

    def flush(self) -> None:
        if self.getvalue():
            raise BrokenPipeError


@pytest.mark.parametrize("style", ["bar", "plain", "none"])
@pytest.mark.parametrize("is_verbose", [True, False])
def test_a_reader_that_leaves_stops_nothing(style: Style, *, is_verbose: bool) -> None:
    watch = observer(style, Gone(), is_verbose=is_verbose)
    for event in (BEGAN, attempt("0.5"), ended("done"), Warned("x"), Stopping("sigint", 1)):
        watch(event)
    watch.close()


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "unknown"),
        ("0", "$0.00"),
        ("0.0004", "$0.0004"),
        ("0.01", "$0.01"),
        ("1234.5", "$1,234.50"),
        ("-1.397639", "-$1.40"),
    ],
)
def test_money_is_written_for_a_person(amount: str | None, text: str) -> None:
    assert usd(None if amount is None else Decimal(amount)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.04, "0.0s"),
        (59.94, "59.9s"),
        (61, "1m01s"),
        (2467, "41m07s"),
        (10920, "3h02m"),
    ],
)
def test_a_duration_is_written_for_a_person(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_line_comes_every_thirty_seconds_while_nothing_ends() -> None:
    clock, stream = FakeTime(), io.StringIO()
    watch = PlainObserver(PatientStream(stream), clock)
    watch(BEGAN)
    for _ in range(65):
        clock.now_s += 1
        watch(Ticked(n_in_flight=8, limit=8))
    line = "40/100 done · 1 failed · $0.00 · running 8/8"
    assert stream.getvalue().splitlines()[1:] == [line] * 2
