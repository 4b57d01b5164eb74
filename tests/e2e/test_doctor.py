"""`batchgen doctor` as a command: what it prints, what it exits with, what it leaves."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.canary import Canary
from tests.commands import batchgen, emulator
from tests.runs import KEY, MODEL, write_job
from tests.servers import Answer, Asked, FaultServer, refuses, whole


def lists(asked: Asked) -> Answer:
    listed = whole({"models": [{"name": f"models/{MODEL}"}]})
    return listed if asked.method == "GET" else servers.draws(asked)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(lists) as running:
        yield running


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write_job(tmp_path / "job.jsonl", ["cat", "dog"])


def test_a_job_that_may_run_is_told_to_be_well_and_nothing_is_left(
    server: FaultServer, job: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    where = ("-o", tmp_path / "output", "--base-url", server.url)
    done = batchgen("doctor", job, *where, COMETAPI_KEY=KEY, TMPDIR=str(tmp_path))
    assert (done.code, done.err) == (0, "")
    *lines, last = done.out.splitlines()
    assert {line.split()[0] for line in lines if line[0] != " "} == {"ok"}
    assert last == "0 problems, 0 warnings"
    assert [asked.method for asked in server.log] == ["GET"]
    assert sorted(tmp_path.rglob("*")) == before


def test_each_finding_has_its_remedy_below_it_and_as_json_beside_it(
    job: Path, tmp_path: Path
) -> None:
    canary = Canary()
    with FaultServer(lambda _: refuses(401, {"error": {"message": canary.key}})) as server:
        flags = ("doctor", job, "-o", tmp_path, "--base-url", server.url)
        done = batchgen(*flags, COMETAPI_KEY=canary.key)
        as_json = batchgen(*flags, "--json", COMETAPI_KEY=canary.key)
    assert (done.code, as_json.code) == (7, 7)
    assert not canary.found_in(done.out + done.err + as_json.out + as_json.err)
    lines = done.out.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("problem  access"))
    assert "HTTP 401" in lines[at]
    assert lines[at + 1].strip().startswith("→ make a new key")
    assert max(len(line) for line in lines if "/" not in line) <= 80  # a path is not broken
    told = json.loads(as_json.out)
    assert set(told) == {"findings", "ok"}
    assert told["ok"] is False
    for one in told["findings"]:
        assert list(one) == ["check", "status", "message", "remedy"]
    [access] = [one for one in told["findings"] if one["check"] == "access"]
    assert access["status"] == "problem"
    assert access["remedy"].startswith("make a new key")


def test_without_anything_the_missing_key_is_told_and_no_trace_is_shown(tmp_path: Path) -> None:
    done = batchgen("doctor", "-o", tmp_path)
    assert done.code == 2
    assert "COMETAPI_KEY" in done.out
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_flags_of_the_environment_count_as_for_a_run(
    server: FaultServer, job: Path, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    env = {"BATCHGEN_BASE_URL": server.url, "BATCHGEN_API_KEY_FILE": str(file)}
    assert batchgen("doctor", job, BATCHGEN_OUTPUT=str(tmp_path), **env).code == 0
    assert server.log[0].headers["x-goog-api-key"] == KEY


def test_a_variable_that_a_run_refuses_is_named_and_others_count_as_for_a_run(
    server: FaultServer, job: Path, tmp_path: Path
) -> None:
    flags = ("doctor", job, "-o", tmp_path, "--base-url", server.url, "--json")
    odd = {"CONCURRENCY": "lots", "RPM": "many", "DEADLINE": "99:00", "YES": "perhaps", "IPM": KEY}
    env = {f"BATCHGEN_{name}": value for name, value in odd.items()}
    done = batchgen(*flags, **env, COMETAPI_KEY=KEY)
    found = [one for one in done.json["findings"] if one["check"] == "environment"]
    assert done.code == 2
    assert KEY not in done.out + done.err
    assert {one["message"].partition(":")[0] for one in found} == set(env)
    assert {one["status"] for one in found} == {"problem"}
    done = batchgen(*flags, BATCHGEN_CONCURRENCY="3", BATCHGEN_RPM="9", COMETAPI_KEY=KEY)
    assert done.code == 0
    assert "enough for 3 requests at once" in done.out


def test_a_hook_of_the_environment_that_a_run_refuses_is_wrong_usage_and_not_shown(
    server: FaultServer, job: Path, tmp_path: Path
) -> None:
    canary = Canary()
    flags = ("doctor", job, "-o", tmp_path, "--base-url", server.url)
    for address in (f"http://hook.invalid/{canary.key}", f"hook.invalid/{canary.key}"):
        done = batchgen(*flags, BATCHGEN_NOTIFY=address, COMETAPI_KEY=KEY)
        assert done.code == 2
        assert "BATCHGEN_NOTIFY" in done.out
        assert not canary.found_in(done.out + done.err)


def test_no_variable_of_the_environment_buys_a_picture(
    server: FaultServer, job: Path, tmp_path: Path
) -> None:
    flags = ("doctor", job, "-o", tmp_path, "--base-url", server.url)
    done = batchgen(*flags, BATCHGEN_SPEND="1", COMETAPI_KEY=KEY)
    assert [asked.method for asked in server.log] == ["GET"]
    assert done.code == 0
    assert "BATCHGEN_SPEND is set and means nothing" in done.err


def test_the_emulator_draws_for_spend_alone_and_refuses_a_key_that_it_does_not_know(
    tmp_path: Path,
) -> None:
    with emulator() as service:
        flags = ("doctor", "-o", tmp_path, "--base-url", service.url, "--model", MODEL, "--json")
        assert batchgen(*flags, COMETAPI_KEY="invalid-key").code == 7
        assert service.counts()["images"] == 0
        done = batchgen(*flags, "--spend", COMETAPI_KEY=KEY)
        assert (done.code, service.counts()["images"]) == (0, 1)
    [spent] = [one for one in done.json["findings"] if one["check"] == "spend"]
    assert "tokens, $0." in spent["message"]
