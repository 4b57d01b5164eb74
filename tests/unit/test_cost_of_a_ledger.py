"""Our own ledgers: recorded figures, each call once, and what they come to at other prices."""

from __future__ import annotations

import fcntl
import hashlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from batchgen.cost import PriceBook, PriceList
from batchgen.model import Attempt, ImageFile, Outcome, Tokens
from batchgen.spending import Assumed, Span, Spending, Tally, grouping, spend
from batchgen.store.ledger import End, Run, Sent
from batchgen.store.numbered import Numbered

if TYPE_CHECKING:
    from pathlib import Path

PRO = "gemini-3-pro-image"
R1, R2 = "20261121T030000Z-00000001", "20261122T030000Z-00000002"
TOKENS = Tokens(input_text=20, output_text=110, output_image=1120, thoughts=200)
USAGE = {
    "promptTokenCount": 20,
    "candidatesTokenCount": 1230,
    "thoughtsTokenCount": 200,
    "totalTokenCount": 1450,
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
}
TWICE = PriceList.of("mine", {"multiplier": 2})


def run(run_id: str = R1) -> Run:
    at = "2026-11-21T03:00:00.000Z"
    return Run(run_id=run_id, at=at, job="job", job_sha256="", provider="emulator", version="0")


def end(run_id: str = R1) -> End:
    at, empty = "2026-11-21T04:00:00.000Z", dict[str, Any]()
    return End(run_id=run_id, at=at, stop_reason="done", exit_code=0, wall_s=1, concurrency=empty)


def sent(item: str = "a", *, run_id: str = R1, attempt: int = 1, usd: str | None = "0.15") -> Sent:
    return Sent(
        run_id=run_id,
        item=item,
        key="k",
        turn=1,
        attempt=attempt,
        at="2026-11-21T03:00:01.000Z",
        model=PRO,
        est_usd=None if usd is None else Decimal(usd),
    )


def made(item: str = "a", **more: Any) -> Attempt:
    sha256 = hashlib.sha256(f"{item}{more.get('run_id')}".encode()).hexdigest()
    picture = ImageFile(
        path=f"images/{item}.png",
        role="final",
        sha256=sha256,
        bytes=1,
        width=1,
        height=1,
        mime="image/png",
    )
    told: dict[str, Any] = {
        "run_id": R1,
        "item": item,
        "key": "k",
        "turn": 1,
        "attempt": 1,
        "at": "2026-11-21T03:00:01.000Z",
        "model": PRO,
        "provider": "emulator",
        "outcome": Outcome.IMAGE,
        "decision": "done",
        "images": (picture,),
        "usage": USAGE,
        "tokens": TOKENS,
        "cost_usd": Decimal("0.138160"),
        "cost_basis": "reported",
        "billed": "yes",
    }
    return Attempt(**told | more)


def failed(outcome: Outcome, billed: str, usd: str | None, **more: Any) -> Attempt:
    return made(
        outcome=outcome,
        decision="failed",
        images=(),
        billed=billed,
        cost_usd=None if usd is None else Decimal(usd),
        cost_basis="unknown" if usd is None else "inferred",
        **more,
    )


def written(root: Path, *lines: Any, run_id: str = R1) -> Path:
    ledger = root / "ledger"
    ledger.mkdir(parents=True, exist_ok=True)
    with (ledger / f"{run_id}.jsonl").open("ab") as file:
        for line in lines:
            file.write(line if isinstance(line, bytes) else msgspec.json.encode(line) + b"\n")
    return root


def spent(root: Path, *, by: str = "", book: PriceBook | None = None) -> Spending:
    tally = Tally(grouping([by]), Span())
    prices = PriceBook.shipped() if book is None else book
    return spend(
        [str(root)],
        tally,
        prices,
        Assumed(),
        day="2026-11-28",
        reprice=book is not None,
        warn=print,
    )


def figures(root: Path, **more: Any) -> dict[str, Any]:
    return spent(root, **more).tally.total().figures()


