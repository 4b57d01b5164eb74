"""The metrics of a run, read by Prometheus' own parsers."""

import json
import math
import os
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from batchgen.errors import StoreError
from batchgen.metrics import last_success, metrics_text, write_metrics
from batchgen.model import Outcome, Tokens
from batchgen.report.summary import (
    AttemptCounts,
    Concurrency,
    Diff,
    ItemCounts,
    Latency,
    MaybeBilled,
    Summary,
)

ENDED_AT = datetime(2026, 11, 21, 3, 41, 7, 250_000, tzinfo=UTC)
ENDED_S = 1795232467.25
SUCCESS_AT = datetime(2026, 11, 20, 3, tzinfo=UTC)
SUCCESS_S = 1795143600.0
SUMMARY = Summary(
    job="spring",
    run_id="20261121T030000Z-00000000",
    started_at="2026-11-21T03:00:00.000Z",
    finished_at="2026-11-21T03:41:07.250Z",
    wall_s=2467.25,
    stop_reason=None,
    exit_code=4,
    items=ItemCounts(total=1000, done=995, reused=412, failed=2, skipped=1, pending=2),
    attempts=AttemptCounts(total=609, by_outcome={"image": 583, "blocked": 2, "server_error": 24}),
    images=583,
    tokens=Tokens(input_text=1, input_image=2, output_text=3, output_image=4, thoughts=5),
    cost_usd=Decimal("61.120000"),
    cost_waste_usd=Decimal("0.400000"),
    cost_maybe_usd=Decimal("0.000001"),
    cost_unknown_attempts=3,
    cost_by_model={},
    cost_by_tag={},
    latency_s=Latency(p50=21.4, p95=40.0, max=61.125),
    throughput_per_min=14.2,
    concurrency=Concurrency(peak=32, final=8),
    failures=[],
    maybe_billed=MaybeBilled(),
    diff=Diff(
        new_failures=["a"],
        fixed=["b", "c"],
        still_failing=["d"],
        cost_delta_usd=Decimal(1),
        n_still_failing=3000,
    ),
    planned_usd=Decimal("60.40"),
)


def changed(**more: Any) -> Summary:
    return Summary(**{name: getattr(SUMMARY, name) for name in SUMMARY.__struct_fields__} | more)


def text_of(summary: Summary | None, **more: Any) -> str:
    told = {
        "job": "spring",
        "exit_code": 4,
        "ended_at": ENDED_AT,
        "last_success_at": SUCCESS_AT,
    }
    return metrics_text(summary, **{**told, **more})


def read(text: str) -> dict[str, Metric]:
    """Both parsers read it and agree: OpenMetrics asks for a last line besides."""
    families = list(text_format(text))
    assert families == list(open_metrics(text + "# EOF\n"))  # type: ignore[no-untyped-call]
    by_name = {family.name: family for family in families}
    assert len(by_name) == len(families)
    return by_name


def figures(text: str) -> dict[str, Any]:
    """The figures by name without the prefix, and by the value of the label where there is one."""
    found: dict[str, Any] = {}
    for name, family in read(text).items():
        for sample in family.samples:
            assert (sample.name, sample.timestamp) == (name, None)
            labels = dict(sample.labels)
            assert labels.pop("batch") == "spring"
            short = name.removeprefix("batchgen_")
            if labels:
                (value,) = labels.values()
                found.setdefault(short, {})[value] = sample.value
            else:
                assert short not in found
                found[short] = sample.value
    return found


def test_a_run_tells_all_its_figures() -> None:
    told = figures(text_of(SUMMARY))
    outcomes = told.pop("attempts")
    assert set(outcomes) == set(Outcome)
    assert {name: n for name, n in outcomes.items() if n} == SUMMARY.attempts.by_outcome
    assert told == {
        "exit_code": 4,
        "last_run_timestamp_seconds": ENDED_S,
        "last_success_timestamp_seconds": SUCCESS_S,
        "run_duration_seconds": 2467.25,
        "items": {"done": 995, "failed": 2, "skipped": 1, "pending": 2},
        "reused_items": 412,
        "new_failures": 1,
        "fixed_items": 2,
        "still_failing_items": 3000,
        "images": 583,
        "tokens": {
            "input_text": 1,
            "input_image": 2,
            "output_text": 3,
            "output_image": 4,
            "thoughts": 5,
        },
        "cost_usd": 61.12,
        "cost_waste_usd": 0.4,
        "cost_maybe_usd": 0.000001,
        "cost_unknown_attempts": 3,
        "planned_usd": 60.4,
        "latency_p50_seconds": 21.4,
        "latency_p95_seconds": 40,
        "latency_max_seconds": 61.125,
        "peak_concurrency": 32,
    }


