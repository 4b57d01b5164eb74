"""Lines for a terminal, a log and a mail: aligned, and no wider than told."""

import pytest

from batchgen.paper import Paper, columns

NARROW = Paper(20)
ASCII = Paper(20, "ascii")
WIDE = "猫" * 9


@pytest.mark.parametrize(
    ("text", "n"), [("", 0), ("abc", 3), ("é", 1), ("e\u0301", 1), ("猫a", 3), ("a\u200bb", 2)]
)
def test_a_width_is_what_a_terminal_shows(text: str, n: int) -> None:
    assert columns(text) == n


def test_names_begin_at_the_left_figures_end_at_the_right() -> None:
    rows = [("model", "calls"), ("a", "1"), ("猫", "1,000")]
    assert NARROW.table(rows, 1) == ["model  calls", "a          1", "猫     1,000"]


@pytest.mark.parametrize("name", ["x" * 50, WIDE * 3, "a-" * 30])
@pytest.mark.parametrize("sheet", [NARROW, ASCII, Paper(21)])
def test_a_name_that_does_not_fit_loses_its_middle_and_no_figure_loses_anything(
    name: str, sheet: Paper
) -> None:
    *_, line = sheet.table([("name", "other", "n"), (name, name, "123,456")], 2)
    assert columns(line) <= sheet.width
    assert line.endswith(" 123,456")
    assert sheet.spelled("…") in line


def test_both_ends_of_a_cut_name_stay() -> None:
    assert NARROW.cut("catalog-2026-sku-0001-studio", 13) == "catalo…studio"
    assert NARROW.cut("short", 13) == "short"
    assert ASCII.cut("catalog-2026-sku-0001-studio", 13) == "catal...tudio"


@pytest.mark.parametrize("text", ["one two three four five", "x" * 95, WIDE * 4, f"a {WIDE} b"])
def test_what_is_wrapped_fits_and_loses_nothing(text: str) -> None:
    lines = list(NARROW.wrapped(text, "told: "))
    assert all(columns(line) <= 20 for line in lines)
    assert lines[0].startswith("told: ")
    assert all(line.startswith("      ") for line in lines[1:])
    assert "".join("".join(lines).split()) == "told:" + text.replace(" ", "")


def test_a_path_is_never_broken() -> None:
    path = "/" + "directory/" * 5
    assert list(NARROW.wrapped(f"it is in {path}", whole=True)) == ["it is in", path]


def test_nothing_to_wrap_is_one_line() -> None:
    assert list(NARROW.wrapped("", "- ")) == ["-"]


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("utf-8", "a – b · c → d… “e” × é 猫"),
        ("latin-1", 'a - b · c -> d... "e" × é \\u732b'),
        ("ascii", 'a - b | c -> d... "e" x \\xe9 \\u732b'),
    ],
)
def test_what_an_encoding_lacks_is_told_by_what_it_has(encoding: str, told: str) -> None:
    assert Paper(80, encoding).spelled("a – b · c → d… “e” × é 猫") == told
