"""What is sent again, and what is not; and in which order, where items build on items."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batchgen.model import (
    Attempt,
    Decision,
    ImageFile,
    Item,
    Outcome,
    Reference,
    Turn,
    content_key,
)
from batchgen.plan import Agenda, Redo, Settled, Skip, Step, Todo, Twin
from batchgen.report.standing import result_of
from batchgen.selection import Selection
from batchgen.store.history import History

ITEM = Item(id="a", model="m", prompt="p", key="k1")


def attempt(outcome: Outcome, decision: Decision, **more: Any) -> Attempt:
    line = Attempt(
        run_id="r",
        item="a",
        key="k1",
        turn=1,
        attempt=1,
        at="2026-11-21T03:00:04.120Z",
        model="m",
        provider="emulator",
        outcome=outcome,
        decision=decision,
        cost_usd=Decimal("0.1"),
        cost_basis="reported",
        billed="yes",
    )
    return msgspec.structs.replace(line, **more)


def picture(root: Path, n_bytes: int = 4) -> ImageFile:
    (root / "images").mkdir(exist_ok=True)
    (root / "images/a.png").write_bytes(b"x" * n_bytes)
    return ImageFile(
        path="images/a.png",
        role="final",
        sha256="0" * 64,
        bytes=4,
        width=1,
        height=1,
        mime="image/png",
    )


def step(root: Path, *lines: Attempt, redo: Redo | None = None, item: Item = ITEM) -> str:
    history = History()
    for line in lines:
        history.apply(line)
    agenda = Agenda([(item, True)], history, root, redo or Redo())
    one = agenda.next()
    assert agenda.next() is None
    return told(one)


def told(step: Step | None) -> str:
    match step:
        case Todo(_, reason):
            return reason
        case Settled(_, last):
            return f"settled: {last.outcome}"
        case Skip(_, parent):
            return f"skip: no {parent}"
        case Twin(_, leader):
            return f"as {leader}"
        case None:
            return "nothing now"


def test_an_item_that_nobody_tried_is_sent(tmp_path: Path) -> None:
    assert step(tmp_path) == "new"


def test_a_done_item_is_not_sent_unless_its_file_is_gone_or_of_another_size(tmp_path: Path) -> None:
    done = attempt(Outcome.IMAGE, "done", images=(picture(tmp_path),))
    assert step(tmp_path, done) == "settled: image"
    picture(tmp_path, n_bytes=5)
    assert step(tmp_path, done) == "file_missing"
    (tmp_path / "images/a.png").unlink()
    assert step(tmp_path, done) == "file_missing"


def test_a_done_item_is_sent_again_when_forced(tmp_path: Path) -> None:
    done = attempt(Outcome.IMAGE, "done", images=(picture(tmp_path),))
    assert step(tmp_path, done, redo=Redo(done=True)) == "forced"


def test_an_item_that_asks_for_something_else_now_is_sent(tmp_path: Path) -> None:
    done = attempt(Outcome.IMAGE, "done", images=(picture(tmp_path),))
    assert step(tmp_path, done, item=msgspec.structs.replace(ITEM, key="k2")) == "new"


@pytest.mark.parametrize("outcome", ["blocked", "bad_request", "wrong_size"])
def test_what_was_refused_for_good_is_sent_only_when_asked_for(
    tmp_path: Path, outcome: str
) -> None:
    failed = attempt(Outcome(outcome), "failed")
    assert step(tmp_path, failed) == f"settled: {outcome}"
    assert step(tmp_path, failed, redo=Redo(failed=frozenset())) == "failed"
    assert step(tmp_path, failed, redo=Redo(failed=frozenset({Outcome(outcome)}))) == "failed"
    assert step(tmp_path, failed, redo=Redo(done=True)) == "failed"
    other = Redo(failed=frozenset({Outcome.TIMEOUT}))
    assert step(tmp_path, failed, redo=other) == f"settled: {outcome}"


@pytest.mark.parametrize(
    "outcome",
    sorted(
        set(Outcome)
        - {Outcome.IMAGE, Outcome("blocked"), Outcome("bad_request"), Outcome("wrong_size")}
    ),
)
def test_any_other_failure_is_worth_another_try_in_the_next_run(
    tmp_path: Path, outcome: Outcome
) -> None:
    assert step(tmp_path, attempt(outcome, "failed")) == "failed"


def test_the_last_attempt_decides_and_an_open_one_is_pending(tmp_path: Path) -> None:
    image = picture(tmp_path)
    first = attempt(Outcome.TIMEOUT, "retry", attempt=1)
    assert step(tmp_path, first) == "pending"
    assert step(tmp_path, attempt(Outcome.CANCELLED, "stop")) == "pending"
    done = attempt(Outcome.IMAGE, "done", attempt=2, images=(image,))
    assert step(tmp_path, first, done) == "settled: image"


def test_items_are_planned_one_at_a_time(tmp_path: Path) -> None:
    taken = []

    def items() -> Any:
        for n in range(1_000_000):
            taken.append(n)
            yield msgspec.structs.replace(ITEM, id=f"i{n}")

    agenda = Agenda(Selection().marked(items), History(), tmp_path, Redo())
    agenda.next()
    assert taken == [0]


def test_a_conversation_is_sent_until_its_last_turn_is_done(tmp_path: Path) -> None:
    turns = tuple(Turn(prompt=word) for word in "xyz")
    item = Item(id="a", model="m", turns=turns)
    item = msgspec.structs.replace(item, key=content_key(item))
    final = picture(tmp_path)
    draft = msgspec.structs.replace(final, role="draft")
    first, second = (
        attempt(Outcome.IMAGE, "done", turn=n, key=content_key(item, turn=n), images=(draft,))
        for n in (1, 2)
    )
    third = attempt(Outcome.IMAGE, "done", turn=3, key=item.key, images=(final,))
    assert step(tmp_path, first, item=item) == "pending"
    assert step(tmp_path, first, second, item=item) == "pending"
    refused = msgspec.structs.replace(second, outcome=Outcome.BLOCKED, decision="failed")
    assert step(tmp_path, first, refused, item=item) == "settled: blocked"
    assert step(tmp_path, first, second, third, item=item) == "settled: image"
    anew = msgspec.structs.replace(first, run_id="another run")
    assert step(tmp_path, first, second, third, anew, item=item) == "pending"
    shorter = msgspec.structs.replace(item, turns=turns[:2], key=second.key)
    assert step(tmp_path, first, second, third, item=shorter) == "pending"


# --- items that build on items ----------------------------------------------------------------


def drawing(item_id: str, *parents: str) -> Item:
    references = tuple(Reference(item=parent) for parent in parents)
    item = Item(id=item_id, model="m", prompt=item_id, references=references)
    return msgspec.structs.replace(item, key=content_key(item))


Draw = Callable[[Item], bytes | Outcome]


def draws(item: Item) -> bytes:
    return b"a picture of " + item.id.encode()


@dataclass
class Job:
    """A job's directory, in which runs follow each other and items may fail."""

    root: Path
    items: list[Item]
    history: History = field(default_factory=History)
    n_runs: int = 0

    def agenda(self, redo: Redo | None = None) -> Agenda:
        parents = {ref.item for item in self.items for ref in item.references if ref.item}
        names = {parent: parent for parent in parents}
        items = Selection().marked(lambda: self.items)
        return Agenda(items, self.history, self.root, redo or Redo(), names)

    def foreseen(self, redo: Redo | None = None) -> dict[str, str]:
        return {step.item.id: told(step) for step in self.agenda(redo).foreseen()}

    def run(
        self, draw: Draw = draws, *, redo: Redo | None = None, at_once: int = 3
    ) -> list[tuple[str, str]]:
        """Take steps until none is left, ending the oldest whenever none is ready."""
        self.n_runs += 1
        agenda = self.agenda(redo)
        steps: list[tuple[str, str]] = []
        under_way: list[Step] = []
        while True:
            one = agenda.next() if len(under_way) < at_once else None
            if one is not None:
                steps.append((one.item.id, told(one)))
                if not isinstance(one, Settled):
                    under_way.append(one)
            elif under_way:
                self._end(agenda, under_way.pop(0), draw)
            else:
                return steps

    def _end(self, agenda: Agenda, step: Step, draw: Draw) -> None:
        item = step.item
        drawn = Outcome.SKIPPED_DEPENDENCY if isinstance(step, Skip) else draw(item)
        self.history.apply(self._line(item, drawn))
        agenda.ended(result_of(item, self.history.standing(item)))

    def _line(self, item: Item, drawn: bytes | Outcome) -> Attempt:
        known = {"item": item.id, "key": item.key, "run_id": f"run-{self.n_runs}"}
        if drawn is Outcome.SKIPPED_DEPENDENCY:
            return attempt(drawn, "skipped", attempt=0, **known)
        if isinstance(drawn, Outcome):
            return attempt(drawn, "failed", **known)
        path = self.root / f"{item.id}.png"
        path.write_bytes(drawn)
        image = ImageFile(
            path=path.name,
            role="final",
            sha256=hashlib.sha256(drawn).hexdigest(),
            bytes=len(drawn),
            width=1,
            height=1,
            mime="image/png",
        )
        return attempt(Outcome.IMAGE, "done", images=(image,), **known)


