"""The state of a served page is, after every line, what a reader of the whole ledger finds."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.clock import Clock
from batchgen.dependencies import read_lineage
from batchgen.live.state import Setting, State
from batchgen.model import (
    Attempt,
    Failure,
    ImageFile,
    Item,
    Outcome,
    Reference,
    Result,
    Tokens,
    Turn,
    content_key,
)
from batchgen.report.reading import summarize
from batchgen.report.standing import result_of
from batchgen.report.summary import ItemTotals
from batchgen.selection import Selection
from batchgen.store.expanded import read_items, write_items
from batchgen.store.history import read_history, turn_names
from batchgen.store.layout import Layout
from batchgen.store.ledger import End, Filed, Line, Run, Sent, segments

AT = "2026-11-21T03:00:{:02d}.120Z"
SELECTIONS = (
    *(Selection(), Selection(), Selection(ids=frozenset({"a", "b", "of-a"}))),
    Selection(tags={"x": ("1",)}),
)


def asked(item: Item) -> Item:
    return msgspec.structs.replace(item, key=content_key(item))


def items() -> list[Item]:
    on = [Reference(item="a")], [Reference(item="of-a")], [Reference(item="b"), Reference(item="a")]
    return [
        # Also before what it builds on.
        asked(Item(id="of-both", model="m", prompt="o", references=tuple(on[2]))),
        asked(Item(id="a", model="m", prompt="a", tags={"x": "1"}, aspect_ratio="1:1")),
        asked(Item(id="b", model="n", prompt="b")),
        asked(Item(id="talk", model="m", turns=(Turn(prompt="1"), Turn(prompt="2")))),
        asked(Item(id="of-a", model="m", prompt="p", references=tuple(on[0]), tags={"x": "1"})),
        asked(Item(id="of-of-a", model="m", prompt="q", references=tuple(on[1]))),
        asked(Item(id="new-name", model="m", prompt="a", aspect_ratio="1:1")),
    ]


class Writer:
    """Writes a ledger line by line, as runs do, and as kills leave it."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self.layout.ledger.mkdir(parents=True)
        write_items(self.layout.items, items())
        self.n = 0
        self.run_id = ""
        self.unended: list[Sent] = []

    def append(self, line: Line) -> None:
        with self.layout.segment(self.run_id).open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")

    def begin(self, selection: Selection, limit: int | None) -> None:
        self.n += 1
        self.run_id = f"20261121T0300{self.n:02d}Z-00000000"
        self.append(
            Run(
                run_id=self.run_id,
                at=self.at,
                job="j",
                job_sha256="0",
                provider="p",
                version="1",
                selection=selection,
                limit=limit,
            )
        )

    @property
    def at(self) -> str:
        self.n += 1
        return AT.format(self.n % 60)

    def end(self, n_selected: int) -> None:
        self.append(
            End(
                run_id=self.run_id,
                at=self.at,
                stop_reason="done",
                exit_code=0,
                wall_s=2.5,
                concurrency={},
                n_selected=n_selected,
            )
        )

    def names(self) -> list[tuple[str, str, int]]:
        """What can be asked for now: the id, the key and the turn."""
        history = read_history(segments(self.layout.ledger))
        lineage = read_lineage(self.layout, history)
        resolved = map(lineage.resolved, read_items(self.layout.items))
        return [
            (item.id, key, turn)
            for item in resolved
            for turn, (_, key) in enumerate(turn_names(item), 1)
        ]

    def send(self, which: int) -> None:
        names = self.names()
        item_id, key, turn = names[which % len(names)]
        sent = Sent(
            run_id=self.run_id,
            item=item_id,
            key=key,
            turn=turn,
            attempt=self.n,
            at=self.at,
            model="m",
        )
        self.unended.append(sent)
        self.append(sent)

    def make(self, item_id: str, kind: int) -> None:
        """Ask for an item by what it builds on now, and answer."""
        names = [at for at, name in enumerate(self.names()) if name[0] == item_id]
        self.send(names[-1])
        self.answer(-1, kind)

    def answer(self, which: int, kind: int) -> None:
        if not self.unended:
            return
        sent = self.unended.pop(which % len(self.unended))
        self.append(outcome_of(sent, kind, is_last=sent.item != "talk" or sent.turn == 2))

    def file(self, which: int) -> None:
        """Give what `a` has to the item that asks for the same, or the other way round."""
        giver, taker = (("a", "new-name"), ("new-name", "a"))[which % 2]
        history = read_history(segments(self.layout.ledger))
        key = items()[1].key
        past = history.past((giver, key))
        if past is None or past.made is None or past.last is not past.made:
            return
        is_moved = which % 3 == 0
        self.append(
            Filed(
                run_id=self.run_id,
                item=taker,
                key=key,
                at=self.at,
                path=f"images/{taker}.png",
                made=past.made,
                moved_from=past.made.images[0].path if is_moved else None,
                attempts=past.n_attempts if is_moved else 0,
                tokens=past.tokens if is_moved else None,
                cost_usd=past.cost_usd if is_moved else None,
            )
        )


