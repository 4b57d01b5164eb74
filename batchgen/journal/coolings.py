"""When nothing leaves to a model any more, and when something may again. Pure.

An attempt says so at once. What else holds requests back, a limit for one, is seen once a second;
so is the end.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import msgspec

from batchgen.events import Ticked
from batchgen.journal.entries import Entry, cooling_begins, cooling_ends
from batchgen.model import Attempt

# A second look at the same wait gives about the same moment.
_SAME: Final = timedelta(seconds=1)


@dataclass(slots=True)
class Coolings:
    """The models that cool, each until a moment that was told."""

    _until: dict[str, datetime] = field(default_factory=dict)

    def after(self, attempt: Attempt) -> Iterator[Entry]:
        """What a call that has ended begins."""
        if attempt.cools_until is not msgspec.UNSET:
            until = datetime.fromisoformat(attempt.cools_until)
            yield from self._begins(attempt.model, until, f"after {attempt.outcome}")

    def at(self, now: datetime, ticked: Ticked) -> Iterator[Entry]:
        """What has begun, become longer, or ended by now."""
        for one in ticked.cooling:
            yield from self._begins(one.model, now + timedelta(seconds=one.for_s), one.why)
        for model in self._until.keys() - {one.model for one in ticked.cooling}:
            del self._until[model]
            yield cooling_ends(model)

    def _begins(self, model: str, until: datetime, why: str) -> Iterator[Entry]:
        told = self._until.get(model)
        if told is None or until > told + _SAME:
            self._until[model] = until
            yield cooling_begins(model, until, why)
