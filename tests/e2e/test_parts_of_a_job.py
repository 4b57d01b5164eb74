"""A part of a job, from the command line: --only, --tag, --sample, --limit, standard input."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ledgers
from tests.commands import ROOT, Done, EmulatorProcess, batchgen, environment

JOB = """\
name: part
defaults: {model: gemini-3.1-flash-image, image_size: "512"}
items:
  - each: [{sku: A}, {sku: B}]
    matrix: {scene: [studio, beach], aspect_ratio: [1:1, 4:5]}
    id: "{sku}-{scene}-{aspect_ratio}"
    prompt: "{sku} in the {scene}"
    tags: {sku: "{sku}", scene: "{scene}"}
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "part.yaml"
    path.write_text(JOB, "utf-8")
    return path


def run(job: Path, emulated: EmulatorProcess, *flags: str | Path, **env: str) -> Done:
    to = ("--provider", "emulator", "--base-url", emulated.url)
    return batchgen("run", job, "-o", job.parent / "output", *to, "--json", *flags, **env)


def statuses(job: Path) -> dict[str, str]:
    return {
        one["id"]: one["status"] for one in ledgers.lines(job.parent / "output/part/results.jsonl")
    }


def done(job: Path) -> set[str]:
    return {name for name, status in statuses(job).items() if status == "done"}


def test_only_what_is_selected_is_sent_and_the_rest_keeps_its_state(
    emulated: EmulatorProcess, job: Path
) -> None:
    studio = run(job, emulated, "--only", "A-studio-*")
    assert studio.code == 0, studio.err
    assert (studio.json["items"]["total"], studio.json["items"]["done"]) == (2, 2)
    assert done(job) == {"A-studio-1:1", "A-studio-4:5"}
    assert len(statuses(job)) == 8
    beach = run(job, emulated, "--tag", "sku=B", "--tag", "scene=beach")
    assert (beach.code, emulated.n_requests) == (0, 4)
    assert done(job) == {"A-studio-1:1", "A-studio-4:5", "B-beach-1:1", "B-beach-4:5"}
    both = run(job, emulated, "--tag", "sku=A", "--tag", "sku=B", "--only", "*-1:1")
    assert (both.code, both.json["items"]["total"], both.json["items"]["reused"]) == (0, 4, 2)
    whole = run(job, emulated)
    assert (whole.code, emulated.n_requests, whole.json["items"]["reused"]) == (0, 8, 6)
    ledgers.check_directory(job.parent / "output/part")


def test_a_sample_is_spread_over_the_matrix_and_the_same_each_time(
    emulated: EmulatorProcess, job: Path
) -> None:
    assert run(job, emulated, "--sample", "4").code == 0
    names = done(job)
    assert len(names) == 4
    assert {name.partition("-")[0] for name in names} == {"A", "B"}
    assert {name.split("-")[1] for name in names} == {"studio", "beach"}
    assert {name.split("-")[2] for name in names} == {"1:1", "4:5"}
    again = run(job, emulated, "--sample", "4")
    assert (again.code, emulated.n_requests, again.json["items"]["reused"]) == (0, 4, 4)


