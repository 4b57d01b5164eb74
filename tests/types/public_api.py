"""How a program uses batchgen, for the type checker; never run.

Every name of `batchgen.__all__` stands here, so that a change of its type is seen.
"""

from decimal import Decimal
from pathlib import Path
from typing import assert_never, assert_type

import batchgen


def blocking() -> Decimal | None:
    summary = batchgen.run("jobs/catalog.yaml", output="output", provider="emulator")
    assert_type(summary, batchgen.Summary)
    assert_type(summary.items.done, int)
    assert_type(summary.exit_code, int | None)
    assert_type(summary.attempts.by_outcome, dict[str, int])
    assert_type(summary.tokens, batchgen.Tokens)
    assert_type(batchgen.__version__, str)
    return summary.cost_usd


def with_everything_set(job: Path, options: batchgen.RunOptions) -> batchgen.Summary:
    batchgen.run(job, **options)
    redo = batchgen.Redo(failed=frozenset({batchgen.Outcome.BLOCKED}), done=False)
    part = batchgen.Selection(only=("hero-*",), tags={"scene": ("studio",)}, sample=8)
    return batchgen.run(
        job,
        on_event=observe,
        output=Path("output"),
        provider="cometapi",
        base_url="https://api.cometapi.com",
        model="gemini-3-pro-image",
        concurrency="2-16",
        rpm=60,
        tpm=100_000,
        ipm=30,
        rpd=250,
        max_cost_usd=5,
        max_duration="5h",
        deadline="06:30",
        api_key_file="key",
        ca_file=None,
        proxy="http://127.0.0.1:3128",
        redo=redo,
        selection=part,
        limit=100,
    )


async def in_order_of_completion() -> list[Path]:
    paths: list[Path] = []
    async with batchgen.Runner("jobs/first.jsonl", on_event=print) as runner:
        async for result in runner.results():
            assert_type(result, batchgen.Result)
            assert_type(result.images, tuple[batchgen.ImageFile, ...])
            assert_type(result.outcome, batchgen.Outcome | None)
            paths += [runner.directory / image.path for image in result.images]
            if len(paths) > 100:
                runner.request_stop("enough")
    assert_type(runner.summary, batchgen.Summary)
    return paths


def observe(event: batchgen.Event) -> None:
    match event:
        case batchgen.RunBegan():
            assert_type(event.planned_usd, Decimal | None)
        case batchgen.AttemptBegan():
            assert_type(event.est_usd, Decimal | None)
        case batchgen.AttemptEnded(attempt):
            assert_type(attempt, batchgen.Attempt)
            assert_type(attempt.cost_usd, Decimal | None)
        case batchgen.ItemEnded(result):
            assert_type(result, batchgen.Result)
        case batchgen.Ticked():
            assert_type(event.cooling, tuple[batchgen.Cooling, ...])
        case batchgen.Stopping() | batchgen.Warned():
            pass
        case _:
            assert_never(event)


def what_may_be_raised() -> int:
    try:
        batchgen.run("jobs/catalog.yaml")
    except batchgen.JobError as error:
        assert_type(error.problems, tuple[batchgen.Problem, ...])
        return error.exit_code
    except (batchgen.UsageError, batchgen.OutputHeld, batchgen.StoreError) as error:
        return error.exit_code
    except batchgen.BatchgenError as error:
        return error.exit_code
    return 0
