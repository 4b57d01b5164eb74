"""All runs of a job: from their summaries, from the ledger, and from files that are neither."""

from __future__ import annotations

import json
import os
import re
import sys
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from batchgen.cli.commands import invoke
from batchgen.clock import Clock
from batchgen.errors import StoreError, UsageError
from batchgen.live.state import Setting, State
from batchgen.model import Attempt, ImageFile, Item, Outcome
from batchgen.paper import columns
from batchgen.report.past import RunPoint, point_of, read_history_of_runs
from batchgen.report.past.files import read_point
from batchgen.report.rebuild import rebuild
from batchgen.report.summary import ItemTotals
from batchgen.store.expanded import write_items
from batchgen.store.layout import Layout
from batchgen.store.ledger import End, Line, Run, Sent
from batchgen.store.lock import OutputLock
from tests.galleries import day, ended, failed, keyed
from tests.hostile import PAYLOADS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NIGHTS = [f"202611{n:02d}T020000Z-00000000" for n in range(1, 10)]
ITEMS = {name: keyed(Item(id=name, model="m", prompt=name)) for name in ("a", "b", "c", "d")}
ROW_FIELDS = (
    "run_id started_at finished_at wall_s state stop_reason exit_code items attempts images "
    "cost_usd cost_waste_usd cost_maybe_usd cost_unknown_attempts planned_usd latency_s "
    "n_new_failures n_fixed n_still_failing"
)


def made(name: str, night: int, **more: Any) -> Attempt:
    picture = ImageFile(
        path=f"images/{name}.png",
        role="final",
        sha256="0",
        bytes=1,
        width=1,
        height=1,
        mime="image/png",
    )
    return ended(ITEMS[name], run_id=NIGHTS[night], images=(picture,), **more)


def refused(name: str, night: int) -> Attempt:
    more = {"run_id": NIGHTS[night], "cost_usd": Decimal(0), "billed": "no"}
    return failed(ITEMS[name], Outcome.BAD_REQUEST, "no", **more)


def left(name: str, night: int) -> Sent:
    """A request that is about to leave."""
    item = ITEMS[name]
    return Sent(
        run_id=NIGHTS[night],
        item=item.id,
        key=item.key,
        turn=1,
        attempt=1,
        at=f"{day(NIGHTS[night])}T02:00:00.000Z",
        model=item.model,
    )


def write(root: Path, night: int, *lines: Attempt | Sent, code: int | None = 0) -> None:
    """Write the segment of a run; without a code it was killed."""
    run_id = NIGHTS[night]
    at = f"{day(run_id)}T02:00:00.000Z"
    begins = Run(
        run_id=run_id,
        at=at,
        job="j",
        job_sha256="0",
        provider="x",
        version="0",
        planned_usd=Decimal("0.5"),
    )
    told: list[Line] = [begins, *lines]
    if code is not None:
        told.append(
            End(
                run_id=run_id,
                at=at,
                stop_reason="finished",
                exit_code=code,
                wall_s=60.5,
                concurrency={},
                n_selected=4,
            )
        )
    (root / "ledger").mkdir(parents=True, exist_ok=True)
    segment = root / f"ledger/{run_id}.jsonl"
    segment.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in told))
    if not (root / "items.jsonl").exists():
        write_items(root / "items.jsonl", list(ITEMS.values()))


def nights(root: Path) -> Path:
    """Three nights with their summaries, and a fourth that was killed."""
    write(root, 0, made("a", 0), refused("c", 0), refused("d", 0), code=4)
    rebuild(root)
    write(root, 1, made("c", 1), refused("d", 1), made("a", 1, cost_usd=None), code=4)
    rebuild(root)
    write(root, 2, made("d", 2), refused("b", 2), code=4)
    rebuild(root)
    write(root, 3, made("a", 3), code=None)
    return root


def runs_of(root: Path) -> list[RunPoint]:
    runs, warnings = read_history_of_runs(root)
    assert warnings == []
    return runs


def by_night(root: Path) -> dict[int, RunPoint]:
    return {NIGHTS.index(run.run_id): run for run in runs_of(root)}


def snapshot(root: Path) -> dict[Path, tuple[int, int]]:
    paths = [root, *root.rglob("*")]
    return {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in paths}


