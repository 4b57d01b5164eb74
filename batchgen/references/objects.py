"""References that lie in an object store, fetched into the same cache as those at an address.

The version that a store tells of an object says whether the copy of an earlier run is still right.
"""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from batchgen.errors import StoreError
from batchgen.model import ReferenceFile
from batchgen.objects import AddressError, ObjectAddress, read_address
from batchgen.objects.bucket import Bucket, ObjectGone
from batchgen.references.cache import Cache, Origin, url_digest
from batchgen.references.files import NO_IMAGE, SNIFF_BYTES, UnusableReferenceError, sniff

MAX_BYTES: Final = 64 << 20


class ObjectFetcher:
    """Fetches objects; each bucket is opened once, by the standard chains of credentials."""

    def __init__(self, directory: Path) -> None:
        """Set the cache of the job; nothing is asked yet."""
        self._cache = Cache(directory)
        self._buckets: dict[tuple[str, str], Bucket] = {}

    async def __aenter__(self) -> Self:
        """Nothing is to be opened."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is to be closed."""

    async def fetch(self, url: str) -> ReferenceFile:
        """Fetch an image into the cache, or find that the copy there is still right.

        Raises:
            UnusableReferenceError: It cannot be fetched or is no image; the library has tried
                again where it could help. The message completes "URL …".
            UsageError: The extra is missing, or the environment has no use for the store.
            StoreError: The disk failed.
        """
        try:
            address = read_address(url)
        except AddressError as error:
            raise UnusableReferenceError(str(error)) from None
        bucket = self._bucket(address)
        return await asyncio.to_thread(self._fetched, bucket, address, url)

    def _bucket(self, address: ObjectAddress) -> Bucket:
        place = (address.scheme, address.bucket)
        if place not in self._buckets:
            self._buckets[place] = Bucket.at(ObjectAddress(*place))
        return self._buckets[place]

    def _fetched(self, bucket: Bucket, address: ObjectAddress, url: str) -> ReferenceFile:
        recalled = self._cache.recall(url)
        with self._cache.draft() as draft:
            try:
                stored = bucket.stored(address.key)
                tag = stored.version.e_tag or stored.version.version
                if recalled is not None and tag is not None and recalled[0].etag == tag:
                    return recalled[1]
                if stored.size_bytes > MAX_BYTES:
                    raise UnusableReferenceError(f"is larger than {MAX_BYTES >> 20} MiB")
                head = b""
                for piece in bucket.pieces(address.key):
                    if len(head) < SNIFF_BYTES:
                        head += piece
                        if len(head) >= SNIFF_BYTES and sniff(head) is None:
                            raise UnusableReferenceError(NO_IMAGE)
                    self._cache.write(draft, piece)
            except ObjectGone:
                raise UnusableReferenceError("is not there") from None
            except StoreError as error:
                raise UnusableReferenceError(f"cannot be fetched ({error})") from error
            file = self._cache.keep(draft)
        self._cache.remember(url, _origin(file, url, tag))
        return file


def _origin(file: ReferenceFile, url: str, tag: str | None) -> Origin:
    origin = Origin(
        sha256=file.sha256,
        bytes=file.size_bytes,
        mime=file.mime,
        answered_by=url_digest(url),
        etag=tag,
    )
    try:
        return msgspec.convert(msgspec.to_builtins(origin), Origin)
    except msgspec.ValidationError:  # a version that is written in no header
        return msgspec.structs.replace(origin, etag=None)
