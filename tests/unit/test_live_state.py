"""What a served page knows: who is shown, what is thought of it, and whether its run is alive."""

import gc
import json
import threading
import weakref
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batchgen.clock import Clock, stamp
from batchgen.errors import UsageError
from batchgen.live.state import Setting, State
from batchgen.model import Attempt, Failure, ImageFile, Item, Outcome, content_key
from batchgen.review import Mark, append_mark, read_marks
from batchgen.selection import Selection
from batchgen.store.expanded import write_items
from batchgen.store.layout import Layout
from batchgen.store.ledger import End, Line, Run, Sent
from batchgen.store.lock import OutputLock, may_be_held_by

START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


class Time:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def clock(self) -> Clock:
        return Clock(
            now=lambda: START + timedelta(seconds=self.passed_s), monotonic_s=lambda: self.passed_s
        )


class Job:
    """A job's directory, written as a run does."""

    def __init__(self, root: Path, n: int) -> None:
        self.layout = Layout(root)
        self.layout.ledger.mkdir()
        self.time = Time()
        self.items = [self.item(f"i{number}") for number in range(n)]
        write_items(self.layout.items, self.items)
        self.run_id = ""

    @staticmethod
    def item(item_id: str) -> Item:
        item = Item(id=item_id, model="m", prompt=item_id)
        return msgspec.structs.replace(item, key=content_key(item))

    def append(self, line: Line) -> None:
        with self.layout.segment(self.run_id).open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")

    def begin(self, run_id: str = "r1", **more: Any) -> None:
        self.run_id = run_id
        head: dict[str, Any] = {"job": "j", "job_sha256": "0", "provider": "p", "version": "1"}
        self.append(Run(run_id=run_id, at=self.at(), **head, **more))

    def at(self) -> str:
        return stamp(START + timedelta(seconds=self.time.passed_s))

    def send(self, number: int, attempt: int = 1) -> None:
        item = self.items[number]
        names = {"item": item.id, "key": item.key, "turn": 1, "attempt": attempt, "model": "m"}
        self.append(Sent(run_id=self.run_id, at=self.at(), **names))  # type: ignore[arg-type]

    def answer(self, number: int, attempt: int = 1, **more: Any) -> None:
        item = self.items[number]
        image = ImageFile(
            path=f"images/{item.id}.png",
            role="final",
            sha256=f"{item.id}{self.run_id}",
            bytes=1,
            width=1,
            height=1,
            mime="image/png",
        )
        line = Attempt(
            run_id=self.run_id,
            item=item.id,
            key=item.key,
            turn=1,
            attempt=attempt,
            at=self.at(),
            model="m",
            provider="p",
            outcome=Outcome.IMAGE,
            decision="done",
            images=(image,),
            cost_basis="unknown",
            billed="yes",
            latency_s=2.0,
        )
        self.append(msgspec.structs.replace(line, **more))

    def fail(self, number: int, **more: Any) -> None:
        failure = Failure(kind="k", message=f"no {number}")
        told = {"outcome": Outcome.BLOCKED, "decision": "failed", "images": (), "error": failure}
        self.answer(number, **{**told, **more})

    def state(self, **setting: Any) -> State:
        return State(self.layout, Setting(self.time.clock(), **setting), 0)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    job = Job(tmp_path, 6)
    job.begin()
    return job


def changed(state: State, seq: int) -> dict[str, Any]:
    cards, _ = state.deck.changed_since(seq, 1000, 1 << 30)
    return {card["id"]: card for card in map(json.loads, cards)}


def shown(state: State) -> list[str]:
    return [json.loads(state.deck.card(number))["id"] for number in state.deck.numbers()]


def test_a_directory_without_a_run_says_what_is_missing(tmp_path: Path) -> None:
    layout, setting = Layout(tmp_path), Setting(Clock())
    with pytest.raises(UsageError, match=r"items\.jsonl is missing"):
        State(layout, setting, 0)
    write_items(layout.items, [Job.item("a")])
    with pytest.raises(UsageError, match="ledger is empty"):
        State(layout, setting, 0)


def test_a_card_is_told_again_only_when_it_has_changed(job: Job) -> None:
    state = job.state()
    job.send(3)
    state.poll()
    first = state.deck.seq
    assert list(changed(state, 0)) == ["i3"]
    assert changed(state, first) == {}
    job.answer(3)
    job.send(1)
    state.poll()
    assert list(changed(state, first)) == ["i3", "i1"]
    assert changed(state, first)["i3"]["status"] == "done"
    # Both changes of it are one for whoever has seen neither.
    assert list(changed(state, 0)) == ["i3", "i1"]
    second = state.deck.seq
    job.answer(3, attempt=2)
    state.poll()
    assert list(changed(state, second)) == ["i3"]
    assert list(changed(state, 0)) == ["i1", "i3"]


