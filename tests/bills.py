"""Ledgers and usage logs as files, for comparisons; the log is made by nothing of the product."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

MODEL = "gemini-3-pro-image"
AT = "2026-11-21T03:00:00.000Z"
AT_S = 1_795_230_000
RUN = "20261121T030000Z-4f2a9c31"
# 20 x 2.00 + (110 + 200) x 12.00 + 1120 x 120 micro-dollars: $0.138160.
TOKENS = {
    "input_text": 20,
    "input_image": 0,
    "output_text": 110,
    "output_image": 1120,
    "thoughts": 200,
}
LIST_USD = Decimal("0.138160")


def stamp(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%S}.000Z"


@dataclass
class Side:
    """A ledger and the log of a gateway, written as they would be."""

    folder: Path
    lines: list[Json] = field(default_factory=list)
    rows: list[Json] = field(default_factory=list)
    _numbers: Any = field(default_factory=lambda: count(1))

    def called(self, item: str = "cat", **changed: Any) -> str:
        """A call in the ledger, at so many seconds after the start; returns its request id."""
        nth = next(self._numbers)
        outcome = changed.get("outcome", "image")
        billed = {"timeout": "maybe", "interrupted": "maybe", "bad_request": "no"}
        line: Json = {"v": 1, "event": "attempt", "run_id": RUN, "item": item, "key": "0" * 64}
        line |= {"turn": 1, "attempt": nth, "model": MODEL, "provider": "cometapi"}
        line |= {"at": stamp(AT_S + changed.pop("after_s", 0)), "latency_s": 20.0}
        line |= {"outcome": outcome, "decision": "done" if outcome == "image" else "failed"}
        line |= {"billed": billed.get(outcome, "yes"), "cost_basis": "reported"}
        line["tokens"] = TOKENS if outcome == "image" else None
        line["request_id"] = None if line["billed"] == "maybe" else f"req-{nth}"
        line |= changed
        known = {"yes": str(LIST_USD), "no": "0.000000", "maybe": None}[line["billed"]]
        line.setdefault("cost_usd", known)
        self.lines.append(line)
        return str(line["request_id"])

    def billed(
        self,
        request_id: str | None,
        usd: str | Decimal = LIST_USD,
        *,
        after_s: int = 20,
        **more: Any,
    ) -> None:
        """A row in the log, written so many seconds after the start."""
        quota = int(Decimal(usd) * 500_000)
        row = {"created_at": AT_S + after_s, "type": 2, "model_name": MODEL, "quota": quota}
        row |= {"prompt_tokens": 20, "completion_tokens": 1430, "use_time": 20, "token_name": "t"}
        row |= {"content": "", "other": '{"model_ratio":1,"model_price":-1}'}
        self.rows.append({**row, "request_id": request_id or "", **more})

    def ledger(self) -> list[Path]:
        path = self.folder / f"{RUN}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in self.lines), "utf-8")
        return [path]

    def log(self, form: str = "jsonl") -> Path:
        path = self.folder / f"log.{form}"
        path.write_bytes(FORMS[form](self.rows))
        return path


def _jsonl(rows: Iterable[Json]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _table(rows: Sequence[Json], delimiter: str, rename: Callable[[str], str] = str) -> bytes:
    text = io.StringIO()
    names = sorted(rows[0])
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(map(rename, names))
    writer.writerows([row[name] for name in names] for row in rows)
    return text.getvalue().encode()


def _spoken(name: str) -> str:
    return name.replace("_", " ").title()


def _answer(rows: Sequence[Json]) -> bytes:
    page = {"page": 1, "page_size": 100, "total": len(rows), "items": rows}
    return json.dumps({"success": True, "message": "", "data": page}).encode()


def _texts(rows: Iterable[Json]) -> bytes:
    return _jsonl({name: str(value) for name, value in row.items()} for row in rows)


FORMS: dict[str, Callable[[Sequence[Json]], bytes]] = {
    "jsonl": _jsonl,
    "answer.json": _answer,
    "data.json": lambda rows: json.dumps({"data": rows}).encode(),
    "array.json": lambda rows: json.dumps(rows).encode(),
    "pretty.json": lambda rows: json.dumps({"data": {"items": rows}}, indent=2).encode(),
    "rows-pretty.json": lambda rows: "\n".join(json.dumps(r, indent=1) for r in rows).encode(),
    "pages.jsonl": lambda rows: b"\n".join(_answer([row]) for row in rows),
    "texts.jsonl": _texts,
    "csv": lambda rows: _table(rows, ","),
    "spoken.csv": lambda rows: _table(rows, ",", _spoken),
    "semicolon.csv": lambda rows: _table(rows, ";"),
    "tsv": lambda rows: _table(rows, "\t"),
    "bom.csv": lambda rows: b"\xef\xbb\xbf" + _table(rows, ","),
    "bom.jsonl": lambda rows: b"\xef\xbb\xbf\r\n" + _jsonl(rows).replace(b"\n", b"\r\n"),
    "utf16.csv": lambda rows: _table(rows, "\t").decode().encode("utf-16"),
    "jsonl.gz": lambda rows: gzip.compress(_jsonl(rows)),
    "csv.gz": lambda rows: gzip.compress(_table(rows, ",")),
    "answer.json.gz": lambda rows: gzip.compress(_answer(rows)),
}
