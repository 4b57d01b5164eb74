"""When failures are the service's own, and how seldom it is asked then."""

from __future__ import annotations

import random

import pytest

from batchgen.errors import AttemptError, NoAnswer, RateLimited, ServerRefused, Unreachable
from batchgen.limits.trouble import Trouble


def trouble(longest_pause_s: float = 600) -> Trouble:
    return Trouble(random.Random(1), longest_pause_s)


def fails(seen: Trouble, items: str, kind: type[AttemptError] = ServerRefused) -> None:
    """So many failures one after the other, while nothing else is under way."""
    for item in items:
        seen.charge(kind("x"))
        seen.failed(item, kind("x"), 1.0, 0)


def test_five_failures_in_a_row_of_three_items_are_everybodys() -> None:
    seen = trouble()
    for item in "abcab":
        assert not seen.is_shared
        fails(seen, item)
    assert seen.is_shared
    assert seen.since_s == 1.0


@pytest.mark.parametrize("items", ["aaaaaaaaaaaa", "abababababab"])
def test_failures_of_one_or_two_items_may_be_their_own(items: str) -> None:
    seen = trouble()
    fails(seen, items, NoAnswer)
    assert not seen.is_shared


def test_of_what_never_connected_no_item_can_be_the_cause() -> None:
    seen = trouble()
    for _ in range(5):
        assert not seen.is_shared
        fails(seen, "a", Unreachable)
    assert seen.is_shared


def test_failures_among_many_that_are_still_under_way_say_nothing_yet() -> None:
    seen = trouble()
    for number in range(20):
        seen.failed(str(number), ServerRefused("x"), 1.0, 30)
        assert not seen.is_shared
    seen.failed("20", ServerRefused("x"), 1.0, 5)  # the others have failed too
    assert seen.is_shared


def test_a_success_ends_the_row() -> None:
    seen = trouble()
    fails(seen, "abcd")
    seen.end()
    assert seen.since_s is None
    fails(seen, "e")
    assert not seen.is_shared


def test_a_429_has_a_pause_of_its_own_and_makes_no_row() -> None:
    seen = trouble()
    for _ in range(200):
        seen.charge(RateLimited("x"))
    assert not seen.is_shared


def test_pauses_double_up_to_the_longest_and_are_never_all_the_same() -> None:
    seen = trouble(longest_pause_s=60)
    pauses = [seen.pause_s() for _ in range(12)]
    for pause_s, ceiling_s in zip(pauses, [2, 4, 8, 16, 32, *[60] * 7], strict=True):
        assert ceiling_s / 2 <= pause_s <= ceiling_s
    assert len({round(pause_s, 3) for pause_s in pauses[5:]}) == 7
    seen.end()
    assert seen.pause_s() <= 2


def test_retries_that_seldom_help_use_up_a_quota_and_then_everybody_waits() -> None:
    seen = trouble()
    n_failures = 0
    while not seen.is_shared:
        seen.refill(is_retry=False)
        seen.end()
        fails(seen, "a")
        n_failures += 1
        assert n_failures < 100
    # 500 at 14 a retry, and one back for each success.
    assert 37 <= n_failures <= 39


def test_retries_that_help_cost_nothing_in_the_end() -> None:
    seen = trouble()
    for _ in range(1000):
        fails(seen, "a")
        seen.refill(is_retry=True)
        seen.end()
    assert not seen.is_shared
