"""The job of the last run, found again by id."""

import random
from pathlib import Path

import pytest

from batchgen.errors import StoreError
from batchgen.model import Item, Reference
from batchgen.store import former as module
from batchgen.store.expanded import write_items
from batchgen.store.former import open_former


def items_of(*ids: str) -> list[Item]:
    return [Item(id=item_id, model="m", prompt=f"of {item_id}") for item_id in ids]


def test_each_item_is_found_by_its_id_and_no_other(tmp_path: Path) -> None:
    ids = [f"Ä-{n}" for n in range(3000)]
    path = tmp_path / "items.jsonl"
    write_items(path, items_of(*ids))
    with open_former(path) as former:
        for item_id in random.Random(1).sample(ids, 500):
            found = former.get(item_id)
            assert found is not None
            assert (found.id, found.prompt) == (item_id, f"of {item_id}")
        assert former.get("Ä-3000") is None
        assert former.n_unreadable == 0


def test_ids_with_like_hashes_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_split", lambda item_id: (len(item_id), 7))
    path = tmp_path / "items.jsonl"
    write_items(path, items_of("aa", "ab", "b", "ac"))
    with open_former(path) as former:
        found = [former.get(item_id) for item_id in ("ac", "aa", "b", "ad")]
    assert [one and one.id for one in found] == ["ac", "aa", "b", None]


def test_what_is_gone_comes_in_the_order_of_the_job(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    write_items(path, items_of(*(f"i{n}" for n in range(1000))))
    with open_former(path) as former:
        kept = [f"i{n}" for n in range(999, -1, -1) if n not in {3, 500, 999}]
        for _ in range(2):
            assert [item.id for item in former.without([*kept, "new"])] == ["i3", "i500", "i999"]
            assert not list(former.without(f"i{n}" for n in range(1000)))


def test_without_a_run_there_is_nothing_and_a_line_that_is_none_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    with open_former(path) as former:
        assert former.get("a") is None
        assert not list(former.without([]))
    write_items(path, items_of("a", "b"))
    torn = b'{"id":"c","model":7}\n' + b"[" * 100_000 + b'\n\xff\n{"id":"d'
    path.write_bytes(path.read_bytes() + torn)
    with open_former(path) as former:
        assert former.n_unreadable == 3
        assert former.get("c") is None
        assert [item.id for item in former.without(["a"])] == ["b"]


def test_a_run_that_begins_meanwhile_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    write_items(path, items_of("a", "b"))
    with open_former(path) as former:
        write_items(path, items_of("c" * 100))
        assert former.get("b") is not None
        assert former.get("c" * 100) is None


def test_references_are_where_they_were(tmp_path: Path) -> None:
    root = tmp_path / "on/another/disk"
    root.mkdir(parents=True)
    (tmp_path / "link").symlink_to(root)
    picture = Reference(path=str(tmp_path / "a.png"), sha256="0" * 64)
    write_items(root / "items.jsonl", [Item(id="a", model="m", references=(picture,))])
    with open_former(tmp_path / "link/items.jsonl") as former:
        found = former.get("a")
    assert found is not None
    assert found.references == (picture,)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").mkdir()
    with pytest.raises(StoreError), open_former(tmp_path / "items.jsonl"):
        pass
