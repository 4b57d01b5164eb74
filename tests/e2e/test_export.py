"""Results as lines of the Gemini Batch API, printed by the installed command."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from google.genai import types

from tests import commands, ledgers
from tests.commands import ROOT, batchgen
from tests.runs import write_job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.commands import EmulatorProcess

Json: TypeAlias = dict[str, Any]

FLASH = "gemini-nano-banana-2.1"
RULES = """\
- {prompt: "refuse me", status: 400, message: no such luck}
- {prompt: "block me", block_reason: OTHER, message: one of the pictures}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    rules = tmp_path_factory.mktemp("faults") / "faults.yaml"
    rules.write_text(RULES, "utf-8")
    with commands.emulator("--latency", "0", "--faults", str(rules)) as running:
        yield running


def run(job: Path, server: EmulatorProcess, output: Path, *flags: str) -> Path:
    where = ("--base-url", server.url, "--provider", "emulator", "-o", output)
    done = batchgen("run", job, *where, "--rpm", "9999", "--json", *flags)
    assert done.code in {0, 4}, done.err
    return output / str(done.json["job"])


def export(directory: Path, *flags: str) -> list[Json]:
    done = batchgen("export", directory, "--format", "gemini-batch", *flags)
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def test_a_batch_file_is_run_unchanged_and_exported_with_its_own_keys(
    server: EmulatorProcess, tmp_path: Path
) -> None:
    _, *lines = (ROOT / "jobs/gemini-batch.jsonl").read_text("utf-8").splitlines(keepends=True)
    bare = tmp_path / "bare.jsonl"
    bare.write_text("".join(lines), "utf-8")
    directory = run(bare, server, tmp_path, "--model", FLASH)
    exported = export(directory)
    assert [line["key"] for line in exported] == [json.loads(line)["key"] for line in lines]
    results = ledgers.results(directory)
    by_id = {one["item"]: one for one in ledgers.attempts(directory)}
    for line, (identity, result) in zip(exported, results.items(), strict=True):
        assert set(line) == {"key", "response"}
        # As Google's own client reads a line, strictly.
        read = types.GenerateContentResponse.model_validate(line["response"])
        assert read.parts is not None
        assert read.candidates is not None
        picture = next(part.inline_data for part in read.parts if part.inline_data)
        final = result["images"][0]
        assert picture.data == (directory / final["path"]).read_bytes()
        assert picture.mime_type == final["mime"]
        assert read.candidates[0].finish_reason == types.FinishReason.STOP
        attempt = by_id[identity]
        assert line["response"]["usageMetadata"] == attempt["usage"]
        assert read.model_version == attempt["model_version"] == FLASH
        assert read.response_id == attempt["response_id"]
        assert (read.text or None) == attempt["text"]
    grounded = exported[-1]["response"]["candidates"][0]["groundingMetadata"]
    assert grounded == by_id["request-4"]["grounding"]


def test_without_images_a_line_names_the_file(server: EmulatorProcess, tmp_path: Path) -> None:
    directory = run(write_job(tmp_path / "job.jsonl", ["a"]), server, tmp_path)
    (line,) = export(directory, "--without-images")
    read = types.GenerateContentResponse.model_validate(line["response"])
    assert read.parts is not None
    (file,) = [part.file_data for part in read.parts if part.file_data]
    assert file.file_uri == "images/a.jpg"
    assert "inlineData" not in json.dumps(line)


def test_what_failed_is_told_as_the_batch_service_tells_it(
    server: EmulatorProcess, tmp_path: Path
) -> None:
    items: list[str | Json] = [
        {"id": "words", "prompt": "[[TEXT_ONLY]]"},
        {"id": "refused", "prompt": "[[IMAGE_SAFETY]]"},
        {"id": "blocked", "prompt": "block me"},
        {"id": "wrong", "prompt": "refuse me"},
        {"id": "child", "prompt": "on it", "references": ["item:wrong"]},
    ]
    job = write_job(tmp_path / "job.jsonl", items, retries={"no_image": 0})
    lines = {line["key"]: line for line in export(run(job, server, tmp_path))}
    assert list(lines) == ["words", "refused", "blocked", "wrong", "child"]
    (words,) = lines["words"]["response"]["candidates"]
    assert words["content"]["parts"] == [{"text": "Got it! Here's the image:"}]
    (refused,) = lines["refused"]["response"]["candidates"]
    assert refused["finishReason"] == "IMAGE_SAFETY"
    assert refused["finishMessage"].startswith("Unable to show the generated image.")
    assert lines["blocked"]["response"]["promptFeedback"] == {
        "blockReason": "OTHER",
        "blockReasonMessage": "one of the pictures",
    }
    assert lines["wrong"]["error"] == {"code": 3, "message": "HTTP 400: no such luck"}
    assert lines["child"]["error"]["code"] == 9
    for name in ("words", "refused", "blocked"):
        types.GenerateContentResponse.model_validate(lines[name]["response"])


