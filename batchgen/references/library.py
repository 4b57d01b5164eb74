"""The references of one run: what each came to, found out once however many items name it."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from batchgen.model import Reference, ReferenceFile
from batchgen.objects import is_address
from batchgen.references.cache import Cache
from batchgen.references.files import UnusableReferenceError, examine

if TYPE_CHECKING:
    from batchgen.references.fetch import Fetcher
    from batchgen.references.objects import ObjectFetcher

_FETCHED_AT_ONCE: Final = 8
_SCALED_AT_ONCE: Final = 2  # a picture that is being scaled takes up to 360 MB

# What was found out: a file, or why there is none.
_Found: TypeAlias = ReferenceFile | str


class ReferenceLibrary:
    """The references of one run, each examined, fetched and scaled once.

    Examining reads the whole file, so it is done while the job is read, never while calls are
    under way. Belongs to one event loop.

    Memory: about 400 bytes a file.
    """

    def __init__(
        self, cache: Path | None = None, *, fetcher: "Callable[[Path], Fetcher] | None" = None
    ) -> None:
        """Start with nothing known.

        Args:
            cache: The job's directory for what is fetched and scaled; without one, nothing is.
            fetcher: Makes what fetches into that directory; with the usual limits unless told.
        """
        self._directory = cache
        self._cache = Cache(cache) if cache else None
        self._fetcher = fetcher or _fetcher
        self._known: dict[str, _Found] = {}
        self._fetched: dict[str, _Found] = {}
        self._sizes_px: dict[str, tuple[int, int] | str] = {}  # by digest
        self._copies: dict[tuple[str, int], _Found] = {}  # by digest and length
        self._copying: dict[tuple[str, int], asyncio.Lock] = {}
        self._scaling = asyncio.Semaphore(_SCALED_AT_ONCE)

    def open(self, path: str) -> ReferenceFile:
        """Examine a file, or remember it.

        Raises:
            UnusableReferenceError: It is missing, no regular file, or no image that the service
                takes. The same words come back for every later call.
        """
        if path not in self._known:
            self._known[path] = _found(lambda: examine(path))
        return _file(self._known[path])

    def known(self, path: str) -> ReferenceFile:
        """What was found out about a file when the job was read; reads nothing.

        Raises:
            UnusableReferenceError: It was not examined, or could not be used.
        """
        return _file(self._known.get(path, "was not there when the job was read"))

    def is_larger(self, path: str, max_px: int) -> bool:
        """Whether the longest side of an examined file is more than `max_px`; reads its header.

        Raises:
            UnusableReferenceError: That cannot be told, or it cannot be scaled down.
        """
        return self._is_larger(self.known(path), max_px)

    async def fetch(self, urls: Collection[str]) -> None:
        """Fetch each URL once, a few at a time; what cannot be fetched is remembered as that.

        Does nothing without a cache.

        Raises:
            StoreError: The disk failed.
        """
        new = [url for url in dict.fromkeys(urls) if url not in self._fetched]
        directory = self._directory
        if directory is None or not new:
            return
        objects = [url for url in new if is_address(url)]
        if len(objects) < len(new):
            await self._share(self._fetcher(directory), [url for url in new if not is_address(url)])
        if objects:
            from batchgen.references.objects import ObjectFetcher

            await self._share(ObjectFetcher(directory), objects)

    async def _share(self, fetches: "Fetcher | ObjectFetcher", urls: Sequence[str]) -> None:
        """Fetch what is at some addresses, a few at a time."""
        waiting = iter(urls)
        try:
            async with fetches as fetcher, asyncio.TaskGroup() as group:
                for _ in range(min(_FETCHED_AT_ONCE, len(urls))):
                    group.create_task(self._fetch_all(fetcher, waiting))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    def recall(self, urls: Collection[str]) -> None:
        """Take each URL for what it was when an earlier run fetched it; asks nobody.

        What was not fetched yet, or is no longer in the cache, stays unknown.
        """
        cache = self._cache
        if cache is None:
            return
        for url in urls:
            if (kept := cache.recall(url)) is not None:
                self._fetched[url] = kept[1]

    def fetched(self, reference: Reference, max_px: int | None) -> Reference:
        """A URL reference with what is known of it since it was fetched.

        Returns:
            The reference with its digest, and with `max_px` if it will be scaled down; as it is,
            if it could not be fetched.
        """
        file = self._fetched.get(reference.url or "")
        if not isinstance(file, ReferenceFile):
            return reference
        if max_px is not None and not self._may_be_larger(file, max_px):
            max_px = None
        return msgspec.structs.replace(reference, sha256=file.sha256, max_px=max_px)

    async def sendable(self, reference: Reference) -> ReferenceFile:
        """The file to send for a reference: itself, what was fetched, or a copy scaled down.

        Raises:
            UnusableReferenceError: There is none; the message completes "PATH …" or "URL …".
            StoreError: The disk failed.
        """
        file = await self._original(reference)
        if reference.sha256 not in {None, file.sha256}:
            if reference.item is not None:
                raise UnusableReferenceError(
                    f"is not the picture that was made: {reference.path} was changed; delete that "
                    "file, and the next run makes it again"
                )
            raise UnusableReferenceError("changed while the run was going on; run again")
        if reference.max_px is None:
            return file
        if not await asyncio.to_thread(self._is_larger, file, reference.max_px):
            return file
        return await self._copy(file, reference.max_px)

    async def _original(self, reference: Reference) -> ReferenceFile:
        if reference.path is None:
            return _file(self._fetched.get(reference.url or "", "was not fetched"))
        if reference.item is None:
            return self.known(reference.path)
        return await asyncio.to_thread(examine, reference.path)  # made by this run, just now

    async def _fetch_all(self, fetcher: "Fetcher | ObjectFetcher", waiting: Iterator[str]) -> None:
        """One of several that share what is waiting."""
        for url in waiting:
            try:
                self._fetched[url] = await fetcher.fetch(url)
            except UnusableReferenceError as error:
                self._fetched[url] = str(error)

    def _is_larger(self, file: ReferenceFile, max_px: int) -> bool:
        from batchgen.references.scale import check_scalable, size_px

        if file.sha256 not in self._sizes_px:
            try:
                self._sizes_px[file.sha256] = size_px(file)
            except UnusableReferenceError as error:
                self._sizes_px[file.sha256] = str(error)
        size = self._sizes_px[file.sha256]
        if isinstance(size, str):
            raise UnusableReferenceError(size)
        if max(size) <= max_px:
            return False
        check_scalable(size)
        return True

    async def _copy(self, file: ReferenceFile, max_px: int) -> ReferenceFile:
        """The copy of a file that is larger: made by the first who asks, awaited by the others."""
        key = (file.sha256, max_px)
        async with self._copying.setdefault(key, asyncio.Lock()):
            if key not in self._copies:
                async with self._scaling:
                    self._copies[key] = await asyncio.to_thread(self._scaled, file, max_px)
        self._copying.pop(key, None)
        return _file(self._copies[key])

    def _scaled(self, file: ReferenceFile, max_px: int) -> _Found:
        from batchgen.references.scale import scaled_down

        cache = self._cache
        if cache is None:
            return "is to be scaled down, and there is no directory for the copy"
        return _found(lambda: scaled_down(file, max_px, cache))

    def _may_be_larger(self, file: ReferenceFile, max_px: int) -> bool:
        """True also where it cannot be told: why not, is said when it is to be sent."""
        try:
            return self._is_larger(file, max_px)
        except UnusableReferenceError:
            return True


def _found(find: Callable[[], ReferenceFile]) -> _Found:
    try:
        return find()
    except UnusableReferenceError as error:
        return str(error)


def _file(found: _Found) -> ReferenceFile:
    if isinstance(found, str):
        raise UnusableReferenceError(found)
    return found


def _fetcher(directory: Path) -> "Fetcher":
    from batchgen.references.fetch import Fetcher

    return Fetcher(directory)
