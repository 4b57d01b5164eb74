"""The figures of a run, added up by hand beside them."""

import html
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from markdown_it import MarkdownIt

from batchgen.cli.run import closing
from batchgen.model import (
    Attempt,
    Failure,
    ImageFile,
    Item,
    Outcome,
    Result,
    Status,
    Tokens,
    Turn,
    content_key,
)
from batchgen.report.markdown import summary_markdown
from batchgen.report.rebuild import rebuild
from batchgen.report.remedies import remedy
from batchgen.report.summary import (
    MAX_LISTED,
    MAX_TAG_VALUES,
    OTHER,
    AttemptCounts,
    Concurrency,
    Diff,
    FailureGroup,
    FoundPage,
    ItemCounts,
    ItemTotals,
    Latency,
    MaybeBilled,
    Query,
    Review,
    RunTotals,
    Searches,
    SlowItem,
    Summary,
)
from batchgen.store.expanded import write_items
from batchgen.store.ledger import End, Run
from tests.pages import Page

IMAGE = ImageFile(
    path="images/a.png", role="final", sha256="0" * 64, bytes=4, width=1, height=1, mime="image/png"
)
DONE = Attempt(
    run_id="r",
    item="a",
    key="k",
    turn=1,
    attempt=1,
    at="2026-11-21T03:00:04.120Z",
    model="m",
    provider="emulator",
    outcome=Outcome.IMAGE,
    decision="done",
    images=(IMAGE,),
    tokens=Tokens(input_text=20, output_text=110, output_image=1120, thoughts=200),
    cost_usd=Decimal("0.138160"),
    cost_basis="reported",
    billed="yes",
    latency_s=2.0,
    tags={"sku": "A"},
)


def totals(*changes: dict[str, Any]) -> RunTotals:
    run = RunTotals()
    for change in changes:
        run.add(msgspec.structs.replace(DONE, **change))
    return run


def test_sure_wasted_possible_and_unknown_cost_are_kept_apart() -> None:
    failed = {"outcome": Outcome.NO_IMAGE, "images": ()}
    run = totals(
        {},
        {"tags": {"sku": "B"}, "model": "n"},
        {**failed, "cost_usd": Decimal("0.000600")},
        {"outcome": Outcome.TIMEOUT, "billed": "maybe", "tokens": None, "images": ()},
        {**failed, "cost_usd": None, "cost_basis": "unknown", "tokens": None},
        {"outcome": Outcome.RATE_LIMITED, "billed": "no", "cost_usd": Decimal(0), "images": ()},
    )
    assert run.known_cost_usd == Decimal("0.276920")  # 2 x 0.138160 + 0.000600
    assert run.waste_usd == Decimal("0.000600")
    assert run.maybe_usd == Decimal("0.138160")
    assert (run.n_maybe, run.n_unknown, run.images) == (1, 1, 2)
    assert run.by_model == {"m": Decimal("0.138760"), "n": Decimal("0.138160")}
    assert run.by_tag == {"sku": {"A": Decimal("0.138760"), "B": Decimal("0.138160")}}
    assert run.by_outcome == {"image": 2, "no_image": 2, "timeout": 1, "rate_limited": 1}
    assert run.maybe[0]["outcome"] == "timeout"


def test_a_cost_of_which_nothing_is_known_is_none_and_no_cost_at_all_is_zero() -> None:
    assert totals({"cost_usd": None, "cost_basis": "unknown"}).known_cost_usd is None
    assert totals({}, {"cost_usd": None}).known_cost_usd == Decimal("0.138160")
    assert RunTotals().known_cost_usd == 0


def test_a_turn_that_went_well_is_no_picture_of_an_item_and_no_waste() -> None:
    draft = msgspec.structs.replace(IMAGE, role="draft")
    run = totals({"images": (draft,)}, {"turn": 2})
    assert (run.images, run.waste_usd) == (1, Decimal(0))
    assert run.known_cost_usd == Decimal("0.276320")


def test_what_was_never_sent_is_no_call() -> None:
    run = totals({"attempt": 0, "outcome": Outcome.MISSING_REFERENCE, "images": ()})
    assert run.by_outcome == {}


