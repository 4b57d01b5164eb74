"""What is printed for systemd, cron and Kubernetes, read as they read it."""

import copy
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from batchgen.errors import UsageError
from batchgen.schedule import Start, check_texts, cron, k8s, read_when, systemd
from tests import schedules
from tests.schedules import Json, needs_systemd

# More than this, of 10, and something of the hardening has gone.
MAX_EXPOSURE = 2.0
PLAIN = Start(
    name="spring",
    when=read_when("02:00", "mon-fri"),
    program=("/bin/sh",),
    job="/srv/shop/spring.yaml",
    flags=("--max-cost", "5"),
    asked=frozenset({"max_cost_usd"}),
    directory="/srv/shop",
    output="/srv/shop/output",
    key_env=("COMETAPI_KEY",),
    key_file="/etc/batchgen/spring.key",
    user="batch",
    home="/home/batch",
)
ODD = "/srv/nächte für 100% %d $HOME ${HOME} 'x' \"y\" #1;"
HOSTILE = replace(
    PLAIN,
    program=("/bin/sh", "a $b", 'c"d', "e'f", "%h"),
    job=f"{ODD}/job.yaml",
    flags=("--only", "$(id) `id` $$ %% %", "--tag", "a=b;c\td".replace("\t", " "), "--only", ""),
    directory=ODD,
    output=f"{ODD}/output",
    writes=(f"{ODD}/metrics",),
    key_file=f"{ODD}/a.key",
    home="/home/b%tch o'neil",
)
CLUSTER = {"image": "batchgen:0.1.0", "time_zone": "Europe/Berlin"}
# A path that the flags lead to is relative, in a container.
STARTS = {"plain": PLAIN, "hostile": HOSTILE}


def written(files: dict[str, str], directory: Path) -> Path:
    for name, text in files.items():
        (directory / name).write_text(text, "utf-8")
    return directory


# --- systemd ------------------------------------------------------------------------------------


@needs_systemd
@pytest.mark.parametrize("which", STARTS)
def test_systemd_finds_nothing_wrong_with_service_and_timer(which: str, tmp_path: Path) -> None:
    assert schedules.verified(written(systemd.render(STARTS[which]), tmp_path)) == ""


@needs_systemd
def test_systemd_would_find_a_misspelt_setting_and_a_bad_quote(tmp_path: Path) -> None:
    files = systemd.render(PLAIN)
    service = files["batchgen-spring.service"]
    files["batchgen-spring.service"] = service.replace("KillMode=mixed", "KilMode=mixed")
    assert "KilMode" in schedules.verified(written(files, tmp_path))
    files["batchgen-spring.service"] = service.replace("--max-cost", '"--max-cost')
    assert schedules.verified(written(files, tmp_path)) != ""


