"""Addresses of objects, which chain has a key, and the faults of a store in our words."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import obstore.exceptions as theirs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore

from batchgen.errors import StoreError
from batchgen.mirror.contents import Contents
from batchgen.mirror.place import mirror_of
from batchgen.objects import (
    AddressError,
    ObjectAddress,
    address_of,
    as_written,
    is_address,
    read_address,
)
from batchgen.objects.bucket import Bucket, ObjectGone, Refused, StoreAway, Version
from batchgen.objects.credentials import aws_chain


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("s3://bucket", ObjectAddress("s3", "bucket")),
        ("s3://bucket/", ObjectAddress("s3", "bucket")),
        ("s3://bucket/a/b.png", ObjectAddress("s3", "bucket", "a/b.png")),
        ("gs://a.b-c_d/größe 1.png", ObjectAddress("gs", "a.b-c_d", "größe 1.png")),
        ("az://container/x/", ObjectAddress("az", "container", "x")),
    ],
)
def test_an_address_is_read_and_written(text: str, address: ObjectAddress) -> None:
    assert read_address(text) == address
    assert str(address) == text.rstrip("/")
    assert address_of(text) == address_of(Path(text)) == address
    assert as_written(Path(text)) == str(address)


@pytest.mark.parametrize(
    "text",
    [
        *("s3://", "s3:///x", "S3://bucket/x", "s3://user@bucket/x", "s3://user:word@bucket/x"),
        *("s3://bucket:9000/x", "s3://bucket/a?v=1", "s3://bucket/a#b", "s3://bucket/a/../b"),
        *("s3://bucket/a//b", "s3://bucket/./b", "s3://-bucket/x", "s3://b/x", "s3://bucket/a\n"),
        *("s3://bucket/" + "ü" * 513, "s3://bucket/a\u202eb"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    assert is_address(text)
    with pytest.raises(AddressError):
        read_address(text)


@pytest.mark.parametrize("place", ["output", "./s3", "/s3://x", "http://x/y", "S3:/x", "c:/x"])
def test_a_path_of_this_machine_is_none(place: str) -> None:
    assert address_of(place) is None
    assert as_written(place) == place


@pytest.mark.parametrize(
    ("name", "key"),
    [("c.png", "a/b/c.png"), ("../c", "a/c"), ("./c/d", "a/b/c/d"), ("../../c", "c"), ("", "a/b")],
)
def test_what_lies_beside_is_found_and_nothing_outside(name: str, key: str) -> None:
    assert (ObjectAddress("s3", "bucket", "a/b") / name).key == key
    with pytest.raises(AddressError, match="leads out of s3://bucket"):
        ObjectAddress("s3", "bucket", "a") / "../../x"


def test_the_mirror_of_a_place_is_the_same_each_time_and_on_no_other_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    one, other = ObjectAddress("s3", "bucket", "a/b"), ObjectAddress("gs", "bucket", "a/b")
    assert mirror_of(one) == tmp_path / "batchgen/mirror/s3/bucket/a/b" != mirror_of(other)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://minio.example.com")
    assert mirror_of(one) != tmp_path / "batchgen/mirror/s3/bucket/a/b"
    assert mirror_of(other) == tmp_path / "batchgen/mirror/gs/bucket/a/b"
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert mirror_of(one) == tmp_path / ".local/state/batchgen/mirror/s3/bucket/a/b"


def test_which_chain_has_a_key_is_told_without_asking_anybody(tmp_path: Path) -> None:
    key = {"AWS_ACCESS_KEY_ID": "x"}
    assert aws_chain({}, tmp_path) == "metadata"
    assert aws_chain(key, tmp_path) == "environment"
    role = {"AWS_WEB_IDENTITY_TOKEN_FILE": "f", "AWS_ROLE_ARN": "r"}
    assert aws_chain(role, tmp_path) == "identity"
    assert aws_chain({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "u"}, tmp_path) == "container"
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").touch()
    assert aws_chain({}, tmp_path) == "profile"
    assert aws_chain(key, tmp_path) == "environment"
    assert aws_chain({**key, "AWS_PROFILE": "shop"}, tmp_path) == "environment"
    (tmp_path / ".aws/credentials").unlink()
    (tmp_path / ".aws/config").touch()
    assert aws_chain({}, tmp_path) == "metadata"
    assert aws_chain({"AWS_PROFILE": "shop"}, tmp_path) == "profile"


def memory() -> Bucket:
    store = MemoryStore()
    return Bucket(ObjectAddress("s3", "bucket", "x"), store, store)


def test_a_bucket_gives_what_was_stored(tmp_path: Path) -> None:
    bucket = memory()
    (tmp_path / "a.png").write_bytes(b"picture" * 1000)
    bucket.put_file("images/a.png", tmp_path / "a.png", "image/png")
    bucket.put("b.txt", b"words")
    assert bucket.get("b.txt")[0] == b"words"
    stored = bucket.fetch("images/a.png", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"picture" * 1000
    assert (stored.size_bytes, bucket.stored("images/a.png").size_bytes) == (7000, 7000)
    assert b"".join(bucket.pieces("images/a.png")) == b"picture" * 1000
    assert sorted(one.path for one in bucket.listed()) == ["b.txt", "images/a.png"]
    assert [one.path for one in bucket.listed("images")] == ["images/a.png"]
    bucket.delete("b.txt")
    bucket.delete("b.txt")
    with pytest.raises(ObjectGone, match=r"s3://bucket/x/b\.txt: there is no such object"):
        bucket.get("b.txt")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_write_that_depends_on_a_version_is_refused_for_another_one() -> None:
    bucket = memory()
    first = bucket.put_new("claim", b"1")
    with pytest.raises(Refused):
        bucket.put_new("claim", b"2")
    second = bucket.put_over("claim", b"2", first)
    with pytest.raises(Refused):
        bucket.put_over("claim", b"3", first)
    assert bucket.get("claim")[0] == b"2"
    assert second != first
    assert Version("tag", None).mode == {"e_tag": "tag"}


class _Broken:
    """A client of the library that always raises the same."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __getattr__(self, _name: str) -> Any:
        def fails(*_: Any, **__: Any) -> Any:
            raise self._error

        return fails


