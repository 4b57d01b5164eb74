"""The flags of `batchgen schedule`, and those of `run` behind its `--`."""

import os
from pathlib import Path
from typing import Any

import pytest

from batchgen.cli.commands import invoke
from batchgen.cli.schedule import _Asked
from tests.runs import write_job
from tests.schedules import value


@pytest.fixture(autouse=True)
def _by_night(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the environment that means something to batchgen."""
    for name in list(os.environ):
        if name.startswith("BATCHGEN_"):
            monkeypatch.delenv(name)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    write_job(tmp_path / "job.jsonl", ["a"])
    monkeypatch.chdir(tmp_path)
    return "job.jsonl"


WRONG = {
    "--at 25:00": "25:00",
    "--at 02:00 --days mon-fry": "fry",
    "": "--at",
    "--at 02:00 --rpm 5": "write it after --",
    "--at 02:00 --rmp 5": "--rmp",
    "--at 02:00 -- --rpm x": "--rpm",
    "--at 02:00 -- --rmp 5": "--rmp",
    "--at 02:00 -- --deadline 25:00": "deadline 25:00",
    "--at 02:00 -- --provider nobody": "nobody",
    "--at 02:00 -- --dry-run": "--dry-run",
    "--at 02:00 -- --progress bar": "--progress bar",
    "--at 02:00 -- --api-key-file x": "before the --",
    "--at 02:00 -- --proxy http://me:password-1@127.0.0.1:1": "BATCHGEN_PROXY",
    "--at 02:00 -- another.yaml": "another.yaml",
    "--at 02:00 --image x": "--image",
    "--at 02:00 --format cron --user x": "--user",
    "--at 02:00 --format cron --time-zone UTC": "--time-zone",
    "--at 02:00 --format k8s --api-key-file x": "--api-key-file",
    "--at 02:00 --format k8s --time-zone Mars/Olympus": "Mars/Olympus",
    "--at 02:00 --format k8s --time-zone ../UTC": "../UTC",
    "--at 02:00 --format k8s --time-zone UTC -- -o /srv": "/srv",
    "--at 02:00 --format anacron": "anacron",
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_usage_is_2_names_the_word_and_prints_nothing(
    words: str, job: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["schedule", job, *words.split()]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert WRONG[words] in told.err
    assert "password-1" not in told.err


def test_a_job_on_standard_input_is_refused(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert job
    assert invoke(["schedule", "-", "--at", "02:00"]) == 2
    assert "standard input" in capsys.readouterr().err


def test_flags_of_run_stay_as_they_were_written(
    job: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--max-cost", "5", "--retry-failed", "--grace", "200", "-o", "../else", "--redo"]
    assert invoke(["schedule", job, "--at", "02:00", "--", *flags, "--progress", "none"]) == 0
    told = capsys.readouterr()
    line = " --max-cost 5 --retry-failed= --grace 200 -o ../else --redo --progress none --api"
    assert f"{tmp_path}/job.jsonl{line}" in value(told.out.partition("\n[Timer]")[0], "ExecStart")
    assert f"\nReadWritePaths={tmp_path.parent}/else\n" in told.out
    assert "\nTimeoutStopSec=350\n" in told.out
    assert "--redo makes the same pictures every night" in told.err


def test_the_zone_of_this_machine_is_meant_unless_another_is_told(
    job: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["schedule", job, "--at", "02:00", "--format", "k8s"]
    monkeypatch.setenv("TZ", ":Etc/UTC")
    assert invoke(command) == 0
    assert '\n  timeZone: "Etc/UTC"\n' in capsys.readouterr().out
    monkeypatch.delenv("TZ")
    localtime = tmp_path / "localtime"
    localtime.symlink_to("/usr/share/zoneinfo/UTC")
    monkeypatch.setattr("batchgen.cli.schedule._LOCALTIME", str(localtime))
    assert invoke(command) == 0
    assert '\n  timeZone: "UTC"\n' in capsys.readouterr().out
    localtime.unlink()
    assert invoke(command) == 2
    assert "--time-zone" in capsys.readouterr().err
    assert invoke([*command, "--time-zone", "GMT"]) == 0


@pytest.mark.parametrize("kind", ["systemd", "cron", "k8s"])
def test_a_path_with_a_line_break_is_refused_by_every_format(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "a\nUser=root"
    home.mkdir()
    write_job(home / "job.jsonl", ["a"])
    monkeypatch.chdir(home)
    monkeypatch.setenv("TZ", "UTC")
    assert invoke(["schedule", "job.jsonl", "--at", "02:00", "--format", kind]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "line break" in told.err


def job_in(directory: Path, **head: Any) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    return str(write_job(directory / "job.jsonl", ["a"], **head))


def told_of(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    code = invoke(["schedule", *words])
    return code, *capsys.readouterr()


def test_files_are_written_once_and_never_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = job_in(tmp_path, provider="emulator")
    into = tmp_path / "a/units"
    command = (job, "--at", "02:00", "--into", str(into))
    code, out, err = told_of(capsys, *command)
    assert (code, out) == (0, "")
    service, timer = into / "batchgen-job.service", into / "batchgen-job.timer"
    assert {*into.iterdir()} == {service, timer}
    assert str(service) in err
    before = {path: path.read_bytes() for path in into.iterdir()}
    assert told_of(capsys, *command)[0] == 0
    code, out, err = told_of(capsys, *command, "--days", "sun")
    assert (code, out) == (2, "")
    assert "is there already" in err
    assert {path: path.read_bytes() for path in into.iterdir()} == before
    service.unlink()  # the other one is in the way all the same
    assert told_of(capsys, *command, "--days", "sun")[0] == 2
    assert {*into.iterdir()} == {timer}


def test_a_job_on_the_emulator_needs_no_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = job_in(tmp_path, provider="emulator")
    for kind in ("systemd", "cron"):
        code, out, _ = told_of(capsys, job, "--at", "02:00", "--format", kind)
        assert code == 0
        assert "api-key" not in out
    code, out, _ = told_of(capsys, job, "--at", "02:00", "--", "--provider", "google")
    assert "LoadCredential=api-key:/etc/batchgen/job.key\n" in out
    assert "printenv GEMINI_API_KEY |" in out


def test_an_error_in_the_job_is_3_and_nothing_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = job_in(tmp_path, nonsense=1)
    code, out, err = told_of(capsys, job, "--at", "02:00")
    assert (code, out) == (3, "")
    assert f"{job}:1:" in err
    assert "nonsense" in err


def test_a_variable_that_will_not_be_there_at_night_is_told_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (job_in(tmp_path, budget={"confirm_above_usd": 1}), "--at", "02:00")
    _, plain, err = told_of(capsys, *command)
    assert "or to a price that nobody knows (budget.confirm_above_usd)" in err
    assert "BATCHGEN_RPM" not in err
    monkeypatch.setenv("BATCHGEN_PROVIDER", "nobody")
    monkeypatch.setenv("BATCHGEN_RPM", "x")
    code, out, err = told_of(capsys, *command)
    assert (code, out) == (0, plain)
    assert "BATCHGEN_PROVIDER" in err
    assert "BATCHGEN_RPM" in err
    _, _, err = told_of(capsys, *command, "--", "--yes", "--force")
    assert "confirm_above_usd" not in err
    assert "--force makes" in err


def test_a_name_of_a_variable_that_may_be_the_key_itself_is_not_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = {"base_url": "https://gateway.example", "api_key_env": "sk_small_letters"}
    job = job_in(tmp_path, provider=address)
    for kind in ("systemd", "cron"):
        code, out, err = told_of(capsys, job, "--at", "02:00", "--format", kind)
        assert code == 0, err
        assert "sk_small_letters" not in out + err
        assert "job.key" in out


def test_files_that_a_run_writes_elsewhere_may_be_written(tmp_path: Path) -> None:
    """`run` gets such options one by one: each is known here by its name."""
    asked = _Asked(
        words=(),
        values={"metrics_file": tmp_path / "m/batchgen.prom", "log_file": tmp_path / "l/x.log"},
        names=frozenset({"metrics_file", "log_file"}),
    )
    assert asked.directories == (str(tmp_path / "l"), str(tmp_path / "m"))
    assert asked.paths == (str(tmp_path / "l/x.log"), str(tmp_path / "m/batchgen.prom"))