def printed(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = invoke(["report", *map(str, arguments)])
    told = capfd.readouterr()
    return code, told.out, told.err


# --- which runs there are ---------------------------------------------------------------------


def test_a_run_that_was_killed_is_told_by_the_ledger_as_unfinished(tmp_path: Path) -> None:
    runs = by_night(nights(tmp_path))
    assert not (tmp_path / f"runs/{NIGHTS[3]}.json").exists()
    assert list(runs) == [0, 1, 2, 3]
    assert [run.state for run in runs.values()] == ["ended", "ended", "ended", "unfinished"]
    killed = runs[3]
    assert (killed.exit_code, killed.finished_at, killed.wall_s) == (None, None, None)
    assert (killed.images, killed.cost_usd) == (1, Decimal("0.138000"))
    assert killed.latency_s.p50 == 4.2
    assert killed.items.total is None


def test_what_a_later_run_finds_of_a_killed_one_counts_for_that(tmp_path: Path) -> None:
    nights(tmp_path)
    rebuild(tmp_path)  # `report` after the kill: a summary of a run that has not ended
    assert json.loads((tmp_path / f"runs/{NIGHTS[3]}.json").read_text())["exit_code"] is None
    found = made("b", 3, recovered=True)
    write(tmp_path, 4, found, made("c", 4))
    rebuild(tmp_path)
    runs = by_night(tmp_path)
    assert (runs[3].state, runs[3].images, runs[3].n_fixed) == ("unfinished", 2, 1)
    assert (runs[4].state, runs[4].images) == ("ended", 1)


def test_requests_that_were_in_flight_when_a_run_was_killed_have_an_unknown_cost(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, 0, left("a", 0), made("a", 0))
    write(tmp_path, 1, left("b", 1), left("c", 1), refused("c", 1), left("d", 1), code=None)
    assert [run.cost_unknown_attempts for run in runs_of(tmp_path)] == [0, 2]
    rows = printed(capfd, tmp_path, "--history")[1].splitlines()
    assert [row.split()[2] for row in rows if "$" in row and "2026-" in row] == ["$0.14", "$0.00+?"]
    lost: dict[str, Any] = {"outcome": Outcome.INTERRUPTED, "billed": "maybe", "decision": "retry"}
    found = [ended(ITEMS[name], run_id=NIGHTS[1], recovered=True, **lost) for name in "bd"]
    write(tmp_path, 2, *found, made("b", 2))
    assert [run.cost_unknown_attempts for run in runs_of(tmp_path)] == [0, 0, 0]


def test_without_the_summaries_the_ledger_tells_all_that_it_knows(tmp_path: Path) -> None:
    before = by_night(nights(tmp_path))
    for path in (tmp_path / "runs").iterdir():
        path.unlink()
    after = by_night(tmp_path)
    assert list(after) == list(before)
    for told, known in zip(after.values(), before.values(), strict=True):
        only_of_summaries = {
            name: getattr(known.items, name) for name in ("done", "reused", "skipped", "pending")
        }
        items = msgspec.structs.replace(told.items, **only_of_summaries)
        assert msgspec.structs.replace(told, items=items) == known


def test_failures_are_new_fixed_or_still_there_against_the_run_before(tmp_path: Path) -> None:
    nights(tmp_path)
    expected = [(None, None, None), (0, 1, 1), (1, 1, 0), (0, 0, 0)]
    for _ in range(2):
        told = [(r.n_new_failures, r.n_fixed, r.n_still_failing) for r in runs_of(tmp_path)]
        assert told == expected
        for path in (tmp_path / "runs").iterdir():
            path.unlink()


def test_a_run_that_goes_on_is_told_as_running(tmp_path: Path) -> None:
    nights(tmp_path)
    with OutputLock(tmp_path / ".lock", run_id=NIGHTS[3], at=datetime.now(UTC)):
        assert [run.state for run in runs_of(tmp_path)] == [*["ended"] * 3, "running"]
    with OutputLock(tmp_path / ".lock", run_id=NIGHTS[4], at=datetime.now(UTC)):
        assert runs_of(tmp_path)[-1].state == "unfinished"  # another run is about to begin


def test_the_chart_has_the_runs_that_were_killed_too(tmp_path: Path) -> None:
    nights(tmp_path)
    write(tmp_path, 4, made("c", 4))
    summary = rebuild(tmp_path)
    state = State(Layout(tmp_path), Setting(Clock()), 0)
    for page in ((tmp_path / "report.html").read_text("utf-8"), state.drawn(summary)[0]):
        rows = re.findall(r'<th scope="row" dir="auto">([^<]*)</th><td>([^<]*)', page)
        assert [row for row in rows if row[0] in NIGHTS] == [
            *zip(reversed(NIGHTS[:5]), ("$0.14",) * 5, strict=True)
        ]


def test_a_summary_counts_the_items_that_its_lists_leave_out() -> None:
    items = ItemTotals(fixed=[f"{n}" for n in range(250)], new_failures=["a"])
    diff = items.difference(None)
    assert len(diff.fixed) == 100
    told = json.loads(msgspec.json.encode(diff))
    assert told["n_fixed"] == 250
    assert not {"n_new_failures", "n_still_failing"} & set(told)


def test_the_point_of_a_summary_at_hand_counts_what_its_lists_leave_out(tmp_path: Path) -> None:
    nights(tmp_path)
    summary = rebuild(tmp_path)
    assert summary.diff is not None
    diff = msgspec.structs.replace(summary.diff, new_failures=["x"] * 100, n_new_failures=250)
    point = point_of(msgspec.structs.replace(summary, diff=diff))
    assert (point.n_new_failures, point.n_fixed) == (250, len(diff.fixed))


def test_counts_of_long_lists_come_back_from_a_summary(tmp_path: Path) -> None:
    nights(tmp_path)
    path = tmp_path / f"runs/{NIGHTS[2]}.json"
    told = json.loads(path.read_text())
    told["diff"] |= {"fixed": ["x"] * 100, "n_fixed": 250, "still_failing": ["x"] * 100}
    path.write_text(json.dumps(told))
    point, _ = read_point(path)
    assert (point.n_fixed, point.n_new_failures, point.n_still_failing) == (250, 1, None)


def test_a_point_is_the_same_from_a_summary_at_hand_and_from_its_file(tmp_path: Path) -> None:
    nights(tmp_path)
    summary = rebuild(tmp_path)
    point, is_newer = read_point(tmp_path / f"runs/{NIGHTS[3]}.json")
    assert (point, is_newer) == (point_of(summary), False)


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match="holds no run"):
            read_history_of_runs(root)


