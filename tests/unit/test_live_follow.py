"""The ledger as it grows under the eyes of a reader."""

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batchgen.errors import StoreError
from batchgen.live.follow import Follower, LedgerReplaced
from batchgen.store.ledger import End, Line, Run, Sent, append_late, move_torn_tail, read_lines

AT = "2026-11-21T03:00:04.120Z"


def begin(run_id: str) -> Run:
    return Run(run_id=run_id, at=AT, job="j", job_sha256="0", provider="p", version="1")


def sent(n: int, run_id: str = "r1") -> Sent:
    return Sent(run_id=run_id, item=f"i{n}", key="k", turn=1, attempt=1, at=AT, model="m")


def end(run_id: str) -> End:
    return End(run_id=run_id, at=AT, stop_reason="done", exit_code=0, wall_s=1, concurrency={})


def text(*lines: Line) -> bytes:
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def new(follower: Follower) -> list[Line]:
    return [line for _, _, line in follower.lines()]


def test_each_line_comes_once_and_a_line_without_its_end_waits(tmp_path: Path) -> None:
    path, follower = tmp_path / "r1.jsonl", Follower(tmp_path)
    assert new(follower) == []
    whole = text(begin("r1"), sent(1), sent(2))
    found: list[Line] = []
    for n in range(len(whole)):
        append(path, whole[n : n + 1])
        found += new(follower)
        assert len(found) == whole[: n + 1].count(b"\n")
    assert found == [begin("r1"), sent(1), sent(2)]


@pytest.mark.parametrize("n_chars", [1, 8_191, 8_192, 100_000, 3 << 20])
def test_lines_are_put_together_however_long_they_are(tmp_path: Path, n_chars: int) -> None:
    path, follower = tmp_path / "r1.jsonl", Follower(tmp_path)
    long = msgspec.structs.replace(sent(1), item="x" * n_chars)
    append(path, text(begin("r1"), long, sent(2)) + b"half")
    assert new(follower) == [begin("r1"), long, sent(2)]


def test_a_huge_line_takes_no_longer_than_any_reader_of_it_does(tmp_path: Path) -> None:
    path, follower = tmp_path / "r1.jsonl", Follower(tmp_path)
    append(path, text(msgspec.structs.replace(sent(1), item="x" * (64 << 20))))
    began_s = time.process_time()
    assert len(list(read_lines(path))) == 1
    reader_s = time.process_time() - began_s
    began_s = time.process_time()
    assert len(new(follower)) == 1
    assert time.process_time() - began_s < 4 * reader_s + 0.1


def test_places_are_those_of_a_reader_of_the_whole_segment(tmp_path: Path) -> None:
    path, follower = tmp_path / "r1.jsonl", Follower(tmp_path)
    append(path, text(begin("r1"), sent(1)))
    found = [(begins, line) for _, begins, line in follower.lines()]
    append(path, b"\0" * 100 + text(sent(2)) + b"no line\n" + text(sent(3)))
    found += [(begins, line) for _, begins, line in follower.lines()]
    unreadable: list[str] = []
    assert found == list(read_lines(path, unreadable))
    assert follower.unreadable == unreadable
    assert len(unreadable) == 2


def test_a_directory_without_a_ledger_has_no_lines_yet(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "job/ledger")
    assert new(follower) == []
    (tmp_path / "job/ledger").mkdir(parents=True)
    append(tmp_path / "job/ledger/r1.jsonl", text(begin("r1")))
    assert new(follower) == [begin("r1")]


def test_runs_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    for name in ("r2", "r1", "r3"):
        append(tmp_path / f"{name}.jsonl", text(begin(name)))
    assert new(follower) == [begin("r1"), begin("r2"), begin("r3")]
    append(tmp_path / "r4.jsonl", text(begin("r4")))
    assert new(follower) == [begin("r4")]


def test_what_the_next_run_mends_of_a_killed_one_is_read_right(tmp_path: Path) -> None:
    path, follower = tmp_path / "r1.jsonl", Follower(tmp_path)
    append(path, text(begin("r1"), sent(1)) + text(sent(2))[:-10])
    assert new(follower) == [begin("r1"), sent(1)]
    # The next run cuts the torn line off, and adds what the killed one had in mind.
    move_torn_tail(path)
    assert new(follower) == []
    append_late(path, [sent(3)])
    append(tmp_path / "r2.jsonl", text(begin("r2")))
    assert new(follower) == [sent(3), begin("r2")]


