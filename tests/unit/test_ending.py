"""The exit code: of each thing alone, and of two the one that ranks higher."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest

from batchgen.ending import Ending, FailOn, exit_code, read_fail_on
from batchgen.errors import StoreError

RANKED: list[tuple[int, dict[str, Any]]] = [
    (1, {"met_bug": True}),
    (130, {"signal": "sigint", "n_pending": 1}),
    (143, {"signal": "sigterm", "n_pending": 1}),
    (12, {"failed": StoreError("full")}),
    (7, {"is_stopped": True}),
    (8, {"is_given_up": True, "n_pending": 1, "stop_code": 8}),
    (10, {"is_given_up": True, "n_pending": 1, "stop_code": 10}),
    (5, {"n_pending": 1, "out_codes": frozenset({5})}),
    (4, {"n_failed": 1}),
    (0, {}),
]


@pytest.mark.parametrize(("code", "happened"), RANKED)
def test_each_thing_that_happens_has_its_code(code: int, happened: dict[str, Any]) -> None:
    assert exit_code(Ending(**happened)) == code


@pytest.mark.parametrize(("higher", "lower"), list(combinations(RANKED, 2)))
def test_of_two_things_the_higher_gives_the_code(
    higher: tuple[int, dict[str, Any]],
    lower: tuple[int, dict[str, Any]],
    tried: Callable[[str, int, str], None],
) -> None:
    both = {**lower[1], **higher[1]}
    if "stop_code" in lower[1] and "stop_code" in higher[1]:
        # A run has one reason to stop; a model that was given up may mean the other.
        both["out_codes"] = frozenset({lower[0]})
    assert exit_code(Ending(**both)) == higher[0]
    tried("P15", 1, "pairs of codes")


@pytest.mark.parametrize("code", [4, 5, 7, 8, 10])
def test_a_reason_to_stop_says_what_it_means_if_items_are_left(code: int) -> None:
    stopped = Ending(is_given_up=True, n_pending=1, stop_code=code)
    assert exit_code(stopped) == code
    assert exit_code(Ending(is_given_up=True, stop_code=code)) == 0


def test_without_a_code_of_its_own_a_stopped_run_can_be_run_again() -> None:
    assert exit_code(Ending(is_given_up=True, n_pending=1)) == 5


def test_models_that_were_given_up_count_as_long_as_something_is_not_done() -> None:
    gone = frozenset({7})
    assert exit_code(Ending(n_failed=1, out_codes=gone)) == 7
    assert exit_code(Ending(out_codes=gone)) == 0


def test_time_ranks_between_money_and_patience() -> None:
    left = {"is_given_up": True, "n_pending": 1}
    late = Ending(**left, stop_code=10, out_codes=frozenset({5}))  # type: ignore[arg-type]
    assert exit_code(late) == 10
    spent = Ending(**left, stop_code=8, out_codes=frozenset({10}))  # type: ignore[arg-type]
    assert exit_code(spent) == 8


def test_a_signal_after_which_nothing_is_left_is_no_failure() -> None:
    assert exit_code(Ending(signal="sigterm", is_given_up=True)) == 0
    assert exit_code(Ending(signal="sigterm", n_pending=1)) == 143


@pytest.mark.parametrize(
    ("asked", "fails"),
    [
        ("any", [(1, 0), (5, 0), (5, 5)]),
        ("new", [(1, 1), (5, 2)]),
        ("none", []),
        ("1", [(1, 0), (5, 0)]),
        ("5", [(5, 0), (5, 5)]),
        ("6", []),
        ("50%", [(5, 0), (5, 5)]),
        ("10%", [(1, 0), (5, 0)]),
        ("0.1%", [(1, 0), (5, 0)]),
    ],
)
def test_which_failures_of_ten_items_make_a_run_fail(
    asked: str, fails: list[tuple[int, int]]
) -> None:
    fail_on = read_fail_on(asked)
    assert fail_on is not None
    for n_failed, n_new in [(0, 0), (1, 0), (1, 1), (5, 0), (5, 2), (5, 5)]:
        expected = any(n_failed >= least and n_new >= new for least, new in fails)
        assert fail_on.is_met(n_failed, n_new, 10) is expected, (n_failed, n_new)


def test_a_share_that_comes_out_even_is_met_by_just_as_many() -> None:
    fail_on = read_fail_on("1.1%")  # which no float is
    assert fail_on is not None
    assert [fail_on.is_met(n, 0, 3000) for n in (32, 33)] == [False, True]


@pytest.mark.parametrize(
    "asked", ["", "0", "-1", "1.5", "0%", "101%", "some", "NaN", "1e3", "ANY", "9" * 5000]
)
def test_what_is_no_number_of_failures(asked: str) -> None:
    assert read_fail_on(asked) is None


def test_failures_that_are_let_pass_are_no_reason_but_what_is_left_is_one() -> None:
    assert exit_code(Ending(n_failed=3, are_too_many=False)) == 0
    assert exit_code(Ending(n_failed=3, n_pending=1, are_too_many=False)) == 4
    assert exit_code(Ending(n_failed=3, are_too_many=False, out_codes=frozenset({7}))) == 7
    assert FailOn() == read_fail_on("any")
