"""Everything that can go wrong, as one tree.

Each class says how far it reaches and, for an attempt, whether the call may have been billed and
which budget a retry would come from. Messages say what happened, to what, and what to do.

    BatchgenError
    ├── UsageError            wrong usage or a missing key                      exit 2
    ├── JobError              the job file has errors; carries every Problem    exit 3
    ├── Stopped               before anything was sent                          exit 130, 143
    ├── OutputHeld            another run holds the output directory            exit 11
    ├── StoreError            the disk failed                                   exit 12
    ├── ClusterError          the machines that work for a run failed           exit 5
    └── AttemptError          one call failed
        ├── Unreachable       never connected                     no     transport
        │   ├── UnknownHost   its name does not exist
        │   └── OutOfFiles    this process may open no more
        ├── ProxyRefused      the proxy does not let it through   no     stops the run
        ├── TlsFailed         certificate or protocol             no     stops the run
        ├── ConnectionDropped gone before an answer               maybe  unsure
        ├── NoAnswer          no answer, or a stalled one         maybe  unsure
        ├── BadReply          a cut or nonsensical 200            maybe  unsure
        │   ├── Unterminated  its frame broke off; whole if its JSON is
        │   └── TooLarge      cut by us: there is no end to it
        ├── NotTheApi         a redirect or a web page            no     stops the run
        ├── ServerRefused     busy, surely not executed           no     transport
        ├── ServerError       may have been executed              maybe  unsure
        ├── RateLimited       429 that passes                     no     rate_limit
        │   └── Saturated     one that takes minutes to pass      no     rate_limit
        ├── QuotaExhausted    429 until tomorrow, or no quota     no     stops the run
        ├── BadRequest        the request is wrong                no     never
        ├── Unauthorized      the key is wrong                    no     stops the run
        ├── Forbidden         not allowed for this request        no     never
        ├── OutOfCredit       nothing left to pay with            no     stops the run
        ├── ModelUnavailable  gone, or no route to it             no     never
        ├── Blocked           a picture that was refused          varies never
        │   └── PromptBlocked a prompt that was, or its pictures
        ├── TextOnly, NoImage a whole answer without a picture    yes    no_image
        ├── WrongSize         of another ratio or size            yes    no_image, or never
        ├── BrokenImage       data that is no whole image         yes    unsure
        ├── MissingReference  a file changed or went away         no     never
        ├── SkippedDependency an item that it builds on failed    no     never
        ├── Cancelled         given up by us while under way      maybe  never (stays to be done)
        ├── Interrupted       sent by a run that was killed       maybe  never (stays to be done)
        ├── WorkerLost        sent by a worker that is gone       maybe  unsure
        │   └── NeverLeft     it was gone before that             no     transport
        └── Bug               our own fault                       maybe  stops the run

The classes survive pickling, so that an executor may carry them from another process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

from batchgen.model import Billed, Outcome

RetryFamily: TypeAlias = Literal["transport", "unsure", "rate_limit", "no_image", "never"]

MAX_SHOWN_PROBLEMS = 50


class BatchgenError(Exception):
    """The root: whatever batchgen raises on purpose. The message is meant for a person."""

    exit_code: ClassVar[int] = 1


class UsageError(BatchgenError):
    """Wrong usage, or a missing or odd key. Nothing was sent."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One error or warning in a job file, with its place (lines and columns count from 1)."""

    path: str
    line: int
    column: int
    field: str
    message: str
    is_warning: bool = False

    def __str__(self) -> str:
        """`PATH:LINE:COL: FIELD: what is wrong`, or `PATH:LINE:COL: warning: FIELD: …`."""
        kind = "warning: " if self.is_warning else ""
        subject = f"{self.field}: " if self.field else ""
        return f"{self.path}:{self.line}:{self.column}: {kind}{subject}{self.message}"

    def and_more(self, n: int) -> "Problem":
        """The same, which so many other items share."""
        return replace(self, message=f"{self.message} (and {n} more like it)")


class JobError(BatchgenError):
    """The job file has errors. Nothing was sent; every problem found is in `problems`."""

    exit_code = 3

    def __init__(self, problems: tuple[Problem, ...], n_problems: int | None = None) -> None:
        """Keep the problems; the message shows the first 50 and counts the rest.

        Args:
            problems: As many as are kept.
            n_problems: How many there are, if that is more.
        """
        super().__init__(problems, n_problems)
        self.problems = problems
        self.n_problems = len(problems) if n_problems is None else n_problems

    def __str__(self) -> str:
        """Return the problems, a line each, and their number."""
        lines = [str(problem) for problem in self.problems[:MAX_SHOWN_PROBLEMS]]
        n = self.n_problems
        hidden = n - len(lines)
        if hidden > 0:
            lines.append(f"… and {hidden} more")
        lines.append(f"{n} error{'s' if n != 1 else ''} in the job; nothing was sent")
        return "\n".join(lines)


