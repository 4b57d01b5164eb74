"""When the first answers of a run show that all of them would be the same."""

from dataclasses import dataclass, field
from typing import Final

from batchgen.errors import AttemptError, BadRequest, Forbidden, UnknownHost

_ITEMS: Final = 3


@dataclass(slots=True)
class FirstRefusals:
    """Refusals from the start of a run, before anything else came.

    One refused item may be wrong by itself. Three in a row, with nothing that passed before them,
    have the reason in common: a setting, the key, the address.
    """

    _items: set[str] = field(default_factory=set)
    _has_begun: bool = False
    _has_passed: bool = False

    def passed(self) -> None:
        """A request was looked at and not refused."""
        self._has_passed = True
        self._items.clear()

    def refused(self, item_id: str, error: AttemptError) -> None:
        """Let an error stop the run, if it is the last of too many or shows that none can pass."""
        is_first, self._has_begun = not self._has_begun, True
        if self._has_passed or error.stops_run:
            return
        if isinstance(error, UnknownHost):
            if is_first:
                error.stops_run = True
        elif isinstance(error, BadRequest | Forbidden):
            self._items.add(item_id)
            if len(self._items) >= _ITEMS:
                error.stops_run = True
                error.message += (
                    f"; the first {_ITEMS} items were all refused: mend what they have in common, "
                    "then run again with --retry-failed"
                )
        elif error.billed == "yes":
            self.passed()
        elif error.billed == "maybe":
            self._items.clear()  # nobody knows what would have come of it
