"""What schedulers make of the files that `schedule` prints, read as their manuals say.

Nothing of the product is in here: systemd.service(5) and systemd.syntax(7), crontab(5), and the
reference of Kubernetes.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema
import pytest
import yaml

from tests.commands import ROOT

Json: TypeAlias = dict[str, Any]

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="no systemd-analyze: on Debian, apt-get install systemd; "
    "what systemd says of the units was NOT TRIED",
)
_ESCAPE = re.compile(r"\\(.)")
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')+""")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'')
CRON_ENV = {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}


def program(directory: Path) -> Path:
    """An installed `batchgen`, which starts what is tested, wherever it is started from."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "batchgen"
    path.write_text(
        f"#!{sys.executable}\n"
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from batchgen.cli import main\nmain()\n",
        "utf-8",
    )
    path.chmod(0o755)
    return path


def values(unit: str) -> Iterator[tuple[str, str]]:
    """The `NAME=VALUE` of a unit file."""
    for line in unit.split("\n"):
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            yield name, value


def value(unit: str, name: str) -> str:
    """The only value of that name."""
    (found,) = (value for one, value in values(unit) if one == name)
    return found


def expanded(text: str, credentials: Path | None = None) -> str:
    """A value with its specifiers replaced; any but `%%` and `%d` is a mistake."""

    def replaced(found: re.Match[str]) -> str:
        if found[1] == "d":
            assert credentials is not None
            return str(credentials)
        assert found[1] == "%", found[0]
        return "%"

    return re.sub("%(.?)", replaced, text, flags=re.DOTALL)


def words(text: str, credentials: Path | None = None) -> list[str]:
    """The words of a value: unquoted first, then specifiers."""
    assert not _WORD.sub("", text).strip(), text
    return [expanded(_unquoted(word), credentials) for word in _WORD.findall(text)]


def started(unit: str, credentials: Path | None = None) -> list[str]:
    """The words that ExecStart starts; its colon says that no `$` means anything."""
    command = value(unit, "ExecStart")
    assert command[0] == ":"
    return words(command[1:], credentials)


def _unquoted(word: str) -> str:
    inner = _QUOTED.sub(lambda found: found[1] if found[1] is not None else found[2], word)
    return _ESCAPE.sub(r"\1", inner)


def verified(directory: Path) -> str:
    """What systemd says against the units in a directory: nothing, if all is well."""
    units = sorted(directory.glob("*.service")) + sorted(directory.glob("*.timer"))
    assert units
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0 or done.stderr, done
    return done.stderr


def crontab_line(text: str) -> tuple[str, str]:
    """The five fields of the only line, and the command that its shell is given."""
    (line,) = (line for line in text.splitlines() if not line.startswith("#"))
    *fields, command = line.split(" ", 5)
    assert not re.search(r"(?<!\\)%", command), "a line break, to cron"
    assert not re.search(r"\\[^%]", command), "a backslash, of which crons think differently"
    assert len(command.encode()) < 999, "cron cuts it"
    return " ".join(fields), command.replace("\\%", "%")


def cron_days(field: str) -> set[int]:
    """The days of cron's last field, Sunday being 0."""
    days: set[int] = set()
    for part in field.replace("*", "0-6").split(","):
        first, _, last = part.partition("-")
        assert int(first) <= int(last or first), field
        days |= set(range(int(first), int(last or first) + 1))
    assert days <= set(range(7))
    return days


def cron_job_errors(document: Json) -> list[str]:
    """What a cluster would say against a CronJob."""
    told = [f"{error.json_path}: {error.message}" for error in _schema().iter_errors(document)]
    return told or _mount_errors(document)


@cache
def _schema() -> jsonschema.Draft202012Validator:
    schema = json.loads((ROOT / "tests/schemas/cronjob.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def _mount_errors(document: Json) -> list[str]:
    """What no schema can say: a mount has a volume, and a day's range does not go backwards."""
    pod = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    mounts = {mount["name"] for one in pod["containers"] for mount in one["volumeMounts"]}
    cron_days(document["spec"]["schedule"].split()[-1])
    return [f"volumes {volumes}, mounts {mounts}"] if volumes != mounts else []


def read_yaml(text: str) -> Json:
    """The only document."""
    document: Json = yaml.safe_load(text)
    return document


def container(document: Json) -> Json:
    """The container of a CronJob."""
    pod = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (only,) = pod["containers"]
    return dict(only)


def arguments(document: Json) -> list[str]:
    """Its words, as Kubernetes hands them over: `$(NAME)` is a variable, and `$$` a `$`."""
    given = container(document)
    handed = [*given["command"], *given["args"]]
    for word in handed:
        assert not re.search(r"(?<!\$)(?:\$\$)*\$\(", word), f"a variable: {word}"
    return [word.replace("$$", "$") for word in handed]
