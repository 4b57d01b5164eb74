"""What lies in a place of an object store, by one list of it."""

from collections.abc import Iterator
from typing import Final

from batchgen.objects.bucket import Bucket, Stored
from batchgen.store.numbered import Numbered

_GONE: Final = -1
_THUMBNAILS: Final = "thumbnails/"


class Contents:
    """The sizes of all objects, kept up to date by whoever writes there.

    Cost: 16 bytes an object; a list of a million takes a thousand requests.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._sizes = Numbered()
        self._thumbnails: set[str] = set()

    def read(self, bucket: Bucket) -> Iterator[Stored]:
        """List a place, and yield each object as it is noted."""
        for stored in bucket.listed():
            self.put(stored.path, stored.size_bytes)
            yield stored

    def put(self, path: str, size_bytes: int) -> None:
        """Note an object."""
        self._sizes.put(hash(path), size_bytes)
        if path.startswith(_THUMBNAILS):
            self._thumbnails.add(path.removeprefix(_THUMBNAILS))

    @property
    def thumbnails(self) -> frozenset[str]:
        """The names of the small pictures; a page shows at most some thousands."""
        return frozenset(self._thumbnails)

    def drop(self, path: str) -> None:
        """Note that there is none."""
        if path in self:
            self._sizes.put(hash(path), _GONE)

    def size_bytes(self, path: str) -> int | None:
        """The size of an object; None if there is none."""
        size_bytes = self._sizes.get(hash(path))
        return None if size_bytes == _GONE else size_bytes

    def __contains__(self, path: str) -> bool:
        """Whether there is one."""
        return self.size_bytes(path) is not None
