"""Each exit code, reached by the command itself, and what it leaves behind."""

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests import ledgers, servers
from tests.commands import ROOT, Done, batchgen, environment, started, until
from tests.runs import KEY, write_job
from tests.servers import Answer, FaultServer, http, refuses, sends

Tried = Callable[[str, int, str], None]
TOLD = {"pictures", "summary", "report"}
ODD_KEYS = {
    "line break": "sk-first\nsk-second",
    "carriage return": "sk-first\rX-Evil: 1",
    "beyond ASCII": "sk-schlüssel-geheim",
    "space": "sk-with a-space",
    "control code": "sk-with\x1b[31m",
    "quote": 'sk-geheim"sk-second',
    "backslash": "sk-geheim\\sk-second",
    "too short": "schl-12",
}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write_job(tmp_path / "job.jsonl", ["a", "b", "c"], limits={"concurrency": 1})


def run(job: Path, server: FaultServer, *flags: str | Path, **env: str) -> Done:
    where = ("-o", job.parent / "output", "--base-url", server.url)
    return batchgen("run", job, *where, *flags, **{"COMETAPI_KEY": KEY, **env})


def test_0_when_every_item_is_done_and_when_there_is_nothing_to_do(job: Path, tried: Tried) -> None:
    with FaultServer(servers.draws) as server:
        assert [run(job, server).code, run(job, server).code] == [0, 0]
    assert server.n_requests == 3
    tried("P15", 1, "exit codes")


BUGS = {
    "in a call": "import batchgen.attempt as here\nhere.endpoint_path = None\n",
    "anywhere": "import batchgen.runner as here\nhere.Pool = None\n",
}


@pytest.mark.parametrize("where", BUGS)
def test_1_for_a_bug_of_ours_which_names_its_place_and_shows_no_trace(
    where: str, job: Path, tried: Tried
) -> None:
    (job.parent / "sitecustomize.py").write_text(BUGS[where])
    with FaultServer(servers.draws) as server:
        done = run(job, server, PYTHONPATH=f"{job.parent}:{ROOT}")
        assert done.code == 1, done.err
        assert "Traceback" not in done.err
        assert "batchgen" in done.err
        if where == "in a call":
            ledgers.check_directory(job.parent / "output/job")
            tried("P15", 1, "exit codes")


def test_2_without_a_key(job: Path, tried: Tried) -> None:
    with FaultServer(servers.draws) as server:
        done = run(job, server, COMETAPI_KEY="")
    assert done.code == 2
    assert "COMETAPI_KEY" in done.err
    assert server.n_connections == 0
    assert not (job.parent / "output/job").exists()
    tried("P15", 1, "exit codes")


@pytest.mark.parametrize("key", [pytest.param(v, id=k) for k, v in ODD_KEYS.items()])
def test_2_for_an_odd_key_which_is_never_shown(key: str, job: Path) -> None:
    with FaultServer(servers.draws) as server:
        done = run(job, server, COMETAPI_KEY=key)
    assert done.code == 2
    assert server.n_connections == 0
    for piece in (key, "sk-first", "schl", "geheim", "a-space", "with"):
        assert piece not in done.err.replace("key that", "")
    assert done.out == ""


def test_2_for_an_empty_key_file_which_is_named(job: Path) -> None:
    file = job.parent / "key"
    file.write_text("\n")
    with FaultServer(servers.draws) as server:
        done = run(job, server, "--api-key-file", file)
    assert (done.code, server.n_connections) == (2, 0)
    assert f"{file} is empty" in done.err


def test_a_key_file_may_end_in_a_line_break(job: Path) -> None:
    file = job.parent / "key"
    file.write_text("sk-from-a-file\r\n")
    with FaultServer(servers.draws) as server:
        done = run(job, server, "--api-key-file", file, COMETAPI_KEY="")
    assert done.code == 0, done.err
    assert {asked.headers["x-goog-api-key"] for asked in server.log} == {"sk-from-a-file"}


