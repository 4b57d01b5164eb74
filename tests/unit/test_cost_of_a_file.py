"""Files of every kind: how they are found, opened and read, and what is told of what cannot be."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from batchgen.cost import PriceBook
from batchgen.errors import StoreError, UsageError
from batchgen.spending import (
    Assumed,
    Span,
    Spending,
    Tally,
    adding,
    grouping,
    read_bound,
    shares,
    spend,
)
from batchgen.spending import reading as reading_module

if TYPE_CHECKING:
    from pathlib import Path

Json: TypeAlias = dict[str, Any]

PRO = "gemini-3-pro-image"
TODAY = "2026-11-28"
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
USAGE = {"promptTokenCount": 20, "candidatesTokenCount": 1120, "totalTokenCount": 1140}
DETAILS = {"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}]}
ALWAYS = Span()
CANDIDATE = {"content": {"parts": [{"inlineData": {"mimeType": "image/png"}}]}}
LINE: Json = {"candidates": [CANDIDATE], "usageMetadata": {**USAGE, **DETAILS}, "modelVersion": PRO}


def line(**more: Any) -> bytes:
    return json.dumps({**LINE, **more}).encode()


def spent(*paths: Path | str, by: str = "model", span: Span = ALWAYS) -> Spending:
    tally = Tally(grouping([by]), span)
    book = PriceBook.shipped()
    return spend(map(str, paths), tally, book, Assumed(), day=TODAY, warn=TOLD.append)


TOLD: list[str] = []


@pytest.fixture(autouse=True)
def nothing_told() -> None:
    TOLD.clear()


def n_calls(*paths: Path | str) -> int:
    return spent(*paths).tally.total().attempts


# --- which files --------------------------------------------------------------------------------


def test_a_folder_is_its_logs_at_any_depth_and_each_once(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.ndjson", "c.json", "deep/er/d.JSONL", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(line() + b"\n")
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(line() + b"\n"))
    (tmp_path / "again.jsonl").symlink_to("b.jsonl")
    (tmp_path / "hard").symlink_to("deep", target_is_directory=True)
    assert n_calls(tmp_path) == 5
    assert n_calls(tmp_path, tmp_path / "b.jsonl", f"{tmp_path}/deep/../b.jsonl") == 5


def test_a_link_out_of_a_folder_is_not_followed_and_told(tmp_path: Path) -> None:
    outside = tmp_path / "secret.jsonl"
    outside.write_bytes(line() + b"\n")
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "own.jsonl").write_bytes(line() + b"\n")
    (folder / "out.jsonl").symlink_to(outside)
    assert n_calls(folder) == 1
    assert [f"{folder}: 1 link out of it not followed"] == TOLD
    assert n_calls(folder / "out.jsonl") == 1  # whoever names it means it


def test_a_pattern_that_the_shell_left_alone_is_matched_at_any_depth(tmp_path: Path) -> None:
    for name in ("x/a.jsonl", "x/y/a.jsonl", "x/y/b.txt", "a[1].jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(line() + b"\n")
    assert n_calls(f"{tmp_path}/**/a*.jsonl") == 3
    assert n_calls(f"{tmp_path}/x/*/*.txt") == 1
    assert n_calls(f"{tmp_path}/a[1].jsonl") == 1  # a file of that very name


@pytest.mark.parametrize("path", ["gone.jsonl", "gone/*.jsonl", "empty"])
def test_what_is_not_there_is_wrong_usage_and_says_what_was_expected(
    path: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="expected a job's directory, a folder of logs"):
        spent(tmp_path / path)


# --- how they are read --------------------------------------------------------------------------

WAYS = {
    "plain": line() + b"\n" + line() + b"\n",
    "without an end": line() + b"\n" + line(),
    "a byte order mark": b"\xef\xbb\xbf" + line() + b"\n" + line() + b"\n",
    "CRLF": line() + b"\r\n" + line() + b"\r\n",
    "blank lines": b"\n \n" + line() + b"\n\n\t\n" + line() + b"\n\n",
    "U+2028": json.dumps({**LINE, "k": "a\u2028b"}, ensure_ascii=False).encode() + b"\n" + line(),
    "one document over many lines": json.dumps([LINE, LINE], indent=2).encode(),
    "several documents over many lines": (json.dumps(LINE, indent=1) + "\n").encode() * 2,
    "a list on one line": json.dumps([LINE, LINE]).encode() + b"\n",
    "gzip, whatever its name": gzip.compress(line() + b"\n" + line() + b"\n"),
    "gzip in two members": gzip.compress(line() + b"\n") + gzip.compress(line() + b"\n"),
    "odd escapes": line() + b"\n" + line(k="x")[:-2] + b'\\ud800"}',
}


@pytest.mark.parametrize("data", WAYS.values(), ids=WAYS.keys())
def test_two_calls_are_read_however_the_file_is_written(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "log.json").write_bytes(data)
    found = spent(tmp_path / "log.json")
    assert (found.tally.total().attempts, found.unreadable) == (2, [])


def test_what_is_no_call_is_counted_and_named_by_its_line(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    odd = [b"{oops}", b'{"a": 1}', b"7", b"[]", b'{"request": {}}', b"\xff\xfe", b"nope"]
    log.write_bytes(b"\n".join([line(), b"", *odd, line(), line()[:40]]))
    found = spent(log)
    assert found.tally.total().attempts == 2
    assert [one.number for one in found.unreadable] == [3, 4, 5, 6, 7, 8, 9, 11]
    shown = [str(one) for one in found.unreadable]
    assert shown[1] == f"{log}:4: an object without token counts (a)"
    assert shown[4] == f"{log}:7: a request without an answer"
    assert "cut off at its end" in shown[-1]


def test_what_is_no_call_in_a_list_hides_no_call_after_it(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(json.dumps([LINE, {"a": 1}, [7, LINE]]).encode() + b"\n" + line())
    found = spent(log)
    assert (found.tally.total().attempts, found.n_lines) == (3, 2)
    why = "an object without token counts (a); 1 more of the list"
    assert [(one.number, one.why) for one in found.unreadable] == [(1, why)]


@pytest.mark.parametrize("depth", range(10, 1000, 10))
def test_no_depth_of_nesting_stops_the_reading(depth: int, tmp_path: Path) -> None:
    deep = "[" * depth + "]" * depth
    odd = [
        deep,
        f'{{"error":{{"code":3,"details":{deep}}}}}',
        f'{{"status_code":400,"body":{deep}}}',
    ]
    (tmp_path / "log.jsonl").write_bytes("\n".join([*odd, ""]).encode() + line())
    assert n_calls(tmp_path) >= 1


def test_only_the_first_of_many_unreadable_lines_are_kept(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(line() + b"\n" + b"oops\n" * 1000)
    found = spent(tmp_path / "log.jsonl")
    assert (found.n_unreadable, len(found.unreadable)) == (1000, 10)


def test_a_gzip_file_that_is_cut_gives_what_is_there(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(line(responseId=str(n)) + b"\n" for n in range(5000)))
    (tmp_path / "log.gz").write_bytes(whole[: len(whole) // 2])
    found = spent(tmp_path / "log.gz")
    assert 0 < found.tally.total().attempts < 5000
    assert "cut off or damaged" in found.unreadable[-1].why


def test_a_line_beyond_all_bounds_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_module, "MAX_LINE_BYTES", 1 << 20)
    long = line(note="x" * (3 << 20))
    (tmp_path / "log.jsonl").write_bytes(b"\n".join([line(), long, line(), b""]))
    found = spent(tmp_path / "log.jsonl")
    assert found.tally.total().attempts == 2
    assert [(one.number, one.why) for one in found.unreadable] == [(2, "longer than 1 MiB")]


def test_a_pipe_is_read() -> None:
    reads, writes = os.pipe()
    os.write(writes, line() + b"\n")
    os.close(writes)
    assert n_calls(f"/dev/fd/{reads}") == 1
    os.close(reads)


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(line() + b'\n{"event":"attempt","v":2}\n')
    with pytest.raises(StoreError, match="newer batchgen"):
        spent(tmp_path / "log.jsonl")


# --- groups and times ---------------------------------------------------------------------------

TIMED = [
    line(createTime="2026-11-20T23:59:59.999Z"),
    line(createTime="2026-11-21T00:00:00Z"),
    line(createTime="2026-11-22T01:00:00+02:00"),  # the 21st in UTC
    line(createTime="2026-11-22T00:00:00Z"),
    line(),
]


@pytest.mark.parametrize(
    ("since", "until", "n"),
    [
        ("2026-11-21", None, 3),
        (None, "2026-11-21", 3),
        ("2026-11-21", "2026-11-21", 2),
        ("2026-11-21T00:00:00.5Z", None, 2),
        (None, "2026-11-21T23:00:00Z", 2),
        (None, "2026-11-21T23:00:01Z", 3),
        ("7d", None, 2),
        ("156h", None, 1),
        ("2026-11-21T02:00+02:00", None, 3),
    ],
)
def test_a_span_has_the_calls_that_left_in_it_and_none_without_a_time(
    since: str | None, until: str | None, n: int, tmp_path: Path
) -> None:
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(TIMED))
    bounds = [
        None if text is None else read_bound(text, NOW, is_end=is_end)
        for text, is_end in ((since, False), (until, True))
    ]
    found = spent(tmp_path / "log.jsonl", span=Span(*bounds))
    tally = found.tally
    assert (tally.total().attempts, tally.n_untimed, tally.n_outside) == (n, 1, 4 - n)


def test_a_span_within_a_day_has_what_is_in_it(tmp_path: Path) -> None:
    hours = (0, 11, 12, 13, 23)
    lines = [line(createTime=f"2026-11-21T{hour:02d}:30:00Z") for hour in hours]
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(lines))
    noon, one = (datetime(2026, 11, 21, hour, tzinfo=UTC) for hour in (12, 13))
    tally = spent(tmp_path / "log.jsonl", span=Span(noon, one)).tally
    assert (tally.total().attempts, tally.n_outside) == (1, 4)


def test_a_day_with_an_offset_is_told_in_utc(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(TIMED))
    groups = spent(tmp_path / "log.jsonl", by="day").tally.groups
    assert {key[0]: sums.attempts for key, sums in groups.items()} == {
        "2026-11-20": 1,
        "2026-11-21": 2,
        "2026-11-22": 1,
        None: 1,
    }


@pytest.mark.parametrize("text", ["soon", "2026-13-01", "7", "7 weeks", ""])
def test_a_bound_that_is_no_time_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="expected a day"):
        read_bound(text, NOW, is_end=False)


def test_groups_are_the_dearest_first_and_days_in_their_order(tmp_path: Path) -> None:
    flash = {"modelVersion": "gemini-3.1-flash-image"}
    lines = [
        line(createTime="2026-11-22T00:00:00Z", **flash),
        line(createTime="2026-11-21T00:00:00Z", **flash),
        line(createTime="2026-11-22T00:00:00Z"),
        line(modelVersion="nobody-knows"),
    ]
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"\n".join(lines))
    keys = [key for key, _ in spent(log, by="model").tally.ordered()]
    assert keys == [(PRO,), ("gemini-3.1-flash-image",), ("nobody-knows",)]
    keys = [key for key, _ in spent(log, by="day,model").tally.ordered()]
    assert keys == [
        ("2026-11-21", "gemini-3.1-flash-image"),
        ("2026-11-22", PRO),
        ("2026-11-22", "gemini-3.1-flash-image"),
        (None, "nobody-knows"),
    ]


def test_tags_and_keys_of_others_can_be_grouped_by(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(
        b"\n".join([line(tags={"sku": "A"}), line(labels={"sku": 7}), line(key="x")])
    )
    groups = spent(tmp_path / "log.jsonl", by="tag:sku,item").tally.groups
    assert set(groups) == {("A", None), ("7", None), (None, "x")}


def test_an_unknown_name_to_group_by_says_which_there_are() -> None:
    assert grouping(["model,day", " model", "tag:a b"]) == ("model", "day", "tag:a b")
    with pytest.raises(UsageError, match="expected model, day, run, outcome, item, tag:NAME"):
        grouping(["colour"])


# --- a large log ----------------------------------------------------------------------------------


@pytest.fixture
def quickly_shared(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Logs of any size are shared, on however few cores; whether each was."""
    was_shared: list[bool] = []

    def noted(*arguments: Any) -> bool:
        was_shared.append(shares.read_shared(*arguments))
        return was_shared[-1]

    monkeypatch.setattr(shares, "LEAST_BYTES", 1)
    monkeypatch.setattr(shares, "_n_cores", lambda: 2)
    monkeypatch.setattr(adding, "read_shared", noted)
    return was_shared


