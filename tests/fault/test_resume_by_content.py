"""What a run makes again, and what it does not: by what is asked for, never by names."""

import errno
import json
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from batchgen import filing
from batchgen.cost import PriceBook
from batchgen.errors import StoreError, UsageError
from batchgen.events import AttemptEnded, Event, Warned
from batchgen.plan import Redo
from batchgen.report.rebuild import rebuild
from batchgen.report.summary import Review
from batchgen.selection import Selection
from batchgen.spending import Assumed, Span, Tally, grouping, spend
from batchgen.store.ledger import Filed, Ledger, Line
from tests import ledgers, servers
from tests.runs import Json, Ran, run_job, write_job
from tests.servers import FaultServer, document, draws, image_part, refuses, whole

Head = dict[str, Any]


def job_of(tmp_path: Path, *items: str | Json, **head: Any) -> Path:
    return write_job(tmp_path / "job.jsonl", items, **head)


def pictures(ran: Ran) -> dict[str, bytes]:
    root = ran.directory / "images"
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def results(ran: Ran) -> dict[str, Json]:
    return ledgers.results(ran.directory)


def filed(ran: Ran) -> list[Json]:
    return ledgers.filed(ran.directory)


def spent(ran: Ran) -> Counter[str]:
    return Counter(str(line["cost_usd"]) for line in results(ran).values())


class Before:
    """What a run left, before the next one changes it."""

    def __init__(self, ran: Ran) -> None:
        self.pictures, self.results, self.spent = pictures(ran), results(ran), spent(ran)


@pytest.fixture
def server() -> Any:
    with FaultServer(servers.draws) as server:
        yield server


# --- what changes an item, and what does not ----------------------------------------------------


async def test_a_renamed_item_keeps_its_picture_and_nothing_is_sent(
    tmp_path: Path, server: FaultServer
) -> None:
    first = Before(
        await run_job(job_of(tmp_path, "cat", {"id": "owl", "prompt": "an owl"}), server)
    )
    owl = first.pictures["owl.png"]
    second = await run_job(job_of(tmp_path, "cat", {"id": "bird", "prompt": "an owl"}), server)
    assert server.n_requests == 2
    assert pictures(second) == {"cat.png": first.pictures["cat.png"], "bird.png": owl}
    [line] = filed(second)
    assert (line["item"], line["path"]) == ("bird", "images/bird.png")
    bird, before = results(second)["bird"], first.results["owl"]
    assert bird["status"] == "done"
    told = ("key", "attempts", "tokens", "cost_usd", "outcome", "finished_at")
    assert [bird[name] for name in told] == [before[name] for name in told]
    assert (second.exit_code, second.summary.items.reused) == (0, 2)


async def test_two_items_may_change_places(tmp_path: Path, server: FaultServer) -> None:
    words = [{"id": "a", "prompt": "one"}, {"id": "b", "prompt": "two"}]
    swapped = [{"id": "b", "prompt": "one"}, {"id": "a", "prompt": "two"}]
    first = pictures(await run_job(job_of(tmp_path, *words), server))
    second = await run_job(job_of(tmp_path, *swapped), server)
    assert pictures(second) == {"a.png": first["b.png"], "b.png": first["a.png"]}
    again = pictures(await run_job(job_of(tmp_path, *words), server))
    assert (again, server.n_requests) == (first, 2)


async def test_a_name_that_moves_on_takes_no_picture_with_it(
    tmp_path: Path, server: FaultServer
) -> None:
    first = Before(await run_job(job_of(tmp_path, {"id": "a", "prompt": "one"}), server))
    jobs = [{"id": "b", "prompt": "one"}, {"id": "a", "prompt": "new"}]
    second = await run_job(job_of(tmp_path, *jobs), server)
    assert server.requests == {"one": 1, "new": 1}
    assert pictures(second)["b.png"] == first.pictures["a.png"] != pictures(second)["a.png"]


async def test_a_new_output_name_moves_what_is_there(tmp_path: Path, server: FaultServer) -> None:
    items = [{"id": name, "prompt": name, "tags": {"kind": "pet"}} for name in ("cat", "owl")]
    first = Before(await run_job(job_of(tmp_path, *items), server))
    output = {"name": "{kind}/{id}"}
    second = await run_job(job_of(tmp_path, *items, output=output), server)
    assert server.n_requests == 2
    assert pictures(second) == {f"pet/{name}": data for name, data in first.pictures.items()}
    assert spent(second) == first.spent
    third = await run_job(job_of(tmp_path, *items, output=output), server)
    assert (server.n_requests, len(filed(third))) == (2, 2)