@pytest.mark.parametrize(
    "flags",
    [
        ("--no-such-flag",),
        ("--concurrency", "0"),
        ("--concurrency", "9-2"),
        ("--max-cost", "-1"),
        ("--max-duration", "soon"),
        ("--deadline", "25:00"),
        ("--rpd", "0.5"),
        ("--fail-on", "some"),
        ("--fail-on", "0"),
        ("--notify", "hooks.invalid/secret"),
        ("--rpm", "many"),
        ("--provider", "nobody"),
        ("--base-url", "ftp://127.0.0.1"),
        ("--base-url", "http://me:secret@127.0.0.1"),
        ("--base-url", "http://api.invalid"),
        ("--base-url", "https://[oops"),
        ("--base-url", "https://127.0.0.1:99999"),
        ("--proxy", "http://me:secret@[bad"),
        ("--proxy", "socks5://127.0.0.1:1080"),
        ("--proxy", "http://proxy.invalid:3128"),
        ("--retry-failed=nonsense",),
        ("--ca-file", "/nowhere.pem"),
        ("--api-key-file", "/nowhere.key"),
    ],
    ids=" ".join,
)
def test_2_for_wrong_usage_before_anything_is_sent(flags: tuple[str, ...], job: Path) -> None:
    with FaultServer(servers.draws) as server:
        done = run(job, server, *flags)
    assert done.code == 2, done.err
    assert done.err
    assert "Traceback" not in done.err
    assert "secret" not in done.err
    assert server.n_connections == 0
    assert not list((job.parent / "output").glob("job/ledger/*"))


def test_2_for_a_proxy_of_the_environment_that_is_none(tmp_path: Path) -> None:
    elsewhere = {"base_url": "https://api.invalid", "api_key_env": "COMETAPI_KEY"}
    job = write_job(tmp_path / "job.jsonl", ["a"], provider=elsewhere)
    env = {"COMETAPI_KEY": KEY, "https_proxy": "http://me:secret@[bad"}
    done = batchgen("run", job, "-o", tmp_path / "output", **env)
    assert (done.code, "Traceback" in done.err) == (2, False)
    assert "https_proxy" in done.err
    assert "secret" not in done.err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("job.yaml", "items: [{id: a, prompt: x, modle: m}]"),
        ("job.yaml", "items: [{id: a, prompt: x, model: m, references: [missing.png]}]"),
        ("job.yaml", "items:\n  - {id: a, prompt: x, model: m}\n  - {id: a, prompt: y, model: m}"),
        ("job.yaml", "items: [{id: ../a, prompt: x, model: m}]"),
        ("job.yaml", "items: [\n"),
        ("job.yaml", ""),
        ("job.jsonl", '{"id": "a", "prompt": "x", "model": "m"}\nno json\n'),
        ("absent.yaml", None),
    ],
)
def test_3_for_errors_in_the_job_before_anything_is_sent(
    name: str, text: str | None, tmp_path: Path, tried: Tried
) -> None:
    job = tmp_path / name
    if text is not None:
        job.write_text(text, "utf-8")
    with FaultServer(servers.draws) as server:
        done = run(job, server)
    assert done.code == 3, done.err
    assert done.err.startswith(f"{job}:")
    assert server.n_connections == 0
    assert not list((tmp_path / "output").glob("*/ledger/*"))
    if text is None:
        tried("P15", 1, "exit codes")


def test_4_when_an_item_failed(job: Path, tried: Tried) -> None:
    with FaultServer(
        lambda asked: refuses(400) if asked.prompt == "b" else servers.draws(asked)
    ) as server:
        done = run(job, server)
    assert done.code == 4
    assert "2/3 done, 1 failed" in done.last_line
    ledgers.check_directory(job.parent / "output/job")
    tried("P15", 1, "exit codes")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(refuses(401), id="wrong key"),
        pytest.param(refuses(402), id="no credit"),
        pytest.param(refuses(307, Location="http://127.0.0.1:9/"), id="redirect"),
        pytest.param(sends(http(200, b"<!doctype html><h1>hi</h1>")), id="web page"),
    ],
)
def test_7_when_running_again_would_not_help(answer: Answer, job: Path) -> None:
    with FaultServer(lambda _: answer) as server:
        done = run(job, server, "--json")
        assert server.n_requests == 1
        assert (done.code, done.json["exit_code"]) == (7, 7)
        assert done.json["items"]["pending"] == 3
        server.script = servers.draws
        assert run(job, server).code == 0
    ledgers.check_directory(job.parent / "output/job")


