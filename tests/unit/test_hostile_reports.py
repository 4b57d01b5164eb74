"""Every payload in every place of a report: shown as the words that it is, and never more."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt

from batchgen.report.page import MAX_SHOWN
from batchgen.sanitize import printable
from tests import ledgers
from tests.hostile import PAYLOADS
from tests.pages import (
    PLACES,
    TEXT_TAGS,
    Page,
    cards_of,
    check_page,
    check_tags,
    clean,
    report_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_no_payload_is_more_than_words_on_the_page(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    root = report_of(tmp_path / "all", list(PAYLOADS))
    text = (root / "report.html").read_text("utf-8")
    page = check_page(text)
    cards = cards_of(text)
    assert len(cards) == len(PAYLOADS) * 3 < MAX_SHOWN
    # What the script draws from is the payload to the letter.
    for n, payload in enumerate(map(clean, PAYLOADS)):
        done, turned, failed = (cards[f"{n}.{kind} {payload}"] for kind in range(3))
        assert [turn["prompt"] for turn in turned["turns"]] == [payload] * 2
        assert done["text"] == payload
        assert done["tags"] == {f"{n}{payload}": payload, "x": payload}
        assert done["model"] == payload
        assert failed["error"] == payload
        assert payload in failed["turns"][0]["prompt"]
    # What is written into the page itself is a word of it: the reason of its end, an example.
    shown = page.shown.replace("\0", "\ufffd")
    assert shown.count(clean(PAYLOADS[0])) >= 2
    tried("P35", len(PAYLOADS) * len(PLACES), "payloads in places")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Page:
    root = report_of(tmp_path_factory.mktemp("plain"), ["a plain word"])
    return check_page((root / "report.html").read_text("utf-8"))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_changes_no_tag_and_no_attribute_of_the_page(
    payload: str, plain: Page, tmp_path: Path
) -> None:
    root = report_of(tmp_path, [payload])
    assert check_page((root / "report.html").read_text("utf-8")).skeleton == plain.skeleton


def test_no_payload_is_markup_in_the_summary_for_tickets(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    for html in (True, False):
        reader = MarkdownIt("commonmark", {"html": html}).enable(["table", "strikethrough"])
        for n, payload in enumerate(PAYLOADS):
            root = report_of(tmp_path / f"{html}{n}", [payload])
            text = (root / "summary.md").read_text("utf-8")
            page = Page(reader.render(text))
            check_tags(page, TEXT_TAGS)
            links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
            # Sources are linked, one of which is a payload that is an address.
            assert all(link.startswith(("https://a.invalid/", payload)) for link in links)
            words = re.sub(r"\s+", " ", page.shown)
            assert words.count(printable(clean(payload))) >= 3
            # What other readers would make a link of though nobody wrote one.
            bare = re.sub(r"\(<https://[ax]\.invalid/.*?>\)|`[^`\n]*`", "", text)
            assert "://" not in bare
    tried("P35", len(PAYLOADS) * 5, "payloads in places")


def test_the_files_for_programs_hold_the_payloads_as_strict_json(tmp_path: Path) -> None:
    root = report_of(tmp_path, list(PAYLOADS))
    assert len(ledgers.results(root)) == 3 * len(PAYLOADS)
    ledgers.summary(root)
    ledgers.lines(root / "failed.jsonl")
