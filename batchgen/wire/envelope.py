"""The answer inside what a gateway made of it, and the shapes that its members come in.

Nothing here is of the API's own description: each shape was met in answers of gateways, or is one
that the API's own parser takes (a single object where there should be a list).
"""

from typing import Any, Final

# What some put an answer into.
_WRAPPERS: Final = ("response", "data")


def answer_in(document: Any) -> dict[str, Any] | None:
    """The object that holds the candidates; None if the document is no object at all.

    The streaming form of the API puts it into a list, some gateways into an object of their own.
    """
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict):
        return None
    if "candidates" not in document and "error" not in document:
        for name in _WRAPPERS:
            inner = document.get(name)
            if isinstance(inner, dict) and "candidates" in inner:
                return inner
    return document


def several(value: Any) -> list[Any]:
    """The members of a list, or the one object that stands in its place."""
    if isinstance(value, dict):
        return [value]
    return value if isinstance(value, list) else []


def is_thought(part: dict[str, Any]) -> bool:
    """Whether a part is marked as a thought, also by a gateway that writes it as text or number."""
    thought = part.get("thought")
    return thought == 1 or (isinstance(thought, str) and thought.lower() == "true")