def test_a_last_line_that_lacks_nothing_but_its_end_comes_when_it_has_it(tmp_path: Path) -> None:
    path, follower = tmp_path / "r1.jsonl", Follower(tmp_path)
    append(path, text(begin("r1"), sent(1))[:-1])
    assert new(follower) == [begin("r1")]
    move_torn_tail(path)
    assert new(follower) == [sent(1)]


def noted(monkeypatch: pytest.MonkeyPatch, name: str, paths: list[object]) -> None:
    """Note the paths that a call of the system is made for."""
    really = getattr(os, name)

    def note(path: object, *more: Any, **by_name: Any) -> Any:
        paths.append(path)
        return really(path, *more, **by_name)

    monkeypatch.setattr(os, name, note)


def test_nothing_is_opened_where_nothing_grew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = Follower(tmp_path)
    append(tmp_path / "r1.jsonl", text(begin("r1"), end("r1")))
    append(tmp_path / "r2.jsonl", text(begin("r2"), sent(1, "r2")))
    assert len(new(follower)) == 4
    opened: list[object] = []
    looked_at: list[object] = []
    noted(monkeypatch, "open", opened)
    noted(monkeypatch, "stat", looked_at)
    assert new(follower) == []
    assert opened == []
    # A run that has ended writes nothing more: there may be thousands.
    assert [Path(str(path)).name for path in looked_at if str(path).endswith("jsonl")] == [
        "r2.jsonl"
    ]


def test_the_segments_of_workers_are_read_to_the_end_of_their_run_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = Follower(tmp_path)
    append(tmp_path / "r1.jsonl", text(begin("r1")))
    append(tmp_path / "r1.w00000000.jsonl", text(begin("r1"), sent(1)))
    assert len(new(follower)) == 3
    append(tmp_path / "r1.w00000000.jsonl", text(sent(2)))
    append(tmp_path / "r1.jsonl", text(end("r1")))
    append(tmp_path / "r2.jsonl", text(begin("r2")))
    assert new(follower) == [end("r1"), sent(2), begin("r2")]
    looked_at: list[object] = []
    noted(monkeypatch, "stat", looked_at)
    assert new(follower) == []
    names = [Path(str(path)).name for path in looked_at if str(path).endswith("jsonl")]
    assert names == ["r2.jsonl"]


def test_another_ledger_in_its_place_is_noticed(tmp_path: Path) -> None:
    path, follower = tmp_path / "r1.jsonl", Follower(tmp_path)
    append(path, text(begin("r1"), sent(1)))
    assert len(new(follower)) == 2
    path.write_bytes(text(begin("r1")))
    with pytest.raises(LedgerReplaced):
        new(follower)
    follower = Follower(tmp_path)
    assert len(new(follower)) == 1
    other = tmp_path / "other"
    other.write_bytes(text(begin("r1"), sent(5), sent(6)))
    other.replace(path)
    with pytest.raises(LedgerReplaced):
        new(follower)
    follower = Follower(tmp_path)
    assert len(new(follower)) == 3
    path.unlink()
    with pytest.raises(LedgerReplaced):
        new(follower)


def test_a_line_of_a_newer_version_is_told_with_its_place(tmp_path: Path) -> None:
    append(tmp_path / "r1.jsonl", text(begin("r1")) + b'{"v":2,"event":"dream"}\n')
    with pytest.raises(StoreError, match=r"r1\.jsonl:2: written by a newer batchgen"):
        new(Follower(tmp_path))


def test_a_pipe_in_the_place_of_a_segment_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "r1.jsonl")
    follower = Follower(tmp_path)
    assert new(follower) == []  # there is nothing in it
    append(tmp_path / "r2.jsonl", text(begin("r2")))
    assert new(follower) == [begin("r2")]


def test_what_was_read_can_be_read_again_and_no_more_than_that(tmp_path: Path) -> None:
    path, follower = tmp_path / "r1.jsonl", Follower(tmp_path)
    append(path, text(begin("r1"), sent(1)))
    assert new(follower) == [begin("r1"), sent(1)]
    append(path, text(sent(2)))
    append(tmp_path / "r2.jsonl", text(begin("r2")))
    assert list(follower.again()) == [begin("r1"), sent(1)]
    assert new(follower) == [sent(2), begin("r2")]


def test_reading_ends_when_it_is_told_to(tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    append(tmp_path / "r1.jsonl", text(begin("r1")))
    with pytest.raises(KeyboardInterrupt):
        new(Follower(tmp_path, stop))
