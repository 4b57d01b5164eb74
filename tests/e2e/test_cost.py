"""`batchgen cost`, the installed command, beside what runs on the emulator recorded."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tests import commands, ledgers
from tests.commands import ROOT, batchgen
from tests.runs import write_job

if TYPE_CHECKING:
    from pathlib import Path

Json: TypeAlias = dict[str, Any]

FLASH = "gemini-3.1-flash-image"
PRO = "gemini-3-pro-image"
ITEMS: list[str | Json] = [
    {"id": "plain", "prompt": "a bottle", "tags": {"sku": "A"}},
    {"id": "large", "prompt": "a bottle", "image_size": "4K", "tags": {"sku": "A"}},
    {"id": "flash", "prompt": "a bottle", "model": FLASH, "tags": {"sku": "=B"}},
    {"id": "drafts", "prompt": "[[DRAFTS=3]] a bottle"},
    {"id": "words", "prompt": "[[TEXT_ONLY]]"},
    {"id": "refused", "prompt": "[[IMAGE_SAFETY]]"},
    {"id": "blocked", "prompt": "[[BLOCKED]]"},
    {"id": "again", "prompt": "[[NO_IMAGE:1]] a bottle"},
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job that has run: pictures, drafts, refusals, and a call that was made again."""
    parent = tmp_path_factory.mktemp("cost")
    job = write_job(parent / "job.jsonl", ITEMS, retries={"no_image": 1})
    with commands.emulator("--latency", "0") as server:
        where = ("--base-url", server.url, "--provider", "emulator", "-o", parent / "output")
        done = batchgen("run", job, *where, "--rpm", "9999")
    assert done.code == 4, done.err
    return parent / "output" / "job"


def cost(*arguments: Path | str, **more: Any) -> Json:
    done = batchgen("cost", *arguments, "--format", "json", **more)
    assert done.code == 0, done.err
    told: Json = done.json
    return told


def by(told: Json, name: str) -> dict[str, Json]:
    return {group["by"][name]: group for group in told["groups"]}


def test_a_job_costs_what_its_summary_says(directory: Path) -> None:
    told, summary = cost(directory), ledgers.summary(directory)
    total = told["total"]
    assert total["attempts"] == summary["attempts"]["total"]
    same = ("images", "tokens", "cost_usd", "cost_waste_usd", "cost_maybe_usd")
    for name in (*same, "cost_unknown_attempts"):
        assert total[name] == summary[name], name
    costs = {model: group["cost_usd"] for model, group in by(told, "model").items()}
    assert costs == summary["cost_by_model"]
    tags = by(cost(directory, "--by", "tag:sku"), "tag:sku")
    assert {sku: tags[sku]["cost_usd"] for sku in ("A", "=B")} == summary["cost_by_tag"]["sku"]
    outcomes = by(cost(directory, "--by", "outcome"), "outcome")
    counts = {outcome: group["attempts"] for outcome, group in outcomes.items()}
    assert counts == summary["attempts"]["by_outcome"]


def test_its_export_costs_what_was_recorded_of_its_last_calls(
    directory: Path, tmp_path: Path
) -> None:
    log = tmp_path / "export.jsonl"
    for flags in ([], ["--without-images"]):
        exported = batchgen("export", directory, "--format", "gemini-batch", *flags)
        log.write_text(exported.out, "utf-8")
        found = cost(log, "--tier", "standard", "--by", "item")
        told = by(found, "item")
        last = {line["item"]: line for line in ledgers.attempts(directory)}
        # A batch has no time in its lines: the prices of today count, which are the same.
        assert {item: told[item]["cost_usd"] for item in last} == {
            item: line["cost_usd"] for item, line in last.items()
        }
        assert {item: told[item]["tokens"] for item in last} == {
            item: line["tokens"] for item, line in last.items()
        }
        halved = cost(log)["total"]["cost_usd"]
        assert abs(2 * Decimal(halved) - Decimal(found["total"]["cost_usd"])) < Decimal("0.00001")


