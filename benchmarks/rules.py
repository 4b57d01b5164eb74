"""What a service allows: rules that say from when on they take one more request.

Each rule is a number of places. A request that is taken holds one for a while; what finds none
free is refused. So how much of a rule was used is how many of its places were held. Nothing here
is shared with batchgen, and nothing reads a clock: the server tells the time.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol


class Held(NamedTuple):
    """The time for which a request holds its place."""

    from_s: float
    until_s: float


class Rule(Protocol):
    """A limit, and what was taken under it so far."""

    @property
    def n_places(self) -> int:
        """How many there are."""

    def ready_s(self, now_s: float) -> float:
        """From when on one more is taken: `now_s` or before if it is now."""

    def take(self, now_s: float, ends_s: float) -> Held:
        """Take one, which will be answered at `ends_s`."""


class Window:
    """At most `n` requests in any `span_s` seconds: each holds its place for so long."""

    def __init__(self, n: int, span_s: float) -> None:
        """Start empty."""
        self.n_places = n
        self._span_s = span_s
        self._taken_s: deque[float] = deque(maxlen=n)

    def ready_s(self, now_s: float) -> float:
        """When the last but n leaves the window."""
        is_full = len(self._taken_s) == self.n_places
        return self._taken_s[0] + self._span_s if is_full else now_s

    def take(self, now_s: float, _ends_s: float) -> Held:
        """It counts from when it came."""
        self._taken_s.append(now_s)
        return Held(now_s, now_s + self._span_s)


class Bucket:
    """`per_s` tokens a second, of which up to `burst` are kept; a request takes one.

    The place is that of the token which comes back next; it is free while the bucket is full.
    """

    n_places = 1

    def __init__(self, per_s: float, burst: int) -> None:
        """Start full."""
        self._token_s = 1 / per_s
        self._burst = burst
        self._full_s = 0.0  # when it will be full again

    def ready_s(self, now_s: float) -> float:
        """When there is a token."""
        return max(self._full_s, now_s) - (self._burst - 1) * self._token_s

    def take(self, now_s: float, _ends_s: float) -> Held:
        """A token goes, and takes its time to come back, after those that went before."""
        begins_s = max(self._full_s, now_s)
        self._full_s = begins_s + self._token_s
        return Held(begins_s, self._full_s)


class AtOnce:
    """At most `n` requests that are not answered yet."""

    def __init__(self, n: int) -> None:
        """Start with none."""
        self.n_places = n
        self._ends_s: list[float] = []

    def ready_s(self, now_s: float) -> float:
        """When one of those under way is answered."""
        while self._ends_s and self._ends_s[0] <= now_s:
            heapq.heappop(self._ends_s)
        return now_s if len(self._ends_s) < self.n_places else self._ends_s[0]

    def take(self, now_s: float, ends_s: float) -> Held:
        """It counts until it is answered."""
        heapq.heappush(self._ends_s, ends_s)
        return Held(now_s, ends_s)


def parse(spec: Sequence[str]) -> Rule:
    """The rule that a command line names: `window N SECONDS`, `bucket N_PER_S BURST`, `at-once N`.

    Raises:
        ValueError: There is no such rule.
    """
    match spec:
        case ["window", n, span_s]:
            return Window(int(n), float(span_s))
        case ["bucket", per_s, burst]:
            return Bucket(float(per_s), int(burst))
        case ["at-once", n]:
            return AtOnce(int(n))
        case _:
            raise ValueError(f"no such rule: {' '.join(spec)}")


_LAST: Final = 0.8


def share_used(rule: Rule, taken_s: Sequence[float], held: Sequence[Held]) -> float:
    """The share of its places that a rule gave away while the last 80 % of the requests came.

    Args:
        rule: The rule.
        taken_s: When each request was taken.
        held: What each of them held; places that were taken before are held on.
    """
    began_s, ended_s = taken_s[round(len(taken_s) * (1 - _LAST)) - 1], taken_s[-1]
    held_s = sum(max(0.0, min(one.until_s, ended_s) - max(one.from_s, began_s)) for one in held)
    return held_s / (rule.n_places * (ended_s - began_s))
