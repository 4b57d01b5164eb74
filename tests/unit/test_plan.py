"""What is sent again, and what is not."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batchgen.model import Attempt, Decision, ImageFile, Item, Outcome
from batchgen.plan import Redo, Settled, Todo, plan
from batchgen.store.ledger import History

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
    (one,) = plan([item], history.items, root, redo or Redo())
    match one:
        case Todo(_, reason):
            return reason
        case Settled(_, last):
            return f"settled: {last.outcome}"


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

    steps = plan(items(), {}, tmp_path, Redo())
    next(steps)
    assert taken == [0]