def test_latencies_are_of_pictures_only_and_their_quantiles_by_nearest_rank() -> None:
    run = totals(
        *({"latency_s": float(n)} for n in range(1, 21)),
        {"latency_s": 500.0, "outcome": Outcome.TIMEOUT},
    )
    latency = run.latency_s
    assert (latency.p50, latency.p95, latency.max) == (10.0, 19.0, 20.0)
    assert RunTotals().latency_s.p50 is None


def test_the_ten_slowest_items_are_told_with_all_their_calls_whatever_came_of_them() -> None:
    final, none = (IMAGE,), {"images": ()}
    run = totals(
        *({"item": f"i{n}", "latency_s": float(n), "images": final} for n in range(12)),
        {
            "item": "late",
            "latency_s": 600.0,
            "outcome": Outcome.TIMEOUT,
            **none,
            "decision": "retry",
        },
        {"item": "talk", "turn": 1, "latency_s": 5.0, "images": ()},
        {
            "item": "late",
            "latency_s": 1.5,
            "outcome": Outcome.TIMEOUT,
            **none,
            "decision": "failed",
        },
        {"item": "talk", "turn": 2, "latency_s": 6.0, "images": final},
        {
            "item": "open",
            "latency_s": 800.0,
            "outcome": Outcome.TIMEOUT,
            **none,
            "decision": "retry",
        },
        {"item": "gone", "latency_s": 900.0, "outcome": Outcome.CANCELLED},
        {"item": "lost", "latency_s": None, "outcome": Outcome.INTERRUPTED},
    )
    told = run.slowest
    assert isinstance(told, list)
    assert [slow.item for slow in told] == [
        "late",
        "i11",
        "talk",
        *(f"i{n}" for n in range(10, 3, -1)),
    ]
    assert told[0] == SlowItem(item="late", calls=2, latency_s=601.5, outcome="timeout")
    assert told[2] == SlowItem(item="talk", calls=2, latency_s=11.0, outcome="image")
    assert RunTotals().slowest is msgspec.UNSET


def test_items_are_counted_by_where_they_stand_and_failures_by_their_cause() -> None:
    items = ItemTotals()
    base = Result(id="a", key="k", status="done", model="m", run_id="now", outcome=Outcome.IMAGE)
    bad = {
        "status": "failed",
        "outcome": Outcome.BLOCKED,
        "error": Failure(kind="Blocked", message="refused"),
    }
    for change in (
        {},
        {"run_id": "before"},
        {"id": "b", **bad},
        {"id": "c", **bad},
        {"status": "pending", "outcome": Outcome.TIMEOUT},
        {"status": "pending", "outcome": None, "run_id": None},
    ):
        items.add(msgspec.structs.replace(base, **change), "now")
    counts = items.counts
    assert (counts.total, counts.done, counts.reused) == (6, 2, 1)
    assert (counts.failed, counts.pending, counts.skipped) == (2, 2, 0)
    (group,) = items.groups
    assert (group.outcome, group.count, group.item) == ("blocked", 2, "b")
    assert group.example == "refused"


def test_the_list_of_calls_that_may_be_billed_is_bounded_and_its_count_is_not() -> None:
    run = totals(*({"billed": "maybe", "outcome": Outcome.TIMEOUT} for _ in range(MAX_LISTED + 5)))
    assert (len(run.maybe), run.n_maybe) == (MAX_LISTED, MAX_LISTED + 5)


def test_a_call_that_was_found_is_listed_if_it_may_be_billed_and_counted_in_nothing_else() -> None:
    run = RunTotals()
    run.found(DONE)
    run.found(msgspec.structs.replace(DONE, billed="maybe", outcome=Outcome.INTERRUPTED))
    assert (run.n_maybe, run.maybe_usd) == (1, DONE.cost_usd)
    assert run.maybe[0]["outcome"] == "interrupted"
    assert (run.by_outcome, run.cost_usd, run.images) == ({}, Decimal(0), 0)