def test_a_large_log_comes_to_the_same_when_it_is_shared(
    tmp_path: Path, quickly_shared: list[bool]
) -> None:
    lines = [line(createTime=f"2026-11-{1 + n % 28:02d}T00:00:00Z") for n in range(3000)]
    lines[1000], lines[2500], lines[2900] = b"oops", b"oops", b""
    log, packed = tmp_path / "log.jsonl", tmp_path / "log.gz"
    log.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    packed.write_bytes(gzip.compress(log.read_bytes()))
    until = read_bound("2026-11-20", NOW, is_end=True)
    shared, alone = (spent(path, by="day,model", span=Span(until=until)) for path in (log, packed))
    assert quickly_shared == [True, False]
    assert shared.tally.groups == alone.tally.groups
    assert shared.tally.n_outside == alone.tally.n_outside > 0
    assert [one.number for one in shared.unreadable] == [1001, 2501]
    assert [one.number for one in alone.unreadable] == [1001, 2501]
    assert (shared.n_lines, shared.n_unreadable) == (alone.n_lines, 2)
    assert shared.counts == alone.counts
    assert shared.pricer.used == alone.pricer.used != set()


def test_what_was_read_before_a_shared_log_is_told_once(
    tmp_path: Path, quickly_shared: list[bool]
) -> None:
    unnamed = json.dumps({name: one for name, one in LINE.items() if name != "modelVersion"})
    (tmp_path / "a.json").write_bytes(json.dumps([LINE] * 3, indent=1).encode())
    (tmp_path / "b.jsonl").write_bytes(b"\n".join([b"oops", line(), unnamed.encode()]))
    (tmp_path / "c.jsonl").write_bytes(b"\n".join([line()] * 50))
    (tmp_path / "d.jsonl").write_bytes(b"\n".join([line()] * 50))
    ours = b'{"v":1,"event":"run","run_id":"r","at":"2026-11-21T03:00:04Z","job":"j",'
    (tmp_path / "a0.jsonl").write_bytes(ours + b'"job_sha256":"","provider":"p","version":"1"}\n')
    found = spent(tmp_path)
    assert quickly_shared == [False, False, False, True, True]
    assert found.tally.total().attempts == found.counts.n_calls == 105
    assert (found.counts.n_without_model, found.n_lines) == (1, 104)
    assert (found.n_unreadable, len(found.unreadable)) == (1, 1)