def fails(*lost: str, how: Outcome = Outcome.BAD_REPLY) -> Draw:
    return lambda item: how if item.id in lost else draws(item)


CHAIN = [drawing("a"), drawing("b", "a"), drawing("c", "b")]
DIAMOND = [drawing("top"), drawing("l", "top"), drawing("r", "top"), drawing("low", "l", "r")]


@pytest.mark.parametrize("items", [CHAIN, DIAMOND], ids=["chain", "diamond"])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_an_item_comes_after_all_that_it_builds_on_wherever_they_stand(
    tmp_path: Path, items: list[Item], *, is_reversed: bool
) -> None:
    job = Job(tmp_path, items[::-1] if is_reversed else items)
    taken = [name for name, _ in job.run()]
    assert sorted(taken) == sorted(item.id for item in items)
    for item in items:
        for reference in item.references:
            assert taken.index(reference.item or "") < taken.index(item.id)
    assert {said for _, said in job.run()} == {"settled: image"}
    assert set(job.foreseen().values()) == {"settled: image"}


def test_what_is_ready_does_not_wait_for_what_is_not(tmp_path: Path) -> None:
    job = Job(tmp_path, [drawing("child", "parent"), drawing("parent"), drawing("other")])
    assert job.run(at_once=1) == [("parent", "new"), ("child", "new"), ("other", "new")]
    job = Job(tmp_path, job.items)
    assert job.run(at_once=3) == [("parent", "new"), ("other", "new"), ("child", "new")]