async def test_a_name_that_a_picture_has_left_is_free(tmp_path: Path, server: FaultServer) -> None:
    def item(name: str, sku: str) -> Json:
        return {"id": name, "prompt": name, "tags": {"sku": sku}}

    output = {"name": "{sku}"}
    for sku in ("A", "B"):
        await run_job(job_of(tmp_path, item("cat", sku), output=output), server)
    job = job_of(tmp_path, item("cat", "B"), item("owl", "A"), output=output)
    ran = await run_job(job, server)
    assert server.requests == {"cat": 1, "owl": 1}
    assert set(pictures(ran)) == {"A.png", "B.png"}


def in_files(tmp_path: Path, *names: str) -> Path:
    items = [{"id": f"i-{n}", "prompt": f"p{n}", "tags": {"sku": s}} for n, s in enumerate(names)]
    return job_of(tmp_path, *items, output={"name": "{sku}"})


async def test_what_is_forced_takes_no_other_pictures_place(
    tmp_path: Path, server: FaultServer
) -> None:
    first = Before(await run_job(in_files(tmp_path, "A", "B"), server))
    force = Redo(done=True)
    swapped = in_files(tmp_path, "B", "A")
    with pytest.raises(UsageError, match=r"images/B\.png is the picture of 'i-1'"):
        await run_job(swapped, server, redo=force, selection=Selection(only=("i-0",)))
    forced = await run_job(swapped, server, redo=force)
    assert (server.n_requests, forced.exit_code) == (4, 0)
    assert set(pictures(forced)) == set(first.pictures)


async def test_what_is_marked_is_made_in_its_new_place_and_the_others_have_moved(
    tmp_path: Path, server: FaultServer
) -> None:
    ran = await run_job(in_files(tmp_path, "A", "B"), server)
    first = Before(ran)
    marks(ran, **{"i-0": "redo"})
    again = await run_job(in_files(tmp_path, "B", "A"), server, marked=True, whole=False)
    assert (server.requests, again.exit_code) == ({"p0": 2, "p1": 1}, 0)
    assert pictures(again)["A.png"] == first.pictures["B.png"]
    assert pictures(again)["B.png"] not in first.pictures.values()
    [kept] = (again.directory / "quarantine").rglob("*.png")
    assert kept.read_bytes() == first.pictures["A.png"]


@pytest.mark.parametrize("only", [("b",), ("a", "b"), ("c",)])
async def test_a_part_of_a_job_costs_no_picture_of_another_part(
    only: tuple[str, ...], tmp_path: Path, server: FaultServer
) -> None:
    def ring(*prompts: str) -> Path:
        return job_of(
            tmp_path,
            *({"id": name, "prompt": p} for name, p in zip("abc", prompts, strict=True)),
        )

    first = Before(await run_job(ring("pa", "pb", "pc"), server))
    turned = ring("pb", "pc", "pa")
    await run_job(turned, server, selection=Selection(only=only), whole=False)
    last = await run_job(turned, server)
    assert server.n_requests == 3
    assert pictures(last) == {
        "a.png": first.pictures["b.png"],
        "b.png": first.pictures["c.png"],
        "c.png": first.pictures["a.png"],
    }


async def test_a_name_that_comes_back_brings_its_cost_back_once(
    tmp_path: Path, server: FaultServer
) -> None:
    for name in ("b", "b2", "b", "b2", "b"):
        ran = await run_job(job_of(tmp_path, {"id": name, "prompt": "one"}), server)
        [line] = results(ran).values()
        assert (line["attempts"], line["cost_usd"]) == (1, "0.138160")
    assert server.n_requests == 1


