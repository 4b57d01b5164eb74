"""A job becomes `items.jsonl`: read and checked whole, then its addresses are fetched.

Source: docs/adr/0002, docs/adr/0007.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import msgspec

from batchgen.cost import PriceBook
from batchgen.errors import MAX_SHOWN_PROBLEMS, OutputHeld, store_errors
from batchgen.manifest import Manifest
from batchgen.model import Item, content_key
from batchgen.references import ReferenceLibrary
from batchgen.sanitize import Secrets
from batchgen.seen import Seen
from batchgen.store.expanded import read_items, with_references, write_items


@dataclass(slots=True)
class Intake:
    """Takes one job in, as a draft beside the `items.jsonl` that it will be.

    Attributes:
        draft: Lies in the job's directory.
        go_on: Called for each item; raises if reading is to end.
        secrets: What no item may hold: it would be sent with it, and written down.
        models: Those that its items name.
        has_parents: Whether any item builds on another.
        observe: Told of each item as it is read, so that who counts need not read them again.
    """

    manifest: Manifest
    references: ReferenceLibrary
    draft: Path
    go_on: Callable[[], None]
    secrets: Secrets = field(default_factory=lambda: Secrets([]))
    models: set[str] = field(default_factory=set)
    has_parents: bool = False
    observe: Callable[[Item], object] | None = None
    _urls: set[str] = field(default_factory=set)
    _keys: Seen = field(default_factory=Seen)

    @property
    def twins(self) -> frozenset[int]:
        """Hashes of the content keys that several items have."""
        return self._keys.repeated()

    def read(
        self, *, model: str | None, book: PriceBook | None = None, on: date | None = None
    ) -> None:
        """Read and check the whole job.

        Args:
            model: Wins over the job's default, not over an item's own.
            book: Each model must have a price in it; None asks for none.
            on: The day by which a model's end is judged; today, unless told.

        Raises:
            JobError: Something is wrong with the job.
            StoreError: The disk could not take the draft.
        """
        items = self.manifest.items(
            self.references, model=model, on=on, book=book, secrets=self.secrets
        )
        write_items(self.draft, self._noting_urls(items))
        self._keys = self.manifest.keys
        self.manifest.raise_problems()

    def hold(self) -> None:
        """Go on, now that the directory is held: the drafts that killed runs left go away.

        Raises:
            OutputHeld: Another run came in between, and took this draft for one of those.
            StoreError: The disk failed.
        """
        directory = self.draft.parent
        if not self.draft.is_file():
            raise OutputHeld(f"{directory} was held by another run until just now; run again")
        with store_errors(directory):
            for left in directory.glob(".items.*.tmp"):
                if left != self.draft:
                    left.unlink(missing_ok=True)

    async def fetch(self) -> None:
        """Fetch what items refer to by address; from then on they are known by its bytes.

        What cannot be fetched fails its items when their turn comes, not the run.

        Raises:
            StoreError: The disk failed.
        """
        if self._urls:
            await self.references.fetch(self._urls)
            self._name_by_bytes()

    def recall(self) -> None:
        """Take addresses for what they were when they were last fetched; sends nothing.

        Raises:
            StoreError: The disk failed.
        """
        if self._urls:
            self.references.recall(self._urls)
            self._name_by_bytes()

    @property
    def n_addresses(self) -> int:
        """How many addresses the items refer to."""
        return len(self._urls)

    def warnings(self) -> Iterator[str]:
        """What may be wrong with the job: the first of it, and how much more there is."""
        problems = self.manifest.problems
        told = problems.warnings[:MAX_SHOWN_PROBLEMS]
        yield from map(str, told)
        if (n_more := problems.n_warnings - len(told)) > 0:
            yield f"warning: … and {n_more} more; batchgen validate shows them"

    def _name_by_bytes(self) -> None:
        self._keys = Seen()
        write_items(self.draft, map(self._known_by_bytes, read_items(self.draft)))

    def _noting_urls(self, items: Iterable[Item]) -> Iterator[Item]:
        observe = self.observe
        for item in items:
            self.go_on()
            for reference in item.all_references:
                if reference.url is not None:
                    self._urls.add(reference.url)
                if reference.item is not None:
                    self.has_parents = True
            self.models.add(item.model)
            if observe is not None:
                observe(item)
            yield item

    def _known_by_bytes(self, item: Item) -> Item:
        max_px = item.reference_max_px
        found = with_references(item, lambda ref: self.references.fetched(ref, max_px))
        key = content_key(found)
        self._keys.add(hash(key))
        return msgspec.structs.replace(found, key=key)
