"""File names from ids: readable, portable, never outside, never shared by accident."""

from __future__ import annotations

import hashlib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.naming import MAX_NAME_BYTES, collision_key, file_stem


@pytest.mark.parametrize(
    ("text", "stem"),
    [
        ("hero", "hero"),
        ("hero-wide_2.1", "hero-wide_2.1"),
        ("A-17-studio-4:5", "A-17-studio-4x5"),
        ("16:9", "16x9"),
        ("1:2:3", "1x2x3"),
        ("a:b", "a_b"),
        ("1:b", "1_b"),
        (":1", "_1"),
        ("hero#2", "hero#2"),
        ("two words", "two words"),
        ("../x", "_._x"),
        ("..\\x", "_._x"),
        ("/etc/passwd", "_etc_passwd"),
        ("C:\\x", "C__x"),
        (".", "_"),
        ("..", "__"),
        ("...", "_._"),
        (".hidden", "_hidden"),
        ("end.", "end_"),
        (" x ", "_x_"),
        ("", "_"),
        ("a\x00b\nc\x7fd", "a_b_c_d"),
        ('a*?<>|"b', "a______b"),
        ("CON", "_CON"),
        ("nul.png", "_nul.png"),
        ("com1", "_com1"),
        ("COM\u00b9.txt", "_COM\u00b9.txt"),
        ("lpt9", "_lpt9"),
        ("com10", "com10"),
        ("console", "console"),
        ("-rf", "-rf"),
        ("~", "~"),
        ("%2e%2e", "%2e%2e"),
        ("e\u0301", "\u00e9"),
        ("\u4e2d\u6587", "\u4e2d\u6587"),
    ],
)
def test_a_stem_is_the_id_made_safe(text: str, stem: str) -> None:
    assert file_stem(text) == stem


@pytest.mark.parametrize("length", [179, 180])
def test_a_name_that_fits_stays_whole(length: int) -> None:
    assert file_stem("x" * length) == "x" * length


@pytest.mark.parametrize("character", ["x", "\u00e9", "\u4e2d", "\U0001f600"])
def test_a_long_name_is_cut_at_a_character_and_tells_its_digest(character: str) -> None:
    text = character * 200
    stem = file_stem(text)
    head, _, digest = stem.rpartition("~")
    assert digest == hashlib.sha256(text.encode()).hexdigest()[:8]
    assert set(head) == {character}
    assert MAX_NAME_BYTES - 4 < len(stem.encode()) <= MAX_NAME_BYTES


def test_ten_thousand_ids_that_differ_late_share_no_name() -> None:
    assert len({collision_key(file_stem("y" * 200 + str(n))) for n in range(10_000)}) == 10_000


@given(st.text(max_size=300))
def test_whatever_the_id_the_name_is_one_harmless_component(text: str) -> None:
    stem = file_stem(text)
    assert 0 < len(stem.encode()) <= MAX_NAME_BYTES
    assert not set(stem) & set('/\\:*?"<>|\0')
    assert stem[0] not in ". "
    assert stem[-1] not in ". "
    assert not any(ch < " " for ch in stem)
    assert file_stem(text) == stem
    assert unicodedata.is_normalized("NFC", stem) or "~" in stem or ":" in text


@given(st.text(max_size=60))
def test_both_normal_forms_of_an_id_have_one_name(text: str) -> None:
    assert file_stem(unicodedata.normalize("NFD", text)) == file_stem(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [("A", "a"), ("\u00e9", "e\u0301"), ("\u00df", "SS"), ("\u0130", "i\u0307"), ("\ufb01", "FI")],
)
def test_names_that_some_disk_takes_for_one_share_a_key(one: str, other: str) -> None:
    assert collision_key(one) == collision_key(other)


def test_names_that_differ_have_different_keys() -> None:
    assert len({collision_key(name) for name in ("a", "b", "a_", "\u00e9", "e")}) == 5
