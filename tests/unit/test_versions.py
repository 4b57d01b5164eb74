"""A job, a table or a prompt that changes while it is read is read whole, or not at all."""

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from batchgen.errors import JobError
from batchgen.manifest import open_manifest
from batchgen.model import Item
from batchgen.references import ReferenceLibrary

Change: TypeAlias = Callable[[Path, str], None]

N = 800  # lines enough that no buffer holds half of them
HEAD = '{"job": {"defaults": {"model": "gemini-3-pro-image"}}}\n'


def json_lines(word: str) -> str:
    return HEAD + "".join(f'{{"id": "{n}", "prompt": "{word} {n} {"x" * 80}"}}\n' for n in range(N))


def table(word: str) -> str:
    rows = (f"{n},{word} {n} {'x' * 80},gemini-3-pro-image\n" for n in range(N))
    return "id,prompt,model\n" + "".join(rows)


def row_table(word: str) -> str:
    return "sku,title\n" + "".join(f"{n},{word} {n} {'x' * 80}\n" for n in range(N))


def tabs(word: str) -> str:
    return table(word).replace(",", "\t")


def row_lines(word: str) -> str:
    return "".join(f'{{"sku": {n}, "title": "{word} {n} {"x" * 80}"}}\n' for n in range(N))


FORMATS: dict[str, Callable[[str], str]] = {
    "job.jsonl": json_lines,
    "job.csv": table,
    "job.tsv": tabs,
    "rows.csv": row_table,
    "rows.tsv": lambda word: row_table(word).replace(",", "\t"),
    "rows.jsonl": row_lines,
}


def old(path: Path, text: str) -> Path:
    """A file that nobody has written to for long: what is done to it now has another time."""
    path.write_text(text)
    os.utime(path, (1, 1))
    return path


def written(directory: Path, name: str) -> tuple[Path, Path]:
    """A job, and the file of it that is to change; it is long, and says `old`."""
    changing = old(directory / name, FORMATS[name]("old"))
    if name.startswith("job"):
        return changing, changing
    job = directory / "job.yaml"
    job.write_text(
        f"defaults: {{model: gemini-3-pro-image}}\nitems:\n"
        f"- {{each: {name}, id: '{{sku}}', prompt: '{{title}}'}}\n"
    )
    return job, changing


def rewritten_in_place(path: Path, text: str) -> None:
    with path.open("r+") as file:
        file.write(text)