def test_a_ledger_of_a_newer_batchgen_is_refused_where_it_is_needed(tmp_path: Path) -> None:
    nights(tmp_path)
    with (tmp_path / f"ledger/{NIGHTS[3]}.jsonl").open("a") as file:
        file.write('{"v": 2, "event": "more"}\n')
    with pytest.raises(StoreError, match="newer batchgen"):
        read_history_of_runs(tmp_path)


# --- files that are none ----------------------------------------------------------------------


def odd_files(runs: Path) -> Iterable[str]:
    """Files that are no summary; their names."""
    texts: dict[str, bytes] = {
        "foreign": b'{"hello": 1}',
        "renamed": b'{"run_id": "another"}',
        "list": b"[]",
        "cut": b'{"run_id": "cut"',
        "binary": b"\xff\x00",
        "empty": b"",
        "deep": b'{"run_id": ' + b"[" * 100_000,
        "deep-elsewhere": b'{"run_id": "deep-elsewhere", "x": ' + b"[" * 100_000,
        "large": b'{"run_id": "large", "x": "' + b"x" * (17 << 20) + b'"}',
    }
    for name, text in texts.items():
        (runs / f"{name}.json").write_bytes(text)
    os.mkfifo(runs / "fifo.json")
    (runs / "folder.json").mkdir()
    (runs / "loop.json").symlink_to("loop.json")
    (runs / "gone.json").symlink_to("nowhere")
    (runs / "device.json").symlink_to("/dev/zero")
    return [*texts, "fifo", "folder", "loop", "gone", "device"]


