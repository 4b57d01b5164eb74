"""A job that somebody writes to while the command reads it: all of it, or nothing is sent."""

import os
from pathlib import Path

import pytest

from tests import ledgers, servers
from tests.commands import ROOT, Done, batchgen
from tests.runs import KEY
from tests.servers import FaultServer

N = 400
# Runs a program when a prompt is opened for the first time, which is in the middle of the reading.
HOOK = """
import subprocess, sys
waiting = [{writer!r}]
def look(event, told):
    if event == "open" and waiting and str(told[0]).endswith("prompt.txt"):
        subprocess.run(["sh", "-c", waiting.pop()], check=True)
sys.addaudithook(look)
"""
WRITERS = {
    "writes in place": "printf XX | dd of={file} bs=1 seek=20 conv=notrunc status=none",
    "cuts": ": > {file}",
    "appends": "tail -n 1 {file} >> {file}",
    "copies over": "cp {file}.new {file}",
}
RENAMES = "mv {file}.new {file}"
JOB = '{{"job": {{"defaults": {{"model": "gemini-3-pro-image"}}}}}}\n{}'


def lines(word: str) -> str:
    """A job of which only the first items are made; the prompt in the middle is in a file."""
    items = [f'{{"id": "{n}", "prompt": "{word} {n} {"x" * 100}"}}\n' for n in range(N)]
    items.insert(N // 2, '{"id": "filed", "prompt": {"file": "prompt.txt"}}\n')
    return JOB.format("".join(items))


def rows(word: str) -> str:
    made = [f"{n},{n},words.txt,{word} {n} {'x' * 100}\n" for n in range(N)]
    made.insert(N // 2, f"filed,{N},prompt.txt,{word}\n")
    return "sku,seed,file,title\n" + "".join(made)


def prepared(directory: Path, name: str, writer: str) -> Path:
    """A job and a writer that changes a file of it while the command reads that."""
    changing = directory / name
    text = lines if name == "job.jsonl" else rows
    changing.write_text(text("old"))
    os.utime(changing, (1, 1))
    changing.with_name(f"{name}.new").write_text(text("new"))
    (directory / "prompt.txt").write_text("In the middle")
    (directory / "words.txt").write_text("Words")
    (directory / "sitecustomize.py").write_text(HOOK.format(writer=writer.format(file=changing)))
    if name == "job.jsonl":
        return changing
    job = directory / "job.yaml"
    job.write_text(
        "defaults: {model: gemini-3-pro-image}\n"
        f"items: [{{each: {name}, id: '{{sku}}', tags: {{t: '{{title}}'}}, "
        "turns: [{prompt: {file: '{file}'}}]}]\n"
    )
    return job


def run(job: Path, server: FaultServer, **env: str) -> Done:
    where = ("-o", job.parent / "output", "--base-url", server.url, "--limit", "3")
    return batchgen("run", job, *where, **{"COMETAPI_KEY": KEY, **env})


@pytest.mark.parametrize(
    ("name", "writer"),
    [
        ("job.jsonl", "writes in place"),
        ("job.jsonl", "copies over"),
        ("rows.csv", "cuts"),
        ("rows.csv", "appends"),
    ],
)
def test_a_job_that_changes_while_it_is_read_sends_nothing_and_runs_once_it_is_written(
    name: str, writer: str, tmp_path: Path
) -> None:
    job = prepared(tmp_path, name, WRITERS[writer])
    with FaultServer(servers.draws) as server:
        done = run(job, server, PYTHONPATH=f"{tmp_path}:{ROOT}")
        assert done.code == 3, done.err
        assert done.err.startswith(f"{tmp_path / name}:1:1: it changed while it was read")
        assert server.n_connections == 0
        assert not [path for path in tmp_path.rglob("output/job/*") if path.is_file()]
        (tmp_path / f"{name}.new").replace(tmp_path / name)
        assert run(job, server).code == 0
    assert server.n_requests == 3
    done_items = [one for one in ledgers.results(tmp_path / "output/job").values() if one["images"]]
    assert len(done_items) == 3


@pytest.mark.parametrize("name", ["job.jsonl", "rows.csv"])
def test_a_job_that_is_replaced_by_a_rename_while_it_is_read_is_the_old_one_to_its_end(
    name: str, tmp_path: Path
) -> None:
    job = prepared(tmp_path, name, RENAMES)
    with FaultServer(servers.draws) as server:
        done = run(job, server, PYTHONPATH=f"{tmp_path}:{ROOT}")
        assert done.code == 0, done.err
    text = (tmp_path / "output/job/items.jsonl").read_text()
    assert ("old 0" in text, "new" in text) == (True, False)
