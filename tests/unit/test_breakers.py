"""Refusals from the start of a run: one may be the item's own, three in a row are not."""

from __future__ import annotations

import pytest

from batchgen.breakers import FirstRefusals
from batchgen.errors import (
    AttemptError,
    BadRequest,
    Blocked,
    Forbidden,
    NoAnswer,
    NoImage,
    RateLimited,
    ServerRefused,
    UnknownHost,
    Unreachable,
)


def stops(*errors: AttemptError | None) -> list[bool]:
    """Of the ends of so many items, one after the other: which stop the run."""
    first = FirstRefusals()
    told = []
    for number, error in enumerate(errors):
        if error is None:
            first.passed()
            told.append(False)
        else:
            first.refused(str(number), error)
            told.append(error.stops_run)
    return told


@pytest.mark.parametrize("kind", [BadRequest, Forbidden])
def test_the_third_item_that_is_refused_from_the_start_stops_the_run(
    kind: type[AttemptError],
) -> None:
    assert stops(kind("x"), kind("x"), kind("x")) == [False, False, True]


def test_the_message_says_what_to_do() -> None:
    last = BadRequest("HTTP 400: no")
    stops(BadRequest("x"), Forbidden("x"), last)
    assert last.message == (
        "HTTP 400: no; the first 3 items were all refused: mend what they have in common, then run "
        "again with --retry-failed"
    )


def test_what_may_have_been_executed_breaks_the_row_and_proves_nothing() -> None:
    told = stops(*[BadRequest("x")] * 2, NoAnswer("x"), *[BadRequest("x") for _ in range(3)])
    assert told == [False, False, False, False, False, True]


@pytest.mark.parametrize("passed", [None, NoImage("x"), Blocked("x")])
def test_nothing_stops_a_run_in_which_something_has_passed(passed: AttemptError | None) -> None:
    refusals = [BadRequest("x") for _ in range(5)]
    assert not any(stops(refusals[0], passed, *refusals[1:]))


@pytest.mark.parametrize("neutral", [ServerRefused("x"), RateLimited("x"), Unreachable("x")])
def test_what_says_nothing_of_the_request_does_not_break_the_row(neutral: AttemptError) -> None:
    told = stops(BadRequest("x"), neutral, BadRequest("x"), BadRequest("x"))
    assert told == [False, False, False, True]


def test_one_item_alone_never_stops_a_run() -> None:
    first = FirstRefusals()
    for _ in range(5):
        error = BadRequest("x")
        first.refused("a", error)
        assert not error.stops_run


def test_a_host_that_is_unknown_from_the_start_stops_the_run_and_later_it_is_the_network() -> None:
    assert stops(UnknownHost("x")) == [True]
    assert stops(None, UnknownHost("x"), UnknownHost("x")) == [False, False, False]
    assert stops(ServerRefused("x"), UnknownHost("x")) == [False, False]
