"""Files that are replaced as a whole, by several writers at once."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from batchgen.store.replace import remove_left_drafts, replaced


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_two_writers_at_once_each_replace_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with replaced(path) as slow:
        slow.write(b"slow, ")
        with replaced(path) as fast:
            fast.write(b"fast")
        assert path.read_bytes() == b"fast"
        slow.write(b"and whole")
    assert path.read_bytes() == b"slow, and whole"
    assert names(tmp_path) == ["results.jsonl"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_was_there_stays_when_the_new_file_does_not_become_whole(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(b"old")
    stack = ExitStack()
    stack.enter_context(replaced(path)).write(b"half")
    with pytest.raises(error), stack:
        raise error
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["results.jsonl"]


def test_a_draft_that_a_killed_writer_left_is_removed_and_one_being_written_is_not(
    tmp_path: Path,
) -> None:
    (tmp_path / ".results.jsonl.0badcafe.draft").write_bytes(b"left")
    with replaced(tmp_path / "results.jsonl") as file:
        file.write(b"being written")
        remove_left_drafts(tmp_path)
        assert len(names(tmp_path)) == 1
    assert names(tmp_path) == ["results.jsonl"]


def test_a_draft_may_lie_in_another_directory(tmp_path: Path) -> None:
    (tmp_path / ".parts").mkdir()
    with replaced(tmp_path / "a.txt", drafts=tmp_path / ".parts") as file:
        assert len(names(tmp_path / ".parts")) == 1
        file.write(b"words")
    assert (tmp_path / "a.txt").read_bytes() == b"words"