def test_an_item_that_is_refused_every_night_spoils_no_night_that_looks_for_new_ones(
    job: Path,
) -> None:
    blocked = servers.whole({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})
    refused = {"b"}

    def script(asked: servers.Asked) -> Answer:
        return blocked if asked.prompt in refused else servers.draws(asked)

    with FaultServer(script) as server:
        nights = [run(job, server, "--fail-on", "new").code for _ in range(3)]
        assert nights == [4, 0, 0]
        assert server.requests == {"a": 1, "b": 1, "c": 1}
        # The same while it is tried again every night.
        assert run(job, server, "--fail-on", "new", "--retry-failed").code == 0
        refused.add("d")
        write_job(job, ["a", "b", "c", "d"], limits={"concurrency": 1})
        assert [run(job, server, "--fail-on", "new").code for _ in range(2)] == [4, 0]
        assert server.requests == {"a": 1, "b": 2, "c": 1, "d": 1}
        codes = {asked: run(job, server, BATCHGEN_FAIL_ON=asked).code for asked in FAIL_ON}
    assert codes == FAIL_ON


def test_a_new_item_that_is_skipped_under_an_old_failure_is_a_new_failure(job: Path) -> None:
    blocked = servers.whole({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})
    with FaultServer(lambda _: blocked) as server:
        write_job(job, ["a"])
        assert run(job, server, "--fail-on", "new").code == 4
        child: dict[str, Any] = {"id": "b", "prompt": "b", "references": ["item:a"]}
        write_job(job, ["a", child])
        assert [run(job, server, "--fail-on", "new").code for _ in range(2)] == [4, 0]
        assert server.n_requests == 1


# Two of four items have failed.
FAIL_ON = {"any": 4, "new": 0, "none": 0, "1": 4, "2": 4, "3": 0, "50%": 4, "51%": 0}