def outcome_of(sent: Sent, kind: int, *, is_last: bool) -> Attempt:
    image = ImageFile(
        path=f"images/{sent.item}.png",
        role="final" if is_last else "draft",
        sha256=f"{sent.item}{sent.at}{sent.attempt}",
        bytes=1,
        width=1024,
        height=1024 if kind % 2 else 512,
        mime="image/png",
    )
    failure = Failure(kind="k", message=f"no {sent.item}")
    what: dict[str, Any] = (
        {"outcome": Outcome.IMAGE, "decision": "done", "images": (image,), "cost_usd": "0.1"},
        {"outcome": Outcome.IMAGE, "decision": "done", "images": (image,)},
        {"outcome": Outcome.BLOCKED, "decision": "failed", "error": failure, "cost_usd": "0.02"},
        {"outcome": Outcome.TIMEOUT, "decision": "retry", "error": failure, "billed": "maybe"},
        {"outcome": Outcome.TIMEOUT, "decision": "failed", "error": failure, "billed": "no"},
        {"outcome": Outcome.SKIPPED_DEPENDENCY, "decision": "skipped", "error": failure},
    )[kind % 6]
    line = {
        "run_id": sent.run_id,
        "item": sent.item,
        "key": sent.key,
        "turn": sent.turn,
        "attempt": 0 if what["decision"] == "skipped" else sent.attempt,
        "at": sent.at,
        "model": "m",
        "provider": "p",
        "cost_basis": "reported",
        "billed": "yes",
        "latency_s": float(kind),
        "tokens": Tokens(output_image=10),
        **what,
    }
    return msgspec.convert(msgspec.to_builtins(line), Attempt)


Step = Callable[[Writer], None]


def steps() -> st.SearchStrategy[Step]:
    small = st.integers(0, 40)
    return st.one_of(
        st.builds(lambda n: lambda writer: writer.send(n), small),
        st.builds(lambda n, kind: lambda writer: writer.answer(n, kind), small, small),
        st.builds(
            lambda n, kind: lambda writer: (writer.send(n), writer.answer(-1, kind)), small, small
        ),
        st.builds(
            lambda n, kind: lambda writer: (writer.send(n), writer.answer(-1, kind % 2)),
            small,
            small,
        ),
        st.builds(
            lambda item_id, kind: lambda writer: writer.make(item_id, kind),
            st.sampled_from(["a", "a", "of-a", "of-a", "of-of-a", "b", "of-both", "talk"]),
            st.sampled_from([0, 0, 0, 1, 2]),
        ),
        st.builds(lambda n: lambda writer: writer.file(n), small),
        st.builds(
            lambda one, limit: lambda writer: writer.begin(SELECTIONS[one], limit),
            st.integers(0, len(SELECTIONS) - 1),
            st.sampled_from([None, None, 2]),
        ),
        st.builds(lambda n: lambda writer: writer.end(n % 8), small),
    )


def read_anew(layout: Layout) -> list[Result]:
    """Where all items stand, by somebody who reads everything and remembers nothing."""
    history = read_history(segments(layout.ledger))
    lineage = read_lineage(layout, history)
    resolved = map(lineage.resolved, read_items(layout.items))
    return [result_of(item, history.standing(item)) for item in resolved]


def whole_job(results: list[Result], run_id: str) -> ItemTotals:
    """What all results add up to, whatever the last run was about."""
    totals = ItemTotals()
    for result in results:
        totals.add(result, run_id)
    return totals


def check(state: State, layout: Layout) -> None:
    summary = summarize(layout)
    assert list(state.results()) == read_anew(layout)
    assert state.summary() == msgspec.structs.replace(summary, diff=None)
    whole = whole_job(read_anew(layout), state.run.run_id)
    told = state.whole()
    assert (told.items, told.failures) == (whole.counts, whole.groups)
    assert told.models == sorted({item.model for item in read_items(layout.items)})
    figures = state.figures()
    for name in ("total", "done", "failed", "skipped", "pending"):
        assert getattr(figures, name) == getattr(whole.counts, name)
    assert figures.cost_usd == summary.cost_usd
    assert figures.attempts == summary.attempts.total


def test_a_chain_of_items_follows_the_one_at_its_root(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.begin(Selection(), None)
    state = State(writer.layout, Setting(Clock()), 0)
    for item_id in ("a", "of-a", "of-of-a", "a", "of-a"):
        writer.make(item_id, 0)
        state.poll()
        check(state, writer.layout)


@given(st.lists(steps(), max_size=14))
@settings(max_examples=60, deadline=None)
def test_the_state_after_each_line_is_what_a_reader_of_all_lines_finds(taken: list[Step]) -> None:
    with TemporaryDirectory() as directory:
        root = Path(directory)
        writer = Writer(root)
        writer.begin(Selection(), None)
        state = State(writer.layout, Setting(Clock()), 0)
        seen = {number: state.deck.card(number) for number in state.deck.numbers()}
        seq = state.deck.seq
        for step in taken:
            step(writer)
            state.poll()
            check(state, writer.layout)
            # Who was told of each changed card has all cards as they are.
            cards, seq = state.deck.changed_since(seq, 1000, 1 << 30)
            for card in cards:
                seen[msgspec.json.decode(card)["n"]] = card
            assert seen == {number: anew(state, number) for number in state.deck.numbers()}


def anew(state: State, number: int) -> bytes:
    """A card as it is made now, whatever was kept of it."""
    return msgspec.json.encode(state.card(number))
