"""Records of what a worker has put into a store, which others may write to."""

from pathlib import Path

import msgspec
import pytest

from batchgen.model import Item
from batchgen.sanitize import Secrets
from batchgen.store.ledger import Sent
from batchgen.store.receipts import part_name
from batchgen.store.staged import Staged, record_name, records
from tests.galleries import ended

ITEM = Item(id="mug", model="m", prompt="a mug", key="k")
LINE = ended(ITEM)
SENT = Sent(
    run_id=LINE.run_id,
    item=LINE.item,
    key=LINE.key,
    turn=LINE.turn,
    attempt=LINE.attempt,
    at=LINE.at,
    model=LINE.model,
)
RECORD = Staged(sent=SENT, item=ITEM, line=LINE, paths=("images/mug.png",))


def put(directory: Path, record: Staged, name: str = record_name(part_name(SENT))) -> None:
    (directory / name).write_bytes(record.encoded(Secrets([])))


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    put(tmp_path, RECORD)

    assert list(records(tmp_path)) == list(records(tmp_path, part_name(SENT))) == [RECORD]


@pytest.mark.parametrize("path", ["/etc/passwd", "../mug.png", "images/../../mug.png", "images/.."])
def test_a_record_of_files_elsewhere_is_none(tmp_path: Path, path: str) -> None:
    put(tmp_path, msgspec.structs.replace(RECORD, paths=(path,)))

    assert not list(records(tmp_path))


def test_a_record_of_another_call_than_its_name_says_is_none(tmp_path: Path) -> None:
    put(tmp_path, RECORD, record_name("another"))
    put(tmp_path, msgspec.structs.replace(RECORD, line=msgspec.structs.replace(LINE, attempt=9)))

    assert not list(records(tmp_path))


def test_what_is_no_record_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / record_name("torn")).write_bytes(b'{"v": 1, "sent"')

    assert not list(records(tmp_path))
