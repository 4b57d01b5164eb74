"""report.html: whatever an item asks for, the page has words for it."""

import html
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batchgen.model import Item, Reference, Turn, content_key
from batchgen.report import rebuild
from batchgen.report.page import prompt_of
from batchgen.store.expanded import write_items
from batchgen.store.ledger import Run


def raw(contents: Any) -> Item:
    return Item(id="a", model="m", request={"contents": contents})


TURNS = (Turn(prompt="Draw it"), Turn(prompt="Now in blue", references=(Reference(item="b"),)))
ITEMS = [
    (Item(id="a", model="m", prompt="A {{ 7*7 }} <b>"), "A {{ 7*7 }} <b>"),
    (Item(id="a", model="m", turns=TURNS), "1. Draw it\n2. Now in blue"),
    (Item(id="a", model="m", turns=TURNS[:1]), "Draw it"),
    (Item(id="a", model="m"), ""),
    (raw([{"role": "user", "parts": [{"text": "x"}, {"text": "y"}]}]), "x\ny"),
    (raw([{"parts": [{"text": "x"}]}, {"parts": [{"inlineData": {}}, {"text": "y"}]}]), "x\ny"),
    (raw({"parts": {"text": "x"}}), "x"),
    *((raw(odd), "") for odd in (None, [], "x", 5, [None], [["x"]], {"parts": None})),
    (raw([{"parts": [None, 5, "x", [], {"text": 7}, {"text": {"text": "x"}}]}]), ""),
    (Item(id="a", model="m", request={}), ""),
]


@pytest.mark.parametrize(("item", "words"), ITEMS)
def test_the_words_of_an_item_are_its_prompts_or_the_texts_of_its_request(
    item: Item, words: str
) -> None:
    assert prompt_of(item) == words


def test_every_item_has_its_card_on_the_page(tmp_path: Path) -> None:
    head = Run(
        run_id="r1",
        at="2026-11-21T03:00:04.120Z",
        job="j",
        job_sha256="0",
        provider="p",
        version="",
    )
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger/r1.jsonl").write_bytes(msgspec.json.encode(head) + b"\n")
    items = [
        msgspec.structs.replace(item, id=f"i{n}", key=content_key(item))
        for n, (item, _) in enumerate(ITEMS)
    ]
    write_items(tmp_path / "items.jsonl", items)
    rebuild(tmp_path)
    page = (tmp_path / "report.html").read_text("utf-8")
    for number, (_, words) in enumerate(ITEMS):
        assert f"<h3>i{number}</h3>" in page
        assert f">{html.escape(words)}</p>" in page
