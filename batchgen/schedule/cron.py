r"""One line of a crontab.

Cron hands the line to `/bin/sh`, and mails what it prints. It prints nothing when all is well, and
the end of the log when it is not. A `%` would be a line break there, and `\%` is a `%`. What other
backslashes are differs from one cron to the next. Source: crontab(5).
"""

import shlex
from typing import Final

from batchgen.errors import UsageError
from batchgen.schedule.start import Start, commented

# Debian's cron cuts what is longer, without a word (MAX_COMMAND is 1000, with the end of the text).
_MAX_COMMAND_BYTES: Final = 998
_N_LINES: Final = 20


def render(start: Start) -> dict[str, str]:
    """The file by its name: comments, and the line.

    Raises:
        UsageError: A path with a backslash, or a line that cron would cut.
    """
    state = f"{start.home}/.local/state/batchgen"
    log = f"{state}/{start.name}.log"
    command = _command(start, log)
    if "\\" in command:
        raise UsageError(
            "a path or a flag with a backslash: crons do not agree on what it is; rename it"
        )
    written = command.replace("%", "\\%")
    n_bytes = len(written.encode())
    if n_bytes > _MAX_COMMAND_BYTES:
        raise UsageError(
            f"the crontab's line would have {n_bytes} bytes, and cron cuts it after "
            f"{_MAX_COMMAND_BYTES}: set flags in the job, or use --format systemd"
        )
    steps = [shlex.join(["mkdir", "-p", state]), *start.key_steps(start.key_file or "", sudo=False)]
    hook = "A hook's address"
    if start.hook_env is not None:
        hook = f"The hook's address, {start.hook_env}=…"
    head = [
        f"The batchgen job {start.name}, {start.when.in_words}, for the crontab of {start.user}.",
        "To install it:",
        *(f"  {step}" for step in steps),
        "  crontab -e   # add the line below; crontab -l shows it",
        f"Its log: {log}",
        "Cron mails (to MAILTO) only when it ends with another exit code than 0.",
        "Once now, to see it work: give the command to sh" + (", each \\% as %" * ("%" in command)),
        f"{hook}, or BATCHGEN_… of any flag: a line NAME=VALUE above it. Only you",
        "and root can read your crontab.",
    ]
    return {f"{start.unit}.crontab": f"{commented(head)}{start.when.cron} {written}\n"}


def _command(start: Start, log: str) -> str:
    """What the shell is given: the run, its log, and what is mailed if it fails."""
    speaks = {"quiet", "verbose", "progress"} & start.asked
    key = () if start.key_file is None else ("--api-key-file", start.key_file)
    # Without progress, but with what is warned of: nobody else reads that at night.
    quiet = () if speaks else ("--progress", "none")
    run = shlex.join([*start.program, "run", start.job_from_here, *quiet, *start.flags, *key])
    # A line of JSON has its own time.
    stamp = "" if "log_format" in start.asked else "date; "
    told = f'echo "batchgen {start.name}: exit code $?; the end of $log"'
    return (
        f"log={shlex.quote(log)}; cd {shlex.quote(start.directory)} && {{ {stamp}{run}; }} "
        f'>>"$log" 2>&1 || {{ {told}; tail -n {_N_LINES} "$log"; }}'
    )
