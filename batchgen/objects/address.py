"""Where an object lies: `s3://bucket/key`, `gs://bucket/key`, `az://container/key`."""

import os
import re
from dataclasses import dataclass
from typing import Final

SCHEMES: Final = ("s3", "gs", "az")
_MAX_KEY_BYTES: Final = 1024
_ADDRESS: Final = re.compile(
    r"(?P<scheme>s3|gs|az)://(?P<bucket>[^/]*)(?:/(?P<key>.*))?", re.DOTALL
)
_AS_PATH: Final = re.compile(r"(s3|gs|az):(?:/+(.*))?\Z", re.DOTALL)
_LOST_SLASH: Final = re.compile(r"\A(s3|gs|az):/(?!/)")
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")


class AddressError(ValueError):
    """A text that looks like the address of an object, and is none; the message completes it."""


@dataclass(frozen=True, slots=True)
class ObjectAddress:
    """One object, or all whose keys begin with this one.

    Attributes:
        key: Without a slash at its begin or end; empty for the whole bucket.
    """

    scheme: str
    bucket: str
    key: str = ""

    def __str__(self) -> str:
        """As it is written."""
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")

    def __truediv__(self, name: str) -> "ObjectAddress":
        """What lies below it; a name may have several parts, and `..` leads no further up.

        Raises:
            AddressError: It would lead out of the bucket, or be too long.
        """
        parts = self.key.split("/") if self.key else []
        for part in name.split("/"):
            if part == "..":
                if not parts:
                    raise AddressError(f"{name!r} leads out of {self.scheme}://{self.bucket}")
                parts.pop()
            elif part not in {"", "."}:
                parts.append(part)
        return _checked(ObjectAddress(self.scheme, self.bucket, "/".join(parts)))

    @property
    def parent(self) -> "ObjectAddress":
        """What it lies in."""
        return ObjectAddress(self.scheme, self.bucket, self.key.rpartition("/")[0])

    @property
    def name(self) -> str:
        """The last part of its key."""
        return self.key.rpartition("/")[2]


def is_address(text: str) -> bool:
    """Whether a text is meant as the address of an object."""
    return text.partition("://")[0].lower() in SCHEMES and "://" in text


def address_of(place: str | os.PathLike[str]) -> ObjectAddress | None:
    """The address that a path or a text is meant as; None if it is a path of this machine.

    A path has lost one of two slashes: `s3:/bucket/key`.

    Raises:
        AddressError: It is meant as one, and is none.
    """
    found = _AS_PATH.match(os.fspath(place))
    return None if found is None else read_address(f"{found[1]}://{found[2] or ''}")


def as_written(place: str | os.PathLike[str]) -> str:
    """A path as a person wrote it: an address that became one has its slash back."""
    return _LOST_SLASH.sub(r"\1://", os.fspath(place))


def read_address(text: str) -> ObjectAddress:
    """Read an address.

    Raises:
        AddressError: It is none. What a store would drop without a word (a query, a user) is
            refused here.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise AddressError(
            "is no address of an object: write s3://, gs:// or az:// in small letters"
        )
    bucket, key = found["bucket"], found["key"] or ""
    if "@" in bucket or ":" in bucket:
        raise AddressError(
            "has a user or a port in it: keys and endpoints come from the environment"
        )
    if not _BUCKET.fullmatch(bucket):
        raise AddressError("names no bucket: expected SCHEME://BUCKET/KEY")
    if "?" in key or "#" in key:
        raise AddressError("has a query or a fragment: an object has neither")
    parts = key.strip("/").split("/") if key.strip("/") else []
    if any(part in {"", ".", ".."} for part in parts):
        raise AddressError("has an empty part, a '.' or a '..' in it")
    return _checked(ObjectAddress(found["scheme"], bucket, "/".join(parts)))


def _checked(address: ObjectAddress) -> ObjectAddress:
    if len(address.key.encode("utf-8", "replace")) > _MAX_KEY_BYTES:
        raise AddressError(f"has a key of more than {_MAX_KEY_BYTES} bytes")
    if any(ord(one) < ord(" ") for one in address.key) or not address.key.isprintable():
        raise AddressError("has a sign in it that cannot be shown")
    return address
