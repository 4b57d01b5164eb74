"""What is thought of the pictures at this moment, whoever wrote it down."""

from dataclasses import dataclass, field
from pathlib import Path

from batchgen.errors import UsageError
from batchgen.live.items import Seen
from batchgen.model import Result
from batchgen.review import Mark, read_marks
from batchgen.store.history import final_image


@dataclass(slots=True)
class Marks:
    """Follows `review.jsonl`, which a second server or a person may write as well.

    Attributes:
        path: The file.
        valid: The marks of pictures that are there, by the ids of their items.
        trouble: Why the file cannot be read; what it said before holds.
    """

    path: Path
    valid: dict[str, Mark] = field(default_factory=dict)
    trouble: str | None = None
    _all: dict[str, Mark] = field(default_factory=dict)
    _seen: Seen | None = None

    def changed(self) -> set[str]:
        """Read the file if it is another one; the ids of the items whose marks changed.

        Raises:
            StoreError: The disk failed.
        """
        seen = Seen.at(self.path)
        if seen == self._seen:
            return set()
        self._seen = seen
        try:
            marks = read_marks(self.path)
        except UsageError as error:  # somebody edits it
            self.trouble = str(error)
            return set()
        self.trouble = None
        before, self._all = self._all, marks
        ids = before.keys() | marks.keys()
        return {item_id for item_id in ids if before.get(item_id) != marks.get(item_id)}

    def judge(self, result: Result) -> None:
        """See whether an item's mark is about its present picture: else it is done with."""
        mark, final = self._all.get(result.id), final_image(result.images)
        is_about_it = mark is not None and final is not None and mark.sha256 == final.sha256
        if mark is not None and is_about_it and mark.mark != "none":
            self.valid[result.id] = mark
        else:
            self.valid.pop(result.id, None)