def test_recorded_figures_are_added_up_as_a_summary_does(tmp_path: Path) -> None:
    written(
        tmp_path,
        run(),
        made("a"),
        failed(Outcome.NO_IMAGE, "yes", "0.01", item="b"),
        failed(Outcome.TIMEOUT, "maybe", "0.15", item="c", tokens=None),
        failed(Outcome.TIMEOUT, "maybe", None, item="d", tokens=None),
        failed(Outcome.BAD_REQUEST, "no", "0", item="e", tokens=None),
        made("f", cost_usd=None, cost_basis="unknown"),
        failed(Outcome.MISSING_REFERENCE, "no", "0", item="g", attempt=0, tokens=None),
        end(),
    )
    told = figures(tmp_path)
    assert told["attempts"] == 6  # nothing was sent of the last
    assert told["images"] == 2
    assert told["tokens"]["output_image"] == 3 * 1120
    assert told["cost_usd"] == Decimal("0.148160")
    assert told["cost_waste_usd"] == Decimal("0.010000")
    assert told["cost_maybe_usd"] == Decimal("0.150000")
    assert told["cost_unknown_attempts"] == 2
    assert told["cost_per_accepted_image_usd"] == Decimal("0.074080")


def test_the_asked_model_groups_and_runs_items_and_tags_do(tmp_path: Path) -> None:
    written(tmp_path, made("a", model_version="gemini-3-pro-image-001", tags={"sku": "A"}))
    written(tmp_path, made("a", run_id=R2, tags={"sku": "B"}), run_id=R2)
    groups = spent(tmp_path, by="model,run,item,tag:sku,outcome,day").tally.groups
    assert set(groups) == {
        (PRO, R1, "a", "A", "image", "2026-11-21"),
        (PRO, R2, "a", "B", "image", "2026-11-21"),
    }


def test_a_call_that_stands_twice_counts_once_and_its_copy_elsewhere_too(tmp_path: Path) -> None:
    written(tmp_path / "job", run(), sent(), made(), made(), sent(), made("b"), made("a"))
    written(tmp_path / "job", made(), run_id=R2)
    written(tmp_path / "copy", run(), sent(), made())
    found = spent(tmp_path)
    assert found.tally.total().attempts == 2
    assert found.n_double == 4


def test_a_request_without_an_outcome_may_be_billed(tmp_path: Path) -> None:
    written(tmp_path, run(), sent("a"), made("a"), sent("b"), sent("c", usd=None), end())
    told = figures(tmp_path)
    assert (told["attempts"], told["cost_maybe_usd"]) == (3, Decimal("0.150000"))
    assert told["cost_unknown_attempts"] == 1
    keys = set(spent(tmp_path, by="outcome").tally.groups)
    assert keys == {("image",), ("interrupted",)}


def test_a_request_whose_end_a_later_run_wrote_counts_once(tmp_path: Path) -> None:
    written(tmp_path, run(), sent("b"))
    found_by_it = failed(Outcome.INTERRUPTED, "maybe", "0.15", item="b", tokens=None)
    written(tmp_path, run(R2), found_by_it, run_id=R2)
    assert figures(tmp_path)["attempts"] == 1