async def test_two_conversations_may_change_places_and_go_on(
    tmp_path: Path, server: FaultServer
) -> None:
    def talks(**prompts: str) -> Path:
        model = "gemini-2.5-flash-image"
        return job_of(
            tmp_path,
            *(
                {"id": name, "turns": [{"prompt": p} for p in said.split()], "model": model}
                for name, said in prompts.items()
            ),
        )

    first = await run_job(talks(k="k1 k2", l="l1 l2"), server)
    costs = spent(first)
    swapped = await run_job(talks(l="k1 k2", k="l1 l2"), server)
    assert (server.n_requests, spent(swapped)) == (4, costs)
    ran = await run_job(talks(l="k1 k2 k3", k="l1 l2 l3"), server)
    assert (server.n_requests, ran.exit_code) == (6, 0)
    for asked in server.log[-2:]:
        assert asked.body.count(b'"role":"model"') == 2
        of_one = [word for word in (b"k1", b"k3", b"l1", b"l3") if b'"' + word + b'"' in asked.body]
        assert of_one in ([b"k1", b"k3"], [b"l1", b"l3"])


async def test_a_model_may_be_changed_and_changed_back(tmp_path: Path, server: FaultServer) -> None:
    old = job_of(tmp_path, "cat")
    await run_job(old, server)
    new = job_of(tmp_path, "cat", defaults={"model": "gemini-3.1-flash-image"})
    await run_job(new, server, ignore_change=["model"])
    await run_job(job_of(tmp_path, "cat"), server)
    assert server.n_requests == 1


@pytest.mark.parametrize("how", [{"redo": Redo(done=True)}, {"marked": True}])
async def test_what_was_not_made_again_is_still_done(
    how: Head, tmp_path: Path, server: FaultServer
) -> None:
    job = job_of(tmp_path, "cat", {"id": "wide", "prompt": "wide", "references": ["item:cat"]})
    ran = await run_job(job, server)
    first = Before(ran)
    marks(ran, cat="redo")
    server.script = lambda asked: refuses(400) if asked.prompt == "cat" else draws(asked)
    failed = await run_job(job, server, **how, whole=False)
    assert results(failed)["cat"]["status"] == "done"
    told = [event.message for event in failed.events if isinstance(event, Warned)]
    assert any("cat: not made again, its picture stays" in message for message in told)
    assert pictures(failed)["cat.png"] == first.pictures["cat.png"]
    n_requests = server.n_requests
    server.script = servers.draws
    plain = await run_job(job, server)
    assert (server.n_requests, plain.exit_code) == (n_requests, 0)
    assert pictures(plain)["cat.png"] == first.pictures["cat.png"]


async def test_words_go_where_their_picture_goes(tmp_path: Path, server: FaultServer) -> None:
    with_words = whole(document({"text": "a cat"}, image_part(servers.png("cat"))))
    server.script = lambda asked: with_words if asked.prompt == "cat" else draws(asked)
    items = [{"id": "a", "prompt": "cat"}, {"id": "b", "prompt": "owl"}]
    await run_job(job_of(tmp_path, *items), server)
    swapped = [{"id": "b", "prompt": "cat"}, {"id": "a", "prompt": "owl"}]
    ran = await run_job(job_of(tmp_path, *swapped), server)
    words = ran.directory / "text"
    assert [path.name for path in words.iterdir()] == ["b.txt"]
    renamed = [{"id": "c", "prompt": "cat"}, {"id": "a", "prompt": "owl"}]
    await run_job(job_of(tmp_path, *renamed), server)
    assert [path.name for path in words.iterdir()] == ["c.txt"]
    assert server.n_requests == 2


async def test_a_new_tag_provider_limit_or_price_makes_nothing_again(
    tmp_path: Path, server: FaultServer
) -> None:
    await run_job(job_of(tmp_path, "cat"), server)
    changed = {"id": "cat", "prompt": "cat", "tags": {"sku": "A-1"}}
    head: Head = {"limits": {"rpm": 9}, "retries": {"unsure": 0}, "provider": "google"}
    os.environ["GEMINI_API_KEY"] = "another-key-of-the-tests"
    try:
        ran = await run_job(job_of(tmp_path, changed, **head), server)
    finally:
        del os.environ["GEMINI_API_KEY"]
    assert (server.n_requests, ran.summary.items.reused) == (1, 1)
    assert results(ran)["cat"]["tags"] == {"sku": "A-1"}