def test_where_a_log_is_cut_no_line_is_held_whole(
    tmp_path: Path, quickly_shared: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_module, "MAX_LINE_BYTES", 1 << 16)
    monkeypatch.setattr(shares, "MAX_LINE_BYTES", 1 << 16)
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"\n".join([line(), b"x" * (32 << 20), line(), b""]))
    tracemalloc.start()
    found = spent(log)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.tally.total().attempts, found.n_unreadable) == (2, 1)
    assert quickly_shared == [True]
    assert peak_bytes < 8 << 20


def test_a_log_with_a_line_of_our_own_is_not_shared(
    tmp_path: Path, quickly_shared: list[bool]
) -> None:
    ours = b'{"v":1,"event":"end","run_id":"r","at":"2026-11-21T03:00:04Z",'
    ours += b'"stop_reason":"done","exit_code":0,"wall_s":1,"concurrency":{}}'
    (tmp_path / "late.jsonl").write_bytes(b"\n".join([*[line()] * 50, ours]))
    (tmp_path / "first.jsonl").write_bytes(b"\n".join([ours, *[line()] * 50]))
    (tmp_path / "pretty.json").write_bytes(json.dumps([LINE] * 50, indent=1).encode())
    assert n_calls(tmp_path) == 150
    assert quickly_shared == [False, False, False]