def test_an_item_goes_with_the_picture_of_its_parent_and_the_key_of_its_bytes(
    tmp_path: Path,
) -> None:
    job = Job(tmp_path, [*CHAIN])
    job.run()
    agenda = job.agenda(Redo(done=True))
    first = agenda.next()
    assert first is not None
    assert agenda.next() is None
    agenda.ended(result_of(first.item, job.history.standing(first.item)))
    child = agenda.next()
    assert child is not None
    (reference,) = child.item.references
    assert reference.path == str(tmp_path / "a.png")
    assert reference.sha256 == hashlib.sha256(draws(CHAIN[0])).hexdigest()
    by_path = Reference(path="wherever", sha256=reference.sha256)
    assert child.item.key == content_key(msgspec.structs.replace(child.item, references=(by_path,)))
    assert child.item.key != CHAIN[1].key


def test_what_builds_on_a_failed_item_is_skipped_and_so_is_what_builds_on_that(
    tmp_path: Path,
) -> None:
    job = Job(tmp_path, [*CHAIN, drawing("other")])
    steps = job.run(fails("a"))
    assert sorted(steps) == [
        ("a", "new"),
        ("b", "skip: no a"),
        ("c", "skip: no b"),
        ("other", "new"),
    ]
    standing = job.history.standing(CHAIN[2])
    assert standing is not None
    assert (standing.status, standing.n_attempts, standing.last.key) == ("skipped", 0, CHAIN[2].key)


def test_one_lost_parent_is_enough_and_nobody_waits_for_the_other(tmp_path: Path) -> None:
    job = Job(tmp_path, [*DIAMOND])
    steps = job.run(fails("l"))
    assert ("low", "skip: no l") in steps
    assert [name for name, _ in steps].count("low") == 1


def test_a_second_run_makes_what_was_lost_and_all_that_builds_on_it(tmp_path: Path) -> None:
    job = Job(tmp_path, [*CHAIN, drawing("other")])
    job.run(fails("a"))
    assert job.foreseen() == {
        "a": "failed",
        "b": "waiting",
        "c": "waiting",
        "other": "settled: image",
    }
    assert dict(job.run()) == {"a": "failed", "b": "new", "c": "new", "other": "settled: image"}


def test_what_is_skipped_for_good_gets_no_second_line_until_its_parent_is_tried_again(
    tmp_path: Path,
) -> None:
    job = Job(tmp_path, [*CHAIN])
    refused = fails("a", how=Outcome.BLOCKED)
    job.run(refused)
    skipped = "settled: skipped_dependency"
    for steps in (job.foreseen(), dict(job.run(refused))):
        assert steps == {"a": "settled: blocked", "b": skipped, "c": skipped}
    again = job.run(refused, redo=Redo(failed=frozenset()))
    assert again == [("a", "failed"), ("b", "skip: no a"), ("c", "skip: no b")]
    job.items.append(drawing("d", "b"))
    assert job.foreseen()["d"] == "skip: no b"
    assert dict(job.run(refused))["d"] == "skip: no b"


def test_a_changed_picture_makes_everything_anew_that_builds_on_it(tmp_path: Path) -> None:
    job = Job(tmp_path, [*CHAIN])
    job.run()
    job.items[0] = drawing("a")
    job.items[0] = msgspec.structs.replace(job.items[0], key="0" * 64)
    assert job.foreseen() == {"a": "new", "b": "waiting", "c": "waiting"}
    changed = job.run(lambda item: draws(item) + b", but" if item.id == "a" else draws(item))
    # b comes out as it was, and so nothing changes for c.
    assert changed == [("a", "new"), ("b", "new"), ("c", "settled: image")]