CHANGES: dict[str, Json] = {
    "prompt": {"prompt": "cat!"},
    "ratio": {"aspect_ratio": "4:5"},
    "size": {"image_size": "2K"},
    "seed": {"seed": 7},
    "temperature": {"temperature": 0.5},
    "search": {"google_search": True},
    "instruction": {"system_instruction": "in oil"},
    "extra": {"extra": {"labels": {"a": "b"}}},
    "model": {"model": "gemini-2.5-flash-image"},
    "modalities": {"modalities": ["TEXT", "IMAGE"]},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_changed_setting_makes_exactly_its_items_again(
    change: Json, tmp_path: Path, server: FaultServer
) -> None:
    await run_job(job_of(tmp_path, "owl", {"id": "cat", "prompt": "cat"}), server)
    ran = await run_job(job_of(tmp_path, "owl", {"id": "cat", "prompt": "cat", **change}), server)
    assert server.n_requests == 3
    assert ran.summary.items.reused == 1
    assert server.requests["owl"] == 1


async def test_one_changed_byte_of_a_reference_makes_exactly_the_items_that_use_it_again(
    tmp_path: Path, server: FaultServer
) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.png").write_bytes(servers.png("a reference") + name.encode())
    items: list[str | Json] = [
        {"id": "a", "prompt": "a", "references": ["one.png"]},
        {"id": "b", "prompt": "b", "references": ["two.png"]},
        {"id": "c", "prompt": "c", "references": ["two.png", "one.png"]},
        "d",
    ]
    await run_job(job_of(tmp_path, *items), server)
    data = bytearray((tmp_path / "one.png").read_bytes())
    data[-1] ^= 1
    (tmp_path / "one.png").write_bytes(data)
    await run_job(job_of(tmp_path, *items), server)
    assert server.requests == {"a": 2, "b": 1, "c": 2, "d": 1}


async def test_an_item_that_builds_on_a_renamed_one_is_not_made_again(
    tmp_path: Path, server: FaultServer
) -> None:
    def job(parent: str, child: str) -> Path:
        return job_of(
            tmp_path,
            {"id": child, "prompt": "wide", "references": [f"item:{parent}"]},
            {"id": parent, "prompt": "hero"},
        )

    first = Before(await run_job(job("hero", "hero-wide"), server))
    second = await run_job(job("main", "main-wide"), server)
    assert server.n_requests == 2
    assert set(pictures(second).values()) == set(first.pictures.values())
    assert set(pictures(second)) == {"main.png", "main-wide.png"}


async def test_a_file_that_is_gone_is_made_again_unless_another_has_the_same(
    tmp_path: Path, server: FaultServer
) -> None:
    twins = [{"id": "a", "prompt": "one"}, {"id": "b", "prompt": "one"}]
    ran = await run_job(job_of(tmp_path, *twins, "cat"), server)
    before = pictures(ran)
    (ran.directory / "images/a.png").unlink()
    (ran.directory / "images/cat.png").unlink()
    again = await run_job(job_of(tmp_path, *twins, "cat"), server)
    assert server.requests == {"one": 1, "cat": 2}
    assert pictures(again)["a.png"] == before["b.png"]


async def test_a_renamed_conversation_goes_on_where_it_was(
    tmp_path: Path, server: FaultServer
) -> None:
    def poster(name: str, *prompts: str) -> Path:
        turns = [{"prompt": one} for one in prompts]
        return job_of(tmp_path, {"id": name, "turns": turns, "model": "gemini-2.5-flash-image"})

    await run_job(poster("poster", "draw", "bluer"), server)
    await run_job(poster("placard", "draw", "bluer"), server)
    assert server.n_requests == 2
    ran = await run_job(poster("bill", "draw", "bluer", "larger"), server)
    assert (server.n_requests, ran.exit_code) == (3, 0)
    *_, last = server.log
    assert last.body.count(b'"role":"model"') == 2


# --- what is said to be of no matter, and what is marked ----------------------------------------


async def test_another_model_makes_nothing_again_if_that_is_of_no_matter(
    tmp_path: Path, server: FaultServer
) -> None:
    items: list[str | Json] = [
        "cat",
        {"id": "wide", "prompt": "wide", "references": ["item:cat"]},
        {"id": "poster", "turns": [{"prompt": "draw"}, {"prompt": "bluer"}]},
    ]
    first = Before(await run_job(job_of(tmp_path, *items), server))
    newer = job_of(tmp_path, *items, "owl", defaults={"model": "gemini-3.1-flash-image"})
    second = await run_job(newer, server, ignore_change=["model"])
    assert server.n_requests == 4 + 1
    assert first.pictures.items() <= pictures(second).items()
    assert results(second)["cat"]["model"] == "gemini-3-pro-image"
    assert results(second)["owl"]["model"] == "gemini-3.1-flash-image"
    assert spent(second) >= first.spent
    # It is written down: the next run need not be told.
    await run_job(newer, server)
    assert server.n_requests == 5


async def test_what_another_item_has_of_another_model_stays_its_own(
    tmp_path: Path, server: FaultServer
) -> None:
    pro = {"id": "pro", "prompt": "cat"}
    flash = {"id": "flash", "prompt": "cat", "model": "gemini-2.5-flash-image"}
    await run_job(job_of(tmp_path, pro), server)
    ran = await run_job(job_of(tmp_path, pro, flash), server, ignore_change=["model"])
    assert (server.n_requests, len(set(pictures(ran).values()))) == (2, 2)


async def test_another_model_makes_all_again_otherwise(tmp_path: Path, server: FaultServer) -> None:
    await run_job(job_of(tmp_path, "cat"), server)
    newer = job_of(tmp_path, "cat", defaults={"model": "gemini-3.1-flash-image"})
    await run_job(newer, server)
    assert server.n_requests == 2


def marks(ran: Ran, **words: str) -> None:
    lines = [
        {"item": name, "sha256": results(ran)[name]["images"][0]["sha256"], "mark": word}
        for name, word in words.items()
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (ran.directory / "review.jsonl").write_text(text, "utf-8")


async def test_exactly_the_marked_pictures_are_made_again_once_and_the_old_ones_are_kept(
    tmp_path: Path, server: FaultServer
) -> None:
    first = await run_job(job_of(tmp_path, "cat", "owl", "fox"), server)
    before = Before(first)
    marks(first, cat="redo", owl="keep", fox="redo")
    job = job_of(tmp_path, "cat", "owl", "fox", "new")
    second = await run_job(job, server, marked=True, whole=False)
    assert server.requests == {"cat": 2, "owl": 1, "fox": 1 + 1}
    assert second.summary.items.done == 2
    kept = [path.read_bytes() for path in (second.directory / "quarantine").rglob("*.png")]
    assert sorted(kept) == sorted(before.pictures[name] for name in ("cat.png", "fox.png"))
    third = await run_job(job, server, marked=True, whole=False)
    assert (server.n_requests, third.exit_code) == (5, 0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "nothing is marked"),
        ('{"item":"cat"}\n', "review.jsonl:1"),
        ("{\n", "review.jsonl:1"),
    ],
)
async def test_marks_that_cannot_be_read_are_told_and_nothing_is_sent(
    text: str | None, told: str, tmp_path: Path, server: FaultServer
) -> None:
    ran = await run_job(job_of(tmp_path, "cat"), server)
    if text is not None:
        (ran.directory / "review.jsonl").write_text(text, "utf-8")
    with pytest.raises(UsageError, match=told):
        await run_job(job_of(tmp_path, "cat", "owl"), server, marked=True)
    assert server.n_requests == 1


