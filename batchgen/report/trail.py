"""What became of each item, call by call: the page shows it as a timeline."""

from collections.abc import Container
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import msgspec

from batchgen.model import Attempt, Billed, Decision, ImageFile, Outcome
from batchgen.store.history import final_image
from batchgen.store.ledger import Filed, Line, Sent

# Of an item that was tried more often, the last ones tell enough.
MAX_TRIES: Final = 40


class Try(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call: when it left, how long it took, what it came to and what it cost.

    Attributes:
        key: What the item asked for then; it may ask for something else by now.
        s: Seconds; None for a call that was never answered.
        why: What went wrong, or what must be known of it.
    """

    run: str
    turn: int
    n: int
    key: str
    at: str
    s: float | None = None
    outcome: Outcome
    decision: Decision
    usd: Decimal | None = None
    billed: Billed = "yes"
    status: int | None = None
    why: str | None = None
    model_version: str | None = None
    request_id: str | None = None
    finish_reason: str | None = None


@dataclass(slots=True)
class Trail:
    """The calls for some items, from all runs, in the order of the ledger.

    Attributes:
        ids: The items that anybody wants to know of.

    Cost: about half a kilobyte a call, of at most so many calls an item.
    """

    ids: Container[str]
    _tries: dict[str, list[Try]] = field(default_factory=dict)
    _made: dict[str, dict[str, ImageFile]] = field(default_factory=dict)
    _under_way: dict[str, Sent] = field(default_factory=dict)

    def take(self, line: Line) -> None:
        """Take one line, if it is about an item that anybody wants to know of."""
        match line:
            case Sent() if line.item in self.ids:
                self._under_way[line.item] = line
            case Attempt() if line.item in self.ids:
                self._under_way.pop(line.item, None)
                self._add(line.item, line)
            case Filed() if line.item in self.ids and line.made.item != line.item:
                self._add(line.item, line.made)
            case _:
                pass

    def tries(self, item_id: str) -> list[Try]:
        """The calls for an item, the oldest first."""
        return self._tries.get(item_id, [])

    def under_way(self, item_id: str) -> Sent | None:
        """The request for an item of whose end nobody has written yet."""
        return self._under_way.get(item_id)

    def made(self, item_id: str) -> list[ImageFile]:
        """All final pictures that an item ever had, each once, the oldest first."""
        return list(self._made.get(item_id, {}).values())

    def forget(self, item_id: str) -> None:
        """Let go of an item that nobody wants to know of any more."""
        self._tries.pop(item_id, None)
        self._made.pop(item_id, None)
        self._under_way.pop(item_id, None)

    def _add(self, item_id: str, line: Attempt) -> None:
        tries = self._tries.setdefault(item_id, [])
        call = (line.run_id, line.turn, line.attempt)
        if line.attempt and any((one.run, one.turn, one.n) == call for one in tries):
            return  # a disk that failed may give a line twice
        tries.append(_try(line))
        del tries[:-MAX_TRIES]
        if (picture := final_image(line.images)) is not None:
            self._made.setdefault(item_id, {})[picture.sha256] = picture


def _try(line: Attempt) -> Try:
    note = line.note if isinstance(line.note, str) else None
    return Try(
        run=line.run_id,
        turn=line.turn,
        n=line.attempt,
        key=line.key,
        at=line.at,
        s=line.latency_s,
        outcome=line.outcome,
        decision=line.decision,
        usd=line.cost_usd,
        billed=line.billed,
        status=line.http_status,
        why=line.error.message if line.error else note,
        model_version=line.model_version,
        request_id=line.request_id,
        finish_reason=line.finish_reason,
    )
