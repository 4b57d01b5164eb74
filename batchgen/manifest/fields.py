"""Checks of single values, each of which reports a mistake instead of raising.

A check takes what was written, as text (YAML) or typed (JSON), and returns the value in its
normal form, or None after reporting what is wrong, what was expected, and the nearest valid word.
"""

import math
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeVar

from batchgen.errors import MAX_SHOWN_PROBLEMS
from batchgen.manifest.nodes import Place, Steps
from batchgen.wording import read_duration

WordT = TypeVar("WordT", bound=str)

MAX_ID_CHARS: Final = 180
NOT_IN_ID: Final = re.compile(r"[^\w.\-:# ]")
_OF_IDS: Final = f"1 to {MAX_ID_CHARS} letters, digits and . _ - : # or spaces"
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\Z")
_MAX_SHOWN_CHARS: Final = 60

NO_UTF8: Final = "a byte that is no UTF-8: save the file as UTF-8"


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with one value: the steps that lead to it, and a sentence.

    Attributes:
        at_key: The key is wrong, not its value.
        elsewhere: Where it stands, if that is in another file.
    """

    steps: Steps
    message: str
    at_key: bool = False
    elsewhere: tuple[Path, Place] | None = None


class _Placed(Protocol):
    message: str
    path: Path
    place: Place


@dataclass(slots=True)
class Checker:
    """Collects the mistakes and warnings of one item or of a job's head.

    Attributes:
        may_search: Whether to look for the nearest among what may be many, which takes time.
    """

    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[Mistake] = field(default_factory=list)
    may_search: bool = True
    _n_searches: int = 0

    def wrong(self, steps: Steps, message: str) -> None:
        """Report a value."""
        self.mistakes.append(Mistake(steps, message))

    def warn(self, steps: Steps, message: str) -> None:
        """Report a value that may not be what was meant."""
        self.warnings.append(Mistake(steps, message))

    def at_key(self, steps: Steps, message: str) -> None:
        """Report a key."""
        self.mistakes.append(Mistake(steps, message, at_key=True))

    def elsewhere(self, steps: Steps, found: _Placed) -> None:
        """Report what is wrong in another file that the value names."""
        self.mistakes.append(Mistake(steps, found.message, elsewhere=(found.path, found.place)))

    def near(self, word: Any, known: Collection[str]) -> str:
        """The same as `nearest`, for as many words as are shown to anybody."""
        if not self.may_search:
            return ""
        self._n_searches += 1
        self.may_search = self._n_searches < MAX_SHOWN_PROBLEMS
        return nearest(word, known)

    def mapping(
        self,
        value: Any,
        steps: Steps,
        known: Collection[str] | None,
        *,
        refused: Mapping[str, str] = MappingProxyType({}),
    ) -> Mapping[str, Any]:
        """Check that a value is a mapping of known fields; unknown ones are reported, left out.

        Args:
            value: What was written.
            steps: What leads to it.
            known: The names of the fields; None if any name will do.
            refused: Names that are known elsewhere, with what to say of them here.
        """
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.wrong(steps, f"expected a mapping, found {shown(value)}")
            return {}
        if known is None:
            return value
        for name in value:
            if name in refused:
                self.at_key((*steps, name), refused[name])
            elif name not in known:
                near = self.near(name, known)
                self.at_key((*steps, name), f"unknown field{near}")
        return {name: given for name, given in value.items() if name in known}

    def text(self, value: Any, steps: Steps) -> str | None:
        """Check that a value is text with something in it."""
        if not isinstance(value, str):
            remedy = "" if value is None else "; put it in quotes"
            self.wrong(steps, f"expected text, found {shown(value)}{remedy}")
        elif not value.strip():
            self.wrong(steps, "expected text, found only white space")
        elif not value.isascii() and not is_encodable(value):
            self.wrong(steps, "holds half a character (a lone surrogate)")
        else:
            return value
        return None

    def item_id(self, value: Any, steps: Steps) -> str | None:
        """Check an id: what it may be made of, and how long it may be."""
        text = self.text(value, steps)
        if text is None:
            return None
        text = unicodedata.normalize("NFC", text)
        bad = sorted(set(NOT_IN_ID.findall(text)))
        if bad or len(text) > MAX_ID_CHARS:
            what = (
                f"{len(text)} characters are too many"
                if not bad
                else f"{' '.join(map(repr, bad[:5]))} may not be in it"
            )
            self.wrong(steps, f"{what}; expected {_OF_IDS}")
            return None
        return text

    def job_name(self, value: Any, steps: Steps) -> str | None:
        """Check a job's name, which names its directory."""
        text = self.text(value, steps)
        if text is not None and not _NAME.match(text):
            self.wrong(
                steps,
                f"{shown(text)} is no job name; expected 1 to 100 of A-Z a-z 0-9 . _ -, "
                "no dot first",
            )
            return None
        return text

    def choice(
        self, value: Any, steps: Steps, allowed: Sequence[WordT], *, remedy: str = ""
    ) -> WordT | None:
        """Check that a value is one of a few words."""
        for word in allowed:
            if word == value:
                return word
        words = ", ".join(allowed)
        is_given = value is not None
        near = self.near(value, allowed)
        if remedy and not near and isinstance(value, str):
            near = f"; {remedy}"
        found = f"{shown(value)} is not one of" if is_given else "it is missing; expected one of"
        self.wrong(steps, f"{found} {words}{near}")
        return None

    def number(
        self,
        value: Any,
        steps: Steps,
        *,
        least: float = 0.0,
        most: float = math.inf,
        whole: bool = False,
    ) -> float | None:
        """Check a finite number from `least` to `most`."""
        number = _number(value)
        what = "a whole number" if whole else "a number"
        if number is None or (whole and not number.is_integer()):
            self.wrong(steps, f"expected {what}, found {shown(value)}")
        elif not least <= number <= most:
            span = (
                f"of at least {least:g}"
                if most == math.inf
                else f"from {least:.10g} to {most:.10g}"
            )
            self.wrong(steps, f"expected {what} {span}, found {shown(value)}")
        else:
            return number
        return None

    def duration(self, value: Any, steps: Steps) -> float | None:
        """Check a time such as `5h`, `30m`, `1h30m` or a number of seconds; in seconds."""
        seconds = _number(value)
        if seconds is None and isinstance(value, str):
            seconds = read_duration(value)
        if seconds is None or seconds < 0:
            self.wrong(
                steps, f"expected seconds, or a time such as 30m or 1h30m, found {shown(value)}"
            )
            return None
        return seconds

    def switch(self, value: Any, steps: Steps) -> bool | None:
        """Check true or false."""
        match value:
            case bool():
                return value
            case "true" | "True" | "TRUE":
                return True
            case "false" | "False" | "FALSE":
                return False
            case _:
                self.wrong(steps, f"expected true or false, found {shown(value)}")
                return None


def nearest(word: Any, known: Collection[str]) -> str:
    """`; did you mean 'x'?` for the nearest known word, or nothing."""
    near = nearest_word(word, known) if isinstance(word, str) else None
    return "" if near is None else f"; did you mean '{near}'?"


def nearest_word(word: str, known: Collection[str]) -> str | None:
    """The known word that is most like another; None if none is."""
    import difflib  # noqa: PLC0415 - most jobs misspell nothing

    spelt = {one.lower(): one for one in known}
    near = difflib.get_close_matches(word.lower(), spelt, n=1, cutoff=0.6)
    return spelt[near[0]] if near else None


def shown(value: Any) -> str:
    """A value as a message shows it: short, and told apart from its neighbours."""
    match value:
        case None:
            return "nothing"
        case str():
            text = value if len(value) <= _MAX_SHOWN_CHARS else value[:_MAX_SHOWN_CHARS] + "…"
            return repr(text)
        case bool():
            return "true" if value else "false"
        case list():
            return "a list" if value else "an empty list"
        case dict():
            return "a mapping" if value else "an empty mapping"
        case _:
            return str(value)[:_MAX_SHOWN_CHARS]


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and "_" not in str(value) else None


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can hold it: half a surrogate pair cannot be written anywhere."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