def test_the_table_is_for_people_and_the_rest_goes_to_stderr(directory: Path) -> None:
    done = batchgen("cost", directory, "--by", "day,model")
    *tables, basis = done.out.splitlines()
    between = tables.index("")
    # Too wide for one: money first, then tokens.
    for head, *rows, line, total in (tables[:between], tables[between + 1 :]):
        assert head.split()[:2] == ["day", "model"]
        assert [row.split()[1] for row in rows] == [PRO, FLASH]
        assert set(line) == {"-"}
        assert total.startswith("total")
    assert tables[0].split()[2:5] == ["calls", "images", "cost"]
    assert tables[between + 1].split()[2:4] == ["text", "in"]
    assert basis == "prices: as recorded in our ledgers"
    assert done.err == ""


def test_csv_is_flat_and_runs_no_formula(directory: Path) -> None:
    done = batchgen("cost", directory, "--by", "tag:sku,model", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert {row["tag:sku"] for row in rows} == {"A", "'=B", ""}
    assert sum(Decimal(row["cost_usd"]) for row in rows) == Decimal(
        cost(directory)["total"]["cost_usd"]
    )
    assert all(int(row["tokens.output_image"]) >= 0 for row in rows)


def test_standard_input_is_read_and_what_it_lacks_is_told(directory: Path) -> None:
    usages = [line["usage"] for line in ledgers.attempts(directory) if line["usage"]]
    data = "".join(json.dumps(usage) + "\n" for usage in usages) + "oops\n"
    done = subprocess.run(
        [sys.executable, "-m", "batchgen", "cost", "-", "--format", "json"],
        input=data.encode(),
        env=commands.environment(),
        capture_output=True,
        check=False,
        cwd=ROOT,
    )
    told = json.loads(done.stdout)["total"]
    assert done.returncode == 0
    assert (told["cost_usd"], told["cost_unknown_attempts"]) == (None, len(usages))
    assert b"--model NAME" in done.stderr
    assert f"standard input:{len(usages) + 1}: no JSON".encode() in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing argument 'PATH…'"),
        (("gone",), "gone is not there: expected a job's directory"),
        (("--by", "colour", "."), "expected model, day, run, outcome, item, tag:NAME"),
        (("--since", "soon", "."), "expected a day"),
        (("--size", "3K", "."), "'--size': '3K' is not one of '512'"),
    ],
)
def test_wrong_usage_says_what_was_expected(arguments: tuple[str, ...], words: str) -> None:
    done = batchgen("cost", *arguments)
    assert done.code == 2
    assert words in done.err
    assert done.out == ""