def test_a_run_that_failed_before_anything_was_sent_tells_how_and_when() -> None:
    assert figures(text_of(None, exit_code=3)) == {
        "exit_code": 3,
        "last_run_timestamp_seconds": ENDED_S,
        "last_success_timestamp_seconds": SUCCESS_S,
    }
    assert "last_success_timestamp_seconds" not in figures(text_of(None, last_success_at=None))


def test_a_run_that_went_well_is_the_last_success_itself() -> None:
    told = figures(text_of(SUMMARY, exit_code=0))
    assert told["last_success_timestamp_seconds"] == ENDED_S


@pytest.mark.parametrize("no_figure", [None, math.nan, math.inf])
def test_what_is_not_known_is_absent_and_never_0(no_figure: float | None) -> None:
    unknown = changed(
        wall_s=no_figure,
        cost_usd=None if no_figure is None else Decimal(no_figure),
        latency_s=Latency(p50=no_figure, p95=no_figure, max=no_figure),
        diff=None,
    )
    gone = set(figures(text_of(SUMMARY))) - set(figures(text_of(unknown)))
    assert gone == {
        *("run_duration_seconds", "cost_usd", "new_failures", "fixed_items"),
        *("still_failing_items", "latency_p50_seconds", "latency_p95_seconds"),
        "latency_max_seconds",
    }
    assert "batchgen_cost_usd" not in text_of(unknown)  # nor is its HELP there


def test_names_and_texts_are_as_the_guide_of_prometheus_has_them() -> None:
    for name, family in read(text_of(SUMMARY)).items():
        assert re.fullmatch(r"batchgen(_[a-z0-9]+)+", name), name
        assert (family.type, bool(family.documentation)) == ("gauge", True)
        # What promtool complains of: names of other types, short units, labels of other types.
        assert not re.search(r"_(total|count|sum|bucket|info|gauge|ms|secs?|s|pct)$", name), name
        labels = {label for sample in family.samples for label in sample.labels}
        assert not labels & {"job", "instance", "quantile", "le", *name.split("_")}


def test_a_metric_has_one_help_and_one_type_and_its_samples_stand_below_them() -> None:
    text = text_of(SUMMARY)
    assert text.endswith("\n")
    assert "\n\n" not in text
    heads = re.findall(r"^# (\w+) (\w+) ", text, re.MULTILINE)
    assert len(heads) == len(set(heads)) == 2 * len(read(text))
    above = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            above = line.split()[2]
        else:
            assert re.match(rf"(# TYPE )?{above}[ {{]", line), line


def test_help_is_the_same_for_every_job_whose_file_lies_in_one_directory() -> None:
    one, other = (read(text_of(SUMMARY, job=job)) for job in ("a", "b"))
    assert [f.documentation for f in one.values()] == [f.documentation for f in other.values()]


@settings(max_examples=50)
@given(job=st.text(st.characters(), max_size=40))
def test_any_name_of_a_job_comes_back_as_it_was(job: str) -> None:
    families = read(text_of(SUMMARY, job=job))
    found = {sample.labels["batch"] for family in families.values() for sample in family.samples}
    assert found == {re.sub("[\ud800-\udfff]", "\ufffd", job)}
    assert len(families) == len(read(text_of(SUMMARY)))


counts = st.integers(0, 10**18)
seconds = st.none() | st.floats()
dollars = st.decimals(0, 10**12) | st.decimals(allow_nan=True)


