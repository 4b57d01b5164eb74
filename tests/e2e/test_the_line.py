"""From a job file to pictures, ledger and summary, and what a second run does not do."""

import json
import re
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests import commands, ledgers
from tests.commands import ROOT, Done, EmulatorProcess, batchgen

LAST_LINE = re.compile(
    r"(?P<done>\d+)/(?P<total>\d+) done(?: \((?P<reused>\d+) reused\))?, (?P<failed>\d+) failed"
    r"(?:, \d+ skipped)?(?:, (?P<left>\d+) left)?"
    r" · \$[\d,.]+(?: \(planned \$[\d,.]+\))?(?: · [\d.]+ attempts/image)?"
    r" · (?:\d+h)?(?:\d+m)?[\d.]+s → (?P<where>.+)"
)


def run(job: Path, emulated: EmulatorProcess, *flags: str | Path, **env: str) -> Done:
    where = ("-o", job.parent / "output") if "BATCHGEN_OUTPUT" not in env else ()
    to = ("--provider", "emulator", "--base-url", emulated.url)
    return batchgen("run", job, *where, *to, *flags, **env)


@pytest.mark.slow
def test_the_catalogue_becomes_pictures_and_the_figures_of_the_server(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    job = ROOT / "jobs/catalog.yaml"
    flags = ("--provider", "emulator", "--base-url", emulated.url, "-o", tmp_path, "--rpm", "9999")
    done = batchgen("run", job, *flags, "--json")
    directory = tmp_path / "catalog"
    assert done.code == 0, done.err
    ledgers.check_directory(directory)
    items = _catalogue(job)
    assert list(ledgers.results(directory)) == list(items)
    _check_pictures(directory, items)
    counted = emulated.counts()
    _check_figures(ledgers.summary(directory), counted)
    assert counted["requests"] == counted["answered"] == len(items)
    assert json.loads(done.out) == ledgers.summary(directory)
    again = batchgen("run", job, *flags)
    assert again.code == 0
    assert emulated.n_requests == counted["requests"]
    told = LAST_LINE.fullmatch(again.last_line)
    assert told, again.last_line
    assert (told["done"], told["reused"], told["where"]) == ("24", "24", str(directory))


def _catalogue(job: Path) -> dict[str, Any]:
    written = yaml.load(job.read_text("utf-8"), Loader=yaml.BaseLoader)  # keeps 9:16 as it is
    return {item["id"]: {**written["defaults"], **item} for item in written["items"]}


def _check_pictures(directory: Path, items: dict[str, Any]) -> None:
    results = ledgers.results(directory)
    seen = set()
    for identity, item in items.items():
        [final] = [one for one in results[identity]["images"] if one["role"] == "final"]
        seen.add(final["sha256"])
        with Image.open(directory / final["path"]) as opened:
            opened.load()
            across, down = map(int, item["aspect_ratio"].split(":"))
            assert opened.width / opened.height == pytest.approx(across / down, rel=0.03), identity
    assert len(seen) == len(items)


def _check_figures(summary: dict[str, Any], counted: dict[str, Any]) -> None:
    tokens, total = summary["tokens"], counted["tokens"]
    assert summary["attempts"]["total"] == counted["requests"]
    assert sum(summary["attempts"]["by_outcome"].values()) == counted["requests"]
    assert summary["images"] == counted["answered"]
    # Some answers come with null details: what was picture of their input cannot be told then.
    assert 0 < tokens["input_image"] <= total["prompt_image"]
    assert tokens["input_text"] + tokens["input_image"] == total["prompt"] + total["tool_use"]
    assert tokens["output_image"] == total["image"]
    assert tokens["output_text"] == total["candidates"] - total["image"]
    assert tokens["thoughts"] == total["thoughts"]


def test_a_second_run_of_the_same_job_sends_nothing(
    emulated: EmulatorProcess, small_job: Path
) -> None:
    first = run(small_job, emulated)
    before = emulated.n_requests
    second = run(small_job, emulated, "--json")
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert (before, emulated.n_requests) == (4, 4)
    assert second.json["items"] | {"reused": 4, "done": 4} == second.json["items"]
    assert second.json["attempts"]["total"] == 0
    assert second.json["cost_usd"] == "0.000000"
    ledgers.check_directory(small_job.parent / "output/small")


def test_one_edited_prompt_sends_exactly_that_item(
    emulated: EmulatorProcess, small_job: Path
) -> None:
    run(small_job, emulated)
    small_job.write_text(small_job.read_text().replace("A stone by", "A shell by"))
    done = run(small_job, emulated, "--json")
    assert done.code == 0
    by_prompt = emulated.counts()["by_prompt"]
    assert {prompt: of["requests"] for prompt, of in by_prompt.items()} == {
        "An apple on a plate": 1,
        "A pear on a plate": 1,
        "An apple and a pear": 1,
        "A stone by the sea": 1,
        "A shell by the sea": 1,
    }
    assert (done.json["items"]["done"], done.json["items"]["reused"]) == (4, 3)


def test_what_names_an_item_but_is_not_asked_for_sends_nothing(
    emulated: EmulatorProcess, small_job: Path
) -> None:
    run(small_job, emulated)
    text = small_job.read_text().replace('{fruit: "yes"}', '{fruit: "no"}')
    (small_job.parent / "photos/a.png").rename(small_job.parent / "photos/renamed.png")
    small_job.write_text(text.replace("photos/a.png", "photos/renamed.png"))
    done = run(small_job, emulated)
    assert done.code == 0, done.err
    assert emulated.n_requests == 4
    assert ledgers.results(small_job.parent / "output/small")["pear"]["tags"] == {"fruit": "no"}


def test_one_changed_byte_of_a_reference_sends_exactly_the_items_that_use_it(
    emulated: EmulatorProcess, small_job: Path
) -> None:
    run(small_job, emulated)
    photo = small_job.parent / "photos/a.png"
    data = bytearray(photo.read_bytes())
    # A byte of text behind the picture's header keeps it a picture that the server can read.
    text = b"\x00\x00\x00\x05tEXtk\x00vvv"
    crc = zlib.crc32(text[4:]).to_bytes(4, "big")
    photo.write_bytes(bytes(data[:33]) + text + crc + bytes(data[33:]))
    done = run(small_job, emulated)
    assert done.code == 0, done.err
    counts = emulated.counts()["by_prompt"]
    assert {prompt: of["requests"] for prompt, of in counts.items()} == {
        "An apple on a plate": 2,
        "A pear on a plate": 1,
        "An apple and a pear": 2,
        "A stone by the sea": 1,
    }


def test_a_picture_that_was_deleted_or_cut_is_made_again(
    emulated: EmulatorProcess, small_job: Path
) -> None:
    run(small_job, emulated)
    directory = small_job.parent / "output/small"
    ledgers.pictures(directory)["stone"].unlink()
    pear = ledgers.pictures(directory)["pear"]
    pear.write_bytes(pear.read_bytes()[:-1])
    done = run(small_job, emulated)
    assert done.code == 0
    counts = emulated.counts()["by_prompt"]
    again = [prompt for prompt, of in counts.items() if of["requests"] == 2]
    assert sorted(again) == ["A pear on a plate", "A stone by the sea"]
    ledgers.check_directory(directory)


def test_force_sends_everything_again(emulated: EmulatorProcess, small_job: Path) -> None:
    run(small_job, emulated)
    done = run(small_job, emulated, "--force", "--json")
    assert done.code == 0
    assert emulated.n_requests == 8
    assert done.json["items"]["reused"] == 0


def test_stdout_is_empty_without_json_and_one_object_with_it(
    emulated: EmulatorProcess, small_job: Path
) -> None:
    plain = run(small_job, emulated)
    assert plain.out == ""
    told = LAST_LINE.fullmatch(plain.last_line)
    assert told, plain.last_line
    assert (told["done"], told["total"], told["failed"]) == ("4", "4", "0")
    as_json = run(small_job, emulated, "--json")
    assert as_json.out.count("\n") == 1
    directory = small_job.parent / "output/small"
    assert ledgers.strict(as_json.out) == ledgers.summary(directory)
    assert "\x1b" not in plain.err + as_json.err


def test_the_files_of_a_job_are_rebuilt_as_they_were(
    emulated: EmulatorProcess, small_job: Path
) -> None:
    small_job.write_text(small_job.read_text() + "  - {id: bad, prompt: x, model: nobodys}\n")
    assert run(small_job, emulated).code in {4, 7}
    directory = small_job.parent / "output/small"
    names = ("results.jsonl", "summary.json", "summary.md", "report.html", "failed.jsonl")
    kept = {name: (directory / name).read_bytes() for name in names}
    for name in names:
        (directory / name).unlink()
    shutil.rmtree(directory / "runs")
    done = batchgen("report", directory, "--json")
    assert done.code == 0, done.err
    assert {name: (directory / name).read_bytes() for name in names} == kept
    assert done.json == ledgers.summary(directory)
    assert list((directory / "runs").iterdir())
    assert emulated.n_requests == 5


def test_what_failed_runs_as_it_stands_into_the_same_directory(
    emulated: EmulatorProcess, small_job: Path, tmp_path: Path
) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {prompt: 'A stone*', requests: 1-9, status: 400, body: google}\n")
    with commands.emulator("--latency", "0", "--faults", str(faults)) as faulty:
        first = run(small_job, faulty)
    directory = small_job.parent / "output/small"
    assert first.code == 4, first.err
    ledgers.check_directory(directory)
    head, *failed = ledgers.lines(directory / "failed.jsonl")
    assert head["job"]["name"] == "small"
    assert [line["id"] for line in failed] == ["stone"]
    again = batchgen(
        *("run", directory / "failed.jsonl", "-o", small_job.parent / "output"),
        *("--retry-failed", "--provider", "emulator", "--base-url", emulated.url),
    )
    assert again.code == 0, again.err
    assert emulated.n_requests == 1
    assert not (directory / "failed.jsonl").exists()
    whole = run(small_job, emulated)
    assert whole.code == 0
    assert emulated.n_requests == 1
    ledgers.check_directory(directory)


def test_a_job_may_name_the_emulator_and_needs_nothing_else(tmp_path: Path) -> None:
    done = batchgen("run", ROOT / "jobs/first.jsonl", "-o", tmp_path, "--json")
    assert done.code == 0, done.err
    assert done.json["items"]["done"] == 3
    ledgers.check_directory(tmp_path / "first")
    assert float(done.json["cost_usd"]) > 0


def test_the_output_stays_whole_when_it_is_moved(
    emulated: EmulatorProcess, small_job: Path, tmp_path: Path
) -> None:
    run(small_job, emulated)
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere/small"
    (small_job.parent / "output/small").rename(moved)
    assert batchgen("report", moved).code == 0
    ledgers.check_directory(moved)