def test_a_picture_that_is_gone_is_made_again_and_what_builds_on_it_only_if_it_differs(
    tmp_path: Path,
) -> None:
    job = Job(tmp_path, [*CHAIN])
    job.run()
    (tmp_path / "a.png").unlink()
    assert job.foreseen() == {"a": "file_missing", "b": "waiting", "c": "waiting"}
    found = []
    agenda = job.agenda()
    first = agenda.next()
    assert first is not None
    job._end(agenda, first, draws)
    while (one := agenda.next()) is not None:
        assert isinstance(one, Settled)
        found.append((one.item.id, one.is_found))
    assert found == [("b", True), ("c", True)]


def test_what_builds_on_an_item_that_never_ends_stays_to_be_done(tmp_path: Path) -> None:
    job = Job(tmp_path, [*CHAIN])
    agenda = job.agenda()
    first = agenda.next()
    assert first is not None
    job.history.apply(
        attempt(Outcome.CANCELLED, "stop", item="a", key=first.item.key, run_id="run-1")
    )
    agenda.ended(result_of(first.item, job.history.standing(first.item)))
    assert agenda.next() is None
    assert job.foreseen() == {"a": "pending", "b": "waiting", "c": "waiting"}


def test_a_parent_that_is_no_longer_in_the_job_keeps_its_children_waiting(tmp_path: Path) -> None:
    job = Job(tmp_path, [drawing("b", "a"), drawing("other")])
    assert job.run() == [("other", "new")]


def test_what_is_not_selected_is_not_sent_but_built_on_if_it_is_done(tmp_path: Path) -> None:
    job = Job(tmp_path, [*CHAIN, drawing("other")])
    parents = {"a": "a", "b": "b"}

    def steps(selected: str) -> list[tuple[str, str]]:
        items = ((item, item.id in selected) for item in job.items)
        agenda = Agenda(items, job.history, tmp_path, Redo(), parents)
        return [(step.item.id, told(step)) for step in agenda.foreseen()]

    assert steps("c") == [("c", "waiting")]
    assert steps("bc") == [("b", "waiting"), ("c", "waiting")]
    job.run(fails("c", "other"))
    assert steps("c") == [("c", "failed")]
    assert steps("ac") == [("a", "settled: image"), ("c", "failed")]
    (tmp_path / "b.png").unlink()
    assert steps("c") == [("c", "waiting")]
    (tmp_path / "a.png").unlink()
    assert steps("abc") == [("a", "file_missing"), ("b", "waiting"), ("c", "waiting")]


def test_what_builds_on_an_unselected_item_that_failed_is_not_skipped(tmp_path: Path) -> None:
    job = Job(tmp_path, [*CHAIN])
    job.run(fails("a", how=Outcome.BLOCKED))
    items = zip(job.items, [False, False, True], strict=True)
    agenda = Agenda(items, job.history, tmp_path, Redo(), {"a": "a", "b": "b"})
    assert agenda.next() is None


def _wide(n: int) -> Iterable[Item]:
    yield from (drawing(f"i{number}", "top") for number in range(1, n))
    yield drawing("top")


def _chain(n: int) -> Iterable[Item]:
    yield drawing("i0")
    yield from (drawing(f"i{number}", f"i{number - 1}") for number in range(1, n))


@pytest.mark.reliability
@pytest.mark.parametrize(("shape", "is_lost"), [(_wide, False), (_chain, False), (_chain, True)])
def test_a_graph_of_100_000_items_is_planned_without_recursion_and_in_seconds(
    tmp_path: Path, shape: Callable[[int], Iterable[Item]], *, is_lost: bool
) -> None:
    items = list(shape(100_000))
    names = {ref.item: ref.item for item in items for ref in item.references if ref.item}
    backwards = Selection().marked(lambda: reversed(items))
    agenda = Agenda(backwards, History(), tmp_path, Redo(), names)
    image = msgspec.structs.replace(picture(tmp_path), sha256="1" * 64)
    n_todo = n_skipped = 0
    while (one := agenda.next()) is not None:
        n_todo += isinstance(one, Todo)
        n_skipped += isinstance(one, Skip)
        line = attempt(
            Outcome.BLOCKED if is_lost else Outcome.IMAGE,
            "failed" if is_lost else "done",
            item=one.item.id,
            key=one.item.key,
            images=() if is_lost else (image,),
        )
        history = History()
        history.apply(line)
        if isinstance(one, Todo):
            agenda.ended(result_of(one.item, history.standing(one.item)))
    assert (n_todo, n_skipped) == ((1, 99_999) if is_lost else (100_000, 0))
