"""Errors and warnings as they are found: bounded, without repeats, in the order of the file."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from batchgen.errors import JobError, Problem
from batchgen.manifest.expand import BadRow, Draft
from batchgen.manifest.fields import MAX_ID_CHARS, Checker, Mistake, is_encodable
from batchgen.manifest.nodes import Place, Steps
from batchgen.manifest.origins import Origin
from batchgen.objects import as_written
from batchgen.sanitize import printable

# A file of a million bad lines must not become a million messages; the first are those of most use.
MAX_KEPT: Final = 1_000
_MAX_FIELD_CHARS: Final = 300
_MAX_MESSAGE_CHARS: Final = 1_000


@dataclass(slots=True)
class Problems:
    """What is wrong with a job, and what may be.

    Attributes:
        errors: The first of them.
        n_errors: All of them.
        n_warnings: All of them; of those that are kept, equal ones count once.
    """

    errors: list[Problem] = field(default_factory=list)
    n_errors: int = 0
    n_warnings: int = 0
    _known: set[tuple[str, Place, str]] = field(default_factory=set)
    _warnings: dict[str, tuple[Problem, int]] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """Whether errors are only counted from here on, so that their places need no search."""
        return len(self.errors) >= MAX_KEPT

    def error(self, path: Path, place: Place, name: str, message: str) -> None:
        """Note an error, unless the same is known of the same place."""
        key = (str(path), place, message)
        if key in self._known:
            return
        self.n_errors += 1
        if not self.is_full:
            self._known.add(key)
            self.errors.append(_problem(path, place, name, message))

    def repeats_warning(self, message: str) -> bool:
        """Count a warning that is known already, of whatever item; its first place is enough."""
        known = self._warnings.get(message)
        if known is not None:
            self._warnings[message] = (known[0], known[1] + 1)
        return known is not None

    def warning(self, path: Path, place: Place, name: str, message: str) -> None:
        """Note a warning."""
        if self.repeats_warning(message):
            return
        self.n_warnings += 1
        if len(self._warnings) < MAX_KEPT:
            problem = replace(_problem(path, place, name, message), is_warning=True)
            self._warnings[message] = (problem, 1)

    def tell(self, n: int, draft: Draft, check: Checker) -> None:
        """Turn mistakes into problems; only now is anything looked up for its place."""
        for mistake in check.mistakes:
            if self.is_full and _is_alone(draft, mistake):
                self.n_errors += 1
                continue
            path, place = mistake.elsewhere or draft.place(mistake)
            is_in_table = mistake.elsewhere is not None or draft.is_in_row(mistake)
            reader = _read_by(draft.origin, path) if is_in_table else ""
            self.error(path, place, _field(n, draft, mistake), mistake.message + reader)
        for warning in check.warnings:
            if self.repeats_warning(warning.message):
                continue
            if len(self._warnings) >= MAX_KEPT:
                self.n_warnings += 1
                continue
            path, place = draft.place(warning)
            self.warning(path, place, _field(n, draft, warning), warning.message)

    def tell_row(self, n: int, row: BadRow) -> None:
        """Note a row that no item can be made of."""
        error = row.error
        message = error.message + _read_by(row.origin, error.path)
        self.error(error.path, error.place, f"items[{n}]", message)

    @property
    def sorted_errors(self) -> tuple[Problem, ...]:
        """The errors by file, in the order in which a first one was found, and by place."""
        order = {error.path: n for n, error in reversed(list(enumerate(self.errors)))}
        return tuple(sorted(self.errors, key=lambda one: (order[one.path], one.line, one.column)))

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The warnings in order of appearance, equal ones counted together."""
        return tuple(self._counted())

    def raise_errors(self) -> None:
        """Raise JobError if anything is wrong."""
        if self.errors:
            raise JobError(self.sorted_errors, n_problems=self.n_errors)

    def _counted(self) -> Iterator[Problem]:
        for problem, n in self._warnings.values():
            yield problem if n == 1 else problem.and_more(n - 1)


def _problem(path: Path, place: Place, name: str, message: str) -> Problem:
    """A problem whose words, some of which are the job's, are fit for a line of a terminal."""
    name, message = printable(name, _MAX_FIELD_CHARS), printable(message, _MAX_MESSAGE_CHARS)
    return Problem(as_written(path), place.line, place.column, name, message)


def written_id(written: Any) -> str | None:
    """The id of an item that may have mistakes."""
    identity = written.get("id") if isinstance(written, dict) else None
    return identity if isinstance(identity, str) and is_encodable(identity) else None


def dotted(steps: Steps) -> str:
    """Steps as a message writes them: `items[3].references[0]`."""
    return "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps).lstrip(".")


def _field(n: int, draft: Draft, mistake: Mistake) -> str:
    """`items[ID].field`, or the number of what is written where all its items share the mistake."""
    identity = written_id(draft.fields)
    is_own = not draft.is_expanded or draft.is_in_row(mistake)
    owner = identity if is_own and identity and is_short(identity) else n
    return dotted((f"items[{owner}]", *mistake.steps))


def _is_alone(draft: Draft, mistake: Mistake) -> bool:
    """Whether no other item can have the same mistake in the same place."""
    return not draft.is_expanded or (not draft.from_matrix and draft.is_in_row(mistake))


def is_short(identity: str) -> bool:
    """Whether an id can stand in a message, be it a good one or not."""
    return identity.isprintable() and len(identity) <= MAX_ID_CHARS


def _read_by(origin: Origin, table: Path) -> str:
    return f" (read by {origin.path}:{origin.line})" if table != origin.path else ""
