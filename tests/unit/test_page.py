"""report.html: whatever an item asks for, the page has words for it."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from markupsafe import Markup

from batchgen.model import (
    Attempt,
    Failure,
    ImageFile,
    ImageRole,
    Item,
    Outcome,
    Reference,
    Turn,
    content_key,
)
from batchgen.report.cards import pictures_besides
from batchgen.report.last_run import LastRun, summary_of
from batchgen.report.page import Shown, View, page, parts, read_script
from batchgen.report.rebuild import rebuild
from batchgen.report.remedies import remedy
from batchgen.report.summary import ItemCounts, ItemTotals, WholeJob
from batchgen.selection import Selection
from batchgen.store.expanded import write_items
from batchgen.store.ledger import Run, Sent
from tests.pages import cards_of, check_page, data_of

AT = "2026-11-21T03:00:04.120Z"


def raw(contents: Any) -> Item:
    return Item(id="a", model="m", request={"contents": contents})


TURNS = (Turn(prompt="Draw it"), Turn(prompt="Now in blue", references=(Reference(item="b"),)))
ITEMS = [
    (Item(id="a", model="m", prompt="A {{ 7*7 }} <b>"), ["A {{ 7*7 }} <b>"]),
    (Item(id="a", model="m", turns=TURNS), ["Draw it", "Now in blue"]),
    (Item(id="a", model="m", turns=TURNS[:1]), ["Draw it"]),
    (Item(id="a", model="m"), []),
    (raw([{"role": "user", "parts": [{"text": "x"}, {"text": "y"}]}]), ["x\ny"]),
    (raw([{"parts": [{"text": "x"}]}, {"parts": [{"inlineData": {}}, {"text": "y"}]}]), ["x\ny"]),
    (raw({"parts": {"text": "x"}}), ["x"]),
    *((raw(odd), [""]) for odd in (None, [], "x", 5, [None], [["x"]], {"parts": None})),
    (raw([{"parts": [None, 5, "x", [], {"text": 7}, {"text": {"text": "x"}}]}]), [""]),
    (Item(id="a", model="m", request={}), [""]),
]


def page_of(root: Path, items: list[Item], *lines: Attempt | Sent) -> str:
    """The page of items, by what a ledger says of them."""
    head = Run(run_id="r1", at=AT, job="j", job_sha256="0", provider="p", version="")
    (root / "ledger").mkdir()
    written = b"".join(msgspec.json.encode(line) + b"\n" for line in (head, *lines))
    (root / "ledger/r1.jsonl").write_bytes(written)
    write_items(root / "items.jsonl", items)
    rebuild(root)
    return (root / "report.html").read_text("utf-8")


def test_every_item_has_its_card_with_the_words_of_its_prompts_or_of_its_request(
    tmp_path: Path,
) -> None:
    items = [
        msgspec.structs.replace(item, id=f"i{n}", key=content_key(item))
        for n, (item, _) in enumerate(ITEMS)
    ]
    cards = cards_of(page_of(tmp_path, items))
    assert list(cards) == [item.id for item in items]
    for card, (item, words) in zip(cards.values(), ITEMS, strict=True):
        assert [turn["prompt"] for turn in card.get("turns", [])] == words
        assert ("request" in card) == (item.request is not None)


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


def test_a_call_that_a_killed_run_left_is_not_under_way(tmp_path: Path) -> None:
    left = Sent(run_id="r1", item="a", key=KEYED.key, turn=1, attempt=1, at=AT, model="m")
    assert "is_under_way" not in cards_of(page_of(tmp_path, [KEYED], left))["a"]


def test_what_an_answer_was_grounded_in_is_on_the_card_without_addresses_that_run(
    tmp_path: Path,
) -> None:
    found = cards_of(page_of(tmp_path, [KEYED], ended(KEYED, grounding=FOUND)))["a"]["found"]
    assert found == {
        "queries": ["tides <now>"],
        "sources": [{"title": '"A" <b>', "uri": "https://a.example.com/?x=1&y=2"}],
        "suggestions": [{"title": "tides", "uri": "https://s.example.com/q"}],
    }


def test_what_the_turns_of_a_conversation_found_is_shown_together(tmp_path: Path) -> None:
    lines = [
        ended(TURNED, turn, grounding={"webSearchQueries": [f"query {turn}"]}) for turn in (1, 2)
    ]
    cards = cards_of(page_of(tmp_path, [TURNED], *lines))
    assert cards["a"]["found"]["queries"] == ["query 1", "query 2"]


def test_notes_and_pictures_besides_are_on_the_card(tmp_path: Path) -> None:
    line = ended(
        KEYED,
        note="the picture is 1x1, and 16:9 was asked for",
        images=(picture("final", "images/a.png"), picture("draft", "drafts/a b.1.1.png")),
    )
    card = cards_of(page_of(tmp_path, [KEYED], line))["a"]
    assert card["notes"] == ["the picture is 1x1, and 16:9 was asked for"]
    assert [(one["label"], one["path"]) for one in card["pictures"]] == [
        ("draft", "drafts/a b.1.1.png")
    ]


def test_what_must_be_known_of_a_call_is_on_the_card_of_one_that_failed(tmp_path: Path) -> None:
    note = "answered, but not recorded, by a run that was killed"
    failed = ended(KEYED, outcome=Outcome.NO_IMAGE, decision="failed", note=note)
    card = cards_of(page_of(tmp_path, [KEYED], failed))["a"]
    assert card["notes"] == [note]
    assert [one["why"] for one in card["tries"]] == [note]


def test_the_page_tells_what_failed_and_what_to_do_before_any_script_runs(tmp_path: Path) -> None:
    failed = ended(
        KEYED,
        outcome=Outcome.NO_IMAGE,
        decision="failed",
        error=Failure(kind="x", message="no <picture> came"),
    )
    shown = check_page(page_of(tmp_path, [KEYED], failed))
    what_to_do = remedy(Outcome.NO_IMAGE)
    for words in ("no image", "no <picture> came", what_to_do, "The gallery needs JavaScript"):
        assert words in shown.shown
    assert ("a", {"href": "#outcome=no_image"}) in shown.tags


def test_the_bar_has_a_part_for_each_state_and_shows_one_failure_among_thousands() -> None:
    counts = ItemCounts(total=20_000, done=19_999, failed=1)
    done, failed = parts(counts)
    assert (done.name, done.count, failed.name, failed.count) == ("done", 19_999, "failed", 1)
    assert failed.width >= 5
    assert done.width + failed.width == pytest.approx(1000, abs=0.2)
    assert failed.x == done.width
    assert [(part.name, part.width) for part in parts(ItemCounts())] == [("done", 0.0)]


def view_of(items: ItemCounts) -> View:
    """A page of so many items, whose last run was about nothing."""
    run = Run(run_id="r1", at=AT, job="j", job_sha256="0", provider="p", version="")
    whole = WholeJob(items=items, failures=[], models=["m"])
    return View(summary_of(run, None, LastRun(), ItemTotals()), whole, Markup(), "r1")


def test_a_page_of_more_items_than_it_shows_tells_how_many_there_are() -> None:
    text = "".join(page(view_of(ItemCounts(total=20_001, done=20_001)), []))
    assert data_of(text)[0]["total"] == 20_001
    assert "<title>j · 20001/20001 · batchgen</title>" in text


def test_a_served_page_may_ask_its_server_and_one_from_disk_nobody() -> None:
    view = view_of(ItemCounts(total=1, done=1))
    from_disk, served = "".join(page(view, [])), "".join(page(view, [], {"seq": 7}))
    assert "connect-src" not in from_disk
    assert "connect-src 'self'" in served
    assert data_of(from_disk)[0]["live"] is None
    assert data_of(served)[0]["live"] == {"seq": 7}


def test_the_page_is_about_the_whole_job_whatever_the_last_run_was_about(tmp_path: Path) -> None:
    other = msgspec.structs.replace(KEYED, id="b", model="n")
    other = msgspec.structs.replace(other, key=content_key(other))
    failed = ended(other, outcome=Outcome.BLOCKED, decision="failed")
    lines = [ended(KEYED, images=(picture("final", "images/a.png"),)), failed]
    begun = Run(run_id="r2", at=AT, job="j", job_sha256="0", provider="p", version="")
    chosen = msgspec.structs.replace(begun, selection=Selection(only=("a",)))
    page_of(tmp_path, [KEYED, other], *lines)
    (tmp_path / "ledger/r2.jsonl").write_bytes(msgspec.json.encode(chosen) + b"\n")
    rebuild(tmp_path)
    text = (tmp_path / "report.html").read_text("utf-8")
    shown = check_page(text)
    assert "j · 1/2 · batchgen" in text
    assert ("a", {"href": "#outcome=blocked"}) in shown.tags
    for words in ("m", "n", "r2"):
        assert words in shown.words
    assert ", about 1 item ·" in text
    # It sent nothing: the charts are those of the run before.
    assert "of the last run that sent anything" in text
    assert "chart-outcomes" in text


def test_the_script_is_the_same_inside_of_the_page_as_a_browser_reads_it() -> None:
    script = read_script()
    assert not re.search("</script|<!--", script, re.IGNORECASE)
    assert script.startswith('"use strict";')
    # Nothing in it makes markup of words, or runs them.
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


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
    found = [(label, image.path) for label, image in pictures_besides(lines)]
    assert found == [
        ("picture of turn 1", "turns/a.1.png"),
        ("draft 1", "drafts/a.1.1.png"),
        ("draft 2", "drafts/a.2.1.png"),
        ("thought", "thoughts/a.2.1.png"),
        ("set aside", "quarantine/x.png"),
    ]


@pytest.mark.parametrize("numbers", [[], [0], [3], [0, 1, 5], [2, 4]])
def test_of_a_job_with_more_items_than_a_page_shows_no_other_is_read(numbers: list[int]) -> None:
    marks = Shown(numbers, frozenset()).marks()
    assert marks is not None
    assert [n for n, is_shown in enumerate(marks) if is_shown] == numbers
    assert Shown(None, frozenset()).marks() is None