def truncated(path: Path, text: str) -> None:
    os.truncate(path, len(text) // 2)


def written_anew(path: Path, text: str) -> None:
    path.write_text(text[: len(text) // 2])  # and the other half is to come


def appended(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text.splitlines(keepends=True)[-1])


def replaced(path: Path, text: str) -> None:
    new = path.with_name("new")
    new.write_text(text)
    new.replace(path)


def removed(path: Path, text: str) -> None:
    assert text
    path.unlink()


IN_PLACE = [rewritten_in_place, truncated, written_anew, appended]


def items_of(job: Path) -> Iterator[Item]:
    manifest = open_manifest(job)
    yield from manifest.items(ReferenceLibrary())
    manifest.raise_problems()


def refusal(error: pytest.ExceptionInfo[JobError], path: Path) -> None:
    """It names the file, and says nothing else: whatever else was found is of no version."""
    [problem] = error.value.problems
    assert (problem.path, problem.line, problem.column) == (str(path), 1, 1)
    assert "changed while it was read: run again" in problem.message
    assert error.value.exit_code == 3


@pytest.mark.parametrize("change", IN_PLACE)
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_changed_in_the_middle_of_the_reading_is_refused(
    name: str, change: Change, tmp_path: Path
) -> None:
    job, changing = written(tmp_path, name)
    reading = items_of(job)
    assert len(list(islice(reading, N // 2))) == N // 2
    change(changing, FORMATS[name]("new"))
    with pytest.raises(JobError) as caught:
        list(reading)
    refusal(caught, changing)


@pytest.mark.parametrize("change", [replaced, removed])
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_another_takes_the_place_of_is_read_to_its_end(
    name: str, change: Change, tmp_path: Path
) -> None:
    job, changing = written(tmp_path, name)
    reading = items_of(job)
    read = [*islice(reading, N // 2)]
    change(changing, FORMATS[name]("new"))
    read += reading
    assert len(read) == N
    assert all(item.prompt is not None and item.prompt.startswith("old ") for item in read)


@pytest.mark.parametrize("change", [*IN_PLACE, replaced, removed])
@pytest.mark.parametrize("name", ["job.jsonl", "job.csv", "job.tsv"])
def test_head_and_items_are_of_one_version(name: str, change: Change, tmp_path: Path) -> None:
    job, _ = written(tmp_path, name)
    manifest = open_manifest(job)  # which has read the head
    change(job, FORMATS[name]("new"))
    with pytest.raises(JobError) as caught:
        list(manifest.items(ReferenceLibrary()))
    refusal(caught, job)


@pytest.mark.parametrize("change", [*IN_PLACE, replaced, removed])
def test_two_items_do_not_read_two_versions_of_a_table(change: Change, tmp_path: Path) -> None:
    job, changing = written(tmp_path, "rows.csv")
    more = "- {each: rows.csv, id: '{sku}-more', prompt: 'More of {title}'}\n"
    job.write_text(job.read_text() + more)
    reading = items_of(job)
    assert len(list(islice(reading, N))) == N  # all rows, and the second item is not begun
    change(changing, row_table("new"))
    with pytest.raises(JobError) as caught:
        list(reading)
    refusal(caught, changing)


@pytest.mark.parametrize("change", [*IN_PLACE, replaced, removed])
@pytest.mark.parametrize("name", FORMATS)
def test_what_only_the_whole_job_can_tell_is_told_of_the_version_that_was_read(
    name: str, change: Change, tmp_path: Path
) -> None:
    """Two equal ids are found by a second reading, which must not be of a file without them."""
    job, changing = written(tmp_path, name)
    text = changing.read_text()
    old(changing, text + text.splitlines(keepends=True)[-1])
    reading = items_of(job)
    assert len(list(islice(reading, N + 1))) == N + 1
    change(changing, FORMATS[name]("new"))
    with pytest.raises(JobError) as caught:
        list(reading)
    refusal(caught, changing)


@contextmanager
def at_the_first(method: str, then: Callable[[], None]) -> Iterator[None]:
    """Do something when a file's method is about to be called: between its opening and its end."""
    waiting = [then]

    def look(_: Any, event: str, called: Any) -> None:
        owner = getattr(called, "__self__", None)
        if event == "c_call" and called.__name__ == method and hasattr(owner, "fileno") and waiting:
            waiting.pop()()

    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(None)
    assert not waiting


def yaml_text(word: str) -> str:
    items = "".join(f"- {{id: '{n}', prompt: {word}}}\n" for n in range(50))
    return f"defaults: {{model: gemini-3-pro-image}}\nitems:\n{items}"


@pytest.mark.parametrize("change", IN_PLACE)
def test_a_yaml_job_that_is_changed_while_it_is_read_is_refused(
    change: Change, tmp_path: Path
) -> None:
    job = old(tmp_path / "job.yaml", yaml_text("old"))
    with (
        at_the_first("read", lambda: change(job, yaml_text("new-word"))),
        pytest.raises(JobError) as caught,
    ):
        open_manifest(job)
    refusal(caught, job)


@pytest.mark.parametrize("change", IN_PLACE)
def test_a_prompt_that_is_changed_while_it_is_read_is_refused(
    change: Change, tmp_path: Path
) -> None:
    job = tmp_path / "job.jsonl"
    prompt = old(tmp_path / "prompt.txt", "old\n" * 30_000)
    job.write_text(HEAD + '{"id": "a", "prompt": {"file": "prompt.txt"}}\n')
    manifest = open_manifest(job)
    with (
        at_the_first("read", lambda: change(prompt, "new\n" * 30_000)),
        pytest.raises(JobError) as caught,
    ):
        list(manifest.items(ReferenceLibrary()))
    refusal(caught, prompt)


@pytest.mark.parametrize("name", ["job.jsonl", "job.csv", "rows.csv"])
def test_the_digest_is_that_of_what_was_read_whatever_lies_there_by_then(
    name: str, tmp_path: Path
) -> None:
    job, _ = written(tmp_path, name)
    sha256 = hashlib.sha256(job.read_bytes()).hexdigest()
    manifest = open_manifest(job)
    reading = manifest.items(ReferenceLibrary())
    list(islice(reading, N // 2))
    replaced(job, "another")
    list(reading)
    assert manifest.sha256 == sha256


@pytest.mark.parametrize("name", ["job.jsonl", "job.csv", "job.yaml"])
def test_a_job_in_a_pipe_is_read_to_its_end_once(name: str, tmp_path: Path) -> None:
    job = tmp_path / name
    os.mkfifo(job)
    text = yaml_text("old") if name == "job.yaml" else FORMATS[name]("old")
    writer = threading.Thread(target=job.write_text, args=(text,))
    writer.start()
    items = list(items_of(job))
    writer.join()
    assert len(items) == (50 if name == "job.yaml" else N)


def test_a_file_at_standard_input_that_changes_while_it_is_copied_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = written(tmp_path, "job.jsonl")
    with job.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with (
            at_the_first("read", lambda: appended(job, json_lines("new"))),
            pytest.raises(JobError) as caught,
        ):
            open_manifest(Path("-"))
    refusal(caught, Path("stdin"))