def test_the_difference_between_two_runs() -> None:
    items = ItemTotals()
    standing: list[tuple[str, Status, bool]] = [
        ("z", "done", True),
        ("a", "done", True),
        ("b", "failed", True),
        ("c", "failed", False),
        ("d", "pending", True),  # edited and not sent yet: neither fixed nor failing
        ("e", "done", False),
    ]
    for name, status, failed_before in standing:
        result = Result(id=name, key="k", status=status, model="m")
        items.add(result, {"now"}, failed_before=failed_before)
    diff = items.difference(Decimal("-1.5"))
    assert (diff.new_failures, diff.fixed, diff.still_failing) == (["c"], ["a", "z"], ["b"])
    assert diff.cost_delta_usd == Decimal("-1.5")


def test_values_of_a_tag_beyond_so_many_are_added_up_as_one() -> None:
    sku = {"billed": "yes", "cost_usd": Decimal(1)}
    run = totals(*({**sku, "tags": {"sku": str(n)}} for n in range(MAX_TAG_VALUES + 3)))
    run.add(msgspec.structs.replace(DONE, cost_usd=Decimal(2), tags={"sku": "5"}))
    assert len(run.by_tag["sku"]) == MAX_TAG_VALUES + 1
    assert run.by_tag["sku"][OTHER] == 3
    assert run.by_tag["sku"]["5"] == 3
    assert sum(run.by_tag["sku"].values()) == run.cost_usd


# --- several runs of a directory --------------------------------------------------------------