def test_5_when_the_service_cannot_be_reached_within_the_patience(
    tmp_path: Path, tried: Tried
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b", "c"], retries={"patience": "2s"})
    with servers.closed_port() as bound:
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        where = ("-o", tmp_path / "output", "--base-url", address, "--json")
        done = batchgen("run", job, *where, COMETAPI_KEY=KEY)
    assert (done.code, done.json["exit_code"]) == (5, 5)
    assert done.json["items"]["pending"] == 3
    assert "run again later" in done.err
    with FaultServer(servers.draws) as server:
        assert run(job, server).code == 0
    tried("P15", 1, "exit codes")


def test_5_when_a_429_asks_for_more_patience_than_there_is(job: Path) -> None:
    with FaultServer(lambda _: refuses(429, retry_after="7200")) as server:
        done = run(job, server, "--json")
    assert (done.code, server.n_requests) == (5, 1)
    assert done.json["items"]["pending"] == 3


def test_8_when_the_budget_is_used_up(job: Path, tried: Tried) -> None:
    with FaultServer(servers.draws) as server:
        done = run(job, server, "--json", "--max-cost", "0.3")
        assert (done.code, done.json["cost_usd"]) == (8, "0.276320")
        assert server.n_requests == 2
        assert "more request may cost" in done.err
        assert run(job, server).code == 0
    assert server.n_requests == 3
    tried("P15", 1, "exit codes")


@pytest.mark.parametrize("flag", ["--max-duration", "--deadline"])
def test_10_when_the_time_is_over_and_what_is_under_way_ends(
    flag: str, job: Path, tried: Tried
) -> None:
    released = threading.Event()
    later = datetime.now().astimezone() + timedelta(minutes=1)
    if flag == "--deadline" and later.second > 50:  # too near the next minute to be sure
        later += timedelta(minutes=1)
    value = "1s" if flag == "--max-duration" else f"{later:%H:%M}"
    with FaultServer(lambda asked: servers.waits_for(released, servers.draws(asked))) as server:
        where = ("-o", job.parent / "output", "--base-url", server.url)
        if flag == "--deadline":
            released.set()
            assert run(job, server, flag, value).code == 0  # it is not over yet
            return
        with started("run", job, *where, flag, value, COMETAPI_KEY=KEY) as slow:
            until(lambda: server.n_requests, "a request")
            threading.Timer(1.5, released.set).start()
            done = slow.end()
    assert (done.code, server.n_requests) == (10, 1)
    assert "the time is over" in done.err
    assert done.last_line.startswith("1/3 done, 0 failed, 2 left")
    ledgers.check_directory(job.parent / "output/job")
    tried("P15", 1, "exit codes")


def test_4_when_more_items_fail_than_may(tmp_path: Path) -> None:
    items = ["a", *(f"bad-{n}" for n in range(9))]
    job = write_job(
        tmp_path / "job.jsonl", items, budget={"max_failures": 2}, limits={"concurrency": 1}
    )

    def script(asked: servers.Asked) -> Answer:
        return servers.draws(asked) if asked.prompt == "a" else refuses(400)

    with FaultServer(script) as server:
        done = run(job, server, "--json")
    assert (done.code, server.n_requests) == (4, 4)
    assert (done.json["items"]["failed"], done.json["items"]["pending"]) == (3, 6)


def test_7_when_only_models_that_are_gone_are_left(job: Path, tried: Tried) -> None:
    gone = {"error": {"code": 404, "message": "models/gemini-3-pro-image is not found"}}
    with FaultServer(lambda _: refuses(404, gone)) as server:
        done = run(job, server, "--json")
    assert (done.code, server.n_requests) == (7, 1)
    assert done.json["items"]["failed"] == 3
    tried("P15", 1, "exit codes")


def test_a_table_of_what_the_calls_came_to_stands_at_the_end(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b", "c"], limits={"concurrency": 1})
    with FaultServer(servers.once(refuses(504))) as server:
        done = run(job, server)
    assert done.code == 0
    words = [" ".join(line.split()) for line in done.err.splitlines()]
    assert "image 3 50.0%" in words
    assert "server_error 3 50.0%" in words
    assert any("3 calls may have been billed without a picture" in line for line in words)


def test_11_while_another_run_holds_the_directory_and_not_after_it_was_killed(
    job: Path, tried: Tried
) -> None:
    released = threading.Event()
    with FaultServer(lambda asked: servers.waits_for(released, servers.draws(asked))) as server:
        where = ("-o", job.parent / "output", "--base-url", server.url)
        with started("run", job, *where, COMETAPI_KEY=KEY) as first:
            until(lambda: server.n_requests, "a request")
            items = (job.parent / "output/job/items.jsonl").read_bytes()
            job.write_text(job.read_text().replace("prompt", "prompt"))
            second = run(job, server)
            assert second.code == 11, second.err
            assert server.n_requests == 1
            assert (job.parent / "output/job/items.jsonl").read_bytes() == items
            assert not list((job.parent / "output/job").glob(".items*"))
            first.signal(signal.SIGKILL)
            first.end()
        released.set()
        assert run(job, server).code == 0
    ledgers.check_directory(job.parent / "output/job", ended=False)
    tried("P15", 1, "exit codes")


def _run_with_small_files(job: Path, server: FaultServer, limit_bytes: int) -> Done:
    """A run whose files cannot grow beyond so many bytes, as on a disk that is full."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    command = [sys.executable, "-B", "-m", "batchgen", "run", str(job), "--base-url", server.url]
    done = subprocess.run(
        [*command, "-o", str(job.parent / "output"), "--json"],
        env=environment(COMETAPI_KEY=KEY),
        preexec_fn=limit,
        capture_output=True,
        timeout=40,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def _big_picture(asked: servers.Asked) -> Answer:
    part = servers.image_part(servers.png(asked.prompt, edge_px=200))
    return servers.whole(servers.document(part))


@pytest.mark.parametrize(
    ("limit_bytes", "what"),
    [(60_000, "a picture"), (900, "the ledger"), (200, "the items"), (0, "anything")],
)
def test_12_when_the_disk_is_full_and_the_next_run_goes_on(
    limit_bytes: int, what: str, tmp_path: Path, tried: Tried
) -> None:
    ids = [f"item-{n:02}" for n in range(8)]
    job = write_job(tmp_path / "job.jsonl", ids, limits={"concurrency": 2})
    with FaultServer(_big_picture) as server:
        full = _run_with_small_files(job, server, limit_bytes)
        assert full.code == 12, f"{what}: {full.err}"
        assert "Traceback" not in full.err
        if server.n_requests:  # then there was a run, and it has its figures
            assert full.json["exit_code"] == 12
            assert "File too large" in full.json["stop_reason"]
            told = [line.split()[-1] for line in full.err.splitlines() if line[:8].strip() in TOLD]
            assert all(Path(path).exists() for path in told)
            assert full.last_line.startswith(f"{full.json['items']['done']}/8 done")
        n_before = server.n_requests
        assert n_before <= 4
        done = run(job, server)
        assert done.code == 0, done.err
        assert server.n_requests <= n_before + len(ids)
    directory = tmp_path / "output/job"
    ledgers.check_directory(directory, ended=False)
    n_interrupted = sum(a["outcome"] == "interrupted" for a in ledgers.attempts(directory))
    assert n_interrupted >= server.n_requests - len(ids)
    if what == "a picture":
        tried("P15", 1, "exit codes")


def test_12_or_2_when_the_output_cannot_be_a_directory(job: Path) -> None:
    (job.parent / "output").write_text("a file")
    with FaultServer(servers.draws) as server:
        assert run(job, server).code in {2, 12}
        (job.parent / "output").unlink()
        (job.parent / "output").mkdir()
        (job.parent / "output/job").write_text("a file")
        assert run(job, server).code == 12
    assert server.n_connections == 0


def test_a_reader_that_leaves_is_no_error_of_ours(job: Path) -> None:
    with FaultServer(servers.draws) as server:
        where = ("-o", job.parent / "output", "--base-url", server.url, "--json")
        with started("run", job, *where, COMETAPI_KEY=KEY) as left_alone:
            assert left_alone.process.stdout is not None
            left_alone.process.stdout.close()
            assert left_alone.process.wait(40) == 0


@pytest.mark.parametrize("flags", [("-v", "--progress", "plain"), ("-v", "--progress", "bar")])
def test_a_reader_of_the_messages_that_leaves_is_no_error_either(
    flags: tuple[str, ...], job: Path
) -> None:
    with FaultServer(
        lambda asked: refuses(400) if asked.prompt == "b" else servers.draws(asked)
    ) as server:
        where = ("-o", job.parent / "output", "--base-url", server.url)
        with started("run", job, *where, *flags, COMETAPI_KEY=KEY) as left_alone:
            assert left_alone.process.stderr is not None
            left_alone.process.stderr.close()
            assert left_alone.process.wait(40) == 4
        with started("run", job, *where, "--rpm", "wrong") as left_alone:
            assert left_alone.process.stderr is not None
            left_alone.process.stderr.close()
            assert left_alone.process.wait(40) == 2
    ledgers.check_directory(job.parent / "output/job")


def test_the_version_is_data() -> None:
    done = batchgen("--version")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("batchgen ")


def test_nothing_waits_for_input(job: Path) -> None:
    read, write = os.pipe()
    with FaultServer(servers.draws) as server:
        command: list[Any] = [sys.executable, "-m", "batchgen", "run", job]
        command += ["-o", job.parent / "output", "--base-url", server.url]
        done = subprocess.run(
            command,
            env=environment(COMETAPI_KEY=KEY),
            stdin=read,
            capture_output=True,
            timeout=40,
            check=False,
        )
    os.close(read)
    os.close(write)
    assert done.returncode == 0


def test_2_when_so_many_at_once_need_more_files_than_allowed_and_auto_takes_what_it_can(
    job: Path,
) -> None:
    command = f'ulimit -n 50; exec "$@" -o {job.parent}'
    with FaultServer(servers.draws) as server:

        def run(*flags: str) -> subprocess.CompletedProcess[bytes]:
            words = [sys.executable, "-m", "batchgen", "run", str(job), "--base-url", server.url]
            return subprocess.run(
                ["bash", "-c", command, "bash", *words, *flags],
                env=environment(COMETAPI_KEY=KEY),
                capture_output=True,
                check=False,
            )

        refused = run("--concurrency", "100")
        assert refused.returncode == 2
        assert b"concurrency 100 needs more open files" in refused.stderr
        assert server.n_requests == 0
        assert run("--concurrency", "auto").returncode == 0


def test_2_for_a_report_of_a_directory_that_holds_no_run(tmp_path: Path) -> None:
    done = batchgen("report", tmp_path)
    assert (done.code, "holds no run" in done.err) == (2, True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is full")
def test_a_full_disk_under_standard_output_is_no_bug_of_ours(job: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        told = subprocess.run(
            [sys.executable, "-m", "batchgen", "validate", "--json", str(job)],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=40,
            check=False,
        )
    assert told.returncode == 12
    assert b"standard output: No space left on device" in told.stderr
