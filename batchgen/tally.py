"""What has come of a run so far, for whoever tells of it while it goes on."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from batchgen.events import AttemptEnded, Event, ItemEnded, RunBegan, Ticked
from batchgen.sanitize import printable
from batchgen.wording import bill, duration

_RECENT_ENDS: Final = 200


@dataclass(slots=True)
class Tally:
    """What has happened so far, and when it may end."""

    monotonic_s: Callable[[], float] = time.monotonic
    n_total: int = 0
    n_done: int = 0
    n_failed: int = 0
    cost_usd: Decimal = Decimal(0)
    n_unknown: int = 0
    now: Ticked = Ticked()
    _started_s: float = 0.0
    _ends_s: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT_ENDS))

    def take(self, event: Event) -> None:
        """Count an event."""
        match event:
            case RunBegan():
                self.n_total = event.n_items
                self.n_done, self.n_failed = event.n_reused, event.n_settled
                self._started_s = self.monotonic_s()
                # What came before was found: a killed run had sent it.
                self.cost_usd, self.n_unknown = Decimal(0), 0
            case AttemptEnded(attempt):
                if attempt.billed == "yes":
                    self.cost_usd += attempt.cost_usd or 0
                self.n_unknown += attempt.billed != "no" and attempt.cost_usd is None
            case ItemEnded(result):
                self.n_done += result.status == "done"
                self.n_failed += result.status in {"failed", "skipped"}
                self._ends_s.append(self.monotonic_s())
            case Ticked():
                self.now = event
            case _:
                pass

    @property
    def per_min(self) -> float | None:
        """Ends a minute, over the last ones; None before there are two."""
        if len(self._ends_s) < 2:  # noqa: PLR2004
            return None
        # From the start while it is near: the first ends come together after the first wait.
        since_s = self._started_s if len(self._ends_s) < _RECENT_ENDS else self._ends_s[0]
        elapsed_s = self.monotonic_s() - since_s
        return len(self._ends_s) * 60 / elapsed_s if elapsed_s > 0 else None

    @property
    def eta_s(self) -> float | None:
        """Seconds left at the present rate; None where nothing can be said yet."""
        left = self.n_total - self.n_done - self.n_failed
        per_min = self.per_min
        return left * 60 / per_min if per_min else None

    def words(self) -> str:
        """The state in a few words."""
        words = [f"{self.n_failed} failed", bill(self.cost_usd, self.n_unknown)]
        words += traffic(self.now)
        if (per_min := self.per_min) is not None:
            words.append(f"{per_min:.1f}/min")
        # While something cools, the rate so far tells nothing of the time to come.
        if not self.now.cooling and (eta_s := self.eta_s) is not None:
            words.append(f"{duration(eta_s)} left")
        return " · ".join(words)


def traffic(now: Ticked) -> list[str]:
    """What is on the road: `running 12/16`, `cooling down 38s after a 429 on MODEL`, `retrying 3`.

    Nothing while nothing is known.
    """
    words = [f"running {now.n_in_flight}/{now.limit}"] if now.limit else []
    words += [
        f"{'cooling down' if one.why.startswith('after') else 'waiting'} "
        f"{math.ceil(one.for_s)}s {one.why} on {printable(one.model)}"
        for one in now.cooling
    ]
    return words + ([f"retrying {now.n_retrying}"] if now.n_retrying else [])
