"""Whether the run that a ledger tells of is still going on."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from batchgen.store.lock import may_be_held_by

# A ledger that is silent for so long asks the question.
_SILENT_S: Final = 2.0


@dataclass(slots=True)
class Liveness:
    """Tells a run that waits from one that was killed.

    To look at the lock is to take it for a moment, and a run that began at that moment would find
    it held. So it is looked at only while the run is silent, and once that has gone, no more until
    the ledger grows.

    Attributes:
        lock: The lock file of the directory.
        is_alive: The answer.
    """

    lock: Path
    monotonic_s: Callable[[], float]
    is_alive: bool = False
    _heard_s: float = 0.0

    def begin(self, run_ids: Collection[str], *, is_ended: bool) -> None:
        """Look for the first time."""
        self._heard_s = self.monotonic_s()
        self.is_alive = not is_ended and may_be_held_by(self.lock, run_ids)

    def look(self, run_ids: Collection[str], *, is_ended: bool, has_grown: bool) -> bool:
        """Look again.

        Args:
            run_ids: The last run; of shards, each of theirs.
            is_ended: It has written its end.
            has_grown: The ledger has, since the last look.

        Returns:
            Whether the answer is another one now.
        """
        before, now_s = self.is_alive, self.monotonic_s()
        if is_ended:
            self.is_alive = False
        elif has_grown:
            self.is_alive, self._heard_s = True, now_s
        elif before and now_s - self._heard_s >= _SILENT_S:
            self._heard_s = now_s
            self.is_alive = may_be_held_by(self.lock, run_ids)
        return self.is_alive != before
