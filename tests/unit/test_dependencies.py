"""Who waits for whom, and what follows when one has ended; told by hand, in any order."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from batchgen.dependencies import Barred, Dependencies, Freed, Lineage, Ready, read_lineage
from batchgen.model import Attempt, ImageFile, Item, Outcome, Reference, Turn, content_key
from batchgen.store.expanded import read_items, read_parents, write_items
from batchgen.store.history import History
from batchgen.store.layout import Layout

MANY = 100_000


def drawing(item_id: str, *parents: str) -> Item:
    references = tuple(Reference(item=parent, label="Image:") for parent in parents)
    item = Item(id=item_id, model="m", prompt=item_id, references=references)
    return msgspec.structs.replace(item, key=content_key(item))


def picture_of(item_id: str) -> ImageFile:
    return ImageFile(
        path=f"images/{item_id}.png",
        role="final",
        sha256=item_id.encode().hex().ljust(64, "0"),
        bytes=1,
        width=1,
        height=1,
        mime="image/png",
    )


def lineage(*names: str, root: Path = Path("/job")) -> Lineage:
    return Lineage({name: name for name in names}, root)


def taken(dependencies: Dependencies) -> list[str]:
    freed = []
    while (one := dependencies.take()) is not None:
        freed.append(said(one))
    return freed


def said(freed: Freed) -> str:
    match freed:
        case Ready(item):
            return item.id
        case Barred(item, parent):
            return f"{item.id}: no {parent}"


# What happens, as "+NAME" (the item comes), "NAME" (it ended with a picture) and "-NAME" (without),
# and what is freed by that.
CHAIN = [drawing("a"), drawing("b", "a"), drawing("c", "b")]
DIAMOND = [drawing("top"), drawing("l", "top"), drawing("r", "top"), drawing("low", "l", "r")]
TWICE = [drawing("a"), drawing("b", "a", "a")]


@pytest.mark.parametrize(
    ("items", "script", "freed"),
    [
        (CHAIN, "+a +b +c", "a"),
        (CHAIN, "+a +b +c a b", "a|b|c"),
        (CHAIN, "+c +b +a a b", "a|b|c"),
        (CHAIN, "+a a +c +b b", "a|b|c"),
        (CHAIN, "+a +b +c -a", "a|b: no a"),
        (CHAIN, "+a +b +c -a -b", "a|b: no a|c: no b"),
        (CHAIN, "-a +c -b +b +a", "c: no b|b: no a|a"),
        (CHAIN, "+b +c", ""),
        (CHAIN, "+b a a -a", "b"),
        (CHAIN, "+b -a a", "b: no a"),
        (DIAMOND, "+top +l +r +low top l", "top|l|r"),
        (DIAMOND, "+low +r +l +top top r l", "top|r|l|low"),
        (DIAMOND, "+low -l r", "low: no l"),
        (DIAMOND, "+low r -l", "low: no l"),
        (DIAMOND, "+low -l -r", "low: no l"),
        (DIAMOND, "-r l +low", "low: no r"),
        (TWICE, "+b a", "b"),
        (TWICE, "+b -a", "b: no a"),
    ],
)
def test_each_item_is_freed_once_by_the_last_end_or_the_first_loss(
    items: list[Item], script: str, freed: str
) -> None:
    by_id = {item.id: item for item in items}
    dependencies = Dependencies(lineage("a", "b", "top", "l", "r"))
    seen = []
    for word in script.split():
        if word.startswith("+"):
            dependencies.add(by_id[word[1:]])
        elif word.startswith("-"):
            dependencies.ended(word[1:], None)
        else:
            dependencies.ended(word, picture_of(word))
        seen += taken(dependencies)
    assert "|".join(seen) == freed
    came = {word[1:] for word in script.split() if word.startswith("+")}
    waiting = [item.id for item, _ in dependencies.waiting()]
    assert len(waiting) == len(set(waiting))
    assert set(waiting) == came - {word.split(":")[0] for word in seen}


def test_an_item_on_which_nobody_builds_leaves_nothing_behind() -> None:
    dependencies = Dependencies(lineage())
    for number in range(1000):
        dependencies.add(drawing(str(number)))
        assert taken(dependencies) == [str(number)]
        dependencies.ended(str(number), picture_of(str(number)))
    assert not dependencies.lineage.pictures
    assert not dependencies._held
    assert not dependencies._lost


def test_a_resolved_item_has_the_path_the_digest_and_the_key_of_a_local_reference() -> None:
    line = lineage("a", "b", root=Path("/job"))
    line.pictures["a"] = picture_of("a")
    both = drawing("c", "a", "b")
    assert line.resolved(both) is both
    assert line.filled(both).key == both.key
    line.pictures["b"] = picture_of("b")
    resolved = line.resolved(both)
    assert [(ref.path, ref.label) for ref in resolved.references] == [
        ("/job/images/a.png", "Image:"),
        ("/job/images/b.png", "Image:"),
    ]
    local = tuple(
        Reference(path="x.png", label="Image:", sha256=picture_of(name).sha256) for name in "ab"
    )
    assert resolved.key == content_key(msgspec.structs.replace(both, references=local))
    assert resolved.key != both.key
    assert line.resolved(resolved) == resolved


def test_references_of_turns_are_resolved_as_well() -> None:
    line = lineage("a")
    line.pictures["a"] = picture_of("a")
    turns = (Turn(prompt="x"), Turn(prompt="y", references=(Reference(item="a"),)))
    item = Item(id="t", model="m", turns=turns)
    assert line.parents(item) == ["a"]
    assert line.resolved(item).turns[1].references[0].sha256 == picture_of("a").sha256
    assert line.resolved(item).turns[0] == turns[0]


def test_a_name_that_is_no_id_means_the_first_of_several_copies() -> None:
    line = Lineage({"hero": "hero#1", "hero#1": "hero#1"}, Path("/job"))
    dependencies = Dependencies(line)
    dependencies.add(drawing("by-name", "hero"))
    dependencies.add(drawing("by-id", "hero#1"))
    dependencies.ended("hero#1", picture_of("hero"))
    assert taken(dependencies) == ["by-name", "by-id"]


# --- what is read -----------------------------------------------------------------------------


def written(root: Path, items: Iterable[Item]) -> Path:
    write_items(root / "items.jsonl", items)
    return root / "items.jsonl"


@pytest.mark.parametrize(
    ("items", "parents"),
    [
        ([drawing("a")], {}),
        ([drawing("b", "a"), drawing("a")], {"a": "a"}),
        ([drawing("a#1"), drawing("a#2"), drawing("b", "a")], {"a": "a#1"}),
        ([drawing("a#1"), drawing("a"), drawing("b", "a")], {"a": "a"}),
        ([drawing("a#1"), drawing("b", "a"), drawing("c", "a#1")], {"a": "a#1", "a#1": "a#1"}),
        (
            [
                Item(id="x", model="m", prompt='{"item": "y"}', tags={"item": "z"}),
                Item(id="r", model="m", request={"item": "y"}),
                Item(
                    id="t",
                    model="m",
                    turns=(Turn(prompt="p", references=(Reference(item="x"),)),),
                ),
            ],
            {"x": "x"},
        ),
    ],
)
def test_the_parents_of_a_job_are_those_that_references_name(
    tmp_path: Path, items: list[Item], parents: dict[str, str]
) -> None:
    assert read_parents(written(tmp_path, items)) == parents


def done(item: Item) -> Attempt:
    return Attempt(
        run_id="r",
        item=item.id,
        key=item.key,
        turn=1,
        attempt=1,
        at="2026-11-21T03:00:04.120Z",
        model="m",
        provider="emulator",
        outcome=Outcome.IMAGE,
        decision="done",
        images=(picture_of(item.id),),
        cost_basis="unknown",
        billed="yes",
    )


@pytest.mark.parametrize("order", [1, -1])
def test_a_ledger_is_read_with_the_keys_that_items_had_when_they_were_made(
    tmp_path: Path, order: int
) -> None:
    path = written(tmp_path, CHAIN[::order])
    by_hand = lineage("a", "b", root=tmp_path)
    history = History()
    for item in CHAIN:
        made = by_hand.resolved(item)
        history.apply(done(made))
        by_hand.pictures[item.id] = picture_of(item.id)
    read = read_lineage(Layout(tmp_path), history)
    assert read.pictures == {name: picture_of(name) for name in "ab"}
    standings = [history.standing(item) for item in map(read.resolved, read_items(path))]
    assert [one.status for one in standings if one] == ["done"] * 3


def test_a_parent_that_asks_for_something_else_now_resolves_nothing(tmp_path: Path) -> None:
    written(tmp_path, CHAIN)
    history = History()
    history.apply(done(msgspec.structs.replace(CHAIN[0], key="0" * 64)))
    read = read_lineage(Layout(tmp_path), history)
    assert read.pictures == {}
    assert read.resolved(CHAIN[1]) is CHAIN[1]


@pytest.mark.reliability
@pytest.mark.parametrize("is_chain", [True, False])
def test_100_000_items_are_traced_without_recursion(tmp_path: Path, *, is_chain: bool) -> None:
    parents = ["i0"] + [f"i{number}" if is_chain else "i0" for number in range(MANY - 2)]
    items = [drawing("i0")] + [drawing(f"i{n}", one) for n, one in enumerate(parents[1:], 1)]
    written(tmp_path, reversed(items))
    made, history = lineage(*parents, root=tmp_path), History()
    for item in items:
        history.apply(done(made.resolved(item)))
        if made.is_parent(item.id):
            made.pictures[item.id] = picture_of(item.id)
    assert read_lineage(Layout(tmp_path), history).pictures == made.pictures