class Stopped(BatchgenError):
    """A signal came before anything was sent. Nothing was sent, and nothing has changed."""

    def __init__(self, reason: str, exit_code: int) -> None:
        """Keep what stopped it, and the exit code that says so."""
        super().__init__(reason, exit_code)
        self.reason = reason
        self.exit_code = exit_code  # type: ignore[misc]

    def __str__(self) -> str:
        """Say that nothing was lost."""
        return f"stopped by {self.reason} while the job was being read; nothing was sent"


class OutputHeld(BatchgenError):
    """Another run holds the output directory. Nothing was sent."""

    exit_code = 11


class StoreError(BatchgenError):
    """The disk could not take what it was given; the run stops with what it has."""

    exit_code = 12

    @classmethod
    def of(cls, error: OSError, where: Path) -> "StoreError":
        """Name an error of the system: which file, and what is wrong with it."""
        return cls(f"{error.filename or where}: {error.strerror or error}")


class ClusterError(BatchgenError):
    """The cluster that works for a run is gone, or has no place for it; a later run goes on."""

    exit_code = 5


@contextmanager
def store_errors(where: Path) -> Iterator[None]:
    """Turn what the system refuses inside into a StoreError that names the file."""
    try:
        yield
    except OSError as error:
        raise StoreError.of(error, where) from error