def test_what_a_viewer_takes_at_once_has_an_end_and_nothing_is_left_out(job: Job) -> None:
    state = job.state()
    for number in (5, 2, 4, 1):
        job.answer(number)
    state.poll()
    seq, told = 0, []
    while seq < state.deck.seq:
        cards, seq = state.deck.changed_since(seq, 2, 1 << 30)
        assert 1 <= len(cards) <= 2
        told += [json.loads(card)["id"] for card in cards]
    assert told == ["i5", "i2", "i4", "i1"]
    one, _ = state.deck.changed_since(0, 200, 1)
    assert len(one) == 1  # however large it is


def test_of_too_many_items_failures_and_the_newest_are_shown_and_news_makes_its_room(
    job: Job,
) -> None:
    for number in (1, 2, 3, 4):
        job.answer(number)
        job.time.passed_s += 1
    job.fail(1, attempt=2, key="other")  # an older job's: it tells nothing of this one
    job.fail(0)
    state = job.state(max_shown=3)
    assert shown(state) == ["i0", "i3", "i4"]
    job.send(5)
    state.poll()
    assert shown(state) == ["i0", "i4", "i5"]
    assert changed(state, 0)["i5"]["is_under_way"]
    assert state._trail.tries("i3") == []  # nothing is kept of what is not shown
    job.answer(5)
    job.answer(1, attempt=3)
    state.poll()
    # What failed is the last to make room.
    assert shown(state) == ["i0", "i1", "i5"]
    assert len(changed(state, 0)["i5"]["tries"]) == 1
    assert state.summary().items.total == 6


def test_a_killed_run_does_not_look_alive_and_one_that_waits_does(job: Job) -> None:
    lock = OutputLock(job.layout.lock, run_id="r1", at=START)
    with lock:
        job.send(0)
        state = job.state()
        assert state.figures().ended is None
        assert json.loads(state.deck.card(0))["is_under_way"]
        job.time.passed_s += 600  # a long answer: nothing is written meanwhile
        state.poll()
        assert state.figures().in_flight == 1
        assert state.figures().elapsed_s == 600
        seq = state.deck.seq
    state.poll()
    assert state.figures().in_flight == 1  # it was looked at just now
    job.time.passed_s += 5
    state.poll()
    figures = state.figures()
    assert figures.ended is not None
    assert (figures.ended.stop_reason, figures.ended.exit_code) == ("killed", None)
    assert (figures.in_flight, figures.eta_s, figures.elapsed_s) == (0, None, 0)
    assert "is_under_way" not in changed(state, seq)["i0"]


