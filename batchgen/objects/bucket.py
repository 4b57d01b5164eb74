"""One prefix of an object store, with every fault in our words. The only module with the library.

All calls wait, and are made in threads of our own: the library's asynchronous calls may end the
process with a signal when the interpreter ends right after them. A call that waits does not hear a
signal either, so each has a time after which it gives up.

    quick    20 s a request: the claim, the ledger, lists
    large    300 s: pictures

A write that is to happen only once, or only over one version, is not repeated after a time-out, and
what is repeated after a lost answer meets its own first try. So whoever writes so compares what
lies there afterwards with what was to be written.

Source: https://developmentseed.org/obstore/latest/; docs/adr/0023.
"""

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

from batchgen.errors import StoreError, UsageError
from batchgen.objects.address import ObjectAddress
from batchgen.objects.credentials import aws_chain, aws_provider, endpoint_of

QUICK_S: Final = 20
LARGE_S: Final = 300
# A picture of so much is one request, and leaves nothing behind when it is cut; more is in parts.
PART_BYTES: Final = 8 << 20
_READ_BYTES: Final = 1 << 20
_LISTED: Final = 1000
_ALLOWS: Final = ("AWS_ALLOW_HTTP", "AZURE_ALLOW_HTTP")
_LOOPBACK: Final = ("http://127.", "http://localhost", "http://[::1]")


class StoreAway(StoreError):
    """A store did not answer, or asks for patience: the same call may succeed later."""


class ObjectGone(StoreError):
    """There is no such object."""


class Refused(StoreError):
    """A write was refused because something lies there, or another version of it than was meant."""


@dataclass(frozen=True, slots=True)
class Version:
    """Which version of an object it is; a write can be made to depend on it."""

    e_tag: str | None
    version: str | None

    @property
    def mode(self) -> dict[str, str]:
        """As the library wants it, which takes no None."""
        known = (("e_tag", self.e_tag), ("version", self.version))
        return {name: value for name, value in known if value is not None}


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store says of an object; `path` is below the bucket's address."""

    path: str
    size_bytes: int
    version: Version
    written_at: datetime


