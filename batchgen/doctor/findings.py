"""What was found, and what a process that found it exits with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from batchgen.ending import EXIT_LEFT, EXIT_STOPPED
from batchgen.errors import JobError, StoreError, UsageError

Status: TypeAlias = Literal["ok", "warning", "problem", "skipped"]

BAD_USAGE: Final = UsageError.exit_code
BAD_JOB: Final = JobError.exit_code
BAD_DISK: Final = StoreError.exit_code
REFUSED: Final = EXIT_STOPPED
UNREACHABLE: Final = EXIT_LEFT
# As a run ranks them: what keeps it from beginning first.
_RANKS: Final = (BAD_USAGE, BAD_JOB, BAD_DISK, REFUSED, UNREACHABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: What it is about: one word.
        message: What was found.
        remedy: What to do about it; None where nothing is wrong.
        exit_code: What a problem means for the process; 0 for everything else.
    """

    check: str
    status: Status
    message: str
    remedy: str | None = None
    exit_code: int = 0


def fine(check: str, message: str) -> Finding:
    """Nothing is wrong with it."""
    return Finding(check=check, status="ok", message=message)


def warning(check: str, message: str, remedy: str) -> Finding:
    """It may be wrong, or will be; a run is not held up by it."""
    return Finding(check=check, status="warning", message=message, remedy=remedy)


def problem(check: str, message: str, remedy: str, exit_code: int) -> Finding:
    """A run would not get further than this."""
    return Finding(
        check=check, status="problem", message=message, remedy=remedy, exit_code=exit_code
    )


def skipped(check: str, message: str) -> Finding:
    """It was not looked at, and why."""
    return Finding(check=check, status="skipped", message=message)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was found, in the order in which it was looked at."""

    findings: Sequence[Finding]

    @property
    def is_ok(self) -> bool:
        """Whether there is no problem; warnings are none."""
        return not self.exit_code

    @property
    def exit_code(self) -> int:
        """That of the problem which ranks highest; 0 without one."""
        codes = {one.exit_code for one in self.findings}
        return next((code for code in _RANKS if code in codes), 0)

    def count(self, status: Status) -> int:
        """How many findings there are of a kind."""
        return sum(one.status == status for one in self.findings)
