"""Checks of single values, each of which reports a mistake instead of raising.

A check takes what was written, as text (YAML) or typed (JSON), and returns the value in its
normal form, or None after reporting what is wrong, what was expected, and the nearest valid word.
"""

import difflib
import math
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from batchgen.manifest.nodes import Steps

_ID: Final = re.compile(r"[\w.\-:# ]{1,180}\Z")
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\Z")
_MAX_SHOWN_CHARS: Final = 60


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with one value: the steps that lead to it, and a sentence.

    Attributes:
        at_key: The key is wrong, not its value.
    """

    steps: Steps
    message: str
    at_key: bool = False


@dataclass(slots=True)
class Checker:
    """Collects the mistakes of one item or of a job's head."""

    mistakes: list[Mistake] = field(default_factory=list)

    def wrong(self, steps: Steps, message: str) -> None:
        """Report a value."""
        self.mistakes.append(Mistake(steps, message))

    def mapping(
        self,
        value: Any,
        steps: Steps,
        known: Collection[str],
        later: Collection[str] = (),
    ) -> Mapping[str, Any]:
        """Check that a value is a mapping of known fields; unknown ones are reported, left out."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.wrong(steps, f"expected a mapping, found {shown(value)}")
            return {}
        for name in value:
            if name in later and value[name] is not None:
                self._at_key((*steps, name), "this version of batchgen does not support it yet")
            elif name not in known and name not in later:
                self._at_key((*steps, name), f"unknown field{nearest(name, known)}")
        return {name: given for name, given in value.items() if name in known}

    def _at_key(self, steps: Steps, message: str) -> None:
        self.mistakes.append(Mistake(steps, message, at_key=True))

    def text(self, value: Any, steps: Steps) -> str | None:
        """Check that a value is text with something in it."""
        if not isinstance(value, str):
            self.wrong(steps, f"expected text, found {shown(value)}; put it in quotes")
        elif not value.strip():
            self.wrong(steps, "expected text, found only white space")
        elif not value.isascii() and not is_encodable(value):
            self.wrong(steps, "holds half a character (a lone surrogate)")
        else:
            return value
        return None

    def prompt(self, value: Any, steps: Steps) -> str | None:
        """Check a prompt, which is text and not yet the name of a file."""
        if isinstance(value, dict):
            self.wrong(steps, "this version of batchgen takes a prompt as text only, not {file: …}")
            return None
        return self.text(value, steps)

    def item_id(self, value: Any, steps: Steps) -> str | None:
        """Check an id: what it may be made of, and how long it may be."""
        text = self.text(value, steps)
        if text is None:
            return None
        text = unicodedata.normalize("NFC", text)
        if not _ID.match(text):
            bad = sorted({ch for ch in text if not _ID.match(ch)})
            what = (
                f"{len(text)} characters are too many"
                if not bad
                else f"{' '.join(map(repr, bad[:5]))} may not be in it"
            )
            self.wrong(steps, f"{what}; expected 1 to 180 letters, digits and . _ - : # or spaces")
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

    def choice(self, value: Any, steps: Steps, allowed: Sequence[str]) -> str | None:
        """Check that a value is one of a few words."""
        if isinstance(value, str) and value in allowed:
            return value
        self.wrong(
            steps,
            f"{shown(value)} is not one of {', '.join(allowed)}{nearest(value, allowed)}",
        )
        return None

    def number(
        self, value: Any, steps: Steps, *, least: float = 0.0, whole: bool = False
    ) -> float | None:
        """Check a finite number of at least `least`."""
        number = _number(value)
        what = "a whole number" if whole else "a number"
        if number is None or (whole and not number.is_integer()):
            self.wrong(steps, f"expected {what}, found {shown(value)}")
        elif number < least:
            self.wrong(steps, f"expected {what} of at least {least:g}, found {shown(value)}")
        else:
            return number
        return None

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
    if not isinstance(word, str):
        return ""
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


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
            return "a list"
        case dict():
            return "a mapping"
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
