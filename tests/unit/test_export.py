"""Lines of a batch from a ledger that was written by hand."""

import base64
import json
from pathlib import Path

import msgspec
import pytest

from batchgen.export import CODES, BatchExport
from batchgen.model import Attempt, Failure, ImageFile, Item, Outcome, content_key
from batchgen.store.expanded import write_items
from batchgen.store.ledger import Line, Run
from batchgen.wire.request import READ_BYTES

ITEM = Item(id="a", model="m", prompt="p")
RUN = Run(
    run_id="r", at="2026-11-21T03:00:00.000Z", job="j", job_sha256="0", provider="p", version=""
)
LAST = Attempt(
    run_id="r",
    item="a",
    key=content_key(ITEM),
    turn=1,
    attempt=1,
    at="2026-11-21T03:00:04.120Z",
    model="m",
    provider="p",
    outcome=Outcome.IMAGE,
    decision="done",
    cost_basis="unknown",
    billed="yes",
)


def job(root: Path, *lines: Line) -> Path:
    (root / "ledger").mkdir(exist_ok=True)
    written = b"".join(msgspec.json.encode(line) + b"\n" for line in (RUN, *lines))
    (root / "ledger/r.jsonl").write_bytes(written)
    write_items(root / "items.jsonl", [msgspec.structs.replace(ITEM, key=LAST.key)])
    return root


def only_line(root: Path) -> bytes:
    return b"".join(BatchExport(root, holds_images=True))


def test_every_failure_has_a_code_and_every_answer_none() -> None:
    answered = {Outcome.IMAGE, Outcome.TEXT_ONLY, Outcome.NO_IMAGE, Outcome.BLOCKED}
    assert set(CODES) | answered == set(Outcome)
    assert not set(CODES) & answered
    assert all(0 < code <= 16 for code in CODES.values())


@pytest.mark.parametrize("size", [0, 1, 2, 3, READ_BYTES - 1, READ_BYTES, 2 * READ_BYTES + 1])
def test_a_picture_of_any_length_is_base64_without_a_seam(size: int, tmp_path: Path) -> None:
    data = bytes(n % 251 for n in range(size))
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(data)
    image = ImageFile(
        path="images/a.png",
        role="final",
        sha256="",
        bytes=size,
        width=1,
        height=1,
        mime="image/png",
    )
    done = msgspec.structs.replace(LAST, images=(image,))
    line = json.loads(only_line(job(tmp_path, done)))
    (part,) = line["response"]["candidates"][0]["content"]["parts"]
    assert base64.b64decode(part["inlineData"]["data"], validate=True) == data


@pytest.mark.parametrize("outcome", CODES)
def test_a_failure_has_its_message(outcome: Outcome, tmp_path: Path) -> None:
    failure = Failure(kind="X", message='what "happened"\u2028')
    failed = msgspec.structs.replace(LAST, outcome=outcome, decision="failed", error=failure)
    line = json.loads(only_line(job(tmp_path, failed)))
    assert line == {"key": "a", "error": {"code": CODES[outcome], "message": failure.message}}


def test_a_line_is_one_line_whatever_it_holds(tmp_path: Path) -> None:
    words = msgspec.structs.replace(
        LAST, outcome=Outcome.TEXT_ONLY, decision="failed", text='a\nb\r\u2028"\\'
    )
    exported = only_line(job(tmp_path, words))
    assert exported.count(b"\n") == 1
    (part,) = json.loads(exported)["response"]["candidates"][0]["content"]["parts"]
    assert part == {"text": 'a\nb\r\u2028"\\'}


def test_a_refused_prompt_of_an_older_ledger_has_a_reason_that_says_nothing(
    tmp_path: Path,
) -> None:
    blocked = msgspec.structs.replace(LAST, outcome=Outcome.BLOCKED, decision="failed")
    line = json.loads(only_line(job(tmp_path, blocked)))
    assert line["response"] == {"promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}}