# --- what a review says of the cost -------------------------------------------------------------


def as_cost_tells_it(directory: Path) -> Decimal | None:
    """What `batchgen cost` says that an accepted picture cost."""
    tally = Tally(grouping(["model"]), Span())
    book = PriceBook.shipped()
    spend([str(directory)], tally, book, Assumed(), day="2026-11-28", reprice=False, warn=print)
    return tally.total().cost_per_accepted_image_usd


async def test_what_an_accepted_picture_cost_is_told_over_all_runs_as_cost_tells_it(
    tmp_path: Path, server: FaultServer
) -> None:
    job = job_of(tmp_path, "cat", "owl", "fox")
    first = await run_job(job, server)
    assert first.summary.review is UNSET
    marks(first, cat="redo", owl="keep", fox="none")
    told = rebuild(first.directory)
    assert told.review == Review(
        kept=1,
        redo=1,
        accepted=2,
        cost_per_accepted_usd=Decimal("0.207240"),  # 3 x 0.138160 / 2
    )
    assert as_cost_tells_it(first.directory) == Decimal("0.207240")
    second = await run_job(job, server, marked=True, whole=False)
    assert second.summary.review == Review(
        kept=1,
        redo=0,
        accepted=3,
        cost_per_accepted_usd=Decimal("0.184213"),  # 4 x 0.138160 / 3
    )
    assert as_cost_tells_it(first.directory) == Decimal("0.184213")
    assert ledgers.summary(first.directory)["review"]["cost_per_accepted_usd"] == "0.184213"


