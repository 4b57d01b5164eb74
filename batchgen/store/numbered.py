"""Small numbers of many things, by the hash of what they are."""

from array import array
from collections import defaultdict
from typing import Final

_N_BUCKETS: Final = 1 << 16


class Numbered:
    """Small numbers by 64-bit hash: like a dict of a million, in a sixth of its memory.

    Of many millions, two things have the same hash. Cost: 16 bytes each; to look one up takes
    longer the more there are, a microsecond at a million.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._buckets: defaultdict[int, tuple[array[int], array[int]]] = defaultdict(
            lambda: (array("q"), array("q"))
        )

    def put(self, hashed: int, number: int = 0) -> int | None:
        """Set the number of a hash; the one that it had before, or None."""
        hashes, numbers = self._buckets[hashed % _N_BUCKETS]
        if hashed not in hashes:
            hashes.append(hashed)
            numbers.append(number)
            return None
        place = hashes.index(hashed)
        before, numbers[place] = numbers[place], number
        return before

    def get(self, hashed: int) -> int | None:
        """The number of a hash; None if it has none."""
        at = hashed % _N_BUCKETS
        if at not in self._buckets:
            return None
        hashes, numbers = self._buckets[at]
        return numbers[hashes.index(hashed)] if hashed in hashes else None

    def __contains__(self, hashed: int) -> bool:
        """Whether it has a number."""
        at = hashed % _N_BUCKETS
        return at in self._buckets and hashed in self._buckets[at][0]
