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
from tests.pages import PLACES, TEXT_TAGS, Page, check_page, check_tags, clean, report_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_no_payload_is_more_than_words_on_the_page(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    root = report_of(tmp_path / "all", list(PAYLOADS))
    page = check_page((root / "report.html").read_text("utf-8"))
    assert page.scripts == []
    shown = page.shown
    for n, payload in enumerate(PAYLOADS):
        text = clean(payload).replace("\0", "\ufffd")
        # In the heading, as a prompt, as a tag, as words and as the error.
        for kind in range(3):
            assert f"{n}.{kind} {text}" in shown.replace("\0", "\ufffd")
        assert f"1. {text}\n2. {text}" in shown.replace("\0", "\ufffd")
        assert f"x {text}" in shown.replace("\0", "\ufffd")
        assert f"“{text}”" in shown.replace("\0", "\ufffd")
    assert len(PAYLOADS) * 3 < MAX_SHOWN
    tried("P35", len(PAYLOADS) * len(PLACES), "payloads in places")


@pytest.mark.parametrize("payload", PAYLOADS[:6])
def test_a_page_of_one_payload_alone_is_as_safe(payload: str, tmp_path: Path) -> None:
    root = report_of(tmp_path, [payload])
    check_page((root / "report.html").read_text("utf-8"))


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