@pytest.mark.parametrize(
    ("items", "redo", "told"),
    [
        pytest.param([{"id": "tom", "prompt": "cat"}, "owl"], ["tom"], (1, 1), id="renamed"),
        pytest.param(["cat"], ["cat"], (1, 1), id="no longer in the job"),
        pytest.param(["cat", "owl", {"id": "twin", "prompt": "cat"}], ["owl"], (1, 1), id="a copy"),
        pytest.param(["cat", {"id": "owl", "prompt": "no"}], ["cat"], (1, 1), id="failing by now"),
        pytest.param(["cat", "owl"], ["cat", "owl"], (0, 2), id="none accepted"),
        pytest.param(["cat", "owl", "new"], [], (3, 0), id="all accepted"),
    ],
)
async def test_summary_and_cost_tell_the_same_of_whatever_became_of_the_items(
    items: list[Any], redo: list[str], told: tuple[int, int], tmp_path: Path, server: FaultServer
) -> None:
    job = job_of(tmp_path, "cat", "owl")
    await run_job(job, server)
    refuses_no = servers.refuses(400)
    server.script = lambda asked: refuses_no if asked.prompt == "no" else servers.draws(asked)
    ran = await run_job(job_of(tmp_path, *items), server, whole=False)
    marks(ran, **dict.fromkeys(redo, "redo"))
    review = rebuild(ran.directory).review
    assert isinstance(review, Review)
    assert (review.accepted, review.redo) == told
    assert review.cost_per_accepted_usd == as_cost_tells_it(ran.directory)


async def test_a_review_that_cannot_be_read_costs_no_report(
    tmp_path: Path, server: FaultServer
) -> None:
    ran = await run_job(job_of(tmp_path, "cat"), server)
    (ran.directory / "review.jsonl").write_text("{")
    warnings: list[str] = []
    assert rebuild(ran.directory, warn=warnings.append).review is UNSET
    assert "review.jsonl:1" in warnings[0]


async def test_what_may_change_is_the_model_alone(tmp_path: Path, server: FaultServer) -> None:
    with pytest.raises(UsageError, match="expected model"):
        await run_job(job_of(tmp_path, "cat"), server, ignore_change=["prompt"])


# --- twins --------------------------------------------------------------------------------------


async def test_twins_are_made_once_and_both_filed(tmp_path: Path, server: FaultServer) -> None:
    twins = [{"id": f"twin-{n}", "prompt": "one"} for n in range(5)]
    ran = await run_job(job_of(tmp_path, *twins, "cat", limits={"concurrency": 4}), server)
    assert server.requests == {"one": 1, "cat": 1}
    assert len(set(pictures(ran).values())) == 2
    assert len(pictures(ran)) == 6
    assert {line["status"] for line in results(ran).values()} == {"done"}
    assert len(filed(ran)) == 4
    assert (ran.exit_code, ran.summary.items.done, ran.summary.attempts.total) == (0, 6, 2)
    # Paid once, and told once.
    assert spent(ran) == {"0.000000": 4, "0.138160": 2}
    again = await run_job(job_of(tmp_path, *twins, "cat"), server)
    assert (server.n_requests, again.summary.items.reused) == (2, 6)


async def test_a_twin_that_comes_later_gets_what_is_there(
    tmp_path: Path, server: FaultServer
) -> None:
    first = {"id": "a", "prompt": "one"}
    await run_job(job_of(tmp_path, first), server)
    ran = await run_job(job_of(tmp_path, {"id": "b", "prompt": "one"}, first), server)
    assert server.n_requests == 1
    assert set(pictures(ran)) == {"a.png", "b.png"}


async def test_copies_are_no_twins(tmp_path: Path, server: FaultServer) -> None:
    ran = await run_job(job_of(tmp_path, {"id": "cat", "prompt": "cat", "count": 3}), server)
    assert server.n_requests == 3
    assert len(set(pictures(ran).values())) == 3