class Directory:
    """A job's directory, its ledger written line by line."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.n_runs = 0
        (root / "ledger").mkdir()

    def run(
        self,
        *lines: tuple[str, str, str],
        today: dict[str, str] | None = None,
        items: Sequence[Item] = (),
        is_killed: bool = False,
    ) -> Summary:
        """One more run, with an attempt for each `(id, key, decision)`; then rebuild.

        The job is `items`, or `today`: ids with their keys.
        """
        self.n_runs += 1
        run_id = f"run-{self.n_runs}"
        head = Run(
            run_id=run_id, at=DONE.at, job="j", job_sha256="0", provider="emulator", version="0"
        )
        attempts = [
            msgspec.structs.replace(
                DONE,
                run_id=run_id,
                item=item,
                key=key,
                decision=decision,
                outcome=Outcome.IMAGE if decision == "done" else Outcome.BLOCKED,
                cost_usd=Decimal(self.n_runs),
            )
            for item, key, decision in lines
        ]
        segment = self.root / "ledger" / f"{run_id}.jsonl"
        end = End(
            run_id=run_id,
            at=DONE.at,
            stop_reason="finished",
            exit_code=0,
            wall_s=1.0,
            concurrency={},
        )
        written = [head, *attempts, *([] if is_killed else [end])]
        segment.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in written))
        simple = [
            Item(id=name, prompt=name, model="m", key=key) for name, key in (today or {}).items()
        ]
        write_items(self.root / "items.jsonl", items or simple)
        return rebuild(self.root)


def diffs(summary: Summary) -> tuple[list[str], list[str], list[str]]:
    assert summary.diff is not None
    return summary.diff.new_failures, summary.diff.fixed, summary.diff.still_failing


def test_an_item_that_was_mended_by_an_edit_is_fixed_in_that_run_and_in_no_later_one(
    tmp_path: Path,
) -> None:
    job = Directory(tmp_path)
    assert job.run(("a", "old", "failed"), today={"a": "old"}).diff is None
    assert diffs(job.run(("a", "new", "done"), today={"a": "new"})) == ([], ["a"], [])
    assert diffs(job.run(today={"a": "new"})) == ([], [], [])


def test_what_happened_in_a_killed_run_is_news_for_the_one_after_it(tmp_path: Path) -> None:
    job = Directory(tmp_path)
    today = {"a": "k", "b": "k", "c": "k"}
    job.run(("b", "k", "failed"), ("c", "k", "failed"), today=today)
    for _ in range(2):  # one after the other
        job.run(("a", "k", "failed"), ("b", "k", "done"), today=today, is_killed=True)
    assert diffs(job.run(today=today)) == (["a"], ["b"], ["c"])
    assert diffs(job.run(today=today)) == ([], [], ["a", "c"])


def test_an_item_that_was_skipped_has_failed_too(tmp_path: Path) -> None:
    job = Directory(tmp_path)
    job.run(("a", "k", "failed"), today={"a": "k"})
    today = {"a": "k", "b": "k"}  # b builds on a
    assert diffs(job.run(("b", "k", "skipped"), today=today)) == (["b"], [], ["a"])
    assert diffs(job.run(("b", "k", "skipped"), today=today)) == ([], [], ["a", "b"])
    assert diffs(job.run(("a", "k", "done"), ("b", "k", "done"), today=today)) == (
        [],
        ["a", "b"],
        [],
    )


def test_a_first_run_that_was_killed_leaves_all_its_failures_as_new(tmp_path: Path) -> None:
    job = Directory(tmp_path)
    job.run(("a", "k", "failed"), today={"a": "k"}, is_killed=True)
    assert diffs(job.run(today={"a": "k"})) == (["a"], [], [])


def test_an_item_that_is_no_longer_in_the_job_is_not_fixed(tmp_path: Path) -> None:
    job = Directory(tmp_path)
    job.run(("a", "k", "failed"), ("b", "k", "failed"), today={"a": "k", "b": "k"})
    assert diffs(job.run(today={"b": "k"})) == ([], [], ["b"])


def test_an_edit_that_is_taken_back_is_news_in_no_run(tmp_path: Path) -> None:
    job = Directory(tmp_path)
    job.run(("a", "old", "failed"), ("b", "old", "done"), today={"a": "old", "b": "old"})
    job.run(("a", "new", "done"), ("b", "new", "failed"), today={"a": "new", "b": "new"})
    for _ in range(2):
        assert diffs(job.run(today={"a": "old", "b": "old"})) == ([], [], ["a"])


def test_a_conversation_that_fails_at_another_turn_is_still_failing(tmp_path: Path) -> None:
    job = Directory(tmp_path)
    turns = tuple(Turn(prompt=word) for word in "xyz")
    item = Item(id="a", model="m", turns=turns)
    keys = [content_key(item, turn=turn) for turn in (1, 2, 3)]
    item = msgspec.structs.replace(item, key=keys[2])
    one, two, three = ("a", keys[0]), ("a", keys[1]), ("a", keys[2])
    job.run((*one, "failed"), items=[item])
    assert diffs(job.run((*one, "done"), (*two, "failed"), items=[item])) == ([], [], ["a"])
    mended = job.run((*two, "done"), (*three, "done"), items=[item])
    assert diffs(mended) == ([], ["a"], [])
    assert diffs(job.run((*one, "failed"), items=[item])) == (["a"], [], [])
    assert diffs(job.run((*one, "failed"), items=[item])) == ([], [], ["a"])


def test_the_cost_is_compared_with_the_run_before(tmp_path: Path) -> None:
    job = Directory(tmp_path)
    for _ in range(3):
        job.run(("a", "k", "done"), today={"a": "k"})
    summary = job.run(("a", "k", "done"), today={"a": "k"})
    assert summary.cost_usd == 4
    assert summary.diff is not None
    assert summary.diff.cost_delta_usd == 1


def test_what_a_killed_run_had_to_list_is_listed_by_the_next_that_ends(tmp_path: Path) -> None:
    def lines(run_id: str, *billed: str, ended: bool) -> None:
        head = Run(
            run_id=run_id, at=DONE.at, job="j", job_sha256="0", provider="emulator", version="0"
        )
        calls = [
            msgspec.structs.replace(DONE, run_id=run_id, attempt=n, billed=one, decision="retry")
            for n, one in enumerate(billed, 1)
        ]
        end = End(run_id=run_id, at=head.at, stop_reason="", exit_code=0, wall_s=0, concurrency={})
        written = [head, *calls, *([end] if ended else [])]
        path = tmp_path / "ledger" / f"{run_id}.jsonl"
        path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in written))

    (tmp_path / "ledger").mkdir()
    write_items(tmp_path / "items.jsonl", [])
    lines("run-1", "maybe", ended=True)
    assert rebuild(tmp_path).maybe_billed.count == 1
    lines("run-2", "maybe", "yes", "maybe", ended=False)
    lines("run-3", "maybe", ended=False)
    lines("run-4", "yes", "maybe", ended=True)
    told = rebuild(tmp_path)
    listed = [(one["item"], one["attempt"], one["at"]) for one in told.maybe_billed.attempts]
    assert listed == [("a", n, DONE.at) for n in (1, 3, 1, 2)]
    assert told.maybe_billed.count == 4
    assert told.cost_maybe_usd == 4 * Decimal("0.138160")
    assert (told.attempts.total, told.cost_usd) == (2, Decimal("0.138160"))


def test_lines_of_the_ledger_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    job = Directory(tmp_path)
    job.run(("a", "k", "done"), today={"a": "k"})
    with (tmp_path / "ledger/run-1.jsonl").open("ab") as file:
        file.write(b"no json\n" * 12)
    told: list[str] = []
    rebuild(tmp_path, warn=told.append)
    assert len(told) == 10
    assert all("run-1.jsonl" in one for one in told)


def test_calls_of_unknown_cost_are_marked_wherever_the_cost_is_told(tmp_path: Path) -> None:
    job = Directory(tmp_path)
    sure = job.run(("a", "k", "done"), ("b", "k", "done"), today={"a": "k", "b": "k"})
    assert "+?" not in closing(sure, tmp_path, None)
    segment = tmp_path / "ledger/run-1.jsonl"
    head, one, other, end = segment.read_bytes().splitlines(keepends=True)
    unpriced = msgspec.json.decode(other) | {"cost_usd": None, "cost_basis": "unknown"}
    segment.write_bytes(head + one + msgspec.json.encode(unpriced) + b"\n" + end)
    summary = rebuild(tmp_path)
    assert summary.cost_unknown_attempts == 1
    assert " · $1.00+? (planned unknown)" in closing(summary, tmp_path, None)
    text = (tmp_path / "summary.md").read_text("utf-8")
    assert "- cost: $1.00+?; 1 call of unknown cost\n" in text
    figures = Page((tmp_path / "report.html").read_text("utf-8")).figures
    assert figures["cost of this run"] == "$1.00+?"
    assert figures["calls of unknown cost"] == "1"


# --- what answers were grounded in ----------------------------------------------------------------

SUMMARY = Summary(
    job="j",
    run_id="r",
    started_at=DONE.at,
    finished_at=DONE.at,
    wall_s=1.0,
    stop_reason="finished",
    exit_code=0,
    items=ItemCounts(),
    attempts=AttemptCounts(),
    images=0,
    tokens=Tokens(),
    cost_usd=Decimal(0),
    cost_waste_usd=Decimal(0),
    cost_maybe_usd=Decimal(0),
    cost_unknown_attempts=0,
    cost_by_model={},
    cost_by_tag={},
    latency_s=Latency(),
    throughput_per_min=None,
    concurrency=Concurrency(),
    failures=[],
    maybe_billed=MaybeBilled(),
    diff=None,
)


def grounding(*uris: str, queries: Sequence[str] = ()) -> dict[str, Any]:
    chunks = [{"web": {"uri": uri, "title": uri.rpartition("/")[2]}} for uri in uris]
    return {"webSearchQueries": list(queries), "groundingChunks": chunks}


def test_a_run_without_searches_has_none_to_tell() -> None:
    assert totals({}, {"grounding": {}}, {"grounding": "odd"}).searches is msgspec.UNSET


def test_queries_count_once_an_answer_and_sources_once_a_run() -> None:
    run = totals(
        {"grounding": grounding("https://x/1", "https://x/2", queries=["a", "a", "", "b"])},
        {"item": "b", "grounding": grounding("https://x/2", "https://x/3", queries=["a"])},
        {"grounding": {"imageSearchQueries": ["c"]}, "outcome": Outcome.NO_IMAGE, "images": ()},
        {},
    )
    assert run.searches == Searches(
        answers=3,
        n_queries=3,
        n_image_queries=1,
        queries=[
            Query(kind="web", words="a", item="a"),
            Query(kind="web", words="b", item="a"),
            Query(kind="image", words="c", item="a"),
        ],
        sources=[
            FoundPage(kind="web", title="1", uri="https://x/1", item="a"),
            FoundPage(kind="web", title="2", uri="https://x/2", item="a"),
            FoundPage(kind="web", title="3", uri="https://x/3", item="b"),
        ],
    )


def test_the_list_of_sources_has_an_end() -> None:
    run = totals(*({"grounding": grounding(f"https://x/{n}")} for n in range(2 * MAX_LISTED)))
    searches = run.searches
    assert searches is not msgspec.UNSET
    assert (searches.answers, len(searches.sources)) == (2 * MAX_LISTED, MAX_LISTED)


def test_what_was_found_is_words_and_links_in_markdown_whatever_it_holds() -> None:
    title = "a [b](c) \\ <img src=x onerror=alert(1)>"
    told = Searches(
        answers=1,
        n_queries=1,
        n_image_queries=0,
        queries=[Query(kind="web", words="*tides* & <b>moon", item="i")],
        sources=[FoundPage(kind="web", title=title, uri="https://x/(1)", item="i")],
    )
    text = summary_markdown(msgspec.structs.replace(SUMMARY, searches=told, wrong_size=2))
    shown = "a \\[b\\](c) \\\\ &lt;img src=x onerror=alert(1)&gt;"
    assert f"- [{shown}](<https://x/(1)>), for `i`\n" in text
    assert "- searched the web for “\\*tides\\* &amp; &lt;b&gt;moon”, for `i`\n" in text
    assert "1 answer went by 1 query on the web.\n" in text
    assert "- pictures of another ratio or size than asked for: 2\n" in text
    plain = summary_markdown(SUMMARY)
    assert "search" not in plain
    assert "another ratio" not in plain


def test_the_words_of_a_failure_are_no_markup() -> None:
    failures = [FailureGroup(outcome="blocked", count=1, example='no: "<script>|"', item="i")]
    text = summary_markdown(msgspec.structs.replace(SUMMARY, failures=failures))
    assert 'no: "&lt;script&gt;\\|"' in text
    assert "\n- 1 × blocked, for example `i`\n" in text


# --- what a person pastes into a ticket ----------------------------------------------------------

TICKET = """\
# spring-catalog: 996/1,000 done, 3 failed

