"""Which segments a killed run may have left unwritten: all of its own, and of no other run."""

from pathlib import Path

from batchgen.recovery import _killed_last
from batchgen.store.history import History
from batchgen.store.ledger import End, Run

AT = "2026-11-29T00:00:00.000Z"


def history_of(*runs: tuple[str, str | None], ended: tuple[str, ...] = ()) -> History:
    history = History()
    for run_id, shard in runs:
        run = Run(
            run_id=run_id, at=AT, job="j", job_sha256="0", provider="p", version="0", shard=shard
        )
        history.apply(run)
    for run_id in ended:
        end = End(run_id=run_id, at=AT, stop_reason="", exit_code=0, wall_s=1, concurrency={})
        history.apply(end)
    return history


def killed(history: History, *names: str) -> list[str]:
    return [path.name for path in _killed_last([Path(f"{name}.jsonl") for name in names], history)]


def test_all_segments_of_the_last_run_and_its_workers_are_looked_after() -> None:
    history = history_of(("r1", None), ("r2", None))

    found = killed(history, "r1", "r1.w00000000", "r2", "r2.w00000000", "r2.w00010100")

    assert found == ["r2.w00010100.jsonl", "r2.w00000000.jsonl", "r2.jsonl"]


def test_a_run_that_has_ended_left_nothing() -> None:
    history = history_of(("r1", None), ("r2", None), ended=("r2",))

    assert killed(history, "r1", "r2", "r2.w00000000") == []


def test_of_shards_the_last_run_of_each_is_looked_after_and_the_whole_run_before_them() -> None:
    shards = (("r2", "1/2"), ("r3", "2/2"), ("r4", "1/2"))
    history = history_of(("r1", None), *shards, ended=("r4",))

    assert killed(history, "r1", "r2.s1-2", "r3.s2-2", "r4.s1-2") == ["r3.s2-2.jsonl", "r1.jsonl"]