async def test_the_twins_of_an_item_that_failed_are_skipped_and_cost_nothing(
    tmp_path: Path, server: FaultServer
) -> None:
    server.script = lambda asked: (
        refuses(400, {"error": {"message": "no"}}) if asked.prompt == "one" else draws(asked)
    )
    twins = [{"id": f"twin-{n}", "prompt": "one"} for n in range(3)]
    ran = await run_job(job_of(tmp_path, "cat", *twins), server)
    assert server.requests == {"cat": 1, "one": 1}
    told = {line["id"]: line["status"] for line in results(ran).values()}
    assert told == {"cat": "done", "twin-0": "failed", "twin-1": "skipped", "twin-2": "skipped"}
    n_lines = len(ran.attempts)
    again = await run_job(job_of(tmp_path, "cat", *twins), server)
    assert (server.n_requests, len(again.attempts)) == (2, n_lines)
    server.script = servers.draws
    mended = await run_job(job_of(tmp_path, "cat", *twins), server, redo=Redo(failed=frozenset()))
    assert (server.n_requests, mended.exit_code, mended.summary.items.done) == (3, 0, 4)


async def test_twins_by_the_bytes_of_their_references_are_made_once(
    tmp_path: Path, server: FaultServer
) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.png").write_bytes(servers.png("a reference"))
    items = [{"id": name, "prompt": "x", "references": [f"{name}.png"]} for name in ("one", "two")]
    await run_job(job_of(tmp_path, *items), server)
    assert server.n_requests == 1


async def test_children_of_twins_are_twins(tmp_path: Path, server: FaultServer) -> None:
    items: list[str | Json] = [
        {"id": "a", "prompt": "one"},
        {"id": "b", "prompt": "one"},
        {"id": "a-wide", "prompt": "wide", "references": ["item:a"]},
        {"id": "b-wide", "prompt": "wide", "references": ["item:b"]},
    ]
    ran = await run_job(job_of(tmp_path, *items), server)
    assert (server.n_requests, ran.exit_code, len(pictures(ran))) == (2, 0, 4)
    assert (ran.summary.items.done, len(filed(ran))) == (4, 2)


async def test_a_forced_twin_is_made_once_too(tmp_path: Path, server: FaultServer) -> None:
    twins = [{"id": "a", "prompt": "one"}, {"id": "b", "prompt": "one"}]
    first = Before(await run_job(job_of(tmp_path, *twins), server))
    second = await run_job(job_of(tmp_path, *twins), server, redo=Redo(done=True))
    assert server.n_requests == 2
    new = pictures(second)
    assert new["a.png"] == new["b.png"] != first.pictures["a.png"]


@pytest.mark.parametrize("name", ["a", "b"])
async def test_the_picture_of_a_turn_is_not_taken_for_an_items(
    name: str, tmp_path: Path, server: FaultServer
) -> None:
    talk = {"id": "a", "turns": [{"prompt": "one"}, {"prompt": "two"}]}
    await run_job(job_of(tmp_path, talk), server)
    single: list[str | Json] = [{"id": name, "prompt": "one"}]
    ran = await run_job(job_of(tmp_path, *single, *([talk] if name != "a" else [])), server)
    assert (filed(ran), ran.quarantined, server.n_requests, ran.exit_code) == ([], [], 3, 0)


async def test_a_twin_whose_picture_somebody_took_away_is_left_for_the_next_run(
    tmp_path: Path, server: FaultServer
) -> None:
    job = job_of(tmp_path, {"id": "a", "prompt": "one"}, {"id": "b", "prompt": "one"}, "cat")

    def take_away(event: Event) -> None:
        if isinstance(event, AttemptEnded) and event.attempt.item == "a":
            (tmp_path / "output/job/images/a.png").unlink()

    await run_job(job, server, on_event=take_away, whole=False)
    ran = await run_job(job, server)
    assert server.requests == {"one": 2, "cat": 1}
    assert (ran.exit_code, set(pictures(ran))) == (0, {"a.png", "b.png", "cat.png"})