def test_what_a_run_that_goes_on_has_under_way_does_not_count(tmp_path: Path) -> None:
    written(tmp_path, run(), sent("a"))
    with (tmp_path / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = spent(tmp_path)
        assert (found.tally.total().attempts, found.n_under_way) == (0, 1)
    assert figures(tmp_path)["attempts"] == 1  # it has been killed


def test_of_the_pictures_of_an_item_the_newest_is_accepted_unless_it_is_marked(
    tmp_path: Path,
) -> None:
    written(tmp_path, run(), made("a"), made("b"), made("c"), made("d"))
    again = made("a", run_id=R2)
    marked = made("b", run_id=R2)
    written(tmp_path, run(R2), again, marked, run_id=R2)
    review = [(marked, "redo"), (made("a"), "redo"), (made("c"), "redo"), (made("d"), "keep")]
    (tmp_path / "review.jsonl").write_bytes(
        b"".join(
            msgspec.json.encode({"item": one.item, "sha256": one.images[0].sha256, "mark": mark})
            + b"\n"
            for one, mark in review
        )
    )
    by_run = spent(tmp_path, by="run").tally.groups
    accepted = {key: sums.n_accepted for key, sums in by_run.items()}
    assert accepted == {(R1,): 1, (R2,): 1}  # d, and a as it was made again
    told = figures(tmp_path)
    assert told["images"] == 6
    assert told["cost_per_accepted_image_usd"] == Decimal("0.414480")  # six, of which two are kept


def test_a_page_of_nuls_hides_no_call(tmp_path: Path) -> None:
    written(tmp_path, run(), b"\0" * 4096 + msgspec.json.encode(made()) + b"\n", made("b"))
    found = spent(tmp_path)
    assert found.tally.total().attempts == 2
    assert [one.why for one in found.unreadable] == ["4096 NULs stand before the line"]


def test_a_folder_above_jobs_is_all_their_ledgers(tmp_path: Path) -> None:
    written(tmp_path / "a", run(), made())
    written(tmp_path / "deep" / "b", run(R2), made(run_id=R2), run_id=R2)
    (tmp_path / "a" / "results.jsonl").write_text('{"id":"a"}\n')
    found = spent(tmp_path)
    assert (found.tally.total().attempts, found.n_unreadable) == (2, 0)


def test_other_prices_count_recorded_tokens_anew(tmp_path: Path) -> None:
    written(
        tmp_path,
        made("a"),
        made("b", cost_usd=None, cost_basis="unknown", tokens=TOKENS),
        made("c", service_tier="batch", cost_usd=Decimal("0.069080")),
        made("d", grounding={"webSearchQueries": ["x", "y"]}),
        made("e", at="2025-12-01T00:00:00.000Z", grounding={"webSearchQueries": ["x", "y"]}),
        made("f", model="mine", model_version=PRO),
        failed(Outcome.TIMEOUT, "maybe", "0.15", item="g", tokens=None),
        failed(Outcome.BLOCKED, "no", "0", item="h"),
    )
    book = PriceBook.shipped().under(TWICE)
    usd = {key[0]: sums for key, sums in spent(tmp_path, by="item", book=book).tally.groups.items()}
    twice = {"a": 2, "b": 2, "c": 1, "e": 2, "f": 2}
    for item, times in twice.items():
        assert usd[item].cost_usd == times * Decimal("0.138160"), item
    assert usd["d"].cost_usd == 2 * Decimal("0.166160")  # before 2026 searches were free: e
    assert usd["g"].maybe_usd == Decimal("0.30")
    assert usd["h"].cost_usd == 0


def test_a_model_without_a_price_is_unknown_at_other_prices_too(tmp_path: Path) -> None:
    written(tmp_path, made(model="nobody", model_version=None))
    told = figures(tmp_path, book=PriceBook(()))
    assert (told["cost_usd"], told["cost_unknown_attempts"]) == (None, 1)


def test_numbers_by_hash_are_those_of_a_dict() -> None:
    numbered, expected = Numbered(), dict[int, int]()
    for n in range(20_000):
        hashed = hash(str(n % 7000)) >> (n % 3)
        assert numbered.put(hashed, n) == expected.get(hashed)
        expected[hashed] = n
    assert all(hashed in numbered for hashed in expected)
    assert 1 not in numbered


@pytest.mark.parametrize("billed", ["yes", "maybe"])
def test_a_bill_of_which_nothing_is_known_is_no_zero(billed: str, tmp_path: Path) -> None:
    written(tmp_path, failed(Outcome.NO_IMAGE, billed, None))
    told = figures(tmp_path)
    assert (told["cost_usd"], told["cost_unknown_attempts"]) == (None, 1)