@dataclass(frozen=True, eq=False)
class Bucket:
    """All objects below one address. Any thread may use it."""

    address: ObjectAddress
    _quick: Any = field(repr=False)
    _large: Any = field(repr=False)

    @classmethod
    def at(cls, address: ObjectAddress) -> Self:
        """Open a bucket; nobody is asked yet.

        Raises:
            UsageError: The library is missing, or what the environment says of the store is no use.
        """
        return cls(address, _open(address, QUICK_S, 2), _open(address, LARGE_S, 3))

    def put_file(self, path: str, file: Path, mime: str | None = None) -> None:
        """Store a file that nobody writes to any more; it is there whole or not at all.

        Raises:
            StoreAway: It may succeed later. Part of it may be stored, where nobody sees it.
            StoreError: It was refused.
        """
        attributes = {} if mime is None else {"Content-Type": mime}
        size_bytes = file.stat().st_size
        with self._faults(path):
            self._large.put(
                path,
                file,
                attributes=attributes,
                use_multipart=size_bytes > PART_BYTES,
                chunk_size=PART_BYTES,
                max_concurrency=1,
            )

    def put(self, path: str, data: bytes, mime: str | None = None) -> None:
        """Store some bytes, whatever lies there; raises what `put_file` does."""
        attributes = {} if mime is None else {"Content-Type": mime}
        with self._faults(path):
            self._quick.put(path, data, attributes=attributes, use_multipart=False)

    def put_new(self, path: str, data: bytes) -> Version:
        """Store some bytes where nothing lies.

        Raises:
            Refused: Something does; perhaps these very bytes, by a try whose answer was lost.
            StoreAway: It may have been done all the same.
        """
        with self._faults(path):
            return _version(self._quick.put(path, data, mode="create", use_multipart=False))

    def put_over(self, path: str, data: bytes, version: Version) -> Version:
        """Store some bytes over one version of an object; raises what `put_new` does."""
        with self._faults(path):
            told = self._quick.put(path, data, mode=version.mode, use_multipart=False)
            return _version(told)

    def get(self, path: str) -> tuple[bytes, Stored]:
        """Read a small object.

        Raises:
            ObjectGone: There is none.
            StoreAway: It may succeed later.
            StoreError: It was refused.
        """
        with self._faults(path):
            got = self._quick.get(path)
            return bytes(got.bytes()), _stored(got.meta)

    def fetch(self, path: str, into: Path) -> Stored:
        """Read an object into a file, which is there whole or not at all; raises what `get` does.

        Raises:
            OSError: The disk failed.
        """
        # Several threads may be at it: what builds on one picture begins at the same moment.
        by = f"{os.getpid()}-{threading.get_ident():x}"
        draft = into.with_name(f".{into.name}.{by}.fetched")
        try:
            stored, pieces = self._opened(path)
            with draft.open("wb") as file:
                for piece in pieces:
                    file.write(piece)
            if draft.stat().st_size != stored.size_bytes:
                raise StoreAway(f"{self.address}/{path}: only part of it came")
            draft.replace(into)
        finally:
            draft.unlink(missing_ok=True)
        return stored

    def pieces(self, path: str) -> Iterator[bytes]:
        """Read an object piece by piece; raises what `get` does, also in between."""
        return self._opened(path)[1]

    def _opened(self, path: str) -> tuple[Stored, Iterator[bytes]]:
        with self._faults(path):
            got = self._large.get(path)
            chunks = got.stream(min_chunk_size=_READ_BYTES)
            return _stored(got.meta), self._read(path, chunks)

    def _read(self, path: str, chunks: Iterator[Any]) -> Iterator[bytes]:
        while True:
            with self._faults(path):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield bytes(chunk)

    def listed(self, below: str = "") -> Iterator[Stored]:
        """List what lies below a path, a thousand a request; raises what `get` does."""
        batches = self._quick.list(below or None, chunk_size=_LISTED)
        while True:
            with self._faults(below):
                batch = next(batches, None)
            if batch is None:
                return
            yield from map(_stored, batch)

    def stored(self, path: str) -> Stored:
        """What a store says of an object, without reading it; raises what `get` does."""
        with self._faults(path):
            return _stored(self._quick.head(path))

    def copy(self, path: str, to: str) -> None:
        """Copy an object inside the store, over what lies there; raises what `get` does."""
        with self._faults(path):
            self._large.copy(path, to)

    def delete(self, path: str) -> None:
        """Delete an object; there may be none. Raises what `get` does otherwise."""
        try:
            with self._faults(path):
                self._quick.delete(path)
        except ObjectGone:
            pass

    def delete_all(self, paths: Sequence[str]) -> None:
        """Delete objects, in one request where the store can; raises what `delete` does."""
        try:
            with self._faults(paths[0]):
                self._quick.delete(list(paths))
        except ObjectGone:  # of one of them, in a store that deletes them one by one
            for path in paths:
                self.delete(path)

    @contextmanager
    def _faults(self, path: str) -> Iterator[None]:
        """Say in our words what the library raises.

        A missing object is an OSError there, whose text is a dump: it must not get any further.
        """
        from obstore import exceptions as theirs  # noqa: PLC0415 - the extra

        where = f"{self.address}/{path}".rstrip("/")
        _under_way.append(where)
        try:
            yield
        except (FileNotFoundError, theirs.NotFoundError) as error:
            if any(code in str(error) for code in _NO_BUCKET):
                raise StoreError(f"{where}: {_first(error)}") from error
            raise ObjectGone(f"{where}: there is no such object") from error
        except (theirs.AlreadyExistsError, theirs.PreconditionError) as error:
            raise Refused(f"{where}: another one lies there") from error
        except (theirs.PermissionDeniedError, theirs.UnauthenticatedError) as error:
            raise StoreError(f"{where}: the store does not let us ({_first(error)})") from error
        except (theirs.GenericError, theirs.JoinError) as error:
            said = _first(error)
            kind = StoreError if any(word in str(error) for word in _FOR_GOOD) else StoreAway
            raise kind(f"{where}: {said}") from error
        except (theirs.BaseError, ValueError, NotImplementedError) as error:
            raise StoreError(f"{where}: {_first(error)}") from error
        finally:
            _under_way.remove(where)


