"""The benchmarks measure what they say: real servers, real runs, at a size that takes a moment."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from urllib.request import urlopen

import pytest

from benchmarks.commands import measure_beginning, measure_finished, measure_start
from benchmarks.done import done
from benchmarks.jobs import json_lines
from benchmarks.measure import (
    RunFailedError,
    RunningServer,
    measure,
    parts_while_all_wait,
    running_server,
)
from benchmarks.reply import png
from benchmarks.work import Work


def _work(server: RunningServer, directory: Path, n: int, references: int = 0) -> Work:
    paths = [directory / f"reference-{k}.png" for k in range(references)]
    for k, path in enumerate(paths):
        path.write_bytes(png(300_000 + k))
    return Work(
        base_url=server.base_url,
        n=n,
        concurrency=8,
        directory=str(directory / "run"),
        references=tuple(map(str, paths)),
    )


def test_the_floor_writes_the_pictures_of_as_many_requests_as_all_others(tmp_path: Path) -> None:
    with running_server("server", "--image-bytes", "300000") as server:
        measured = measure("floor", _work(server, tmp_path, 50), 300_000, server)
    assert measured.wall_s > 0
    assert measured.peak_rss_bytes > 0


def test_a_file_that_no_server_sent_is_no_picture(tmp_path: Path) -> None:
    with (
        running_server("server", "--image-bytes", "3000") as server,
        pytest.raises(RunFailedError, match="0 whole images of 3"),
    ):
        measure("floor", _work(server, tmp_path, 3), 4000, server)


def test_a_hash_of_each_reference_is_counted_in_the_run_itself(tmp_path: Path) -> None:
    with running_server("server", "--image-bytes", "2000") as server:
        work = _work(server, tmp_path, 6, references=3)
        measured = measure("batchgen_counting", work, 2000, server)
    assert measured.extras == {"n_hashed": 3}


def test_part_files_are_counted_while_all_requests_wait(tmp_path: Path) -> None:
    (tmp_path / "parts/ab").mkdir(parents=True)
    (tmp_path / "parts/ab/one.part").touch()
    arguments = ["--image-bytes", "2000", "--hold", "2", "--until-told"]
    with running_server("server", *arguments) as server, ThreadPoolExecutor(3) as executor:
        # The first is answered at once; the others wait until the files have been counted.
        _post(server)
        ended = Event()
        looking = executor.submit(parts_while_all_wait, tmp_path / "parts", 2, server, ended)
        waiting = [executor.submit(_post, server)]
        assert server.counts()["waiting"] < 2
        assert not looking.done()
        waiting.append(executor.submit(_post, server))
        assert looking.result() == 1
        assert all(one.result() > 2000 for one in waiting)
        ended.set()
        with pytest.raises(RunFailedError, match="never 2 requests"):
            parts_while_all_wait(tmp_path / "parts", 2, server, ended)


def _post(server: RunningServer) -> int:
    """The length of an answer."""
    with urlopen(f"{server.base_url}/v1beta/models/m:generateContent", b"{}", 30) as answer:
        return len(answer.read())


def test_a_finished_job_is_one_of_which_a_run_sends_nothing(tmp_path: Path) -> None:
    job, output = done(tmp_path, 30)
    with running_server("server", "--image-bytes", "2000") as server:
        assert measure_finished(job, output, server).wall_s > 0
        (output / "job/images/product-0000007.png").unlink()
        with pytest.raises(RunFailedError, match="sent 1 requests"):
            measure_finished(job, output, server)


def test_a_run_is_stopped_after_its_first_request(tmp_path: Path) -> None:
    job = json_lines(tmp_path, 1500)
    with running_server("server", "--image-bytes", "2000") as server:
        measured = measure_beginning(job, tmp_path, server, goes_on_s=0)
    assert 0 < measured.extras["first_request_s"] < measured.wall_s
    assert 1 <= measured.extras["requests"] < 1500
    assert measured.peak_rss_bytes > 10_000_000


def test_a_run_that_sends_nothing_has_no_first_request(tmp_path: Path) -> None:
    job = tmp_path / "job.jsonl"
    job.write_text('{"id": "one"}\n', encoding="utf-8")
    with (
        running_server("server", "--image-bytes", "2000") as server,
        pytest.raises(RunFailedError, match="ended before its first request"),
    ):
        measure_beginning(job, tmp_path, server, goes_on_s=0)


def test_a_start_is_measured_beside_that_of_the_interpreter() -> None:
    measured = measure_start("--version", is_first=True)
    both_ms = measured.extras["pass_ms"] + measured.extras["beyond_ms"]
    assert both_ms == pytest.approx(1000 * measured.wall_s)