def test_a_sample_meets_values_that_only_the_prompt_has(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    job = tmp_path / "part.yaml"
    job.write_text(
        """\
defaults: {model: gemini-3.1-flash-image, image_size: "512"}
items:
  - matrix: {scene: [studio, beach], thinking_level: [minimal, high], season: [spring, autumn]}
    id: "{scene}-{thinking_level}-{season}"
    prompt: "{scene} in {season}"
""",
        "utf-8",
    )
    assert run(job, emulated, "--sample", "4").code == 0
    for n, values in enumerate([{"studio", "beach"}, {"minimal", "high"}, {"spring", "autumn"}]):
        assert {name.split("-")[n] for name in done(job)} == values


def test_a_limit_counts_items_that_need_work_and_leaves_the_rest_to_another_run(
    emulated: EmulatorProcess, job: Path
) -> None:
    for n_done in (3, 6, 8, 8):
        one = run(job, emulated, "--limit", "3")
        assert one.code == 0, one.err
        assert one.json["items"]["total"] == one.json["items"]["done"] == n_done
        assert one.json["items"]["pending"] == 0
        assert emulated.n_requests == n_done
        assert len(done(job)) == n_done
        assert one.last_line.startswith(f"{n_done}/{n_done} done")
    rebuilt = batchgen("report", job.parent / "output/part")
    assert rebuilt.code == 0
    summary = json.loads((job.parent / "output/part/summary.json").read_text())
    assert summary["items"]["total"] == 8


def test_a_selection_that_fits_nothing_sends_nothing_and_says_so(
    emulated: EmulatorProcess, job: Path
) -> None:
    nothing = run(job, emulated, "--only", "C-*")
    assert (nothing.code, emulated.n_requests) == (0, 0)
    assert "nothing of the job is selected" in nothing.err


def test_the_environment_can_select(emulated: EmulatorProcess, job: Path) -> None:
    assert run(job, emulated, BATCHGEN_ONLY="A-studio-1:1,B-beach-*", BATCHGEN_LIMIT="2").code == 0
    assert done(job) == {"A-studio-1:1", "B-beach-1:1"}


def test_a_tag_without_a_value_is_wrong_usage(emulated: EmulatorProcess, job: Path) -> None:
    wrong = run(job, emulated, "--tag", "sku")
    assert (wrong.code, emulated.n_requests) == (2, 0)
    assert "expected NAME=VALUE" in wrong.err


def test_standard_input_is_a_job_of_json_lines(emulated: EmulatorProcess, tmp_path: Path) -> None:
    lines = [
        {"job": {"defaults": {"model": "gemini-3.1-flash-image", "image_size": "512"}}},
        {"id": "one", "prompt": "One"},
        {"key": "a/b", "request": {"contents": [{"parts": [{"text": "Two"}]}]}},
    ]
    to = ("--provider", "emulator", "--base-url", emulated.url, "-o", str(tmp_path))
    told = subprocess.run(
        [sys.executable, "-m", "batchgen", "run", "-", *to],
        input="\n".join(map(json.dumps, lines)).encode(),
        env=environment(),
        capture_output=True,
        timeout=40,
        check=False,
    )
    assert told.returncode == 0, told.stderr.decode()
    results = list(ledgers.lines(tmp_path / "stdin/results.jsonl"))
    assert [(one["id"], one["status"]) for one in results] == [("one", "done"), ("a_b", "done")]
    assert results[1]["tags"] == {"key": "a/b"}
    assert set(emulated.counts()["by_prompt"]) == {"One", "Two"}


def test_failed_jsonl_runs_into_the_directory_in_which_it_lies(
    emulated: EmulatorProcess, job: Path
) -> None:
    assert run(job, emulated, "--limit", "6").code == 0
    left = job.parent / "output/part/failed.jsonl"
    rest = batchgen("run", left, "--provider", "emulator", "--base-url", emulated.url, "--json")
    assert rest.code == 0, rest.err
    assert rest.json["items"]["done"] == 2
    assert rest.last_line.endswith(f"→ {job.parent / 'output/part'}")
    assert run(job, emulated).json["items"]["reused"] == 8
    assert emulated.n_requests == 8


def test_failed_jsonl_of_a_job_that_names_its_references_runs_as_it_stands(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    for photo, name in (("mug.jpg", "mug"), ("logo.png", "logo")):
        shutil.copyfile(ROOT / "jobs/photos" / photo, shop / name)
    job = tmp_path / "part.yaml"
    job.write_text(
        "name: part\nreferences: {logo: shop/logo, mug: {path: shop/mug, label: 'The mug:'}}\n"
        "defaults: {model: gemini-3.1-flash-image, image_size: '512'}\n"
        "items:\n- {id: a, prompt: a, references: ['@logo', '@mug']}\n- {id: b, prompt: b}\n",
        "utf-8",
    )
    assert run(job, emulated, "--only", "b").code == 0
    left = tmp_path / "output/part/failed.jsonl"
    rest = batchgen("run", left, "--provider", "emulator", "--base-url", emulated.url, "--json")
    assert (rest.code, rest.json["items"]["done"]) == (0, 1), rest.err
    assert run(job, emulated).json["items"]["reused"] == 2
    assert emulated.n_requests == 2


FAMILY = """\
name: part
defaults: {model: gemini-3.1-flash-image, image_size: "512"}
items:
  - {id: hero, prompt: hero}
  - {id: wide, prompt: wide, references: ["item:hero"]}
  - {id: tall, prompt: tall, references: ["item:wide"]}
"""


def test_what_builds_on_an_item_that_is_not_selected_is_left_and_the_reason_is_told(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    job = tmp_path / "part.yaml"
    job.write_text(FAMILY, "utf-8")
    waits = "builds on hero, which is not done and not part of this run: "
    alone = run(job, emulated, "--only", "wide")
    assert (alone.code, emulated.n_requests) == (4, 0)
    assert f"warning: wide {waits}it waits\n" in alone.err
    both = run(job, emulated, "--only", "wide", "--only", "tall")
    assert (both.code, emulated.n_requests) == (4, 0)
    assert f"warning: wide {waits}it and 1 more wait\n" in both.err
    whole = run(job, emulated)
    assert (whole.code, emulated.n_requests) == (0, 3)
    assert "waits" not in whole.err
