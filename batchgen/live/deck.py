"""The cards that a page shows, and the order in which they changed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from batchgen.report.cards import Card

# Pictures, for each item that is shown, whose thumbnails somebody may ask for.
_PICTURES_EACH: Final = 10

_encoder = msgspec.json.Encoder()


@dataclass(slots=True)
class Deck:
    """Cards, each made when somebody looks and kept for all others until it changes.

    Attributes:
        make_card: Makes the card of an item by its place in the job.
        forget: Told of an item that is shown no more.
        root: The job's directory, without links on the way to it.
        max_shown: The most items that are shown.
        seq: The number of the last change.
        shown: The places in the job of the items that are shown, by id; the first is the first to
            make room.

    Cost: a few kilobytes for each card that somebody has seen.
    """

    make_card: Callable[[int], Card]
    forget: Callable[[str], None]
    root: Path
    max_shown: int
    seq: int
    shown: dict[str, int]
    _changes: dict[int, int] = field(default_factory=dict)
    _encoded: dict[int, bytes] = field(default_factory=dict)
    _pictures: dict[str, Path] = field(default_factory=dict)

    def show(self, item_id: str, number: int) -> None:
        """Show an item of which there is news; if there are too many, another makes room."""
        if item_id in self.shown:
            return
        if len(self.shown) >= self.max_shown:
            other, its_number = next(iter(self.shown.items()))
            del self.shown[other]
            self._changes.pop(its_number, None)
            self._encoded.pop(its_number, None)
            self.forget(other)
        self.shown[item_id] = number

    def touch(self, item_id: str, number: int) -> None:
        """Note that an item's card has changed."""
        self.seq += 1
        self._encoded.pop(number, None)
        self._changes.pop(number, None)  # so that it comes last
        if item_id in self.shown:
            self._changes[number] = self.seq

    def numbers(self) -> list[int]:
        """The items that are shown, in the order of the job."""
        return sorted(self.shown.values())

    def changed_since(self, seq: int, most: int, most_bytes: int) -> tuple[list[bytes], int]:
        """The cards that changed after a change, the oldest change first, as JSON.

        Args:
            seq: The number of that change.
            most: So many cards at most.
            most_bytes: So much at most, or one card.

        Returns:
            The cards, and the number of the change that they lead to.
        """
        numbers = []
        for number, at in reversed(self._changes.items()):
            if at <= seq:
                break
            numbers.append(number)
        cards: list[bytes] = []
        n_bytes = 0
        for number in reversed(numbers):
            card = self.card(number)
            n_bytes += len(card)
            if len(cards) >= most or (cards and n_bytes > most_bytes):
                return cards, seq
            cards.append(card)
            seq = self._changes[number]
        return cards, self.seq

    def card(self, number: int) -> bytes:
        """The card of an item as JSON.

        Raises:
            StoreError: The ledger or the items cannot be read any more.
        """
        if (encoded := self._encoded.get(number)) is None:
            card = self.make_card(number)
            self._remember(card)
            encoded = self._encoded[number] = _encoder.encode(card)
        return encoded

    def picture(self, sha256: str) -> Path | None:
        """Where a picture lies that some card shows; None if none does."""
        return self._pictures.get(sha256)

    def _remember(self, card: Card) -> None:
        """Note where the pictures of a card are, so that thumbnails can be asked for."""
        for picture in card.all_pictures:
            if picture.sha256 is not None and picture.path is not None:
                self._pictures.pop(picture.sha256, None)
                self._pictures[picture.sha256] = self.root / picture.path
        while len(self._pictures) > self.max_shown * _PICTURES_EACH:
            del self._pictures[next(iter(self._pictures))]