@needs_systemd
def test_systemd_counts_little_that_the_service_is_exposed_to(tmp_path: Path) -> None:
    written(systemd.render(PLAIN), tmp_path)
    told = subprocess.run(
        [
            *("systemd-analyze", "security", "--offline=true", "--no-pager"),
            str(tmp_path / "batchgen-spring.service"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", told.stdout)
    assert found is not None, told
    assert float(found[1]) <= MAX_EXPOSURE, told.stdout


@pytest.mark.parametrize("which", STARTS)
def test_systemd_starts_the_words_that_are_meant_whatever_they_hold(which: str) -> None:
    start = STARTS[which]
    unit = systemd.render(start)["batchgen-spring.service"]
    assert schedules.started(unit, Path("/run/keys")) == [
        *(*start.program, "run", start.job, "--progress", "plain", *start.flags),
        *("--api-key-file", "/run/keys/api-key"),
    ]
    assert schedules.expanded(schedules.value(unit, "WorkingDirectory")) == start.directory
    assert schedules.words(schedules.value(unit, "ReadWritePaths")) == [start.output, *start.writes]
    credential = schedules.expanded(schedules.value(unit, "LoadCredential"))
    assert credential == f"api-key:{start.key_file}"


def test_a_backslash_is_one_to_systemd_too() -> None:
    flags = ("--only", "a\\b\\", "--only", "\\n c", "--only", '\\"')
    start = replace(PLAIN, flags=flags, output="/srv/a\\n b")
    unit = systemd.render(start)["batchgen-spring.service"]
    assert schedules.started(unit, Path("/run"))[-8:-2] == list(flags)
    assert schedules.words(schedules.value(unit, "ReadWritePaths")) == ["/srv/a\\n b"]


# What the kernel is asked for: systemd's figure would forgive the loss of one.
YES = "NoNewPrivileges ProtectProc ProtectClock ProtectHostname ProtectKernelLogs PrivateTmp "
YES += "ProtectKernelModules ProtectKernelTunables ProtectControlGroups PrivateDevices "
YES += "LockPersonality RemoveIPC RestrictNamespaces RestrictRealtime RestrictSUIDSGID"


def test_the_service_asks_for_each_protection() -> None:
    found = dict(schedules.values(systemd.render(PLAIN)["batchgen-spring.service"]))
    asked = {name: found.get(name) for name in YES.split()}
    assert asked == {**dict.fromkeys(asked, "yes"), "ProtectProc": "invisible"}
    assert (found["ProtectSystem"], found["ProtectHome"]) == ("strict", "read-only")
    assert (found["CapabilityBoundingSet"], found["SystemCallFilter"]) == ("", "@system-service")


def test_a_service_without_a_key_names_no_credential() -> None:
    unit = systemd.render(replace(PLAIN, key_file=None, key_env=()))["batchgen-spring.service"]
    assert "api-key" not in unit
    assert schedules.started(unit)[-2:] == ["--max-cost", "5"]


def test_the_time_to_end_is_longer_than_the_grace() -> None:
    start = replace(PLAIN, grace_s=300.5)
    unit = systemd.render(start)["batchgen-spring.service"]
    assert int(schedules.value(unit, "TimeoutStopSec")) > 300.5 + 30
    document = schedules.read_yaml(_manifest(start))
    pod = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > 300.5 + 30


def test_the_timer_starts_the_service_at_the_time() -> None:
    timer = systemd.render(PLAIN)["batchgen-spring.timer"]
    assert schedules.value(timer, "OnCalendar") == "Mon..Fri *-*-* 02:00:00"
    assert schedules.value(timer, "Unit") == "batchgen-spring.service"
    assert schedules.value(timer, "Persistent") == "true"


@pytest.mark.parametrize(
    "start",
    [
        replace(PLAIN, program=('/opt/a"b/batchgen',)),
        replace(PLAIN, program=("/opt/a\\b/batchgen",)),
        replace(PLAIN, directory="/srv/shop "),
        replace(PLAIN, directory="/srv/shop\\"),
        replace(PLAIN, key_file="/srv/key\\"),
    ],
)
def test_what_systemd_cannot_write_is_refused(start: Start) -> None:
    with pytest.raises(UsageError):
        systemd.render(start)


# --- cron ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", STARTS)
def test_cron_gives_its_shell_the_words_that_are_meant(which: str, tmp_path: Path) -> None:
    """The shell itself tells what it was given: `cd` and the program are functions here."""
    start = replace(STARTS[which], program=("told", *STARTS[which].program), home=str(tmp_path))
    (tmp_path / ".local/state/batchgen").mkdir(parents=True)
    fields, command = schedules.crontab_line(cron.render(start)["batchgen-spring.crontab"])
    functions = 'cd() { told "$@"; }\ntold() { printf "%s\\0" "$@"; }\ndate() { :; }\n'
    done = subprocess.run(["/bin/sh", "-c", functions + command], capture_output=True, check=True)
    log = (tmp_path / ".local/state/batchgen/spring.log").read_bytes()
    assert done.stdout.decode().split("\0")[:-1] == [start.directory]
    assert done.stderr == b""
    assert fields == "0 2 * * 1-5"
    assert log.decode().split("\0")[:-1] == [
        *(*start.program[1:], "run", "./" + start.job.rpartition("/")[2], "--progress", "none"),
        *start.flags,
        *("--api-key-file", str(start.key_file)),
    ]


@pytest.mark.parametrize("asked", ["verbose", "progress", "quiet"])
def test_cron_is_as_quiet_as_the_user_wants_it(asked: str) -> None:
    start = replace(PLAIN, asked=frozenset({asked}))
    assert " --progress none " not in cron.render(start)["batchgen-spring.crontab"]


def test_a_line_that_cron_would_cut_is_refused_and_one_byte_less_is_not() -> None:
    def line_of(n_bytes: int) -> str:
        start = replace(PLAIN, flags=("--only", "ü" * 40 + "x" * n_bytes))
        return cron.render(start)["batchgen-spring.crontab"].splitlines()[-1]

    n_other = len(line_of(1).encode()) - len("0 2 * * 1-5 ") - 1
    assert len(line_of(998 - n_other).encode()) == len("0 2 * * 1-5 ") + 998
    with pytest.raises(UsageError, match="999 bytes"):
        line_of(999 - n_other)


def test_a_backslash_of_which_crons_think_differently_is_refused() -> None:
    with pytest.raises(UsageError, match="backslash"):
        cron.render(replace(PLAIN, directory="/srv/a\\b"))


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\x1b[31mb", "a\u2028b", "a\udcffb"])
@pytest.mark.parametrize(
    "field",
    ["job", "directory", "output", "key_file", "home", "user", "flags", "program", "writes"],
)
def test_what_no_line_can_hold_is_refused_wherever_it_stands(field: str, text: str) -> None:
    value: Any = (text,) if field in {"flags", "program", "writes"} else text
    check_texts(PLAIN)
    with pytest.raises(UsageError, match="line break"):
        check_texts(replace(PLAIN, **{field: value}))


# --- Kubernetes ---------------------------------------------------------------------------------


def _manifest(start: Start) -> str:
    (text,) = k8s.render(start, **CLUSTER).values()
    return text


@pytest.mark.parametrize("which", STARTS)
def test_a_cluster_takes_the_cron_job(which: str) -> None:
    document = schedules.read_yaml(_manifest(STARTS[which]))
    assert schedules.cron_job_errors(document) == []
    assert document["spec"]["schedule"] == "0 2 * * 1-5"
    assert document["spec"]["timeZone"] == "Europe/Berlin"
    assert document["spec"]["concurrencyPolicy"] == "Forbid"
    assert schedules.arguments(document) == [
        *("batchgen", "run", "./" + STARTS[which].job.rpartition("/")[2], "--log-format", "json"),
        *(*STARTS[which].flags, "--api-key-file", "/etc/batchgen/api-key"),
    ]


def test_a_cron_job_without_a_key_mounts_no_secret() -> None:
    document = schedules.read_yaml(_manifest(replace(PLAIN, key_file=None, key_env=())))
    assert schedules.cron_job_errors(document) == []
    assert "api-key" not in yaml.safe_dump(document)


def test_words_that_look_like_numbers_and_switches_stay_text() -> None:
    """YAML 1.1 and 1.2 differ in what a plain word is: none is left plain."""
    words = ("1e3", "012", "0o7", "no", "on", "~", "1_000", "06:30", "null", "=", "- a", "{b: c}")
    text = _manifest(replace(PLAIN, flags=words))
    handed = schedules.arguments(schedules.read_yaml(text))
    assert [word for word in handed if word in words] == list(words)
    for word in words:
        assert f'- "{word}"\n' in text


Change = Callable[[Json], None]


def _container(document: Json) -> Json:
    pod: Json = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    only: Json = pod["containers"][0]
    return only


def _rename(mapping: Json, name: str, to: str) -> None:
    mapping[to] = mapping.pop(name)


WRONG: dict[str, Change] = {
    "a misspelt field of the spec": lambda one: _rename(
        one["spec"], "concurrencyPolicy", "concurencyPolicy"
    ),
    "a misspelt field of a Job": lambda one: _rename(
        one["spec"]["jobTemplate"]["spec"], "backoffLimit", "backOffLimit"
    ),
    "a misspelt field of a container": lambda one: _rename(
        _container(one), "workingDir", "workdir"
    ),
    "a security setting of a pod in a container": lambda one: _container(one)[
        "securityContext"
    ].update(fsGroup=1),
    "a misspelt source of a volume": lambda one: _rename(
        one["spec"]["jobTemplate"]["spec"]["template"]["spec"]["volumes"][0],
        *("persistentVolumeClaim", "persistentVolumeclaim"),
    ),
    "a mount without a volume": lambda one: _container(one)["volumeMounts"][0].update(name="work2"),
    "a number among the words": lambda one: _container(one)["args"].append(5),
    "a policy that there is not": lambda one: one["spec"].update(concurrencyPolicy="forbid"),
    "Always": lambda one: one["spec"]["jobTemplate"]["spec"]["template"]["spec"].update(
        restartPolicy="Always"
    ),
    "a long name": lambda one: one["metadata"].update(name="x" * 53),
    "capitals in a name": lambda one: one["metadata"].update(name="Spring"),
    "a schedule of six fields": lambda one: one["spec"].update(schedule="0 0 2 * * 1-5"),
    "a Sunday that is 7": lambda one: one["spec"].update(schedule="0 2 * * 5-7"),
    "an hour that is 24": lambda one: one["spec"].update(schedule="0 24 * * *"),
    "a zone that is local": lambda one: one["spec"].update(timeZone="Local"),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_schema_of_a_cron_job_refuses(what: str) -> None:
    document = schedules.read_yaml(_manifest(PLAIN))
    changed = copy.deepcopy(document)
    WRONG[what](changed)
    assert schedules.cron_job_errors(document) == []
    assert schedules.cron_job_errors(changed) != []


NAMES = [
    "Spring",
    "spring",
    "spring_catalog",
    "spring.catalog",
    "-",
    "_",
    "a" * 100,
    "a" * 99 + "b",
]
NAMES += ["spring-", "SPRING", "x" * 43, "x" * 44, "1.10"]


def test_names_of_jobs_become_names_that_a_cluster_takes_and_no_two_the_same() -> None:
    found = {name: k8s.object_name(f"batchgen-{name}") for name in NAMES}
    for name, made in found.items():
        assert re.fullmatch("[a-z0-9]([a-z0-9-]*[a-z0-9])?", made), name
        assert len(made) <= 52, name
        document = schedules.read_yaml(_manifest(replace(PLAIN, name=name)))
        assert schedules.cron_job_errors(document) == [], name
    assert len(set(found.values())) == len(NAMES)
    assert found["spring"] == "batchgen-spring"
    assert found["x" * 43] == f"batchgen-{'x' * 43}"


@pytest.mark.parametrize(
    "start",
    [
        replace(PLAIN, job="/srv/other/spring.yaml"),
        replace(PLAIN, output="/srv/output"),
        replace(PLAIN, paths=("/srv/shop/output",)),
        replace(PLAIN, paths=("a/../../prices.yaml",)),
    ],
)
def test_what_the_volume_does_not_hold_is_refused(start: Start) -> None:
    with pytest.raises(UsageError, match="below this directory"):
        k8s.render(start, **CLUSTER)


# --- all three ----------------------------------------------------------------------------------

RENDERED: dict[str, Callable[[Start], dict[str, str]]] = {
    "systemd": systemd.render,
    "cron": cron.render,
    "k8s": lambda start: k8s.render(start, **CLUSTER),
}


@pytest.mark.parametrize("kind", RENDERED)
def test_progress_of_the_users_own_is_not_set_twice(kind: str) -> None:
    start = replace(PLAIN, flags=("--progress", "none"), asked=frozenset({"progress"}))
    assert "".join(RENDERED[kind](start).values()).count("--progress") == 1


@pytest.mark.parametrize("kind", RENDERED)
def test_the_key_gets_into_its_place_past_every_command_line(kind: str) -> None:
    """By its variable where that may be told, and else by hand."""
    known = "".join(RENDERED[kind](PLAIN).values())
    assert "printenv COMETAPI_KEY | " in known
    unknown = "".join(RENDERED[kind](replace(PLAIN, key_env=())).values())
    assert "printenv" not in unknown
    assert "paste the key" in unknown
    none = "".join(RENDERED[kind](replace(PLAIN, key_env=(), key_file=None)).values())
    assert "/dev/stdin" not in none


def test_the_address_of_the_jobs_hook_gets_into_a_file_for_root_alone(tmp_path: Path) -> None:
    """The line of the comments is run by a shell, with a `sudo` and an /etc of its own."""
    start = replace(PLAIN, hook_env="NIGHTLY_HOOK")
    (text, *_) = systemd.render(start).values()
    (line,) = [one for one in text.splitlines() if "NIGHTLY_HOOK" in one]
    command = line.lstrip("# ").replace("/etc/batchgen", str(tmp_path))
    address = "https://hooks.invalid/a%20b?x=$HOME&y=1"
    subprocess.run(
        ["/bin/sh", "-euc", f'sudo() {{ "$@"; }}\n{command}'],
        env={"PATH": os.environ["PATH"], "NIGHTLY_HOOK": address},
        check=True,
    )
    (file,) = tmp_path.iterdir()
    assert file.read_text() == f"NIGHTLY_HOOK={address}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    for render in RENDERED.values():
        assert "NIGHTLY_HOOK" in "".join(render(start).values())
        assert "NIGHTLY_HOOK" not in "".join(render(PLAIN).values())
