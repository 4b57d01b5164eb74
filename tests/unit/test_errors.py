"""The tree of errors: its picture is complete, and its leaves travel between processes."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import pytest

from batchgen import errors
from batchgen.errors import (
    AttemptError,
    BatchgenError,
    JobError,
    NoImage,
    OutputHeld,
    Problem,
    RateLimited,
    Saturated,
    ServerRefused,
    StoreError,
    UsageError,
)
from batchgen.model import Outcome


def below(kind: type[BatchgenError]) -> set[type[BatchgenError]]:
    return {kind}.union(*(below(one) for one in kind.__subclasses__()))


OURS = sorted(
    (one for one in below(BatchgenError) if one.__module__ == errors.__name__),
    key=lambda one: one.__name__,
)
ATTEMPT_ERRORS = [one for one in OURS if issubclass(one, AttemptError)]
CONCRETE = [one for one in ATTEMPT_ERRORS if one is not AttemptError]
DRAWN_BELOW: dict[type[BatchgenError], type[BatchgenError]] = {
    errors.UnknownHost: errors.Unreachable,
    errors.OutOfFiles: errors.Unreachable,
    errors.Unterminated: errors.BadReply,
    errors.TooLarge: errors.BadReply,
    errors.PromptBlocked: errors.Blocked,
}
TREE = (errors.__doc__ or "").splitlines()


def drawn(kind: type[BatchgenError]) -> str:
    (line,) = [line for line in TREE if re.search(rf"[ ,]{kind.__name__}\b", f" {line}")]
    return line


@pytest.mark.parametrize("kind", OURS)
def test_the_picture_of_the_tree_names_every_class_once(kind: type[BatchgenError]) -> None:
    assert drawn(kind)


def test_the_picture_names_nothing_that_is_not_there() -> None:
    named = {
        name
        for line in TREE
        if (tail := re.search(r"(?:├──|└──) (.*?)(?:  |$)", line))
        for name in re.findall(r"\b[A-Z]\w+", tail[1])
    }
    assert named | {"BatchgenError"} == {one.__name__ for one in OURS}


@pytest.mark.parametrize("kind", CONCRETE)
def test_the_picture_tells_what_is_billed_and_what_follows(kind: type[AttemptError]) -> None:
    line = drawn(kind)
    for below, above in DRAWN_BELOW.items():  # whose row holds for it
        line = drawn(above) if kind is below else line
    *_, billed, follows = re.split(r"\s{2,}|(?<=varies) ", line.strip())
    if billed != "varies":
        assert billed == kind.billed
    expected = "stops the run" if kind.stops_run else kind.family
    assert re.split(r" \(|, ", follows)[0] == expected


@pytest.mark.parametrize("kind", CONCRETE)
def test_every_attempt_error_has_an_outcome_of_the_ledger(kind: type[AttemptError]) -> None:
    assert isinstance(kind.outcome, Outcome)
    assert kind("x").kind == kind.__name__


def test_every_outcome_but_the_good_ones_has_an_error() -> None:
    named = {kind.outcome for kind in CONCRETE}
    assert named | {Outcome.IMAGE} == set(Outcome)


@pytest.mark.parametrize("kind", CONCRETE)
def test_what_is_retried_freely_was_surely_not_billed(kind: type[AttemptError]) -> None:
    if kind.family in {"transport", "rate_limit"}:
        assert kind.billed == "no"
    if kind.stops_run:
        assert kind.family == "never"


@pytest.mark.parametrize("kind", CONCRETE)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_attempt_error_keeps_everything_when_it_is_pickled(
    kind: type[AttemptError], protocol: int
) -> None:
    known: dict[str, Any] = {"billed": "maybe", "request_id": "r", "wait_s": 2.5, "tries": 1}
    error = kind("what happened", **known)
    for twin in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):
        assert type(twin) is kind
        assert str(twin) == twin.message == "what happened"
        assert {name: getattr(twin, name) for name in known} == known


def test_a_narrowed_bill_is_the_instances_own() -> None:
    NoImage("x").billed = "no"
    assert NoImage("x").billed == "yes"


@pytest.mark.parametrize("kind", [UsageError, OutputHeld, StoreError])
def test_the_other_errors_are_pickled_too(kind: type[BatchgenError]) -> None:
    twin = pickle.loads(pickle.dumps(kind("what happened")))
    assert (type(twin), str(twin)) == (kind, "what happened")


def problem(line: int) -> Problem:
    return Problem(path="job.yaml", line=line, column=2, field="model", message="is missing")


def test_a_job_error_shows_fifty_problems_and_counts_the_rest() -> None:
    error = JobError(tuple(problem(line) for line in range(1, 124)))
    shown = str(error).splitlines()
    assert shown[0] == "job.yaml:1:2: model: is missing"
    assert len([line for line in shown if line.startswith("job.yaml:")]) == 50
    assert "73" in shown[50]
    assert "123" in shown[-1]
    assert pickle.loads(pickle.dumps(error)).problems == error.problems


def test_fifty_problems_hide_nothing() -> None:
    shown = str(JobError(tuple(problem(line) for line in range(50)))).splitlines()
    assert all(line.startswith("job.yaml:") for line in shown[:50])
    assert len(shown) == 51


def test_a_problem_without_a_field_has_no_empty_one() -> None:
    bare = Problem(path="job.yaml", line=1, column=1, field="", message="is no mapping")
    assert str(bare) == "job.yaml:1:1: is no mapping"


@pytest.mark.parametrize(
    ("kind", "code"),
    [(BatchgenError, 1), (UsageError, 2), (JobError, 3), (OutputHeld, 11), (StoreError, 12)],
)
def test_exit_codes_are_those_of_the_interface(kind: type[BatchgenError], code: int) -> None:
    assert kind.exit_code == code


def test_a_rate_limit_is_a_refusal_with_a_budget_of_its_own() -> None:
    assert isinstance(RateLimited("x"), ServerRefused)
    assert RateLimited("x").family == "rate_limit"


def test_a_slow_refusal_is_a_rate_limit_that_is_waited_for_longer() -> None:
    assert isinstance(Saturated("x"), RateLimited)
    assert (Saturated.first_wait_s, Saturated.longest_wait_s) == (30, 600)


@pytest.mark.parametrize("kind", CONCRETE)
def test_the_first_wait_is_shorter_than_the_longest(kind: type[AttemptError]) -> None:
    assert 0 < kind.first_wait_s < kind.longest_wait_s <= 600
