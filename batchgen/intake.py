"""A job becomes `items.jsonl`: read and checked whole, then its addresses are fetched.

Source: docs/adr/0002, docs/adr/0007.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from batchgen.manifest import Manifest
from batchgen.model import Item, content_key
from batchgen.references import ReferenceLibrary
from batchgen.sanitize import Secrets
from batchgen.store.expanded import read_items, with_references, write_items


@dataclass(slots=True)
class Intake:
    """Takes one job in, as a draft beside the `items.jsonl` that it will be.

    Attributes:
        draft: Lies in the job's directory.
        go_on: Called for each item; raises if reading is to end.
        secrets: What no item may hold.
    """

    manifest: Manifest
    references: ReferenceLibrary
    draft: Path
    go_on: Callable[[], None]
    secrets: Secrets
    _urls: set[str] = field(default_factory=set)

    def read(self, *, model: str | None, needs_prices: bool = False) -> None:
        """Read and check the whole job.

        Args:
            model: Wins over the job's default, not over an item's own.
            needs_prices: Each model must have a price.

        Raises:
            JobError: Something is wrong with the job.
            StoreError: The disk could not take the draft.
        """
        items = self.manifest.items(
            self.references, model=model, needs_prices=needs_prices, secrets=self.secrets
        )
        write_items(self.draft, self._noting_urls(items))
        self.manifest.raise_problems()

    async def fetch(self) -> None:
        """Fetch what items refer to by address; from then on they are known by its bytes.

        What cannot be fetched fails its items when their turn comes, not the run.

        Raises:
            StoreError: The disk failed.
        """
        if self._urls:
            await self.references.fetch(self._urls)
            write_items(self.draft, map(self._known_by_bytes, read_items(self.draft)))

    def _noting_urls(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            self.go_on()
            self._urls.update(ref.url for ref in item.all_references if ref.url is not None)
            yield item

    def _known_by_bytes(self, item: Item) -> Item:
        max_px = item.reference_max_px
        found = with_references(item, lambda ref: self.references.fetched(ref, max_px))
        return msgspec.structs.replace(found, key=content_key(found))