def test_what_has_not_ended_has_no_line_and_is_counted(
    server: EmulatorProcess, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b", "c"])
    directory = run(job, server, tmp_path, "--limit", "1")
    done = batchgen("export", directory, "--format", "gemini-batch")
    assert [json.loads(line)["key"] for line in done.out.splitlines()] == ["a"]
    assert done.err == "2 items without a line: not ended yet; run the job again\n"


def test_a_picture_that_is_gone_is_an_error_and_not_a_crash(
    server: EmulatorProcess, tmp_path: Path
) -> None:
    directory = run(write_job(tmp_path / "job.jsonl", ["a", "b"]), server, tmp_path)
    (directory / "images/a.jpg").unlink()
    gone, there = export(directory)
    assert (gone["error"]["code"], "images/a.jpg" in gone["error"]["message"]) == (5, True)
    assert "response" in there


def test_a_key_that_is_no_id_comes_back_but_not_for_several_copies(
    server: EmulatorProcess, tmp_path: Path
) -> None:
    request = {"contents": [{"parts": [{"text": "a"}]}]}
    lines: list[str | Json] = [
        {"key": "shop/a?", "request": request},
        {"key": "shop/b?", "request": request, "count": 2},
        {"id": "c", "prompt": "c", "tags": {"key": "a tag of mine"}},
    ]
    job = write_job(tmp_path / "job.jsonl", lines)
    directory = run(job, server, tmp_path)
    keys = [line["key"] for line in export(directory, "--without-images")]
    assert keys == ["shop/a?", "shop_b_#1", "shop_b_#2", "c"]


def test_a_directory_without_a_run_is_said_to_be_one(tmp_path: Path) -> None:
    done = batchgen("export", tmp_path, "--format", "gemini-batch")
    assert (done.code, done.out) == (2, "")
    assert str(tmp_path) in done.err


def test_the_format_has_to_be_named(tmp_path: Path) -> None:
    assert batchgen("export", tmp_path).code == 2
    assert batchgen("export", tmp_path, "--format", "parquet").code == 2


def test_a_table_for_a_spreadsheet_has_a_line_for_every_item(
    server: EmulatorProcess, tmp_path: Path
) -> None:
    items: list[str | Json] = [
        {"id": "a", "prompt": "a", "tags": {"sku": "=A1", "scene": "sea"}},
        {"id": "b", "prompt": "refuse me", "tags": {"sku": "012"}},
        "c",
    ]
    directory = run(write_job(tmp_path / "job.jsonl", items), server, tmp_path, "--limit", "2")
    done = batchgen("export", directory, "--format", "csv")
    assert (done.code, done.err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(done.out.removeprefix("\ufeff"), newline="")))
    told = [(row["id"], row["status"], row["picture"], row["tags.sku"]) for row in rows]
    assert told == [
        ("a", "done", "images/a.jpg", "'=A1"),
        ("b", "failed", "", "012"),
        ("c", "pending", "", ""),
    ]
    assert rows[0]["cost_usd"] == ledgers.results(directory)["a"]["cost_usd"]
    assert rows[1]["error"] == "HTTP 400: no such luck"


def test_pictures_are_no_matter_of_a_table(tmp_path: Path) -> None:
    done = batchgen("export", tmp_path, "--format", "csv", "--without-images")
    assert done.code == 2
    assert "gemini-batch" in done.err


def test_a_reader_that_leaves_early_is_no_error(server: EmulatorProcess, tmp_path: Path) -> None:
    directory = run(write_job(tmp_path / "job.jsonl", map(str, range(9))), server, tmp_path)
    head = shutil.which("head")
    assert head is not None
    command = [
        sys.executable,
        "-m",
        "batchgen",
        "export",
        str(directory),
        "--format",
        "gemini-batch",
    ]
    with subprocess.Popen(
        command,
        env=commands.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as printing:
        read = subprocess.run(
            [head, "-c", "100"], stdin=printing.stdout, capture_output=True, check=True
        )
        assert printing.stdout is not None
        printing.stdout.close()
        assert printing.stderr is not None
        assert printing.stderr.read() == b""
    assert printing.returncode == 0
    assert read.stdout.startswith(b'{"key":"0","response":')