async def test_the_marked_pictures_of_twins_are_kept(tmp_path: Path, server: FaultServer) -> None:
    job = job_of(tmp_path, {"id": "a", "prompt": "one"}, {"id": "b", "prompt": "one"})
    await run_job(job, server)
    only_b: Head = {"redo": Redo(done=True), "selection": Selection(only=("b",))}
    first = await run_job(job, server, whole=False, **only_b)
    before = pictures(first)
    marks = [
        {"item": name, "sha256": line["images"][0]["sha256"], "mark": "redo"}
        for name, line in results(first).items()
    ]
    review = first.directory / "review.jsonl"
    review.write_text("".join(json.dumps(mark) + "\n" for mark in marks), "utf-8")
    second = await run_job(job, server, marked=True)
    assert (server.n_requests, len(set(pictures(second).values()))) == (3, 1)
    quarantine = second.directory / "quarantine"
    kept = {path.read_bytes() for path in quarantine.rglob("*") if path.is_file()}
    assert kept == set(before.values())


# --- killed while pictures are moved ------------------------------------------------------------


class KilledError(BaseException):
    """Nothing runs after it, as after a kill."""


@pytest.mark.reliability
@pytest.mark.parametrize("n", range(1, 48))
async def test_a_kill_while_pictures_are_moved_loses_none(
    n: int, tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch, tried: Any
) -> None:
    words = [{"id": "a", "prompt": "one"}, {"id": "b", "prompt": "two"}, {"id": "c", "prompt": "3"}]
    renamed = [
        {"id": "b", "prompt": "one"},
        {"id": "a", "prompt": "two"},
        {"id": "d", "prompt": "3"},
        {"id": "e", "prompt": "3"},
    ]
    first = pictures(await run_job(job_of(tmp_path, *words), server))
    job = job_of(tmp_path, *renamed)
    with monkeypatch.context() as patched:
        left = [n]

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **known: Any) -> Any:
                if left[0] <= 1:
                    raise KilledError
                left[0] -= 1
                return real(*args, **known)

            return call

        for owner, name in ((os, "link"), (Path, "replace"), (Path, "unlink"), (os, "fsync")):
            patched.setattr(owner, name, counted(getattr(owner, name)))
        with suppress(KilledError):
            await run_job(job, server, whole=False)
    ran = await run_job(job, server, whole=False)
    assert server.n_requests == 3
    ledgers.check_directory(ran.directory, ended=False)
    expected = {
        "a.png": first["b.png"],
        "b.png": first["a.png"],
        "d.png": first["c.png"],
        "e.png": first["c.png"],
    }
    assert {name: data for name, data in pictures(ran).items() if name in expected} == expected
    assert ran.summary.items.done == 4
    assert not list((ran.directory / ".parts").iterdir())
    tried("P1", 1, "kill points")


def shifted(by: int) -> list[str | Json]:
    """Items that are called by their place, behind as many new ones."""
    new: list[str | Json] = [{"id": f"line-{n}", "prompt": f"new {n}"} for n in range(by)]
    return [*new, *({"id": f"line-{n + by}", "prompt": f"old {n}"} for n in range(6))]


async def test_a_kill_between_the_lines_of_pictures_that_follow_each_other_loses_none(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run_job(job_of(tmp_path, *shifted(0)), server)
    job = job_of(tmp_path, *shifted(1))
    append, appended = Ledger.append, 0

    async def append_twice(self: Ledger, *lines: Line) -> list[int]:
        nonlocal appended
        appended += isinstance(lines[0], Filed)
        if appended > 2:
            raise KilledError
        return await append(self, *lines)

    with monkeypatch.context() as patched:
        patched.setattr(filing, "_AT_ONCE", 2)
        patched.setattr(Ledger, "append", append_twice)
        with pytest.raises(KilledError):
            await run_job(job, server, whole=False)
    ran = await run_job(job, server, whole=False)
    assert (server.n_requests, ran.summary.items.done, len(filed(ran))) == (7, 7, 6)
    assert not list((ran.directory / ".parts").iterdir())


async def test_a_disk_that_is_full_amid_lines_of_pictures_loses_none(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run_job(job_of(tmp_path, *shifted(0)), server)
    job = job_of(tmp_path, *shifted(1))
    write = os.write

    def write_half(descriptor: int, data: bytes) -> int:
        if not bytes(data[:30]).startswith(b'{"event":"filed"'):
            return write(descriptor, data)
        write(descriptor, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write_half)
        with pytest.raises(StoreError):
            await run_job(job, server, whole=False)
    ran = await run_job(job, server, whole=False)
    assert (server.n_requests, ran.summary.items.done, len(filed(ran))) == (7, 7, 6)