class AttemptError(BatchgenError):
    """One call failed.

    Class attributes give the rule; `billed` may be narrowed for a single case, where the answer
    itself said so. `first_wait_s` is the longest wait before the first retry where the server
    tells none; it doubles with each, up to `longest_wait_s`. Google's client and CometAPI's guide
    both start at one second and stop growing at a minute.
    """

    outcome: ClassVar[Outcome]
    family: ClassVar[RetryFamily] = "never"
    stops_run: bool = False
    first_wait_s: ClassVar[float] = 1.0
    longest_wait_s: ClassVar[float] = 60.0
    billed: Billed = "no"

    def __init__(
        self,
        message: str,
        *,
        billed: Billed | None = None,
        tries: int | None = None,
        wait_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        """Set the sentence for a person, and what the answer told besides.

        `tries` narrows how many more are worth it, None leaves that to the policy. `wait_s` is
        how long the server asks to wait, if it did; no retry comes sooner.
        """
        super().__init__(message)
        self.message = message
        if billed is not None:
            self.billed = billed
        self.tries = tries
        self.wait_s = wait_s
        self.request_id = request_id

    @property
    def kind(self) -> str:
        """The class's name, as the ledger's `error.kind`."""
        return type(self).__name__

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling with all attributes."""
        return (_rebuild, (type(self), self.message, self.__dict__.copy()))


def _rebuild(kind: type[AttemptError], message: str, attributes: dict[str, object]) -> AttemptError:
    error = kind(message)
    error.__dict__.update(attributes)
    return error


def attempt_error(kind: str) -> type[AttemptError] | None:
    """The class of a name, as `kind` says it; None if there is none."""
    known = AttemptError.__subclasses__()
    for one in known:
        if one.__name__ == kind:
            return one
        known += one.__subclasses__()
    return None


class Unreachable(AttemptError):
    """No connection came about; nothing was sent, nothing billed, retried freely."""

    outcome = Outcome.CONNECTION
    family = "transport"
    first_wait_s = 0.2


class UnknownHost(Unreachable):
    """There is no host of that name; nothing was sent, nothing billed, retried freely."""


class OutOfFiles(Unreachable):
    """The process may open no more files, sockets among them; nothing was sent, nothing billed."""


class ProxyRefused(AttemptError):
    """The proxy does not let this run through; nothing was sent, and the run stops."""

    outcome = Outcome.CONNECTION
    stops_run = True


class TlsFailed(AttemptError):
    """The certificate or the TLS exchange failed; the run stops, there is no way around it."""

    outcome = Outcome.CONNECTION
    stops_run = True


class ConnectionDropped(AttemptError):
    """The connection was lost after sending and before a whole answer; may be billed."""

    outcome = Outcome.CONNECTION
    family = "unsure"
    billed: Billed = "maybe"


class NoAnswer(AttemptError):
    """No answer within the time allowed, or one that stalled; may be billed."""

    outcome = Outcome.TIMEOUT
    family = "unsure"
    billed: Billed = "maybe"


class BadReply(AttemptError):
    """A 200 that was cut, malformed or nonsensical; may be billed."""

    outcome = Outcome.BAD_REPLY
    family = "unsure"
    billed: Billed = "maybe"


class Unterminated(BadReply):
    """The frame of an answer broke off. If its JSON is whole nothing is lost, and it is kept."""


class TooLarge(BadReply):
    """An answer that was cut because it is larger than any sane one; not asked for again.

    Of its pictures those are kept that came whole, and nothing else: a server must not be able to
    fill the disk with halves.
    """


class NotTheApi(AttemptError):
    """A redirect or a web page where the API should be: the address is wrong; the run stops."""

    outcome = Outcome.BAD_REPLY
    stops_run = True


class ServerRefused(AttemptError):
    """A 5xx, 409 or 425 that says the call was not executed; retried freely."""

    outcome = Outcome.SERVER_ERROR
    family: ClassVar[RetryFamily] = "transport"


class ServerError(AttemptError):
    """A 5xx, 408 or 499 behind which the call may have been executed and billed."""

    outcome = Outcome.SERVER_ERROR
    family: ClassVar[RetryFamily] = "unsure"
    billed: Billed = "maybe"


class RateLimited(ServerRefused):
    """A 429 that passes."""

    outcome = Outcome.RATE_LIMITED
    family = "rate_limit"
    first_wait_s = 2.0


class Saturated(RateLimited):
    """A limit that takes minutes to pass: of what may be spent in ten, or a gateway's channel."""

    first_wait_s = 30.0
    longest_wait_s = 600.0


class QuotaExhausted(AttemptError):
    """A quota that will not come back during this run; the run stops, items stay to be done."""

    outcome = Outcome.QUOTA_EXHAUSTED
    stops_run = True


class BadRequest(AttemptError):
    """The service refused the request as wrong; the same request would be refused again."""

    outcome = Outcome.BAD_REQUEST


class Unauthorized(AttemptError):
    """The key is missing, wrong or suspended; the run stops."""

    outcome = Outcome.UNAUTHORIZED
    stops_run = True


class Forbidden(AttemptError):
    """This request is not allowed for this key; its item fails."""

    outcome = Outcome.UNAUTHORIZED


class OutOfCredit(AttemptError):
    """There is nothing left to pay with; the run stops."""

    outcome = Outcome.OUT_OF_CREDIT
    stops_run = True


class ModelUnavailable(AttemptError):
    """The model is gone, unknown or has no route; its items fail."""

    outcome = Outcome.MODEL_UNAVAILABLE


class Blocked(AttemptError):
    """The prompt or the picture was refused; the same prompt meets the same refusal."""

    outcome = Outcome.BLOCKED
    billed: Billed = "yes"


class PromptBlocked(Blocked):
    """The prompt was refused before anything was drawn, for its words or for a reference."""


class NoImage(AttemptError):
    """A whole answer without a final image, paid; often random, so worth a few more tries.

    Some finish reasons deserve one more, MAX_TOKENS none: `tries` says so.
    """

    outcome = Outcome.NO_IMAGE
    family = "no_image"
    billed: Billed = "yes"


class TextOnly(NoImage):
    """The model wrote instead of drawing; random, so worth a few more tries."""

    outcome = Outcome.TEXT_ONLY


class WrongSize(AttemptError):
    """A picture of another ratio or size than was asked for, and the job does not take it."""

    outcome = Outcome.WRONG_SIZE
    family = "no_image"
    billed: Billed = "yes"


class BrokenImage(AttemptError):
    """Image data that is no whole image; paid, and kept in quarantine.

    What was no image in the first place would be none again: `tries` is 0.
    """

    outcome = Outcome.BROKEN_IMAGE
    family = "unsure"
    billed: Billed = "yes"


class MissingReference(AttemptError):
    """A reference changed or went away since the run began; nothing was sent."""

    outcome = Outcome.MISSING_REFERENCE


class SkippedDependency(AttemptError):
    """An item that this one builds on, or one that asks for the same, ended without a picture.

    Nothing was sent.
    """

    outcome = Outcome.SKIPPED_DEPENDENCY


class Cancelled(AttemptError):
    """We gave the call up while it was under way; may be billed, the item stays to be done."""

    outcome = Outcome.CANCELLED
    billed: Billed = "maybe"


class Interrupted(AttemptError):
    """A run that was killed had sent this; may be billed, the item stays to be done."""

    outcome = Outcome.INTERRUPTED
    billed: Billed = "maybe"


class WorkerLost(AttemptError):
    """The process that made the call, or its machine, is gone; may be billed."""

    outcome = Outcome.INTERRUPTED
    family: ClassVar[RetryFamily] = "unsure"
    billed: Billed = "maybe"


class NeverLeft(WorkerLost):
    """The process that was to make the call was gone before it could."""

    family = "transport"
    billed: Billed = "no"


class Bug(AttemptError):
    """An error of our own while handling one item; recorded, and the run ends with exit 1."""

    outcome = Outcome.BUG
    stops_run = True
    billed: Billed = "maybe"
