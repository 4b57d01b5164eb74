"""Why an item that is to be made asks for something else than it did in the last run."""

from dataclasses import dataclass

from batchgen.dependencies import Lineage
from batchgen.model import Attempt, Item
from batchgen.preview.differences import differences
from batchgen.store.former import Former
from batchgen.store.history import History
from batchgen.store.layout import EXTENSIONS, Layout


@dataclass(frozen=True, slots=True)
class Changes:
    """Holds items against the job of the last run.

    Attributes:
        former: That job.
        lineage: Who builds on whom now, with the pictures of those that are done.
    """

    former: Former
    history: History
    layout: Layout
    lineage: Lineage

    def words(self, item: Item) -> list[str]:
        """What of an item to make has changed, see `differences`; nothing for one that is new.

        An item that builds on others asks for something else once their pictures are others, or
        will be, though it may stand in the job as it did.

        Raises:
            StoreError: The disk failed.
        """
        before = self.former.get(item.id)
        if before is None:
            return []
        names = _built_on(before) & _built_on(item)
        if not names and before.key == item.key:
            return []
        made = self._made(before) if names else None
        if made is None or made.key == item.key:
            return list(differences(before, item))
        remade = {name for name in names if self._is_remade(name, made)}
        words = list(differences(before, item, remade))
        if words or any(self.lineage.picture(name) is None for name in names):
            return words
        # One of them is older than what was made from another one: it was put back.
        return list(differences(before, item, names))

    def _made(self, before: Item) -> Attempt | None:
        """The attempt that made the picture that an item of the last run has."""
        for extension in EXTENSIONS:
            made = self.history.made_last(self.layout.image_name(before, extension))
            if made is not None and made.item == before.id:
                return made
        return None

    def _is_remade(self, name: str, made: Attempt) -> bool:
        """Whether what an item builds on has no picture yet, or a later one than the item's own."""
        picture = self.lineage.picture(name)
        parent = None if picture is None else self.history.made_last(picture.path)
        return parent is None or parent.at > made.at


def _built_on(item: Item) -> set[str]:
    return {ref.item for ref in item.all_references if ref.item is not None}