def test_a_file_without_any_call_is_wrong_usage_too(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("oops\n")
    done = batchgen("cost", tmp_path / "log.jsonl")
    assert done.code == 2
    assert f"{tmp_path}/log.jsonl:1: no JSON" in done.err


def test_the_price_book_is_shown_as_it_applies_today() -> None:
    done = batchgen("cost", "--show-prices", "--format", "json")
    pro = [row for row in done.json["prices"] if row["model"] == PRO]
    assert [row["tier"] for row in pro] == ["standard", "batch", "flex", "priority"]
    assert pro[0]["image_output"] == "120"
    assert (pro[0]["origin"], pro[0]["valid_from"]) == ("batchgen/prices.yaml", "2026-01-05")
    table = batchgen("cost", "--show-prices").out.splitlines()
    rows = list(
        csv.DictReader(io.StringIO(batchgen("cost", "--show-prices", "--format", "csv").out))
    )
    assert len(rows) == len(done.json["prices"])
    assert sum(line.startswith(f"{PRO} ") for line in table) == 4
    assert f"{PRO}-preview: as {PRO}" in table
    note = [line for line in table if line.startswith(f"{FLASH} ")][3].split()[-1]
    told = "since 2026-02-26, checked 2026-11-21: litellm 1.109.1 (Vertex)"
    assert f"{note} {told}" in [line.strip() for line in table]


def test_words_of_a_log_do_not_steer_the_terminal(tmp_path: Path) -> None:
    line = {"model": "x\x1b[31m\u202e", "usageMetadata": {"promptTokenCount": 1}}
    (tmp_path / "log.jsonl").write_text(json.dumps(line) + "\n{\x1b]0;t\x07}\n")
    done = batchgen("cost", tmp_path / "log.jsonl")
    assert "\x1b" not in done.out + done.err
    assert "\u202e" not in done.out


def write_prices(directory: Path, text: str) -> Path:
    path = directory / "prices.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_price_file_prices_a_ledger_anew_below_it_what_the_job_says(tmp_path: Path) -> None:
    job = write_job(
        tmp_path / "job.jsonl",
        ["a bottle", {"id": "flash", "prompt": "a bottle", "model": FLASH}],
        prices={"multiplier": "0.5", "models": {FLASH: {"image_output": 30}}},
    )
    with commands.emulator("--latency", "0") as server:
        where = ("--base-url", server.url, "--provider", "emulator", "-o", tmp_path / "output")
        assert batchgen("run", job, *where).code == 0
    directory = tmp_path / "output" / "job"
    recorded = by(cost(directory), "model")
    twice = write_prices(tmp_path, "multiplier: 2\n")
    # a multiplier of 2 in the place of 0.5, and of Flash still what the job says
    anew = by(cost(directory, "--prices", twice), "model")
    for model in (PRO, FLASH):
        was, now = (Decimal(one[model]["cost_usd"]) for one in (recorded, anew))
        assert abs(now - 4 * was) <= Decimal("0.000002")
    dear = write_prices(tmp_path, f"models: {{{FLASH}: {{image_output: 60}}}}\n")
    told = by(cost(directory, BATCHGEN_PRICES=str(dear)), "model")
    image_usd = Decimal(1120 * 30) / 1_000_000 / 2
    assert Decimal(told[FLASH]["cost_usd"]) - Decimal(recorded[FLASH]["cost_usd"]) == image_usd
    assert told[PRO]["cost_usd"] == recorded[PRO]["cost_usd"]


def test_a_price_file_with_a_mistake_is_told_with_its_place(
    directory: Path, tmp_path: Path
) -> None:
    path = write_prices(tmp_path, "multiplier: cheap\n")
    done = batchgen("cost", directory, "--prices", path)
    assert (done.code, done.out) == (2, "")
    assert f"{path}:1:13: multiplier: expected a number, found 'cheap'" in done.err
    slip = write_prices(tmp_path, f"models: {{{PRO}: {{image_output: 0.12}}}}\n")
    done = batchgen("cost", directory, "--prices", slip)
    assert done.code == 0
    at = f"{slip}:1:45: warning: models.{PRO}.image_output: $0.12 is more than 5 times off"
    assert done.err.startswith(at)


def test_a_ledger_is_held_against_the_bill_of_a_gateway(directory: Path, tmp_path: Path) -> None:
    calls = [line for line in ledgers.attempts(directory) if line["billed"] == "yes"]
    rows = [
        {
            "type": 2,
            "request_id": line["request_id"],
            "model_name": line["model"],
            "quota": round(Decimal(line["cost_usd"]) * Decimal("0.8") * 500_000),
            "created_at": 1_795_000_000,
        }
        for line in calls
    ]
    log = tmp_path / "log.json"
    log.write_text(json.dumps({"success": True, "data": {"items": rows}}), "utf-8")
    done = batchgen("cost", directory, "--reconcile", log)
    assert done.code == 0, done.err
    n_pictures = sum(line["outcome"] == "image" for line in calls)
    assert f"billed, with a picture    {n_pictures}, " in done.out
    assert f"joined by request id      {len(calls)}, " in done.out
    assert "× 0.800" in done.out
    told = batchgen("cost", directory, "--reconcile", log, "--format", "json").json
    assert told["rows"]["by_id"]["n"] == len(calls)


def test_only_a_ledger_can_be_held_against_a_bill(directory: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"request_id": "a", "quota": 5, "type": 2}\n', "utf-8")
    done = batchgen("cost", log, "--reconcile", log)
    assert done.code == 2
    assert f"{log} is no ledger: expected the directory of a job, or one above" in done.err
    done = batchgen("cost", directory, "--reconcile", log, "--format", "csv")
    assert (done.code, "--format table or json" in done.err) == (2, True)