def test_a_run_that_begins_finds_no_lock_held_by_a_page_that_looks_at_a_dead_one(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[set[str]] = []

    def look(path: Path, run_ids: frozenset[str]) -> bool:
        looks.append(set(run_ids))
        return may_be_held_by(path, run_ids)

    monkeypatch.setattr("batchgen.live.alive.may_be_held_by", look)
    with OutputLock(job.layout.lock, run_id="r1", at=START):
        job.send(0)
        state = job.state()
        looks.clear()
        for _ in range(20):  # it writes, and so it is alive
            job.time.passed_s += 0.5
            job.answer(1)
            state.poll()
        assert looks == []
    for _ in range(100):
        job.time.passed_s += 0.5
        state.poll()
    assert looks == [{"r1"}]


def test_a_lock_of_the_next_run_does_not_revive_the_one_before(job: Job) -> None:
    job.send(0)
    with OutputLock(job.layout.lock, run_id="r2", at=START):
        assert not may_be_held_by(job.layout.lock, {"r1"})
        assert may_be_held_by(job.layout.lock, {"r2"})
        figures = job.state().figures()
    assert figures.in_flight == 0
    assert figures.ended is not None
    assert not may_be_held_by(job.layout.lock, {"r2"})


def test_a_lock_that_does_not_say_whose_it_is_may_be_that_of_the_run(job: Job) -> None:
    with OutputLock(job.layout.lock, run_id="r1", at=START):
        for text in ("", "[]", '{"run_id": 1}', "\0"):
            job.layout.lock.write_text(text)
            assert may_be_held_by(job.layout.lock, {"r1"})


def test_what_cools_is_told_as_long_as_it_does(job: Job) -> None:
    with OutputLock(job.layout.lock, run_id="r1", at=START):
        until = stamp(START + timedelta(seconds=30))
        job.fail(
            0, decision="retry", outcome=Outcome.RATE_LIMITED, http_status=429, cools_until=until
        )
        job.answer(1)
        job.answer(2)
        state = job.state()
        job.time.passed_s = 10
        (one,) = state.figures().cooling
        assert (one.model, one.until, one.for_s, one.why) == ("m", until, 20.0, "a 429")
        assert state.figures().eta_s is None
        job.time.passed_s = 31
        assert state.figures().cooling == []
        assert state.figures().eta_s is not None


def test_pace_and_time_to_come_go_by_the_last_ends(job: Job) -> None:
    with OutputLock(job.layout.lock, run_id="r1", at=START):
        job.answer(0)
        state = job.state()
        assert state.figures().per_min is None  # one end tells nothing
        job.time.passed_s = 10
        job.answer(1)
        state.poll()
        job.time.passed_s = 60
        figures = state.figures()
        assert (figures.per_min, figures.eta_s, figures.pending) == (2.0, 120, 4)
        assert figures.p50_s == 2.0
        end = {"stop_reason": "done", "exit_code": 4, "wall_s": 30.0, "concurrency": {}}
        job.append(End(run_id="r1", at=job.at(), **end))  # type: ignore[arg-type]
        state.poll()
        figures = state.figures()
        assert figures.ended is not None
        assert (figures.ended.stop_reason, figures.ended.exit_code) == ("done", 4)
        assert (figures.elapsed_s, figures.per_min, figures.eta_s) == (30, 4.0, None)


@pytest.mark.parametrize(
    ("part", "eta_s"),
    [
        ({}, 40),
        ({"selection": Selection(ids=frozenset({"i0", "i1", "i2"}))}, 10),
        ({"limit": 4}, 20),
        ({"limit": 2}, 0),
    ],
)
def test_the_time_to_come_is_that_of_what_the_run_is_about(
    job: Job, part: dict[str, Any], eta_s: int
) -> None:
    with OutputLock(job.layout.lock, run_id="r2", at=START):
        job.begin("r2", **part)
        job.answer(0)
        job.answer(1)
        state = job.state()
        job.time.passed_s = 20
        assert state.figures().eta_s == eta_s


@pytest.mark.parametrize("cools_s", [0, 60])
def test_the_time_to_come_is_found_once_the_quick_model_is_done(
    tmp_path: Path, cools_s: int
) -> None:
    """Sixty pictures of one model, one a second; sixty of the other, one in ten seconds."""
    ends_s = sorted([*range(1, 61), *(ten * 10.0 + 0.5 for ten in range(1, 61))])
    ends_s = [one + cools_s * (one > 90) for one in ends_s]  # both wait then
    job = Job(tmp_path, len(ends_s))
    job.begin()
    with OutputLock(job.layout.lock, run_id="r1", at=START):
        state, told = job.state(), []
        for number, end_s in enumerate(ends_s):
            job.time.passed_s = end_s
            job.answer(number, latency_s=0.0)
            state.poll()
            figures = state.figures()
            assert figures.eta_s is None or figures.eta_s >= 0
            told.append((end_s, figures.per_min, figures.eta_s))
    quick = [per_min for end_s, per_min, _ in told if 20 < end_s <= 60]
    assert all(per_min == pytest.approx(66, rel=0.1) for per_min in quick)
    # Ten ends after the last quick one, and after the pause, what is told is what it takes.
    for end_s, per_min, eta_s in told:
        if end_s > 165 + 2 * cools_s:
            assert per_min == pytest.approx(6, rel=0.2)
            assert eta_s == pytest.approx(ends_s[-1] - end_s, rel=0.2)


def test_pictures_a_minute_are_pictures_and_the_time_to_come_is_that_of_all_items(
    job: Job,
) -> None:
    with OutputLock(job.layout.lock, run_id="r1", at=START):
        job.answer(0)
        job.fail(1)
        job.answer(2)
        job.fail(3)
        state = job.state()
        job.time.passed_s = 60
        figures = state.figures()
        assert (figures.per_min, figures.eta_s, figures.pending) == (2.0, 30, 2)
    end = {"stop_reason": "done", "exit_code": 4, "wall_s": 30.0, "concurrency": {}}
    job.append(End(run_id="r1", at=job.at(), **end))  # type: ignore[arg-type]
    state.poll()
    assert (state.figures().per_min, state.summary().throughput_per_min) == (4.0, 4.0)


def test_a_further_segment_of_the_same_run_begins_no_other_one(job: Job) -> None:
    with OutputLock(job.layout.lock, run_id="r1", at=START):
        job.answer(0)
        job.fail(1)
        state = job.state()
        before = state.summary().items
        job.time.passed_s = 30
        job.begin("r1", shard="2")
        state.poll()
        assert state.summary().items == before
        assert (before.done, before.reused) == (1, 0)
        figures = state.figures()
        assert (figures.elapsed_s, figures.per_min, figures.pending) == (30, 2.0, 4)


def test_a_state_that_nobody_needs_is_gone_at_once(job: Job) -> None:
    job.answer(0)
    state = job.state()
    assert state.deck.card(0)
    known = weakref.ref(state)
    gc.disable()
    try:
        del state
        assert known() is None
    finally:
        gc.enable()


def test_a_mark_counts_as_long_as_its_picture_is_there_whoever_wrote_it(job: Job) -> None:
    job.answer(0)
    job.answer(1)
    append_mark(job.layout.review, Mark(item="i0", sha256="i0r1", mark="redo", note="too dark"))
    state = job.state()
    card = json.loads(state.deck.card(0))
    assert (card["mark"], card["mark_note"]) == ("redo", "too dark")
    seq = state.deck.seq
    append_mark(job.layout.review, Mark(item="i1", sha256="i1r1", mark="keep"))
    append_mark(job.layout.review, Mark(item="no-such", sha256="x", mark="keep"))
    state.poll()
    assert changed(state, seq)["i1"]["mark"] == "keep"
    assert (state.figures().kept, state.figures().redo) == (1, 1)
    # Made anew: what was thought of the old one is done with.
    job.begin("r2")
    job.answer(0)
    state.poll()
    assert "mark" not in json.loads(state.deck.card(0))
    assert (state.figures().kept, state.figures().redo) == (1, 0)
    append_mark(job.layout.review, Mark(item="i1", sha256="i1r1", mark="none"))
    state.poll()
    assert "mark" not in json.loads(state.deck.card(1))
    assert state.figures().kept == 0


def test_marks_are_read_when_there_are_new_ones_and_not_each_time(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.answer(0)
    append_mark(job.layout.review, Mark(item="i0", sha256="i0r1", mark="redo"))
    state = job.state()
    read: list[Path] = []

    def note(path: Path) -> dict[str, Mark]:
        read.append(path)
        return read_marks(path)

    monkeypatch.setattr("batchgen.live.marks.read_marks", note)
    for _ in range(3):
        state.poll()
    assert read == []
    append_mark(job.layout.review, Mark(item="i0", sha256="i0r1", mark="keep"))
    state.poll()
    assert read == [job.layout.review]


def test_a_review_that_somebody_edits_is_told_and_what_it_said_holds(job: Job) -> None:
    job.answer(0)
    append_mark(job.layout.review, Mark(item="i0", sha256="i0r1", mark="redo"))
    state = job.state()
    good = job.layout.review.read_bytes()
    job.layout.review.write_bytes(good + b"{half a li\n")
    state.poll()
    assert "review.jsonl:2" in state.trouble[0]
    assert state.figures().redo == 1
    job.layout.review.unlink()
    state.poll()
    assert state.trouble == []
    assert state.figures().redo == 0


def test_the_same_job_run_again_is_no_other_one(job: Job) -> None:
    job.answer(0)
    state = job.state()
    write_items(job.layout.items, job.items)
    assert not state.is_replaced()
    assert not state.is_replaced()
    write_items(job.layout.items, [*job.items, Job.item("new")])
    assert state.is_replaced()
    # What was known can still be told.
    assert json.loads(state.deck.card(0))["status"] == "done"


def test_a_run_about_a_part_has_that_part_in_its_summary_and_the_whole_job_on_top(
    job: Job,
) -> None:
    job.answer(0)
    job.answer(1)
    job.fail(5)
    state = job.state()
    job.begin("r2", selection=Selection(ids=frozenset({"i1", "i2", "i3"})))
    state.poll()
    items, figures = state.summary().items, state.figures()
    assert (items.total, items.done, items.failed, items.pending) == (3, 1, 0, 2)
    assert state.summary().failures == []
    assert (figures.run, figures.total, figures.done, figures.pending) == ("r2", 6, 2, 3)
    assert [(group.count, group.item) for group in state.whole().failures] == [(1, "i5")]
    assert len(shown(state)) == 6


def test_a_picture_is_known_by_the_cards_that_show_it(job: Job) -> None:
    job.answer(0)
    state = job.state()
    assert state.deck.picture("i0r1") is None  # nobody has seen it yet
    state.deck.card(0)
    assert state.deck.picture("i0r1") == job.layout.root.resolve() / "images/i0.png"
    assert state.deck.picture("x") is None


def test_a_long_reading_ends_when_it_is_told_to(job: Job) -> None:
    class Enough(Exception):
        pass

    told = threading.Event()

    def go_on() -> None:
        if told.is_set():
            raise Enough

    job.state(go_on=go_on)
    told.set()
    with pytest.raises(Enough):
        job.state(go_on=go_on)