# What threads wait for at this moment; appending and removing are one step each.
_under_way: Final[list[str]] = []


def are_calls_under_way() -> bool:
    """Whether a thread waits for a store, which would hold a process that is about to end."""
    return bool(_under_way)


_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound")
# What no patience mends, by the words of the stores.
_FOR_GOOD: Final = (
    *(*_NO_BUCKET, "InvalidBucketName", "Missing", "ExpiredToken"),
    *("InvalidToken", "builder error", "AuthorizationHeaderMalformed", "RequestTimeTooSkewed"),
)


_CODE: Final = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_WORDS: Final = re.compile(r"<Message>([^<\n]{1,200})")
# An endpoint may have a password in it.
_USER: Final = re.compile(r"://[^/@\s]+@")
_MAX_CHARS: Final = 400


def _first(error: BaseException) -> str:
    """What is fit to be shown of a fault: the store's own code and words, or the first line."""
    text = _USER.sub("://…@", str(error))
    found = _CODE.search(text)
    if found is not None:
        words = _WORDS.search(text)
        return f"{found[1]}: {words[1]}" if words else found[1]
    return text.partition("\n")[0].strip()[:_MAX_CHARS] or type(error).__name__


def _version(told: Mapping[str, Any]) -> Version:
    return Version(told.get("e_tag"), told.get("version"))


def _stored(meta: Mapping[str, Any]) -> Stored:
    return Stored(meta["path"], int(meta["size"]), _version(meta), meta["last_modified"])


def _open(address: ObjectAddress, timeout_s: int, n_retries: int) -> Any:
    """A client of the library, with a time after which a request, and all its tries, give up."""
    try:
        from obstore.store import from_url  # noqa: PLC0415 - the extra
    except ImportError:
        raise UsageError(
            f"{address}: object stores need the extra `cloud`: pip install 'batchgen[cloud]'"
        ) from None
    client: dict[str, Any] = {"timeout": f"{timeout_s}s", "connect_timeout": "10s"}
    more: dict[str, Any] = {}
    if address.scheme == "s3":
        chain = aws_chain(os.environ, Path.home())
        if (provider := aws_provider(chain)) is not None:
            more["credential_provider"] = provider
        if chain == "metadata":
            client["connect_timeout"], n_retries = "2s", min(n_retries, 1)
    if _may_use_http(address.scheme, os.environ):
        client["allow_http"] = True
    backoff = {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=5)}
    retry = {
        "max_retries": n_retries,
        "retry_timeout": timedelta(seconds=3 * timeout_s),
        "backoff": {**backoff, "base": 2},
    }
    url = f"{address.scheme}://{address.bucket}/{quote(address.key)}"
    return _built(lambda: from_url(url, client_options=client, retry_config=retry, **more))


def _may_use_http(scheme: str, environment: Mapping[str, str]) -> bool:
    """Whether nothing is encrypted on the way: on this machine, or as somebody asked for."""
    if any(environment.get(name, "").lower() in {"1", "true"} for name in _ALLOWS):
        return True
    return (endpoint_of(scheme, environment) or "").startswith(_LOOPBACK)


def _built(build: Callable[[], Any]) -> Any:
    from obstore.exceptions import BaseError  # noqa: PLC0415 - the extra

    try:
        return build()
    except (BaseError, ValueError) as error:
        raise UsageError(f"the object store cannot be used: {_first(error)}") from error
