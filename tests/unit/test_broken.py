"""What `verify` found counts once, and only as long as nothing has changed since."""

import json
import os
import shutil
from pathlib import Path

import pytest

from batchgen.model import ImageFile
from batchgen.store.broken import Broken, BrokenFile, found_broken, write_broken

IMAGE = ImageFile(
    path="images/a.png",
    role="final",
    sha256="0" * 64,
    bytes=4,
    width=1,
    height=1,
    mime="image/png",
)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "images/a.png"
    path.parent.mkdir()
    path.write_bytes(b"1234")
    return path


def found(root: Path, *, sha256: str = IMAGE.sha256) -> BrokenFile:
    path = root / IMAGE.path
    seen = path.stat() if path.exists() else None
    return found_broken("a", IMAGE.path, sha256, "sha256", seen)


def read_again(root: Path, *files: BrokenFile) -> Broken:
    write_broken(root / "broken.jsonl", files)
    return Broken.read(root / "broken.jsonl")


def test_a_picture_is_named_as_long_as_its_file_is_the_one_that_was_seen(
    tmp_path: Path, picture: Path
) -> None:
    broken = read_again(tmp_path, found(tmp_path))
    assert broken.names(IMAGE, tmp_path)
    assert Broken.read(tmp_path / "broken.jsonl").names(IMAGE, tmp_path)
    picture.write_bytes(b"12345")
    assert not broken.names(IMAGE, tmp_path)


def test_a_copy_with_the_same_size_and_time_is_another_file(tmp_path: Path, picture: Path) -> None:
    broken = read_again(tmp_path, found(tmp_path))
    seen = picture.stat()
    shutil.copy2(picture, tmp_path / "backup.png")
    shutil.copy2(tmp_path / "backup.png", picture)
    os.utime(picture, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert picture.stat().st_mtime_ns == seen.st_mtime_ns
    assert not broken.names(IMAGE, tmp_path)


def test_a_picture_that_was_made_since_is_not_named(tmp_path: Path, picture: Path) -> None:
    assert picture.exists()
    assert not read_again(tmp_path, found(tmp_path, sha256="1" * 64)).names(IMAGE, tmp_path)


def test_what_was_missing_is_named_until_it_is_there(tmp_path: Path, picture: Path) -> None:
    picture.unlink()
    broken = read_again(tmp_path, found(tmp_path))
    assert broken.names(IMAGE, tmp_path)
    picture.write_bytes(b"1234")
    assert not broken.names(IMAGE, tmp_path)


def test_findings_are_replaced_as_a_whole_and_without_any_there_is_no_file(
    tmp_path: Path, picture: Path
) -> None:
    assert picture.exists()
    other = BrokenFile(item="b", path="images/b.png", sha256="2" * 64, problem="missing")
    assert len(read_again(tmp_path, found(tmp_path), other).files) == 2
    assert len(read_again(tmp_path, other).files) == 1
    assert not read_again(tmp_path).files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


def test_lines_that_make_no_sense_are_passed_over(tmp_path: Path, picture: Path) -> None:
    assert picture.exists()
    read_again(tmp_path, found(tmp_path))
    path = tmp_path / "broken.jsonl"
    line = json.loads(path.read_bytes())
    newer = json.dumps({**line, "v": 2, "path": "images/c.png"})
    odd = ["", "no json", "[" * 100_000, '{"v":1}', newer, '{"path":"\udcff"}', json.dumps(line)]
    path.write_bytes("\n".join(odd).encode("utf-8", "surrogateescape"))
    broken = Broken.read(path)
    assert list(broken.files) == [(IMAGE.path, IMAGE.sha256)]
    assert broken.names(IMAGE, tmp_path)
