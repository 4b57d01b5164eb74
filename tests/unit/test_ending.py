"""The exit code: of each thing alone, and of two the one that ranks higher."""

from itertools import combinations
from typing import Any

import pytest

from batchgen.ending import Ending, exit_code
from batchgen.errors import StoreError

RANKED: list[tuple[int, dict[str, Any]]] = [
    (1, {"met_bug": True}),
    (130, {"signal": "sigint", "n_pending": 1}),
    (12, {"failed": StoreError("full")}),
    (7, {"is_stopped": True}),
    (5, {"is_given_up": True, "n_pending": 1}),
    (4, {"n_failed": 1}),
    (0, {}),
]


@pytest.mark.parametrize(("code", "happened"), RANKED)
def test_each_thing_that_happens_has_its_code(code: int, happened: dict[str, Any]) -> None:
    assert exit_code(Ending(**happened)) == code


@pytest.mark.parametrize(("higher", "lower"), list(combinations(RANKED, 2)))
def test_of_two_things_the_higher_gives_the_code(
    higher: tuple[int, dict[str, Any]], lower: tuple[int, dict[str, Any]]
) -> None:
    assert exit_code(Ending(**{**lower[1], **higher[1]})) == higher[0]


def test_a_signal_after_which_nothing_is_left_is_no_failure() -> None:
    assert exit_code(Ending(signal="sigterm", is_given_up=True)) == 0
    assert exit_code(Ending(signal="sigterm", n_pending=1)) == 143
