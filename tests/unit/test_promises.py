"""docs/reliability.md says what is promised, and the tests that it names exist and try enough."""

from __future__ import annotations

import ast

import pytest

from tests.promises import PAGE, PROMISES, ROOT, Tried, n_of, with_table


def test_the_table_is_made_of_the_figures() -> None:
    page = PAGE.read_text("utf-8")
    assert with_table(page, Tried.read()) == page


def test_there_are_forty_promises() -> None:
    assert list(PROMISES) == [f"P{number}" for number in range(1, 41)]


@pytest.mark.parametrize("name", Tried.read().written)
def test_what_was_tried_is_as_much_as_must_be(name: str) -> None:
    promise, tried = PROMISES[name], Tried.read().written[name]
    for what, n in promise.check.items():
        assert n_of(tried.get("check", {}), what) >= n, f"{name}: {what}"
    # What soak has not tried has no figure on the page; a figure that is there is large enough.
    for what in tried.get("soak", {}):
        assert n_of(tried["soak"], what) >= promise.soak.get(what, 1), f"{name}, soak: {what}"


@pytest.mark.parametrize("name", Tried.read().written)
def test_every_test_that_is_named_exists(name: str) -> None:
    tried = Tried.read().written[name]
    for told in tried.values():
        for test in (test for by_test in told.values() for test in by_test):
            path, _, function = test.partition("::")
            module = ast.parse((ROOT / path).read_text("utf-8"))
            names = {
                one.name
                for one in ast.walk(module)
                if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            assert function in names, test
