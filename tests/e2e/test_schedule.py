"""`batchgen schedule`: what it prints is really started, as systemd, cron and a cluster would."""

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from tests import ledgers, schedules, servers
from tests.commands import DEADLINE_S, Done, batchgen, environment
from tests.runs import KEY, MODEL
from tests.schedules import CRON_ENV, needs_systemd
from tests.servers import FaultServer

ODD = "nächte für 100% %d $HOME ${HOME} 'x' \"y\" #1;"
ITEMS = ["a", "b"]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(servers.draws) as running:
        yield running


def job_in(directory: Path, **head: object) -> Path:
    """A job in YAML, named as its file is."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "job.yaml"
    items = [{"id": item, "prompt": item} for item in ITEMS]
    written = {"defaults": {"model": MODEL}, **head, "items": items}
    path.write_text(yaml.safe_dump(written), "utf-8")
    return path


def run_in(directory: Path, words: Sequence[str | Path], **env: str) -> Done:
    """Start words as a scheduler does: in its directory, with next to no environment."""
    done = subprocess.run(
        list(map(str, words)),
        cwd=directory,
        env={"HOME": str(directory), **CRON_ENV, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def scheduled(job: Path, *words: str | Path, program: Path, **env: str) -> Done:
    """What the installed command prints, called from the directory of the job."""
    done = subprocess.run(
        list(map(str, [program, "schedule", job.name, "--at", "02:00", *words])),
        cwd=job.parent,
        env={**environment(), "HOME": str(job.parent), **env},
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def split(printed: str) -> dict[str, str]:
    """The files of which the text consists, each behind a comment with its name."""
    files: dict[str, str] = {}
    name = ""
    for line in printed.splitlines(keepends=True):
        if line.startswith("# /etc/systemd/system/"):
            name = line.strip().rpartition("/")[2]
        files[name] = files.get(name, "") + line
    return files


def check_night(done: Done, server: FaultServer, directory: Path) -> None:
    """Every picture is there, asked for with the key of the file."""
    assert done.code == 0, done.err
    assert server.requests == dict.fromkeys(ITEMS, 1)
    assert {asked.headers["x-goog-api-key"] for asked in server.log} == {KEY}
    ledgers.check_directory(directory / "output/job")


@needs_systemd
def test_a_printed_service_is_whole_and_what_it_starts_makes_the_pictures(
    server: FaultServer, tmp_path: Path
) -> None:
    home = tmp_path / ODD
    # Quotes in a program's path are not for systemd; all the rest is.
    program = schedules.program(tmp_path / "prögram 100% $x")
    job = job_in(home)
    flags = ("--base-url", server.url, "--no-thumbnails", "--only", "[ab]", "--only", '"$x%\\')
    printed = scheduled(job, "--", *flags, program=program)
    assert printed.code == 0, printed.err
    files = split(printed.out)
    assert list(files) == ["batchgen-job.service", "batchgen-job.timer"]
    units = tmp_path / "units"
    units.mkdir()
    for name, text in files.items():
        (units / name).write_text(text, "utf-8")
    assert schedules.verified(units) == ""
    service = files["batchgen-job.service"]
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "api-key").write_text(KEY + "\n")
    directory = Path(schedules.expanded(schedules.value(service, "WorkingDirectory")))
    assert directory == home
    done = run_in(directory, schedules.started(service, credentials))
    check_night(done, server, home)
    assert KEY not in printed.out


def crontab(server: FaultServer, job: Path, key: Path, program: Path) -> str:
    """The printed lines, for a key in a place of its own."""
    printed = scheduled(
        *(job, "--format", "cron", "--api-key-file", key),
        *("--", "--base-url", server.url, "--no-thumbnails"),
        program=program,
        HOME=str(key.parent),
    )
    assert printed.code == 0, printed.err
    return printed.out


def test_the_line_for_cron_mails_nothing_when_all_is_well_and_what_failed_when_not(
    server: FaultServer, tmp_path: Path
) -> None:
    home = tmp_path / ODD
    job = job_in(home)
    key = tmp_path / "the key"
    program = schedules.program(tmp_path / "b%n")
    _, command = schedules.crontab_line(crontab(server, job, key, program))
    log = tmp_path / ".local/state/batchgen/job.log"

    def night() -> str:
        done = run_in(home, ["/bin/sh", "-c", command])
        return done.out + done.err

    assert "cannot create" in night()  # nobody has made the directory of the log
    log.parent.mkdir(parents=True)
    mailed = night()
    assert "exit code 2" in mailed
    assert "key file" in mailed
    key.write_text(KEY)
    server.script = lambda asked: (
        servers.refuses(400) if asked.prompt == "b" else servers.draws(asked)
    )
    mailed = night()
    assert f"batchgen job: exit code 4; the end of {log}\n" in mailed
    assert "1/2 done, 1 failed" in mailed
    assert "bad_request" in mailed
    server.script = servers.draws
    job.write_text(job.read_text("utf-8").replace("prompt: b", "prompt: c"), "utf-8")
    assert night() == ""
    assert "2/2 done (1 reused)" in log.read_text("utf-8").splitlines()[-1]


def test_the_container_of_the_cron_job_makes_the_pictures(
    server: FaultServer, tmp_path: Path
) -> None:
    home = tmp_path / ODD
    job = job_in(home)
    program = schedules.program(tmp_path / "bin")
    printed = scheduled(
        *(job, "--format", "k8s", "--time-zone", "UTC"),
        *("--", "--base-url", server.url, "--no-thumbnails", "--only", "a", "--only", "$(b)"),
        *("--only", "b"),
        program=program,
    )
    assert printed.code == 0, printed.err
    document = schedules.read_yaml(printed.out)
    assert schedules.cron_job_errors(document) == []
    words = schedules.arguments(document)
    assert words[0] == "batchgen"
    assert "$(b)" in words
    mounts = {
        mount["name"]: mount["mountPath"] for mount in schedules.container(document)["volumeMounts"]
    }
    assert schedules.container(document)["workingDir"] == mounts["work"]
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "api-key").write_text(KEY)
    mounted = [word.replace(mounts["key"], str(secret)) for word in words]
    env = {one["name"]: one["value"] for one in schedules.container(document)["env"]}
    done = run_in(home, [program, *mounted[1:]], **{**env, "HOME": str(tmp_path)})
    check_night(done, server, home)


def test_a_program_that_is_a_module_is_started_by_its_interpreter(tmp_path: Path) -> None:
    done = batchgen("schedule", job_in(tmp_path), "--at", "02:00", "--user", "somebody")
    assert done.code == 0, done.err
    service = split(done.out)["batchgen-job.service"]
    started = schedules.started(service, tmp_path)
    assert Path(started[0]).is_absolute()
    assert started[1:4] == ["-m", "batchgen", "run"]
    assert schedules.value(service, "User") == "somebody"
    assert "/tmp of its own" in done.err
