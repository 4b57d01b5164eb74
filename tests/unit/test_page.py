"""report.html: whatever an item asks for, the page has words for it."""

import html
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batchgen.model import (
    Attempt,
    ImageFile,
    ImageRole,
    Item,
    Outcome,
    Reference,
    Turn,
    content_key,
)
from batchgen.report import rebuild
from batchgen.report.page import pictures_besides, prompt_of
from batchgen.store.expanded import write_items
from batchgen.store.ledger import Run

AT = "2026-11-21T03:00:04.120Z"


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


def page_of(root: Path, items: list[Item], *lines: Attempt) -> str:
    """The page of items, by what a ledger says of them."""
    head = Run(run_id="r1", at=AT, job="j", job_sha256="0", provider="p", version="")
    (root / "ledger").mkdir()
    written = b"".join(msgspec.json.encode(line) + b"\n" for line in (head, *lines))
    (root / "ledger/r1.jsonl").write_bytes(written)
    write_items(root / "items.jsonl", items)
    rebuild(root)
    return (root / "report.html").read_text("utf-8")


def test_every_item_has_its_card_on_the_page(tmp_path: Path) -> None:
    items = [
        msgspec.structs.replace(item, id=f"i{n}", key=content_key(item))
        for n, (item, _) in enumerate(ITEMS)
    ]
    page = page_of(tmp_path, items)
    for number, (_, words) in enumerate(ITEMS):
        assert f"<h3>i{number}</h3>" in page
        assert f">{html.escape(words)}</p>" in page


KEYED = msgspec.structs.replace(ITEMS[0][0], key=content_key(ITEMS[0][0]))
TURNED = msgspec.structs.replace(ITEMS[1][0], key=content_key(ITEMS[1][0]))


def ended(item: Item, turn: int = 1, **known: Any) -> Attempt:
    line = Attempt(
        run_id="r1",
        item=item.id,
        key=content_key(item, turn=turn),
        turn=turn,
        attempt=1,
        at=AT,
        model="m",
        provider="p",
        outcome=Outcome.IMAGE,
        decision="done",
        cost_basis="unknown",
        billed="yes",
    )
    return msgspec.structs.replace(line, **known)


def picture(role: ImageRole, path: str) -> ImageFile:
    return ImageFile(path=path, role=role, sha256="", bytes=1, width=1, height=1, mime="image/png")


FOUND = {
    "webSearchQueries": ["tides <now>", ""],
    "groundingChunks": [
        {"web": {"uri": "https://a.example.com/?x=1&y=2", "title": '"A" <b>'}},
        {"web": {"uri": "javascript:alert(1)", "title": "evil"}},
        {"web": {"uri": 'https://b.example.com/"onload="x', "title": "evil too"}},
    ],
    "searchEntryPoint": {
        "renderedContent": '<script>alert(1)</script><a href="https://s.example.com/q">tides</a>'
    },
}


def test_what_an_answer_was_grounded_in_is_shown_as_words_and_plain_links(tmp_path: Path) -> None:
    page = page_of(tmp_path, [KEYED], ended(KEYED, grounding=FOUND))
    assert "“tides &lt;now&gt;”" in page
    away = 'rel="noopener noreferrer external"'
    assert f'<a href="https://a.example.com/?x=1&amp;y=2" {away}>&#34;A&#34; &lt;b&gt;</a>' in page
    assert f'<a href="https://s.example.com/q" {away}>tides</a>' in page
    assert "evil" not in page
    assert "alert" not in page
    assert "javascript" not in page


def test_what_the_turns_of_a_conversation_found_is_shown_together(tmp_path: Path) -> None:
    lines = [
        ended(TURNED, turn, grounding={"webSearchQueries": [f"query {turn}"]}) for turn in (1, 2)
    ]
    page = page_of(tmp_path, [TURNED], *lines)
    assert "“query 1”, “query 2”" in page


def test_notes_and_pictures_besides_are_on_the_card(tmp_path: Path) -> None:
    line = ended(
        KEYED,
        note="the picture is 1x1, and 16:9 was asked for",
        images=(picture("final", "images/a.png"), picture("draft", "drafts/a b.1.1.png")),
    )
    page = page_of(tmp_path, [KEYED], line)
    assert "the picture is 1x1, and 16:9 was asked for" in page
    assert '<a href="./drafts/a%20b.1.1.png">draft</a>' in page


def test_what_must_be_known_of_a_call_is_on_the_card_of_one_that_failed(tmp_path: Path) -> None:
    note = "answered, but not recorded, by a run that was killed"
    failed = ended(KEYED, outcome=Outcome.NO_IMAGE, decision="failed", note=note)
    assert page_of(tmp_path, [KEYED], failed).count(note) == 1


def test_pictures_besides_are_named_by_what_they_are_and_numbered_where_there_are_several() -> None:
    first = ended(
        TURNED, 1, images=(picture("draft", "turns/a.1.png"), picture("draft", "drafts/a.1.1.png"))
    )
    images = [
        picture("final", "images/a.png"),
        picture("draft", "drafts/a.2.1.png"),
        picture("thought", "thoughts/a.2.1.png"),
        picture("quarantine", "quarantine/x.png"),
    ]
    lines = [first, ended(TURNED, 2, images=tuple(images))]
    assert list(pictures_besides(lines)) == [
        ("picture of turn 1", "turns/a.1.png"),
        ("draft 1", "drafts/a.1.1.png"),
        ("draft 2", "drafts/a.2.1.png"),
        ("thought", "thoughts/a.2.1.png"),
        ("set aside", "quarantine/x.png"),
    ]
