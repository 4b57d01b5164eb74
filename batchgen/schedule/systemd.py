"""A service and its timer, for systemd 250 or newer.

What may be in a value, and how it is quoted: systemd.syntax(7), systemd.service(5, "Command
lines"), systemd.unit(5, "Specifiers"). The hardening: systemd.exec(5).
"""

import re
import shlex
from typing import Final

from batchgen.errors import UsageError
from batchgen.schedule.start import Start, commented

_PLAIN: Final = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
# systemd starts no program with one of these in its path.
_NOT_IN_PROGRAMS: Final = frozenset("'\"\\")
_CREDENTIAL: Final = "api-key"
_HARDENING: Final = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=read-only
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
PrivateTmp=yes
PrivateDevices=yes
KeyringMode=private
LockPersonality=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
"""


def render(start: Start) -> dict[str, str]:
    """The two files by name.

    Raises:
        UsageError: A path that systemd has no way to write.
    """
    service, timer = f"{start.unit}.service", f"{start.unit}.timer"
    return {service: _service(start, service, timer), timer: _timer(start, timer)}


def _service(start: Start, service: str, timer: str) -> str:
    head = [
        f"/etc/systemd/system/{service}",
        "",
        f"The batchgen job {start.name}, {start.when.in_words}, by {timer}. Needs systemd 250.",
        "To install it, with the two files (--into DIR writes them) in /etc/systemd/system:",
        *(f"  {line}" for line in _steps(start, service, timer)),
        f"Its log: journalctl -u {service}",
        f"A hook's address, or BATCHGEN_… of any flag: lines NAME=VALUE in {_env_file(start)},",
        "of mode 600; it may be missing.",
    ]
    credential = (
        "" if start.key_file is None else f"LoadCredential={_CREDENTIAL}:{_path(start.key_file)}\n"
    )
    paths = " ".join(_word(path) for path in (start.output, *start.writes))
    return (
        f"{commented(head)}\n"
        "[Unit]\n"
        f"Description=batchgen: {start.name}\n"
        "Wants=network-online.target\n"
        "After=network-online.target\n"
        "\n"
        "[Service]\n"
        "Type=oneshot\n"
        f"User={start.user}\n"
        f"WorkingDirectory={_path(start.directory)}\n"
        f"{credential}"
        f"EnvironmentFile=-{_env_file(start)}\n"
        f"ExecStart={_command(start)}\n"
        "# Only the run itself is told to stop; what is under way then has its --grace.\n"
        "KillMode=mixed\n"
        f"TimeoutStopSec={start.end_s}\n"
        "TimeoutStartSec=infinity\n"
        "# Stopped by somebody with items left: the next night goes on from there.\n"
        "SuccessExitStatus=143\n"
        "Nice=10\n"
        f"ReadWritePaths={paths}\n"
        f"{_HARDENING}"
    )


def _timer(start: Start, timer: str) -> str:
    return (
        f"{commented([f'/etc/systemd/system/{timer}'])}\n"
        "[Unit]\n"
        f"Description=batchgen: {start.name}, {start.when.in_words}\n"
        "\n"
        "[Timer]\n"
        f"OnCalendar={start.when.calendar}\n"
        "# A night during which the machine was off is made up for when it starts.\n"
        "Persistent=true\n"
        f"Unit={start.unit}.service\n"
        "\n"
        "[Install]\n"
        "WantedBy=timers.target\n"
    )


def _steps(start: Start, service: str, timer: str) -> list[str]:
    """What is typed once, in a shell."""
    return [
        shlex.join(["mkdir", "-p", start.output, *start.writes])
        + f"   # as {start.user}, who writes there",
        *start.key_steps(start.key_file or "", sudo=True),
        *start.hook_steps(f"sudo install -D -m 600 /dev/stdin {shlex.quote(_env_file(start))}"),
        "sudo systemctl daemon-reload",
        f"sudo systemctl enable --now {timer}",
        f"systemctl list-timers {timer}",
        f"sudo systemctl start --no-block {service}   # once now, to see it work",
    ]


def _command(start: Start) -> str:
    """The line of ExecStart; the colon at its front leaves every `$` as it is."""
    program, *words = start.program
    if set(program) & _NOT_IN_PROGRAMS:
        raise UsageError(
            f"{program}: systemd starts no program with a quote or a backslash in its path; "
            "install batchgen elsewhere"
        )
    key = () if start.key_file is None else ("--api-key-file", f"%d/{_CREDENTIAL}")
    words += ["run", start.job, *start.unless("progress", "--progress", "plain"), *start.flags]
    return " ".join([":" + _word(program), *map(_word, words), *key])


def _env_file(start: Start) -> str:
    return f"/etc/batchgen/{start.name}.env"


def _word(text: str) -> str:
    """One word of a list of words."""
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _path(path: str) -> str:
    """A path that is all of a value, where quotes are taken as they are."""
    if path != path.strip() or path.endswith("\\"):
        raise UsageError(
            f"{path!r}: systemd takes no path that ends in a blank or a backslash; rename it"
        )
    return path.replace("%", "%%")
