"""Marks on pictures: the last word counts, and none is lost."""

import threading
from pathlib import Path

import msgspec
import pytest

from batchgen.errors import StoreError, UsageError
from batchgen.review import Mark, append_mark, read_kept, read_marks, read_redo

CAT = Mark(item="cat", sha256="a" * 64, mark="redo", note="too dark")
OWL = Mark(item="owl", sha256="b" * 64, mark="keep")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "review.jsonl"


def test_without_a_file_there_are_no_marks(path: Path) -> None:
    assert read_marks(path) == {}


def test_what_was_marked_is_read_again_and_an_empty_note_takes_no_room(path: Path) -> None:
    append_mark(path, CAT)
    append_mark(path, OWL)
    assert read_marks(path) == {"cat": CAT, "owl": OWL}
    assert path.read_bytes().splitlines()[1] == (
        b'{"item":"owl","sha256":"' + b"b" * 64 + b'","mark":"keep"}'
    )


def test_the_last_mark_of_an_item_counts_and_none_takes_it_back(path: Path) -> None:
    append_mark(path, CAT)
    assert read_redo(path) == {"cat": CAT.sha256}
    taken_back = Mark(item="cat", sha256=CAT.sha256, mark="none")
    append_mark(path, taken_back)
    assert read_marks(path) == {"cat": taken_back}
    assert read_redo(path) == {}
    assert read_kept(path) == frozenset()
    append_mark(path, CAT)
    assert read_redo(path) == {"cat": CAT.sha256}


def test_a_last_line_without_its_end_stays_a_line_of_its_own(path: Path) -> None:
    path.write_bytes(msgspec.json.encode(OWL))
    append_mark(path, CAT)
    assert read_marks(path) == {"owl": OWL, "cat": CAT}


def test_marks_of_many_at_once_are_all_there(path: Path) -> None:
    def mark(name: str) -> None:
        for n in range(10):
            append_mark(path, Mark(item=f"{name}{n}", sha256="c" * 64, mark="keep"))

    threads = [threading.Thread(target=mark, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_marks(path)) == 40


def test_nothing_is_written_behind_a_link(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    for target in (elsewhere, path.parent):
        path.symlink_to(target)
        with pytest.raises(StoreError):
            append_mark(path, CAT)
        path.unlink()
    assert not elsewhere.exists()


def test_a_disk_that_takes_nothing_is_told() -> None:
    with pytest.raises(StoreError):
        append_mark(Path("/dev/full"), CAT)


@pytest.mark.parametrize("line", [b'{"item":"cat"}', b"[]", b'{"item":"c","sha256":"","mark":"x"}'])
def test_a_line_that_is_no_mark_is_told_with_its_place(line: bytes, path: Path) -> None:
    append_mark(path, OWL)
    path.write_bytes(path.read_bytes() + b"\n" + line + b"\n")
    with pytest.raises(UsageError, match=r"review\.jsonl:3: "):
        read_marks(path)
