"""When failures are not the items' own: a service that is away, or answers nothing but errors.

A row of failures of several items means that everybody sees it, if hardly anything else that left
meanwhile came to something, or may still. Then items wait, and one request at a time looks whether
the service is back, after ever longer pauses. The same happens when retries have become too large a
share of all calls: each failure takes from a quota that only successes fill again.

Source: the retry quota of botocore's standard mode; docs/adr/0010.
"""

import random
from dataclasses import dataclass, field
from typing import Final

from batchgen.errors import AttemptError, RateLimited, Unreachable

# So many failures in a row, of so many items, of so large a share of what left, are everybody's.
_ROW: Final = 5
_ROW_ITEMS: Final = 3
_SHARE: Final = 0.8
_QUOTA: Final = 500
_COST: Final = 14
_COST_OF_A_429: Final = 5
_FIRST_PAUSE_S: Final = 2.0


@dataclass(slots=True)
class Trouble:
    """The failures of one model since its last success.

    Attributes:
        longest_pause_s: No pause between two probes is longer.
        since_s: When the first of the row left; None while all is well.
        is_shared: Everybody sees it: only probes go out.
    """

    rng: random.Random
    longest_pause_s: float = 600.0
    since_s: float | None = None
    is_shared: bool = False
    _n: int = 0
    _items: set[str] = field(default_factory=set)
    _was_reached: bool = False
    _n_probes: int = 0
    _quota: int = _QUOTA

    def charge(self, error: AttemptError) -> None:
        """Take what a retry costs from the quota."""
        cost = _COST_OF_A_429 if isinstance(error, RateLimited) else _COST
        self._quota = max(0, self._quota - cost)

    def refill(self, *, is_retry: bool) -> None:
        """A request came to something; a retry gives back what it cost."""
        self._quota = min(_QUOTA, self._quota + 1 + (_COST if is_retry else 0))

    def failed(self, item_id: str, error: AttemptError, since_s: float, n_others: int) -> None:
        """Add a failure that may have been the service's to the row.

        Args:
            item_id: Whose request it was.
            error: What came of it.
            since_s: When the first of the row left.
            n_others: How many left between that and this one, and did not fail, or not yet.
        """
        self.since_s = since_s
        self._n += 1
        self._was_reached = self._was_reached or not isinstance(error, Unreachable)
        if len(self._items) < _ROW_ITEMS:
            self._items.add(item_id)
        # Of what never connected no item can be the cause, even if there is only one.
        is_row = self._n >= _ROW and (len(self._items) >= _ROW_ITEMS or not self._was_reached)
        is_most = self._n >= _SHARE * (self._n + n_others)
        self.is_shared = self.is_shared or (is_row and is_most) or self._quota == 0

    def end(self) -> None:
        """The service worked on a request that left after the row began."""
        self.since_s = None
        self.is_shared, self._was_reached = False, False
        self._n = self._n_probes = 0
        self._items.clear()

    def pause_s(self) -> float:
        """How long to wait before the next probe: longer each time, and never all at once."""
        ceiling_s = min(self.longest_pause_s, _FIRST_PAUSE_S * 2.0 ** min(self._n_probes, 16))
        self._n_probes += 1
        return self.rng.uniform(ceiling_s / 2, ceiling_s)