XML = "status 403: <Error><Code>{}</Code><Message>{}</Message></Error>\n\nDebug source:\nGeneric {{"


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (
            FileNotFoundError("Object at location x not found: Client { dump }"),
            ObjectGone,
            "no such",
        ),
        (theirs.NotFoundError("x"), ObjectGone, "no such"),
        (theirs.AlreadyExistsError("x"), Refused, "another one lies there"),
        (theirs.PreconditionError("x"), Refused, "another one lies there"),
        (theirs.PermissionDeniedError(XML.format("Denied", "no")), StoreError, "Denied: no"),
        (theirs.UnauthenticatedError("no key\n\nDebug source:\nx"), StoreError, "(no key)"),
        (theirs.GenericError(XML.format("SlowDown", "less")), StoreAway, "SlowDown: less"),
        (theirs.GenericError("error sending request\n\nDebug"), StoreAway, "error sending request"),
        (theirs.GenericError(XML.format("NoSuchBucket", "none")), StoreError, "NoSuchBucket"),
        (theirs.GenericError(XML.format("ExpiredToken", "old")), StoreError, "ExpiredToken"),
        (theirs.NotSupportedError("x"), StoreError, "x"),
        (theirs.InvalidPathError("odd"), StoreError, "odd"),
        (theirs.JoinError("gone"), StoreAway, "gone"),
        (ValueError("Path contained '..'"), StoreError, "Path contained"),
        (NotImplementedError("no update"), StoreError, "no update"),
    ],
)
def test_every_fault_of_the_library_is_one_of_ours(
    error: BaseException, kind: type[StoreError], told: str
) -> None:
    bucket = Bucket(ObjectAddress("s3", "bucket", "x"), _Broken(error), _Broken(error))
    for call in (
        lambda: bucket.get("a"),
        lambda: bucket.put("a", b""),
        lambda: bucket.put_new("a", b""),
        lambda: bucket.stored("a"),
        lambda: list(bucket.pieces("a")),
    ):
        with pytest.raises(StoreError) as caught:
            call()
        assert type(caught.value) is kind
        assert told in str(caught.value)
        assert str(caught.value).startswith("s3://bucket/x/a: ")
        assert "Debug" not in str(caught.value)


def test_every_class_of_the_library_is_known() -> None:
    known = {
        *("BaseError", "GenericError", "NotFoundError", "InvalidPathError", "JoinError"),
        *("NotSupportedError", "AlreadyExistsError", "PreconditionError", "NotModifiedError"),
        *("PermissionDeniedError", "UnauthenticatedError", "UnknownConfigurationKeyError"),
    }
    assert {name for name in dir(theirs) if name.endswith("Error")} == known


def test_a_bucket_is_shown_without_what_it_holds() -> None:
    assert repr(memory()) == f"Bucket(address={ObjectAddress('s3', 'bucket', 'x')!r})"


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.integers(0, 1 << 40))))
def test_what_lies_there_is_what_was_noted_last(steps: list[tuple[str, int | None]]) -> None:
    contents, model = Contents(), dict[str, int]()
    for path, size_bytes in steps:
        if size_bytes is None:
            contents.drop(path)
            model.pop(path, None)
        else:
            contents.put(path, size_bytes)
            model[path] = size_bytes
    for path in "abcdef":
        assert contents.size_bytes(path) == model.get(path)
        assert (path in contents) == (path in model)


def test_what_is_listed_is_noted() -> None:
    bucket, contents = memory(), Contents()
    for name in ("images/a.png", "thumbnails/x.webp"):
        bucket.put(name, b"12345")
    assert [one.path for one in contents.read(bucket)] == ["images/a.png", "thumbnails/x.webp"]
    assert contents.size_bytes("images/a.png") == 5
    assert contents.thumbnails == {"x.webp"}
    assert all(one.written_at <= datetime.now(UTC) for one in bucket.listed())
