"""What is wrong with text that is no YAML, in the words of whoever wrote it.

libyaml names what its grammar expected. Nearly always a text was meant, and needs quotes: the rest
of the message says so, and names the character that made the text something else.
"""

import re
from typing import Any, Final

import yaml

_REMEDY: Final = "put the whole text in quotes, or after >-"
_TAB: Final = "a tab: indent with spaces"
_QUOTES: Final = "text that begins with {} needs quotes"

# The first thing on a line, behind list marks and a key, where it opens a text or a list.
_OPENED: Final = re.compile(r"""\s*+(?:-\s++)*+(?:[^\s"'\[{][^:]*+:\s++)?(["'\[{])""")
_KEY_BEFORE: Final = re.compile(r"\s*+(?:-\s++)*+[^\s#].*?:\s")
_ALIAS: Final = re.compile(r"\*[\w-]+")

# What libyaml says, what that means, and whether it is about where its context begins.
_MEANINGS: Final = (
    ("tab character", _TAB, False),
    ("scanning a quoted scalar", "a quote is opened here and never closed", True),
    ("scanning an alias", _QUOTES.format("*"), True),
    ("scanning an anchor", _QUOTES.format("&"), True),
    ("duplicate anchor", f"an anchor is defined twice; {_QUOTES.format('&')}", False),
    ("scanning a directive", _QUOTES.format("%"), True),
    ("scanning a tag", _QUOTES.format("!"), True),
    ("undefined tag handle", _QUOTES.format("!"), True),
    (
        "scanning a block scalar",
        f"text after | or > begins on the next line; {_QUOTES.format('| or >')}",
        True,
    ),
    ("sequence entries are not allowed", f"no list can begin here; {_QUOTES.format('-')}", False),
    ("scanning a simple key", "a key needs ': ' after it, and a list's entry '- ' before it", True),
    ("unknown escape", "a \\ in double quotes: write \\\\, or use single quotes", False),
)


def fault(error: yaml.MarkedYAMLError, text: str) -> tuple[str, Any]:
    """What is wrong, with what to do about it, and the mark of where.

    Args:
        error: What the parser raised.
        text: What it was given.
    """
    said = _said(error)
    mark = error.problem_mark or error.context_mark
    for part, meaning, is_at_context in _MEANINGS:
        if part in said:
            return meaning, (error.context_mark or mark) if is_at_context else mark
    return (_meaning(said, text, mark.index, error.context_mark) if mark else said), mark


def _meaning(said: str, text: str, at: int, context: Any) -> str:
    """What is meant where that depends on the text before the place, or at it."""
    before = text[text.rfind("\n", 0, at) + 1 : at]
    if "cannot start any token" in said:
        ch = text[at : at + 1]
        return _TAB if ch == "\t" else _QUOTES.format(ch)
    if "undefined alias" in said and (alias := _ALIAS.match(text, at)):
        name = alias.group()
        return f"{name} names no anchor (&{name[1:]}) above it; {_QUOTES.format('*')}"
    if "expected ',' or" in said and context is not None:
        return f"{said} that is opened on line {context.line + 1}; {_REMEDY} if it is text"
    is_block = "expected key" in said or "mapping values" in said
    if is_block and (opened := _OPENED.match(before)):
        return f"text that begins with {opened[1]} and goes on after its end: {_REMEDY}"
    if "mapping values" in said and _KEY_BEFORE.match(before):
        return f"a ': ' inside plain text: {_REMEDY}"
    if is_block:
        return f"{said}: is it indented like those above it, and does a space follow each ':'?"
    return said


def _said(error: yaml.MarkedYAMLError) -> str:
    """What the parser said, as one sentence."""
    parts = [part for part in (error.problem, error.context) if part]
    return " ".join(reversed(parts) if parts[0].startswith("but ") else parts)
