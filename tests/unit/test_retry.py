"""Whether to try again: the decision as a table, and the waits as properties."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.errors import (
    AttemptError,
    BadReply,
    BadRequest,
    Blocked,
    BrokenImage,
    Bug,
    Cancelled,
    ConnectionDropped,
    Forbidden,
    Interrupted,
    MissingReference,
    ModelUnavailable,
    NoAnswer,
    NoImage,
    NotTheApi,
    OutOfCredit,
    QuotaExhausted,
    RateLimited,
    RetryFamily,
    Saturated,
    ServerError,
    ServerRefused,
    TextOnly,
    TlsFailed,
    Unauthorized,
    Unreachable,
    Unterminated,
    WorkerLost,
)
from batchgen.retry import Again, GiveUp, Later, Retries, StopRun, Tries, Verdict, decide

POLICY = Retries()
SOME_ERRORS: list[AttemptError] = [
    Unreachable("x"),
    ServerRefused("x"),
    ServerError("x"),
    ConnectionDropped("x"),
    NoAnswer("x"),
    RateLimited("x"),
    Saturated("x"),
    NoImage("x"),
    TextOnly("x"),
    BrokenImage("x"),
]


class Highest(random.Random):
    """Chance at its upper end."""

    def random(self) -> float:
        return 1.0


class Lowest(random.Random):
    """Chance at its lower end."""

    def random(self) -> float:
        return 0.0


def after(**used: int) -> Tries:
    names: dict[str, RetryFamily] = {
        "transport": "transport",
        "unsure": "unsure",
        "rate_limit": "rate_limit",
        "no_image": "no_image",
    }
    return Tries({names[name]: count for name, count in used.items()})


@pytest.mark.parametrize(
    ("error", "tries", "verdict"),
    [
        # surely not executed: four more
        (Unreachable("x"), after(), Again),
        (Unreachable("x"), after(transport=3), Again),
        (Unreachable("x"), after(transport=4), GiveUp),
        (ServerRefused("x"), after(transport=3), Again),
        (ServerRefused("x"), after(transport=4), GiveUp),
        # may have been executed: one more
        (ServerError("x"), after(), Again),
        (ServerError("x"), after(unsure=1), GiveUp),
        (NoAnswer("x"), after(unsure=1), GiveUp),
        (ConnectionDropped("x"), after(unsure=1), GiveUp),
        (BadReply("x"), after(), Again),
        (Unterminated("x"), after(unsure=1), GiveUp),
        (BrokenImage("x"), after(), Again),
        (BrokenImage("x"), after(unsure=1), GiveUp),
        # too fast: twenty more
        (RateLimited("x"), after(rate_limit=19), Again),
        (RateLimited("x"), after(rate_limit=20), GiveUp),
        (Saturated("x"), after(rate_limit=19), Again),
        (Saturated("x"), after(rate_limit=20), GiveUp),
        # paid and without a picture: two more, or fewer where the reason says so
        (NoImage("x"), after(no_image=1), Again),
        (NoImage("x"), after(no_image=2), GiveUp),
        (TextOnly("x"), after(no_image=1), Again),
        (NoImage("x", tries=1), after(), Again),
        (NoImage("x", tries=1), after(no_image=1), GiveUp),
        (NoImage("x", tries=0), after(), GiveUp),
        (NoImage("x", tries=9), after(no_image=2), GiveUp),
        # the budgets are separate
        (ServerError("x"), after(transport=4, rate_limit=20, no_image=2), Again),
        (Unreachable("x"), after(unsure=1, rate_limit=20, no_image=2), Again),
        (RateLimited("x"), after(transport=4, unsure=1, no_image=2), Again),
        (NoImage("x"), after(transport=4, unsure=1, rate_limit=20), Again),
        # never
        (BadRequest("x"), after(), GiveUp),
        (Forbidden("x"), after(), GiveUp),
        (ModelUnavailable("x"), after(), GiveUp),
        (Blocked("x"), after(), GiveUp),
        (MissingReference("x"), after(), GiveUp),
        (Cancelled("x"), after(), GiveUp),
        (Interrupted("x"), after(), GiveUp),
        (Bug("x"), after(), StopRun),
        # the whole run
        (TlsFailed("x"), after(), StopRun),
        (NotTheApi("x"), after(), StopRun),
        (QuotaExhausted("x"), after(), StopRun),
        (Unauthorized("x"), after(), StopRun),
        (OutOfCredit("x"), after(), StopRun),
    ],
    ids=repr,
)
def test_the_verdict_follows_from_the_error_and_what_was_tried(
    error: AttemptError, tries: Tries, verdict: type[Verdict]
) -> None:
    assert type(decide(error, tries, POLICY, random.Random(1))) is verdict


@pytest.mark.parametrize("error", SOME_ERRORS, ids=repr)
def test_a_budget_of_nothing_means_no_retry(error: AttemptError) -> None:
    policy = Retries(transport=0, unsure=0, rate_limit=0, no_image=0)
    assert isinstance(decide(error, Tries(), policy, random.Random(1)), GiveUp)


@pytest.mark.parametrize("error", SOME_ERRORS, ids=repr)
def test_counting_a_retry_leaves_the_earlier_value_alone(error: AttemptError) -> None:
    first = Tries()
    second = first.after(error).after(error)
    assert (dict(first.used), dict(second.used)) == ({}, {error.family: 2})


@given(
    st.floats(1, 600),
    st.integers(0, 19),
    st.sampled_from([RateLimited, Saturated, ServerRefused]),
    st.randoms(use_true_random=False),
)
def test_never_sooner_than_told_and_not_much_later(
    told_s: float, used: int, kind: type[ServerRefused], rng: random.Random
) -> None:
    tries = after(rate_limit=used, transport=min(used, 3))
    verdict = decide(kind("x", wait_s=told_s), tries, POLICY, rng)
    assert isinstance(verdict, Again)
    assert told_s <= verdict.after_s <= told_s * 1.1 + 1


def test_a_wait_of_nothing_tells_nothing_and_the_own_backoff_goes_on() -> None:
    told_nothing = RateLimited("x", wait_s=0.0)
    longest = [decide(told_nothing, after(rate_limit=used), POLICY, Highest()) for used in range(8)]
    assert longest == [Again(s) for s in (2, 4, 8, 16, 32, 60, 60, 60)]


def test_a_slow_refusal_that_tells_a_wait_is_waited_for_as_told_and_else_as_if_it_told_none() -> (
    None
):
    tries = after(rate_limit=2)
    assert decide(Saturated("x", wait_s=5.0), tries, POLICY, Lowest()) == Again(5)
    assert decide(Saturated("x", wait_s=5.0), tries, POLICY, Highest()) == Again(6.5)
    assert decide(Saturated("x", wait_s=0.0), tries, POLICY, Highest()) == Again(120)
    parked = Again(601.0, is_parked=True)
    assert decide(Saturated("x", wait_s=601.0), tries, POLICY, Lowest()) == parked


@pytest.mark.parametrize("told_s", [600.001, 3600, 1e9])
def test_an_item_that_is_told_to_wait_too_long_is_parked_and_its_wait_not_shortened(
    told_s: float,
) -> None:
    patient = Retries(patience=told_s)
    verdict = decide(RateLimited("x", wait_s=told_s), Tries(), patient, Lowest())
    assert verdict == Again(told_s, is_parked=True)
    patient = Retries(max_wait=told_s, patience=told_s)
    verdict = decide(RateLimited("x", wait_s=told_s), Tries(), patient, Lowest())
    assert verdict == Again(told_s)


@pytest.mark.parametrize("kind", [RateLimited, ServerRefused, ServerError])
def test_an_item_that_is_told_to_wait_beyond_all_patience_is_left_for_another_run(
    kind: type[AttemptError],
) -> None:
    verdict = decide(kind("x", wait_s=7200), Tries(), POLICY, Lowest())
    assert verdict == Later("told to wait 2h00m, longer than retries.patience")


@pytest.mark.parametrize(
    ("error", "longest_s"),
    [
        (Unreachable("x"), [0.2, 0.4, 0.8, 1.6]),
        (ServerRefused("x"), [1, 2, 4, 8]),
        (RateLimited("x"), [2, 4, 8, 16, 32, *[60] * 15]),
        (Saturated("x"), [30, 60, 120, 240, 480, *[600] * 15]),
        (ServerError("x"), [1]),
        (NoImage("x"), [1, 2]),
    ],
    ids=repr,
)
def test_the_longest_wait_doubles_up_to_a_minute_or_ten(
    error: AttemptError, longest_s: list[float]
) -> None:
    tries = Tries()
    for expected_s in longest_s:
        verdict = decide(error, tries, POLICY, Highest())
        assert isinstance(verdict, Again)
        assert verdict.after_s == pytest.approx(expected_s)
        assert decide(error, tries, POLICY, Lowest()) == Again(0)
        tries = tries.after(error)
    assert isinstance(decide(error, tries, POLICY, Highest()), GiveUp)


@pytest.mark.parametrize(
    ("error", "ceiling_s"), [(RateLimited("x"), 60), (Saturated("x"), 600)], ids=repr
)
def test_jitter_at_the_ceiling_is_uniform_over_all_of_it(
    error: AttemptError, ceiling_s: float
) -> None:
    rng = random.Random(7)
    verdicts = [decide(error, after(rate_limit=15), POLICY, rng) for _ in range(10_000)]
    shares = [one.after_s / ceiling_s for one in verdicts if isinstance(one, Again)]
    assert len(shares) == 10_000
    assert min(shares) < 0.002
    assert 0.998 < max(shares) <= 1
    assert statistics.mean(shares) == pytest.approx(0.5, abs=0.01)
    per_bin = [sum(low <= 10 * share < low + 1 for share in shares) for low in range(10)]
    assert all(850 < count < 1150 for count in per_bin)


def test_a_very_long_history_overflows_nothing() -> None:
    policy = Retries(rate_limit=10**9)
    verdict = decide(RateLimited("x"), after(rate_limit=10**6), policy, Highest())
    assert verdict == Again(60)
    verdict = decide(Saturated("x"), after(rate_limit=10**6), policy, Highest())
    assert verdict == Again(600)


def test_no_wait_that_nobody_asked_for_is_longer_than_the_longest_allowed() -> None:
    hasty = Retries(max_wait=5, rate_limit=20)
    longest = [decide(RateLimited("x"), after(rate_limit=n), hasty, Highest()) for n in range(5)]
    assert longest == [Again(s) for s in (2, 4, 5, 5, 5)]


def test_what_everybody_sees_costs_an_item_nothing_if_it_was_surely_not_executed() -> None:
    used_up = after(transport=4, unsure=1)
    shared = decide(ServerRefused("x"), used_up, POLICY, Highest(), is_shared=True)
    assert shared == Again(16, is_charged=False)
    assert isinstance(decide(ServerRefused("x"), used_up, POLICY, Highest()), GiveUp)
    # What may have been executed may be paid again, whoever is to blame.
    unsure = decide(NoAnswer("x"), used_up, POLICY, Highest(), is_shared=True)
    assert isinstance(unsure, GiveUp)


def test_an_item_that_is_lost_with_each_worker_is_left_for_another_run_and_has_not_failed() -> None:
    first = decide(WorkerLost("gone"), Tries(), POLICY, random.Random(1))
    used_up = Tries().after(WorkerLost("gone"))

    assert isinstance(first, Again)
    assert decide(WorkerLost("gone"), used_up, POLICY, random.Random(1)) == Later(
        "lost with each worker that had it"
    )
