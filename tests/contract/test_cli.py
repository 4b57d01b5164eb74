"""What scripts rely on: flags by environment, streams, validate, report."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchgen.cli import main
from tests import ledgers, servers
from tests.commands import batchgen, started
from tests.runs import KEY, write_job
from tests.servers import FaultServer


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(servers.draws) as running:
        yield running


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write_job(tmp_path / "job.jsonl", ["a", "b"])


def test_flags_are_read_from_the_environment(
    server: FaultServer, job: Path, tmp_path: Path
) -> None:
    done = batchgen(
        *("run", job),
        COMETAPI_KEY=KEY,
        BATCHGEN_OUTPUT=str(tmp_path / "elsewhere"),
        BATCHGEN_BASE_URL=server.url,
        BATCHGEN_RPM="6000",
        BATCHGEN_CONCURRENCY="1",
        BATCHGEN_JSON="yes",
    )
    assert done.code == 0, done.err
    found = done.json["concurrency"]
    assert (found["peak"], found["final"]) == (1, 1)
    assert [step["why"] for step in found["history"]] == ["start"]
    assert ledgers.summary(tmp_path / "elsewhere/job")["images"] == 2
    assert "warning" not in done.err


def test_a_flag_wins_over_the_environment_and_both_over_the_job(
    server: FaultServer, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b", "c"], limits={"concurrency": 3})
    flags = ("--json", "--base-url", server.url, "-o", tmp_path, "--force")
    env = {"COMETAPI_KEY": KEY, "BATCHGEN_CONCURRENCY": "2"}
    by_job = batchgen("run", job, *flags, COMETAPI_KEY=KEY)
    by_environment = batchgen("run", job, *flags, **env)
    by_flag = batchgen("run", job, *flags, "--concurrency", "1", **env)
    found = [done.json["concurrency"]["final"] for done in (by_job, by_environment, by_flag)]
    assert found == [3, 2, 1]


def test_a_bad_value_in_the_environment_is_wrong_usage(server: FaultServer, job: Path) -> None:
    done = batchgen("run", job, "--base-url", server.url, COMETAPI_KEY=KEY, BATCHGEN_RPM="fast")
    assert done.code == 2
    assert server.n_connections == 0


def test_an_unknown_name_in_the_environment_warns_and_stops_nothing(
    server: FaultServer, job: Path, tmp_path: Path
) -> None:
    flags = ("--base-url", server.url, "-o", tmp_path)
    done = batchgen("run", job, *flags, COMETAPI_KEY=KEY, BATCHGEN_RPN="60")
    assert done.code == 0
    assert [line for line in done.err.splitlines() if "BATCHGEN_RPN" in line]


def test_retry_failed_needs_no_value_wherever_it_stands(
    server: FaultServer, job: Path, tmp_path: Path
) -> None:
    server.script = lambda _: servers.refuses(400)
    where = ("--base-url", server.url, "-o", tmp_path)
    env = {"COMETAPI_KEY": KEY}
    assert batchgen("run", job, *where, **env).code == 4
    assert batchgen("run", job, *where, **env).code == 4
    assert server.n_requests == 2
    assert batchgen("run", *where, "--retry-failed=blocked", job, **env).code == 4
    assert server.n_requests == 2
    assert batchgen("run", *where, "--retry-failed=blocked,bad_request", job, **env).code == 4
    assert server.n_requests == 4
    server.script = servers.draws
    assert batchgen("run", *where, "--retry-failed", job, **env).code == 0
    assert server.n_requests == 6


@pytest.mark.parametrize(
    ("value", "n_sent"),
    [
        *((word, 2) for word in ("1", "true", "YES", "on")),
        *((word, 0) for word in ("0", "false", "")),
        *(("blocked", 0), ("blocked,bad_request", 2)),
    ],
)
def test_retry_failed_by_the_environment_is_a_switch_or_names_outcomes(
    server: FaultServer, job: Path, tmp_path: Path, value: str, n_sent: int
) -> None:
    server.script = lambda _: servers.refuses(400)
    flags = ("run", job, "--base-url", server.url, "-o", tmp_path)
    assert batchgen(*flags, COMETAPI_KEY=KEY).code == 4
    done = batchgen(*flags, COMETAPI_KEY=KEY, BATCHGEN_RETRY_FAILED=value)
    assert done.code == 4, done.err
    assert server.n_requests == 2 + n_sent


def test_the_pace_of_a_run_is_not_the_emulators() -> None:
    with started("emulate", "--port", "0", BATCHGEN_RPM="0.5") as emulator:
        assert emulator.process.stderr is not None
        assert b"listening on" in emulator.process.stderr.readline()


def test_validate_takes_the_model_that_a_run_would_be_given(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("items: [{id: a, prompt: x}]")
    assert batchgen("validate", job).code == 3
    assert batchgen("validate", job, "--model", "gemini-3-pro-image").code == 0


def test_report_tells_of_lines_that_cannot_be_read(
    server: FaultServer, job: Path, tmp_path: Path
) -> None:
    assert (
        batchgen("run", job, "--base-url", server.url, "-o", tmp_path, COMETAPI_KEY=KEY).code == 0
    )
    (segment,) = (tmp_path / "job/ledger").glob("*.jsonl")
    with segment.open("ab") as file:
        file.write(b"no json\n")
    done = batchgen("report", tmp_path / "job")
    assert done.code == 0
    assert [line for line in done.err.splitlines() if segment.name in line]


def test_reports_at_once_and_beside_a_run_show_only_whole_files(
    server: FaultServer, job: Path, tmp_path: Path
) -> None:
    flags = ("run", job, "--base-url", server.url, "-o", tmp_path, "--force")
    assert batchgen(*flags, COMETAPI_KEY=KEY).code == 0
    with contextlib.ExitStack() as stack:
        directory = tmp_path / "job"
        all_of_them = [stack.enter_context(started("report", directory)) for _ in range(6)]
        all_of_them.append(stack.enter_context(started(*flags, COMETAPI_KEY=KEY)))
        ends = [one.end() for one in all_of_them]
    assert [done.code for done in ends] == [0] * 7, [done.err for done in ends]
    assert batchgen("report", directory).code == 0
    ledgers.check_directory(directory)
    assert not list(directory.rglob("*.draft"))


def test_the_google_provider_takes_its_key_from_either_name(
    server: FaultServer, job: Path, tmp_path: Path
) -> None:
    flags = ("run", job, "--provider", "google", "--base-url", server.url, "-o", tmp_path)
    both = {"GEMINI_API_KEY": "the-first", "GOOGLE_API_KEY": "the-second"}
    assert batchgen(*flags, "--force", **both).code == 0
    assert batchgen(*flags, "--force", GOOGLE_API_KEY="the-second").code == 0
    assert batchgen(*flags, "--force", COMETAPI_KEY=KEY).code == 2
    sent = [asked.headers["x-goog-api-key"] for asked in server.log]
    assert sent == ["the-first"] * 2 + ["the-second"] * 2


def test_validate_tells_every_error_with_its_place_and_sends_nothing(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "defaults: {model: m}\n"
        "items:\n"
        "  - {id: a, prompt: x, aspect_ratio: 5:4}\n"
        "  - {id: b, prompt: x, aspect_ratio: 5:6}\n"
        "  - {id: b, prompt: y, image_sise: 1K}\n"
    )
    good = write_job(tmp_path / "good.jsonl", ["a", "b", "c"])
    done = batchgen("validate", bad, good)
    assert done.code == 3
    assert done.out == ""
    *problems, counts = done.err.splitlines()
    assert all(line.startswith(f"{bad}:") for line in problems)
    assert [line.split(":")[1] for line in problems] == ["4", "5", "5"]
    assert counts.startswith("6 items, 3 errors")
    as_json = batchgen("validate", bad, good, "--json")
    assert as_json.code == 3
    found = json.loads(as_json.out)
    assert set(found) == {"errors", "warnings", "items"}
    assert found["items"] == 6
    for problem in found["errors"]:
        assert set(problem) == {"path", "line", "column", "field", "message"}
    assert [(one["path"], one["line"]) for one in found["errors"]] == [
        (str(bad), line) for line in (4, 5, 5)
    ]


def test_validate_of_a_good_job_is_quiet_and_exits_0(job: Path) -> None:
    done = batchgen("validate", job, "--json")
    assert done.code == 0
    assert json.loads(done.out) == {"errors": [], "warnings": [], "items": 2}
    assert not (job.parent / "output").exists()


def test_report_of_a_directory_without_a_run_is_no_bug(tmp_path: Path) -> None:
    done = batchgen("report", tmp_path)
    assert done.code not in {0, 1}
    assert "Traceback" not in done.err


def test_quiet_says_nothing_until_the_end(server: FaultServer, job: Path, tmp_path: Path) -> None:
    flags = ("run", job, "--base-url", server.url, "-o", tmp_path, "-q")
    done = batchgen(*flags, COMETAPI_KEY=KEY)
    assert done.code == 0
    assert done.out == ""
    assert "2/2 done" in done.last_line
    assert "to make" not in done.err


@pytest.mark.parametrize("command", ["run", "validate", "report", "emulate"])
def test_every_command_explains_itself(command: str) -> None:
    done = batchgen(command, "--help")
    assert done.code == 0
    assert "Usage:" in done.out
    assert done.err == ""


def test_wrong_usage_exits_2_for_every_command() -> None:
    for command in ("run", "validate", "report", "nonsense"):
        done = batchgen(command)
        assert (done.code, done.out) == (2, ""), command
    assert batchgen("emulate", "--port", "nowhere").code == 2


def test_ctrl_c_before_a_command_has_begun_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("batchgen.cli.commands.invoke", interrupted)
    monkeypatch.setattr("sys.argv", ["batchgen", "schema"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "stopped by sigint\n")