Run r, 41m07s, finished.

- items: 996 done (412 reused), 3 failed, 1 skipped
- cost: $61.12 of $60.40 planned (+1.2 %), of it $0.27 without a picture; 1 call may have \
been billed besides, up to $0.15
- cost per accepted picture: $0.1047 (580 in all runs; 12 marked keep, 3 redo)
- cost by model: `gemini-3-pro-image` $60.12, `gemini-2.5-flash-image` $1.00
- calls: 604, at most 32 at once; a picture takes 21.4s (p50), 33.1s (p95)
- tokens: 12,080 in, 822,360 out (654,080 of pictures, 116,800 of thoughts)

## What failed, and what to do

- 2 × blocked, for example `hero`
  - the prompt was refused: SAFETY
  - → Reword the prompt, leave a reference out, or try another model.
- 1 × timeout, for example `poster`
  - no answer within 600 s
  - → Raise timeouts.attempt: what was given up is often billed.

## Slowest items

- 10m00s: `poster`, timeout
- 1m01s: `talk`, 2 calls
- 40.0s: `a`

## Since the run before

- newly failing: `hero`, `poster`
- fixed: `i00`, `i01`, `i02`, `i03`, `i04`, `i05`, `i06`, `i07`, `i08`, `i09` and 2 more
- still failing: `gone`
- cost: +$1.20
"""


def test_a_ticket_tells_all_that_matters_in_the_order_in_which_it_does() -> None:
    summary = msgspec.structs.replace(
        SUMMARY,
        job="spring-catalog",
        wall_s=2467.0,
        items=ItemCounts(total=1000, done=996, reused=412, failed=3, skipped=1),
        attempts=AttemptCounts(total=604, by_outcome={"image": 584}),
        images=584,
        tokens=Tokens(
            input_text=12_080, output_text=51_480, output_image=654_080, thoughts=116_800
        ),
        cost_usd=Decimal("61.120000"),
        planned_usd=Decimal("60.400000"),
        cost_waste_usd=Decimal("0.270000"),
        cost_maybe_usd=Decimal("0.150000"),
        cost_by_model={
            "gemini-3-pro-image": Decimal("60.12"),
            "gemini-2.5-flash-image": Decimal(1),
        },
        latency_s=Latency(p50=21.4, p95=33.1, max=600.0),
        concurrency=Concurrency(peak=32, final=32),
        failures=[
            FailureGroup(
                outcome="blocked", count=2, example="the prompt was refused: SAFETY", item="hero"
            ),
            FailureGroup(
                outcome="timeout", count=1, example="no answer within 600 s", item="poster"
            ),
        ],
        maybe_billed=MaybeBilled(count=1),
        slowest=[
            SlowItem(item="poster", calls=1, latency_s=600.0, outcome="timeout"),
            SlowItem(item="talk", calls=2, latency_s=61.0, outcome="image"),
            SlowItem(item="a", calls=1, latency_s=40.0, outcome="image"),
        ],
        review=Review(kept=12, redo=3, accepted=580, cost_per_accepted_usd=Decimal("0.104700")),
        diff=Diff(
            new_failures=["hero", "poster"],
            fixed=[f"i{n:02}" for n in range(12)],
            still_failing=["gone"],
            cost_delta_usd=Decimal("1.20"),
        ),
    )
    assert summary_markdown(summary) == TICKET


def test_a_run_without_anything_to_tell_is_told_in_a_few_lines() -> None:
    done = msgspec.structs.replace(
        SUMMARY, items=ItemCounts(total=2, done=2, reused=2), planned_usd=Decimal(0)
    )
    assert summary_markdown(done) == (
        "# j: 2/2 done\n\nRun r, 1.0s, finished.\n\n"
        "- items: 2 done (2 reused)\n- cost: $0.00 of $0.00 planned\n"
    )


def test_a_run_that_was_stopped_is_not_called_cheap() -> None:
    stopped = msgspec.structs.replace(
        SUMMARY,
        items=ItemCounts(total=9, done=1, pending=8),
        cost_usd=Decimal(1),
        planned_usd=Decimal(9),
    )
    assert "- cost: $1.00 of $9.00 planned\n" in summary_markdown(stopped)


def test_what_a_picture_cost_is_told_where_there_is_no_review() -> None:
    made = msgspec.structs.replace(SUMMARY, images=3, cost_usd=Decimal("0.41448"))
    assert "- cost per picture: $0.1382\n" in summary_markdown(made)


def test_more_causes_and_more_names_than_a_person_reads_are_counted() -> None:
    causes = [
        FailureGroup(outcome=outcome, count=9 - n, example="", item="i")
        for n, outcome in enumerate(list(Outcome)[1:8])
    ]
    full = Diff(
        new_failures=["x"] * MAX_LISTED, fixed=[], still_failing=[], cost_delta_usd=Decimal(-1)
    )
    text = summary_markdown(msgspec.structs.replace(SUMMARY, failures=causes, diff=full))
    assert "\n- and 2 more causes, of 7 items\n" in text
    assert f"`x` and at least {MAX_LISTED - 10} more\n" in text
    assert "- cost: -$1.00\n" in text


@pytest.mark.parametrize("outcome", list(Outcome)[1:])
def test_each_cause_is_told_with_its_remedy(outcome: Outcome) -> None:
    cause = FailureGroup(outcome=outcome, count=1, example="no", item="i")
    text = summary_markdown(msgspec.structs.replace(SUMMARY, failures=[cause]))
    shown = MarkdownIt("commonmark", {"html": False}).render(text)
    assert f"<li>→ {html.escape(remedy(outcome), quote=False)}</li>" in shown
