"""What pictures cost that somebody looked at and kept, over all runs of a directory.

`batchgen cost` tells the same figure as `cost_per_accepted_image_usd`, and more of it by group.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from batchgen.model import Attempt, Outcome, Result
from batchgen.report.summary import Review
from batchgen.review import Mark
from batchgen.store.history import final_image

_SIX: Final = Decimal("0.000001")


@dataclass(slots=True)
class Reviewed:
    """Adds up all runs, under the marks of `review.jsonl`.

    Of the pictures of an item the newest is accepted, unless it is marked to be made again.
    """

    marks: Mapping[str, Mark]
    n_kept: int = 0
    n_redo: int = 0
    _usd: Decimal = Decimal(0)
    _n_priced: int = 0
    _n_unknown: int = 0
    _is_accepted: dict[int, bool] = field(default_factory=dict)
    _unwanted: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        marks = self.marks.values()
        self._unwanted = frozenset(one.sha256 for one in marks if one.mark == "redo")

    def add(self, call: Attempt) -> None:
        """Count a call of any run."""
        if not call.attempt:
            return
        usd = call.cost_usd
        if usd is None or not usd.is_finite():  # as a damaged disk may have it
            self._n_unknown += call.billed != "no"
        elif call.billed == "yes":
            self._n_priced += 1
            self._usd += usd
        picture = final_image(call.images)
        if picture is not None and call.outcome is Outcome.IMAGE and call.decision == "done":
            self._is_accepted[hash(call.item)] = picture.sha256 not in self._unwanted

    def look_at(self, result: Result) -> None:
        """Count the mark of an item, if it is about the picture that the item has now."""
        mark, picture = self.marks.get(result.id), final_image(result.images)
        if mark is None or picture is None or result.status != "done":
            return
        if mark.sha256 == picture.sha256:
            self.n_kept += mark.mark == "keep"
            self.n_redo += mark.mark == "redo"

    @property
    def review(self) -> Review:
        """The figures."""
        n_accepted = sum(self._is_accepted.values())
        is_known = n_accepted and (self._n_priced or not self._n_unknown)
        return Review(
            kept=self.n_kept,
            redo=self.n_redo,
            accepted=n_accepted,
            cost_per_accepted_usd=(self._usd / n_accepted).quantize(_SIX) if is_known else None,
        )
