"""What may be shown: no secret, and nothing that a terminal would obey."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.sanitize import Hidden, Secrets, printable
from tests.canary import Canary

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\r\n\tand more", "two lines and more"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("\x1b]52;c;aGk=\x07", "]52;c;aGk="),
        ("a\u202eb\u2066c\u200fd", "a b c d"),
        ("a\u2028b\u2029c\x85d\x9be", "a b c d e"),
        ("a\u061cb", "a b"),
        ("lone \ud800 surrogate \udfff", "lone \ufffd surrogate \ufffd"),
        ("\u4e2d\u6587 \U0001f600 \u00e9", "\u4e2d\u6587 \U0001f600 \u00e9"),
        ("   ", ""),
        ("", ""),
    ],
)
def test_text_from_outside_becomes_one_harmless_line(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_long_text_ends_in_an_ellipsis() -> None:
    assert printable("x" * 300) == "x" * 300
    assert printable("x" * 301) == "x" * 299 + "…"
    assert printable("x" * 10**7, 10) == "x" * 9 + "…"
    assert printable("ab " * 100, 7) == "ab ab…"


@given(st.text(st.characters(), max_size=400), st.integers(2, 50))
def test_no_text_brings_a_control_code_or_a_direction_through(text: str, bound: int) -> None:
    shown = printable(text, bound)
    assert len(shown) <= bound
    assert shown == shown.strip()
    shown.encode()
    assert not any(ch < " " or "\x7f" <= ch <= "\x9f" for ch in shown)
    assert not set(shown) & set(
        "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"
    )


def test_secrets_are_taken_out_by_value_the_longest_first() -> None:
    secrets = Secrets(["sk-1", "", "sk-123", "sk-1"])
    assert secrets.redact("a sk-123 b sk-1 c sk-12") == "a [key] b [key] c [key]2"
    assert secrets.redact_bytes(b'{"sk-123":"sk-1"}') == b'{"[key]":"[key]"}'


def test_clean_bytes_come_back_as_the_same_object() -> None:
    data = b"nothing here"
    assert Secrets(["sk-1"]).redact_bytes(data) is data
    assert Secrets([]).redact_bytes(data) is data


def test_secrets_do_not_show_themselves() -> None:
    secrets = Secrets(["sk-CANARY"])
    assert "CANARY" not in repr(secrets)
    assert "CANARY" not in str(secrets)
    assert "1" in repr(secrets)


def test_secrets_beyond_ascii_are_found_too() -> None:
    secrets = Secrets(["k\u00e9y"])
    assert secrets.redact_bytes("a k\u00e9y".encode()) == b"a [key]"


@pytest.mark.parametrize("spelling", Canary().spellings())
def test_a_secret_is_found_in_whatever_spelling(spelling: str) -> None:
    canary = Canary()
    written = canary.spellings()[spelling]
    redacted = Secrets([canary.key]).redact(f"a {written} b")
    assert redacted.startswith("a ")
    assert redacted.endswith(" b")
    assert "[key]" in redacted
    assert not canary.found_in(redacted)


@given(st.binary(max_size=60), st.binary(max_size=60), st.integers(0, 2**40))
def test_what_stands_around_a_secret_stays_as_it_is(before: bytes, after: bytes, n: int) -> None:
    key = f"sk-CANARY-{n}"
    data = before + b"\t" + key.encode() + b"\t" + after
    assert Secrets([key]).redact_bytes(data) == before + b"\t[key]\t" + after


@given(st.binary(max_size=200))
def test_what_holds_no_secret_is_the_same_object(data: bytes) -> None:
    assert Secrets(["sk-CANARY-8f3a2b1c"]).redact_bytes(data) is data


@given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=8))
def test_a_line_of_json_stays_one_when_a_secret_is_taken_out_of_it(key: str) -> None:
    line = json.dumps({"said": [f"it is {key}", quote(key, safe=""), html.escape(key)]})
    said = json.loads(Secrets([key]).redact(line))["said"]
    said[2] = said[2].removesuffix("amp;")  # what is left of an & at the end of a key
    assert said == ["it is [key]", "[key]", "[key]"]


def test_secrets_that_overlap_leave_nothing() -> None:
    assert Secrets(["sk-abcdef", "def-sk-xyz"]).redact("1 sk-abcdef-sk-xyz 2") == "1 [key] 2"


def test_an_exception_tells_no_secret_and_neither_does_what_stands_behind_it() -> None:
    behind = KeyError("sk-CANARY-8f3a", b"sk-CANARY-8f3a", 7)
    inside = ValueError({"a": "sk%2DCANARY-8f3a"})
    error = ExceptionGroup("some", [inside])
    error.__context__ = behind
    behind.__cause__ = error  # as a ring, which must end all the same
    Secrets(["sk-CANARY-8f3a"]).scrub(error)
    told = f"{error!r} {error} {inside!r} {inside} {behind!r} {behind}"
    assert "CANARY" not in told
    assert told.count("[key]") >= 4
    assert behind.args[2] == 7


def test_a_hidden_text_is_a_text_that_repr_does_not_show() -> None:
    hidden = Hidden("sk-CANARY")
    assert (hidden, f"Bearer {hidden}") == ("sk-CANARY", "Bearer sk-CANARY")
    assert repr({"key": hidden}) == "{'key': '[key]'}"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("nice-secret-12345", "x\nice-secret-12345"),
        ("nice-secret-12345", "x\\nice-secret-12345"),
        ("e9ab-secret-12345", "caf\u00e9ab-secret-12345"),
        ("9ab-secret-123456", "caf\u00e9ab-secret-123456"),
    ],
)
def test_a_key_that_begins_within_an_escape_leaves_json(key: str, text: str) -> None:
    redacted = json.loads(Secrets([key]).redact(json.dumps(text)))
    assert key[4:] not in redacted
    assert redacted.endswith("[key]")


@pytest.mark.parametrize("size", [0, 10, (1 << 20) - 7, (1 << 20) + 3, 3 << 20])
def test_a_file_is_masked_byte_for_byte_wherever_the_key_stands(tmp_path: Path, size: int) -> None:
    path, key = tmp_path / "odd.bin", b"sk-CANARY-0123456789"
    path.write_bytes(b"a" * size + key + b"z" * 100 + key.upper() + key.hex().encode() + b"end")
    assert Secrets([key.decode()]).mask(path)
    masked = b"*" * len(key)
    assert path.read_bytes() == b"a" * size + masked + b"z" * 100 + masked * 3 + b"end"
    assert not Secrets([key.decode()]).mask(path)


def test_an_empty_file_and_no_secret_are_no_matter(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert not Secrets(["sk-CANARY-0123456789"]).mask(tmp_path / "empty")
    assert not Secrets([]).mask(tmp_path / "empty")