def test_files_that_are_no_summary_are_named_and_passed_over(tmp_path: Path) -> None:
    nights(tmp_path)
    names = odd_files(tmp_path / "runs")
    (tmp_path / "runs/notes.txt").write_text("mine")
    before = snapshot(tmp_path)
    runs, warnings = read_history_of_runs(tmp_path)
    assert snapshot(tmp_path) == before
    assert [run.run_id for run in runs] == NIGHTS[:4]
    told = {re.match(r"runs/(.+)\.json is passed over: .", warning)[1] for warning in warnings}  # type: ignore[index]
    assert told == set(names)


def test_of_many_odd_files_the_first_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    nights(tmp_path)
    for n in range(500):
        (tmp_path / f"runs/x{n:03d}.json").write_text("{}")
    warnings = read_history_of_runs(tmp_path)[1]
    assert len(warnings) == 21
    assert warnings[-1] == "… and 480 more"


@pytest.mark.parametrize("night", [0, 3])
def test_a_broken_summary_costs_nothing_that_the_ledger_knows(tmp_path: Path, night: int) -> None:
    nights(tmp_path)
    (tmp_path / f"runs/{NIGHTS[night]}.json").write_text("{")
    runs, warnings = read_history_of_runs(tmp_path)
    assert [(run.run_id, run.images) for run in runs] == [
        *zip(NIGHTS[:4], (1, 2, 1, 1), strict=True)
    ]
    assert [NIGHTS[night] in warning for warning in warnings] == [True]


def test_a_newer_summary_is_read_as_far_as_it_goes_and_an_older_one_too(tmp_path: Path) -> None:
    newer = {"v": 9, "run_id": "newer", "exit_code": 0, "images": 3, "items": [1], "more": {}}
    older = {"run_id": "older", "exit_code": 0, "items": {"done": 3, "lost": 1}}
    (tmp_path / "runs").mkdir()
    for told in (newer, older):
        (tmp_path / f"runs/{told['run_id']}.json").write_text(json.dumps(told))
    (one, other), warnings = read_history_of_runs(tmp_path)
    assert (one.images, one.items.done, other.images, other.items.done) == (3, None, None, 3)
    assert ["runs/newer.json" in warning for warning in warnings] == [True]


