"""What a plan foretells, against what the run after it costs: on the emulator, whose own spread of
tokens is that of the real models.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batchgen import RunBegan
from batchgen.emulator import Emulator, Settings
from batchgen.forecast.figures import Figures
from batchgen.preview import preview
from tests import ledgers
from tests.commands import batchgen
from tests.runs import KEY, Ran, run_job, write_job

Json = dict[str, Any]
PRO, FLASH = "gemini-3-pro-image", "gemini-3.1-flash-image"
# What others build on gets its picture: all that would be skipped with it is no question of cost.
FAULTS = """
- {prompt: "*plinth*", latency: 0}
- {every: 9, status: 429, quota: minute, retry_delay: 0.1s}
- {probability: 0.15, finish_reason: NO_IMAGE}
"""


def plain(words: str) -> list[Json]:
    return [{"id": f"i{n}", "prompt": f"{words} {n}"} for n in range(40)]


def mixed(words: str) -> list[Json]:
    """Two models, two sizes, thoughts, references to other items, and conversations."""
    flash = {"model": FLASH, "image_size": "512", "aspect_ratio": "1:1"}
    return [
        *({"id": f"a{n}", "prompt": f"{words} a{n}", "aspect_ratio": "4:5"} for n in range(11)),
        {"id": "top", "prompt": f"{words} on a plinth", **flash},
        *({"id": f"b{n}", "prompt": f"{words} b{n}", **flash} for n in range(8)),
        *(
            {"id": f"c{n}", "prompt": f"{words} c{n}", **flash, "thinking_level": "HIGH"}
            for n in range(11)
        ),
        *(
            {"id": f"d{n}", "prompt": f"{words} d{n}", **flash, "references": ["item:top"]}
            for n in range(11)
        ),
        *(
            {"id": f"e{n}", "turns": [{"prompt": f"{words} e{n}"}, {"prompt": "more"}], **flash}
            for n in range(8)
        ),
    ]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETAPI_KEY", KEY)


@pytest.fixture
def emulator(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An emulator; a parameter of the test is its faults."""
    faults = tmp_path / "faults.yaml"
    faults.write_text(getattr(request, "param", "[]"))
    with Emulator(Settings(latency_s=(0.0, 0.01), faults=faults)) as running:
        yield running.base_url


def look(job: Path, **options: Any) -> Figures:
    warnings: list[str] = []
    found = preview(job, warn=warnings.append, output=job.parent / "output", **options)
    assert found.figures is not None
    return found.figures


def check_cost(told: Figures, ran: Ran, *, within: str | None) -> None:
    """The run cost what the plan foretold, and said so when it began."""
    real, cost = ran.summary.cost_usd, told.cost_usd
    assert real is not None
    assert cost is not None
    assert cost.low <= real <= cost.high, (cost.low, cost.expected, cost.high, real)
    [began] = [event for event in ran.events if isinstance(event, RunBegan)]
    assert began.planned_usd == cost.expected
    if within is not None:
        assert abs(cost.expected - real) <= Decimal(within) * real, (cost.expected, real)
    n_tokens = sum(ledgers.summary(ran.directory)["tokens"].values())
    assert told.tokens.low <= n_tokens <= told.tokens.high


@pytest.mark.parametrize(
    ("items", "emulator"),
    [(plain, "[]"), (mixed, FAULTS)],
    indirect=["emulator"],
    ids=["plain", "mixed with faults"],
)
async def test_a_run_costs_what_was_foretold_before_there_was_history_and_after(
    items: Callable[[str], list[Json]], emulator: str, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", items("A teapot on a shelf"))
    before = look(job)
    assert {basis.basis for basis in before.tokens.basis} == {"table"}
    check_cost(before, await run_job(job, emulator, whole=False), within=None)
    write_job(job, items("A much longer prompt, of a samovar by the window in the evening light"))
    after = look(job)
    bases = {basis.basis for basis in after.tokens.basis}
    assert "history" in bases
    assert bases <= {"history", "similar_history"}
    check_cost(after, await run_job(job, emulator, whole=False), within="0.05")
    assert sum(one.samples for one in after.tokens.basis) >= len(items(""))


async def test_the_ledger_says_what_was_asked_for_of_each_turn(
    emulator: str, tmp_path: Path
) -> None:
    odd = {"id": "odd", "turns": [{"prompt": "a"}, {"prompt": "b"}], "image_size": "2K"}
    raw = {
        "id": "raw",
        "request": {"contents": [{"parts": [{"text": "c"}]}], "serviceTier": "flex"},
    }
    job = write_job(tmp_path / "job.jsonl", [odd, {**raw, "model": PRO}])
    ran = await run_job(job, emulator, whole=False)
    [segment] = ledgers.segments(ran.directory)
    asks = {(one["item"], one["turn"]): one["asks"] for one in segment if one["event"] == "sent"}
    assert asks == {
        ("odd", 1): {"size": "2K"},
        ("odd", 2): {"size": "2K", "references": 1},
        ("raw", 1): {"tier": "flex"},
    }


async def test_the_time_of_a_run_is_foretold_by_the_one_before(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", plain("A teapot"))
    with Emulator(Settings(latency_s=(0.1, 0.1))) as running:
        ran = await run_job(job, running.base_url, patient=True, concurrency=4)
    write_job(job, plain("A samovar"))
    told = look(job, concurrency=4).duration_s
    work_s = sum(attempt["latency_s"] for attempt in ran.attempts)
    wall_s = ran.summary.wall_s
    assert wall_s is not None
    assert told.concurrency_basis == "history"
    assert work_s / 4 <= told.expected <= 1.5 * wall_s
    assert told.low <= told.expected <= told.high
    # Twice as much at once was never tried: then the limits tell.
    faster = look(job, concurrency=8).duration_s
    assert (faster.concurrency_basis, faster.concurrency.expected) == ("limits", 8)
    assert faster.expected < told.expected


async def test_what_other_jobs_took_tells_where_a_job_has_no_history(
    emulator: str, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", plain("A teapot"))
    ran = await run_job(job, emulator, whole=False)
    other = write_job(tmp_path / "other.jsonl", ["a", "b"], model=FLASH, name="other")
    with other.open("a") as file:
        file.write(f'{{"id": "c", "prompt": "c", "model": "{PRO}"}}\n')
    done = batchgen("plan", other, "--history", ran.directory.parent)
    assert done.code == 0, done.err
    told_by = "1 of 3 from 40 earlier pictures of other jobs; 2 of 3 from published figures"
    assert told_by in " ".join(done.out.split())
    told = batchgen("plan", other, "--history", ran.directory, "--json").json["figures"]
    for figure in ("tokens", "cost_usd", "duration_s"):
        bases = [(one["basis"], one["pictures"]) for one in told[figure]["basis"]]
        assert bases == [("table", 2), ("other_history", 1)]
    refused = batchgen("plan", other, "--history", tmp_path)
    assert (refused.code, "no ledger there" in refused.err) == (2, True)
