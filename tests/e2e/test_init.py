"""`init` and `schema`: what a newcomer starts from."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests import ledgers
from tests.commands import ROOT, batchgen

FILES = ["catalog.yaml", "job.schema.json", "photos", "products.csv"]
N_PICTURES = 14


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A directory that init made, with a space in its name."""
    directory = tmp_path / "my jobs/first"
    done = batchgen("init", directory)
    assert done.code == 0, done.err
    return directory


def test_init_writes_a_job_a_table_photos_and_the_schema(example: Path) -> None:
    assert sorted(path.name for path in example.iterdir()) == FILES
    for photo in (example / "photos").iterdir():
        with Image.open(photo) as opened:
            opened.load()
        assert photo.stat().st_size < 10_000
    first = (example / "catalog.yaml").read_text("utf-8").partition("\n")[0]
    assert first == "# yaml-language-server: $schema=job.schema.json"


def test_init_tells_what_it_wrote_and_what_comes_next(tmp_path: Path) -> None:
    directory = tmp_path / "my jobs"
    done = batchgen("init", directory)
    assert done.out == ""
    for name in ("catalog.yaml", "products.csv", "photos/logo.png", "job.schema.json"):
        assert str(directory / name) in done.err
    assert done.last_line.endswith(f"batchgen run '{directory}/catalog.yaml'")


@pytest.mark.parametrize("name", ["catalog.yaml", "photos/logo.png", "job.schema.json"])
def test_init_overwrites_nothing_and_names_what_is_there(tmp_path: Path, name: str) -> None:
    there = tmp_path / name
    there.parent.mkdir(exist_ok=True)
    there.write_text("mine", "utf-8")
    done = batchgen("init", tmp_path)
    assert done.code == 2
    assert str(there) in done.err
    assert there.read_text("utf-8") == "mine"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [there]


def test_init_follows_no_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "catalog.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    assert batchgen("init", tmp_path).code == 2
    assert not (tmp_path / "elsewhere.yaml").exists()


def test_init_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", "utf-8")
    assert batchgen("init", tmp_path).code == 0
    assert (tmp_path / "notes.txt").read_text("utf-8") == "mine"


@pytest.mark.parametrize("name", ["photos", "."])
def test_a_file_where_a_directory_is_needed_is_wrong_usage(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "job"
    there = directory / name
    there.parent.mkdir(exist_ok=True)
    there.write_text("mine", "utf-8")
    done = batchgen("init", directory)
    assert done.code == 2
    assert str(there) in done.err
    assert not (directory / "catalog.yaml").exists()


def test_the_example_has_no_mistakes(example: Path) -> None:
    done = batchgen("validate", example / "catalog.yaml", "--json")
    assert done.code == 0, done.err
    assert done.json == {"errors": [], "warnings": [], "items": N_PICTURES}


def test_the_example_runs_at_once(example: Path, tmp_path: Path) -> None:
    done = batchgen("run", example / "catalog.yaml", "-o", tmp_path / "output")
    assert done.code == 0, done.err
    directory = tmp_path / "output/catalog"
    ledgers.check_directory(directory)
    results = ledgers.results(directory)
    assert len(results) == N_PICTURES
    assert {one["status"] for one in results.values()} == {"done"}
    assert results["MUG-01-garden-4:5"]["tags"] == {"sku": "MUG-01", "scene": "garden"}
    assert (directory / "images/MUG-01-garden-4x5.png").exists() or (
        directory / "images/MUG-01-garden-4x5.jpg"
    ).exists()


def test_the_schema_on_stdout_is_the_one_that_init_writes(example: Path) -> None:
    done = batchgen("schema")
    assert (done.code, done.err) == (0, "")
    assert done.out == (example / "job.schema.json").read_text("utf-8")
    assert done.json == json.loads((ROOT / "batchgen/job.schema.json").read_text("utf-8"))
