"""Records of what a worker has put into a store, which others may write to."""

from pathlib import Path

import msgspec
import pytest

from batchgen.errors import TextOnly
from batchgen.model import Item, Outcome
from batchgen.sanitize import Secrets
from batchgen.store.ledger import Sent
from batchgen.store.receipts import part_name
from batchgen.store.staged import Failed, Staged, record_name, records
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


def refused(failed: Failed | None) -> Staged:
    line = msgspec.structs.replace(LINE, outcome=Outcome.TEXT_ONLY)
    return msgspec.structs.replace(RECORD, line=line, paths=(), failed=failed)


def put(directory: Path, record: Staged, name: str = record_name(part_name(SENT))) -> None:
    (directory / name).write_bytes(record.encoded(Secrets([])))


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    put(tmp_path, RECORD)

    assert list(records(tmp_path)) == list(records(tmp_path, part_name(SENT))) == [RECORD]


def test_a_record_of_a_refusal_says_again_why(tmp_path: Path) -> None:
    why = TextOnly("the model wrote", billed="yes", tries=0)
    put(tmp_path, refused(Failed.of(why)))

    (found,) = records(tmp_path)
    assert isinstance(found.error, TextOnly)
    assert vars(found.error) == vars(why)


@pytest.mark.parametrize("kind", ["Nobody", "AttemptErrors", "BaseException", ""])
def test_a_record_of_a_failure_that_nobody_knows_is_none(tmp_path: Path, kind: str) -> None:
    put(tmp_path, refused(Failed(kind=kind, message="", billed="no")))

    assert not list(records(tmp_path))


def test_a_record_that_tells_of_two_ends_is_none(tmp_path: Path) -> None:
    failed = Failed.of(TextOnly("the model wrote"))
    put(tmp_path, msgspec.structs.replace(RECORD, failed=failed))
    assert not list(records(tmp_path))
    put(tmp_path, refused(None))
    assert not list(records(tmp_path))


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
