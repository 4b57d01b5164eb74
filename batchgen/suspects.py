"""Which reference a refusal may be about, as far as it can be told. Pure.

A service rarely says which picture it did not like. It may name the part of the message; where the
request has one reference, that is it; else all of them are under suspicion, and say so.

Source: docs/api-notes.md, section 1 (a prompt that is refused for one of its references).
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Final

from batchgen.errors import AttemptError, BadRequest, PromptBlocked
from batchgen.model import Item, Reference
from batchgen.references import shown_url

_PART: Final = re.compile(r"\bparts\[(\d{1,3})\]")
_MAX_NAMED: Final = 5
_REMEDY: Final = "try without it, or with a new JPEG of it"


def suspects(error: AttemptError, item: Item, turn: int) -> str:
    """What to add to the message of an error: nothing, or the references that may be the cause.

    Args:
        error: Why the call failed; only a refused prompt or request gives suspects.
        item: What was asked for.
        turn: Which turn of it, from 1.
    """
    turns = item.conversation[:turn]
    references = [reference for one in turns for reference in one.references]
    if not references:
        return ""
    told = _told(error.message, references) if len(turns) == 1 else None
    match error:
        case PromptBlocked() | BadRequest() if told is not None:
            return f"; the part that is named is the reference {_name(told)}"
        case PromptBlocked() if len(references) == 1:
            return f"; its reference {_name(references[0])} may be the cause: {_REMEDY}"
        case PromptBlocked():
            listed = ", ".join(map(_name, references[:_MAX_NAMED]))
            more = ", …" if len(references) > _MAX_NAMED else ""
            n = len(references)
            return f"; one of its {n} references may be the cause ({listed}{more}): {_REMEDY}"
        case _:
            return ""


def _told(message: str, references: Sequence[Reference]) -> Reference | None:
    """The reference that stands in the part of the message that is named."""
    found = _PART.search(message)
    return dict(_places(references)).get(int(found[1])) if found else None


def _places(references: Sequence[Reference]) -> Iterator[tuple[int, Reference]]:
    """The parts of a message in which its references stand: after the text, and after labels."""
    at = 1
    for reference in references:
        at += reference.label is not None
        yield at, reference
        at += 1


def _name(reference: Reference) -> str:
    if reference.item is not None:
        return f"item:{reference.item}"
    if reference.url is not None:
        return shown_url(reference.url)
    return PurePath(reference.path or "").name
