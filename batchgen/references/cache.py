"""The cache of a job: what was fetched and what was scaled, and where it came from.

    <sha256>.<ext>            a fetched image
    <sha256>-<max_px>.<ext>   the same scaled down, or a local one
    <sha256 of a URL>.json    what its server last said; the URL itself, which may hold a
                              signature, is in no file

Everything in it can be deleted between two runs.
"""

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import msgspec

from batchgen.errors import store_errors
from batchgen.model import ReferenceFile
from batchgen.references.files import UnusableReferenceError, examine, open_regular

_EXTENSIONS: Final = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/heic": "heic",
    "image/heif": "heif",
}
# Far more than writing one takes: an older draft was left by a run that was killed.
_LEFT_AFTER_S: Final = 3600

_Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_HeaderValue = Annotated[str, msgspec.Meta(pattern=r"^[\x20-\x7e]{1,1000}$")]


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What a server said when a URL was fetched.

    Attributes:
        answered_by: The digest of the URL that answered, after all redirects. Its validators
            mean nothing to another one.
    """

    sha256: _Digest
    bytes: int
    mime: str
    answered_by: _Digest
    etag: _HeaderValue | None = None
    last_modified: _HeaderValue | None = None


class Cache:
    """A directory of images, each under its digest; made when it is first written to.

    All of it blocks: call it in a thread.
    """

    def __init__(self, directory: Path) -> None:
        """Name the directory; nothing is touched yet."""
        self._directory = directory
        self._naming = threading.Lock()
        self._is_ready = False

    @contextmanager
    def draft(self) -> Iterator[BinaryIO]:
        """A new file beside the cached ones; removed at the end unless it was kept.

        Raises:
            StoreError: The disk failed.
        """
        with store_errors(self._directory):
            self._make_ready()
            path = self._directory / f".{secrets.token_hex(8)}.draft"
            file = path.open("xb")
        try:
            yield file
        finally:
            with store_errors(self._directory):
                path.unlink(missing_ok=True)
                file.close()  # writes what is left, if only to be thrown away

    def write(self, draft: BinaryIO, data: bytes) -> None:
        """Write on in a draft.

        Raises:
            StoreError: The disk failed.
        """
        with store_errors(self._directory):
            draft.write(data)

    def keep(self, draft: BinaryIO, stem: str | None = None) -> ReferenceFile:
        """Give a whole draft its name, durably: its digest, unless a stem is told.

        A file that is there with the same bytes stays: a request may be reading it.

        Raises:
            UnusableReferenceError: It is no image that may be sent.
            StoreError: The disk failed.
        """
        with store_errors(self._directory):
            draft.flush()
            os.fsync(draft.fileno())
            found = examine(draft.name)
            path = self._directory / f"{stem or found.sha256}.{_EXTENSIONS[found.mime]}"
            with self._naming:
                there = _examined(path)
                if there is not None and there.sha256 == found.sha256:
                    return there
                Path(draft.name).replace(path)
            self._sync()
        return msgspec.structs.replace(found, path=str(path))

    def save(self, stem: str, write: Callable[[BinaryIO], None]) -> ReferenceFile:
        """Write an image in one go and keep it under a stem.

        Raises:
            UnusableReferenceError: What was written is no image that may be sent.
            StoreError: The disk failed.
        """
        with self.draft() as draft:
            with store_errors(self._directory):
                write(draft)
            return self.keep(draft, stem)

    def find(self, stem: str, mime: str) -> ReferenceFile | None:
        """A file that is in the cache; None if it is not, or is of another kind."""
        if mime not in _EXTENSIONS:
            return None
        found = _examined(self._directory / f"{stem}.{_EXTENSIONS[mime]}")
        return found if found is not None and found.mime == mime else None

    def remember(self, url: str, origin: Origin) -> None:
        """Record where a fetched file came from.

        Raises:
            StoreError: The disk failed.
        """
        with store_errors(self._directory), self.draft() as draft:
            draft.write(msgspec.json.encode(origin))
            draft.flush()
            os.fsync(draft.fileno())
            Path(draft.name).replace(self._record(url))

    def recall(self, url: str) -> tuple[Origin, ReferenceFile] | None:
        """What a URL was when it was last fetched; None unless the file is there, and whole."""
        try:
            with open_regular(str(self._record(url))) as record:
                origin = msgspec.json.decode(record.read(), type=Origin)
        except (OSError, UnusableReferenceError, msgspec.DecodeError):
            return None
        file = self.find(origin.sha256, origin.mime)
        if file is None or (file.sha256, file.size_bytes) != (origin.sha256, origin.bytes):
            return None
        return origin, file

    def _record(self, url: str) -> Path:
        return self._directory / f"{url_digest(url)}.json"

    def _make_ready(self) -> None:
        if self._is_ready:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        for left in self._directory.glob(".*.draft"):
            with suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > _LEFT_AFTER_S:
                    left.unlink()
        self._is_ready = True

    def _sync(self) -> None:
        """Make new names in the directory durable."""
        descriptor = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def url_digest(url: str) -> str:
    """What stands for a URL on disk."""
    return sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


def _examined(path: Path) -> ReferenceFile | None:
    try:
        return examine(str(path))
    except UnusableReferenceError:
        return None