@pytest.mark.parametrize(
    "value",
    [
        *(-1, 10**30, True, 1.5, 1e300, "x", "NaN", "1E+999999999", "-1", "9" * 5000, "\x1b[2J"),
        *([], {}, [1], {"p50": "x", "total": -1, "done": 10**30, "new_failures": 7}, *PAYLOADS),
    ],
)
def test_no_value_of_a_summary_is_too_odd_for_the_table(
    tmp_path: Path, value: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    names = {*ROW_FIELDS.split(), "diff", "v"} - {"run_id"}
    (tmp_path / "runs").mkdir()
    told = {**dict.fromkeys(names, value), "run_id": "x"}
    (tmp_path / "runs/x.json").write_text(json.dumps(told), "utf-8", errors="surrogatepass")
    code, out, _ = printed(capfd, tmp_path, "--history")
    if code == 2:  # lone surrogates are no JSON
        assert not json.dumps(value).isascii() or "\\ud" in json.dumps(value)
        return
    assert code == 0
    assert all(columns(line) <= 80 for line in out.splitlines())
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", out)
    _, out, _ = printed(capfd, tmp_path, "--history", "--json")
    assert set(json.loads(out)["runs"][0]) == set(ROW_FIELDS.split())


def test_thousands_of_runs_take_little_memory(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    tags = {f"{n}": "0.138000" for n in range(100)}
    told = {"exit_code": 0, "images": 1, "cost_by_tag": {"sku": tags}, "failures": [{}] * 100}
    for n in range(1000):
        (tmp_path / f"runs/{n:05d}.json").write_text(json.dumps({"run_id": f"{n:05d}", **told}))
    tracemalloc.start()
    runs = runs_of(tmp_path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(runs) == 1000
    assert peak_bytes < 1000 * 3000
    assert sum(sys.getsizeof(run) for run in runs) < peak_bytes


# --- what is printed --------------------------------------------------------------------------


def test_the_table_tells_each_run_in_a_line_the_newest_last(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = printed(capfd, nights(tmp_path), "--history")
    assert (code, err) == (0, "")
    assert (
        out
        == """\
when (UTC)        exit        done/total  made  failed  new  fixed  still   took
2026-11-01 02:00  4 failures         1/4     1       2    –      –      –  1m00s
2026-11-02 02:00  4 failures         2/4     2       1    0      1      1  1m00s
2026-11-03 02:00  4 failures         3/4     1       1    1      1      0  1m00s
2026-11-04 02:00  unfinished         –/–     1       0    0      0      0      –
--------------------------------------------------------------------------------
4 runs                                       5            1      2         3m02s

when (UTC)           cost   plan   p50   p95
2026-11-01 02:00    $0.14  $0.50  4.2s  4.2s
2026-11-02 02:00  $0.14+?  $0.50  4.2s  4.2s
2026-11-03 02:00    $0.14  $0.50  4.2s  4.2s
2026-11-04 02:00    $0.14  $0.50  4.2s  4.2s
--------------------------------------------
4 runs            $0.55+?  $2.00
"""
    )


def test_a_table_of_millions_fits_eighty_columns(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    items = dict.fromkeys(("total", "done", "failed"), 9_876_543)
    diff = {f"n_{name}": 1_234_567 for name in ("new_failures", "fixed", "still_failing")}
    told = {
        "run_id": "x",
        "started_at": "2026-11-01T02:00:00.000Z",
        "exit_code": 143,
        "items": items,
        "images": 1_234_567,
        "wall_s": 360_000,
        "cost_usd": "1234567.500000",
        "planned_usd": "1234567.5",
        "cost_unknown_attempts": 1,
        "latency_s": {"p50": 3600, "p95": 7200},
        "diff": diff,
    }
    (tmp_path / "runs/x.json").write_text(json.dumps(told))
    _, out, _ = printed(capfd, tmp_path, "--history")
    assert max(map(columns, out.splitlines())) <= 80
    assert " 143 sigterm  9.9M/9.9M " in out
    assert "$1,234,567.50+?  $1,234,567.50  1h00m  2h00m" in out


def test_columns_of_which_no_run_has_anything_are_left_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, 0, made("a", 0))
    _, out, _ = printed(capfd, tmp_path, "--history")
    assert "new" not in out
    assert "still" not in out
    assert "failed" in out


def test_the_json_is_one_object_with_names_that_stay(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = printed(capfd, nights(tmp_path), "--history", "--json")
    assert code == 0
    assert out.count("\n") == 1
    told = json.loads(out)
    assert set(told) == {"runs"}
    for run in told["runs"]:
        assert " ".join(run) == ROW_FIELDS
        assert " ".join(run["items"]) == "total done reused failed skipped pending"
        assert list(run["attempts"]) == ["total"]
        assert list(run["latency_s"]) == ["p50", "p95", "max"]
    summary = json.loads((tmp_path / f"runs/{NIGHTS[1]}.json").read_text())
    second = told["runs"][1]
    same = [name for name in second if name in summary and name != "attempts"]
    assert {name: second[name] for name in same} == {name: summary[name] for name in same}
    assert second["cost_unknown_attempts"] == 1


def test_the_table_warns_of_odd_files_on_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nights(tmp_path)
    (tmp_path / "runs/a\x1b[2Jb.json").write_text("{")
    code, out, err = printed(capfd, tmp_path, "--history", "--json")
    assert code == 0
    assert len(json.loads(out)["runs"]) == 4
    assert err.startswith("warning: runs/a [2Jb.json is passed over: ")


@pytest.mark.parametrize("flags", [["--serve"], ["--port", "0"], ["--no-thumbnails"]])
def test_flags_that_would_go_unheard_are_refused(
    flags: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = printed(capfd, nights(tmp_path), "--history", *flags)
    assert (code, out) == (2, "")
    assert f"leave {flags[0]} out" in err


def test_what_the_environment_says_to_other_commands_is_no_mistake(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHGEN_NO_THUMBNAILS", "1")
    monkeypatch.setenv("BATCHGEN_HISTORY", str(tmp_path))  # of `plan`
    code, out, err = printed(capfd, nights(tmp_path), "--history")
    assert (code, err) == (0, "")
    assert "4 runs" in out
    assert printed(capfd, tmp_path, "--no-thumbnails")[0] == 0
    assert (tmp_path / "report.html").exists()