@settings(max_examples=50)
@given(n=counts, s=seconds, usd=dollars, outcome=st.text(max_size=20))
def test_odd_figures_come_back_or_are_absent(
    n: int, s: float | None, usd: Decimal, outcome: str
) -> None:
    summary = changed(
        wall_s=s,
        images=n,
        cost_usd=None if usd.is_snan() else usd,
        attempts=AttemptCounts(total=n, by_outcome={outcome: n}),
        latency_s=Latency(p50=s, p95=s, max=s),
    )
    told = figures(text_of(summary))
    assert told["images"] == n
    assert told["attempts"][outcome.encode("utf-8", "replace").decode()] == n
    assert told.get("run_duration_seconds") == (s if s is not None and math.isfinite(s) else None)
    known_usd = float(usd) if usd.is_finite() else None
    assert told.get("cost_usd") == known_usd


def test_a_metrics_file_is_replaced_as_a_whole_and_others_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "batchgen.prom"
    path.write_text("old")
    with path.open() as reader:
        before = os.umask(0o022)
        try:
            write_metrics(path, "new\n")
        finally:
            os.umask(before)
        assert reader.read() == "old"  # who had opened it reads what it was
    assert path.read_text() == "new\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_behind_a_link_the_file_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "collected").mkdir()
    link, target = tmp_path / "link.prom", tmp_path / "collected" / "job.prom"
    link.symlink_to(target)
    write_metrics(link, "new\n")
    assert link.is_symlink()
    assert target.read_text() == "new\n"


def test_what_cannot_be_written_is_an_error_of_the_store_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("directory", "pipe", "absent/job.prom"):
        with pytest.raises(StoreError, match=name):
            write_metrics(tmp_path / name, "new\n")
    assert {path.name for path in tmp_path.iterdir()} == {"directory", "pipe"}


def runs(directory: Path, **told: Any) -> Path:
    """A directory of summaries, each by the hour in its name."""
    directory.mkdir()
    for hour, one in told.items():
        data = one if isinstance(one, bytes) else json.dumps(one).encode()
        (directory / f"20261121T{hour[1:]}0000Z-00000000.json").write_bytes(data)
    return directory


def ended(hour: int, exit_code: object = 0) -> dict[str, object]:
    return {"exit_code": exit_code, "finished_at": f"2026-11-21T{hour:02}:30:00.000Z"}


def test_the_last_success_is_the_newest_run_that_ended_with_0(tmp_path: Path) -> None:
    found = last_success(
        runs(tmp_path / "runs", h01=ended(1), h02=ended(2), h03=ended(3, 4), h04=ended(4, None))
    )
    assert found == datetime(2026, 11, 21, 2, 30, tzinfo=UTC)


def test_there_is_no_last_success_where_no_run_went_well_or_there_is_none(tmp_path: Path) -> None:
    assert last_success(tmp_path / "runs") is None
    assert last_success(runs(tmp_path / "runs", h01=ended(1, 4))) is None


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"exit_code": 0, "finished_at": "yesterday"}',
        b'{"exit_code": 0, "finished_at": "2026-11-21T02:30:00"}',
        b'{"exit_code": 0, "finished_at": null}',
        b'{"exit_code": "0", "finished_at": "2026-11-21T02:30:00Z"}',
        b'{"exit_code": 0}',
        b"[]",
    ],
)
def test_a_broken_summary_is_passed_over(broken: bytes, tmp_path: Path) -> None:
    found = last_success(runs(tmp_path / "runs", h01=ended(1), h02=broken))
    assert found == datetime(2026, 11, 21, 1, 30, tzinfo=UTC)


def test_a_pipe_among_the_summaries_is_not_waited_for(tmp_path: Path) -> None:
    directory = runs(tmp_path / "runs", h01=ended(1))
    os.mkfifo(directory / "20261121T020000Z-00000000.json")
    assert last_success(directory) == datetime(2026, 11, 21, 1, 30, tzinfo=UTC)


def test_of_a_thousand_runs_and_more_only_the_last_thousand_are_read(tmp_path: Path) -> None:
    directory = tmp_path / "runs"
    directory.mkdir()
    (directory / "20261120T000000Z-00000000.json").write_text(json.dumps(ended(1)))
    for n in range(999):
        (directory / f"20261121T{n:06}Z-00000000.json").write_text('{"exit_code": 4}')
    assert last_success(directory) is not None
    (directory / "20261122T000000Z-00000000.json").write_text('{"exit_code": 4}')
    assert last_success(directory) is None
