"""Which files the served page gives away: pictures below a few folders, and nothing else."""

import os
import random
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.live.files import FOLDERS, open_picture, parts_of, thumbnail_of
from tests.servers import png

SECRET = png("secret")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job's directory with pictures, and more beside it and in it that are nobody's business."""
    parent = tmp_path_factory.mktemp("parent")
    root = parent / "job"
    for folder in (*FOLDERS, "images/a b", "ledger", ".parts", "images/.hidden"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    outside = [
        "../secret.png",
        ".parts/secret.png",
        "ledger/secret.png",
        "images/.hidden/secret.png",
    ]
    for place in (*outside, "secret.png", "images/.secret.png"):
        (root / place).write_bytes(SECRET)
    (root / "images/hero.png").write_bytes(png("hero"))
    (root / "images/a b/ü#1.png").write_bytes(png("hero"))
    (root / "images/page.png").write_bytes(b"<svg><script>alert(1)</script></svg>")
    (root / "images/empty.png").write_bytes(b"")
    (root / "images/link.png").symlink_to(root / "secret.png")
    (root / "images/folder").symlink_to(parent)
    os.mkfifo(root / "images/fifo.png")
    (root / "images/dir.png").mkdir()
    return root


def read(root: Path, target: str) -> bytes | None:
    parts = parts_of(target)
    found = None if parts is None else open_picture(root, parts)
    if found is None:
        return None
    with found.file:
        data = found.file.read()
    assert len(data) == found.size_bytes
    return data


def test_a_picture_is_given_by_its_path_however_that_is_encoded(root: Path) -> None:
    assert read(root, "/images/hero.png") == png("hero")
    assert read(root, "/images/hero.png?v=1") == png("hero")
    assert read(root, "/%69mages/%68ero.png") == png("hero")
    assert read(root, "/images/a%20b/%C3%BC%231.png") == png("hero")


@pytest.mark.parametrize(
    "target",
    [
        "/secret.png",
        "/.parts/secret.png",
        "/ledger/secret.png",
        "/images/.secret.png",
        "/images/.hidden/secret.png",
        "/images/../secret.png",
        "/images/%2e%2e/secret.png",
        "/images/%2E%2E%2Fsecret.png",
        "/images/..%2fsecret.png",
        "/images/..%5csecret.png",
        "/images/..\\secret.png",
        "/images%2f..%2fsecret.png",
        "/images/%252e%252e/secret.png",
        "/images/./hero.png",
        "/images//hero.png",
        "//images/hero.png",
        "/images/a/../../secret.png",
        "/images/%c0%ae%c0%ae/secret.png",
        "/images/hero.png%00",
        "/images/hero.png%00.txt",
        "/images/hero.png/",
        "/images/",
        "/images",
        "/",
        "",
        "images/hero.png",
        "/images/link.png",
        "/images/folder/secret.png",
        "/images/folder/job/images/hero.png",
        "/images/fifo.png",
        "/images/dir.png",
        "/images/page.png",
        "/images/empty.png",
        "/images/missing.png",
        "/images/" + "a/" * 100 + "x.png",
        "/images/" + "a" * 5000,
        "/IMAGES/../secret.png",
        "/review.jsonl",
        "/items.jsonl",
    ],
)
def test_nothing_else_is_given_by_any_trick(root: Path, target: str) -> None:
    assert read(root, target) is None


def test_an_absolute_path_leads_nowhere(root: Path) -> None:
    assert read(root, f"/images/{root}/secret.png") is None
    assert read(root, f"/images/{quote(str(root / 'secret.png'), safe='')}") is None


_PIECES = (
    *("images", "turns", "a b", "hero.png", "secret.png", "folder", "link.png", "job", ""),
    *(
        "..",
        ".",
        "%2e%2e",
        "%2E.",
        "..%2f",
        "%5c..",
        "%00",
        "/",
        "\\",
        "%2f",
        "ü",
        "%c3%bc",
        "?",
        "#",
    ),
)


@given(st.lists(st.one_of(st.sampled_from(_PIECES), st.text(max_size=3)), max_size=8), st.data())
def test_whatever_is_asked_for_only_pictures_of_the_job_are_given(
    root: Path, pieces: list[str], data: st.DataObject
) -> None:
    separators = ["/", "/", "", "%2f"]
    target = "/" + "".join(one + data.draw(st.sampled_from(separators)) for one in pieces)
    assert read(root, target) in {None, png("hero")}


@given(st.text(max_size=12))
def test_any_name_that_is_quoted_names_one_file_or_none(name: str) -> None:
    parts = parts_of(f"/images/{quote(name, safe='', errors='replace')}")
    if parts is not None:
        assert parts[0] == "images"
        assert len(parts) == 2
        assert Path(*parts).parent == Path("images")


def test_a_file_that_changes_has_another_tag(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    tags = set()
    for name in ("one", "other"):
        new = tmp_path / "images" / f"{name}.new"
        new.write_bytes(png(name))
        new.replace(tmp_path / "images/a.png")
        found = open_picture(tmp_path, ("images", "a.png"))
        assert found is not None
        found.file.close()
        tags.add(found.tag)
    assert len(tags) == 2


def test_no_descriptor_is_left_open_by_what_is_refused(root: Path) -> None:
    n_open = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only how many
    for target in ("/images/page.png", "/images/fifo.png", "/images/folder/x", "/images/dir.png"):
        assert read(root, target) is None
    assert len(os.listdir("/proc/self/fd")) == n_open  # noqa: PTH208


def test_a_thumbnail_goes_by_a_digest_and_by_nothing_else() -> None:
    digest = "".join(random.Random(1).choices("0123456789abcdef", k=64))
    assert thumbnail_of(f"/thumbnails/{digest}.webp") == digest
    assert thumbnail_of(f"/thumbnails/{digest}.webp?x") == digest
    for other in (digest.upper(), digest[1:], f"../{digest}", f"{digest}%00", f"{digest}\n"):
        assert thumbnail_of(f"/thumbnails/{other}.webp") is None
    assert thumbnail_of(f"/thumbnails/{digest}.png") is None
