"""Whether to try again: one pure function over what happened and what was tried before.

Nothing here sleeps, reads a clock or keeps state; the random source is an argument. Four budgets
are kept apart, because what they risk differs: a refused call costs nothing, a call that may have
been executed may be paid twice, an answer without a picture was paid and the next may be fine.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

from batchgen.errors import AttemptError, RetryFamily, WorkerLost
from batchgen.wording import counted, duration

# What is added at most to a wait that was told: a share of it, and a second.
_HINT_JITTER = 0.1
_HINT_SPREAD_S = 1.0
_MAX_DOUBLINGS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Retries:
    """How often an item is tried again, per run; every counter starts at zero in each run.

    Attributes:
        transport: Retries of calls that were surely not executed.
        unsure: Retries of calls that may have been executed, and so may be paid twice.
        rate_limit: Retries after a 429.
        no_image: Retries of paid answers without a picture.
        max_wait: Seconds; an item that is told to wait longer goes to the end of the queue, and no
            wait that nobody asked for is longer.
        patience: Seconds; for so long a service may be away, or refuse everything, before the run
            stops and leaves the rest to be done.
    """

    transport: int = 4
    unsure: int = 1
    rate_limit: int = 20
    no_image: int = 2
    max_wait: float = 600.0
    patience: float = 1800.0

    def budget(self, error: AttemptError) -> int:
        """How many retries an error of this kind may use in all."""
        budget = self._budget(error.family)
        return budget if error.tries is None else min(error.tries, budget)

    def _budget(self, family: RetryFamily) -> int:
        match family:
            case "transport":
                return self.transport
            case "unsure":
                return self.unsure
            case "rate_limit":
                return self.rate_limit
            case "no_image":
                return self.no_image
            case "never":
                return 0
            case unknown:
                assert_never(unknown)


@dataclass(frozen=True, slots=True)
class Again:
    """Try the item again after so many seconds.

    Attributes:
        is_charged: Whether the retry comes from the item's budget.
        is_parked: Whether the item goes to the end of the queue meanwhile.
    """

    after_s: float
    is_charged: bool = True
    is_parked: bool = False


@dataclass(frozen=True, slots=True)
class Later:
    """Not in this run: the item is told to wait beyond all patience, and stays to be done."""

    why: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The item failed for this run; `why` tells more than the error does, if there is more."""

    why: str | None = None


@dataclass(frozen=True, slots=True)
class StopRun:
    """No item could do better; the run ends and this item stays to be done."""

    why: str


Verdict: TypeAlias = Again | Later | GiveUp | StopRun


@dataclass(frozen=True, slots=True)
class Tries:
    """The retries that one item has used so far, by budget. A value: `after` returns the next."""

    used: Mapping[RetryFamily, int] = field(default_factory=dict)

    def after(self, error: AttemptError) -> "Tries":
        """Count one more retry of this error's family."""
        return replace(self, used={**self.used, error.family: self.used.get(error.family, 0) + 1})


def decide(
    error: AttemptError,
    tries: Tries,
    policy: Retries,
    rng: random.Random,
    *,
    is_shared: bool = False,
) -> Verdict:
    """Say what follows from a failed attempt.

    A wait that the server asked for is never shortened: jitter is added to it. Without one the
    wait is full jitter, uniform between zero and a ceiling that doubles up to the longest wait of
    its error, so that workers spread out at the ceiling as well.

    Args:
        error: Why it failed.
        tries: The retries that the item has used so far.
        policy: How many there are.
        rng: For the jitter.
        is_shared: Everybody sees this failure. Then it is not the item's, and what was surely not
            executed costs it nothing: when to ask again is for the limiter to say.
    """
    if error.stops_run:
        return StopRun(error.message)
    is_charged = not (is_shared and error.family == "transport")
    used = tries.used.get(error.family, 0)
    budget = policy.budget(error)
    if is_charged and used >= budget and isinstance(error, WorkerLost):
        return Later("lost with each worker that had it")  # not its fault, as far as anybody knows
    if is_charged and used >= budget:
        retries = counted(used, "retry", "retries")
        return GiveUp(f"given up after {retries}" if used else None)
    ceiling_s = min(_ceiling_s(error, used), policy.max_wait)
    told_s = error.wait_s
    if told_s is not None and told_s > policy.patience:
        return Later(f"told to wait {duration(told_s)}, longer than retries.patience")
    if told_s is None:
        return Again(rng.uniform(0, ceiling_s), is_charged)
    # "Retry-After: 0" tells nothing; obeyed alone it would burn every retry within seconds.
    spread_s = _HINT_SPREAD_S if told_s >= _HINT_SPREAD_S else ceiling_s
    after_s = told_s + rng.uniform(0, _HINT_JITTER * told_s + spread_s)
    return Again(after_s, is_charged, is_parked=told_s > policy.max_wait)


def _ceiling_s(error: AttemptError, used: int) -> float:
    """The longest wait before retry number `used` + 1: doubling, up to the longest of its kind."""
    doublings = min(used, _MAX_DOUBLINGS)
    return min(error.longest_wait_s, error.first_wait_s * 2.0**doublings)
