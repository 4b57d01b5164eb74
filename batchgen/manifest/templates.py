"""Templates: text with `{name}` in it, filled from the row and the matrix of an item.

    Product photo of {title}, {scene} scene

A name is taken as it stands, from the brace to the brace; there are no attributes, indexes or
formats. `{{` and `}}` are literal braces. What is put in is never looked at again.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from batchgen.manifest.fields import Checker
from batchgen.manifest.nodes import Steps


class TemplateError(ValueError):
    """A template that cannot be read or filled; the message is for the user."""


@dataclass(frozen=True, slots=True)
class Template:
    """A text in pieces.

    Attributes:
        texts: What stands between the names; one more than there are names.
        names: What is put in between, in order.
    """

    texts: tuple[str, ...]
    names: tuple[str, ...]

    def fill(self, values: Mapping[str, str]) -> str:
        """Put the values in; there must be one of each name."""
        filled = [self.texts[0]]
        for name, text in zip(self.names, self.texts[1:], strict=True):
            filled += (values[name], text)
        return "".join(filled)


# What a written value becomes: itself, with a Template in place of each text that holds names.
Compiled: TypeAlias = Any


def parse(text: str) -> Template:
    """Read a template.

    Raises:
        TemplateError: A brace without its partner, or nothing between two.
    """
    texts: list[str] = []
    names: list[str] = []
    piece: list[str] = []
    at = 0
    while at < len(text):
        ch = text[at]
        if ch in "{}" and text[at : at + 2] == ch * 2:
            piece.append(ch)
            at += 2
        elif ch == "{":
            end = text.find("}", at)
            names.append(_name(text[at + 1 : end], is_closed=end >= 0))
            texts.append("".join(piece))
            piece.clear()
            at = end + 1
        elif ch == "}":
            raise TemplateError("a } without its {; write }} for a brace itself")
        else:
            end = _next_brace(text, at)
            piece.append(text[at:end])
            at = end
    return Template((*texts, "".join(piece)), tuple(names))


def compiled(check: Checker, value: Any, steps: Steps, known: Collection[str] | None) -> Compiled:
    """Turn the texts of a written value into templates, at any depth; keys stay as they are.

    Args:
        check: Takes templates that cannot be read, and names that are not known.
        value: Text, list, mapping or anything else, which is a constant.
        steps: What leads to the value.
        known: The names that there are; None if only the rows can tell.
    """
    match value:
        case str() if "{" in value or "}" in value:
            return _compiled_text(check, value, steps, known)
        case list():
            return [compiled(check, one, (*steps, n), known) for n, one in enumerate(value)]
        case dict():
            return {
                name: compiled(check, one, (*steps, name), known) for name, one in value.items()
            }
        case _:
            return value


def names_in(value: Compiled) -> frozenset[str]:
    """The names that a compiled value is filled from."""
    return frozenset(name for _, template in templates_in(value) for name in template.names)


def templates_in(value: Compiled, steps: Steps = ()) -> Iterator[tuple[Steps, Template]]:
    """The templates of a compiled value, each with the steps that lead to it."""
    match value:
        case Template():
            yield steps, value
        case list():
            for n, one in enumerate(value):
                yield from templates_in(one, (*steps, n))
        case dict():
            for name, one in value.items():
                yield from templates_in(one, (*steps, name))
        case _:
            return


def filled(value: Compiled, values: Mapping[str, str]) -> Any:
    """Fill all templates of a compiled value; there must be a value of each name."""
    match value:
        case Template():
            return value.fill(values)
        case list():
            return [filled(one, values) for one in value]
        case dict():
            return {name: filled(one, values) for name, one in value.items()}
        case _:
            return value


def unknown(check: Checker, name: str, known: Collection[str]) -> str:
    """What to say of a name that there is no value of."""
    there = f"; expected {', '.join(known)}" if known else "; there are none"
    near = check.near(name, known) or there
    return part_of(name, known) or f"no column and no matrix name is '{name}'{near}"


def part_of(name: str, known: Collection[str]) -> str:
    """What to say of a name that means to read a part of a value, or to give it a format."""
    part = re.split(r"[.\[!:]", name, maxsplit=1)[0]
    if part == name or part not in known:
        return ""
    return f"{{{name}}}: a value has no parts and no format; write {{{part}}}"


def _compiled_text(
    check: Checker, text: str, steps: Steps, known: Collection[str] | None
) -> Template | str | None:
    try:
        template = parse(text)
    except TemplateError as error:
        check.wrong(steps, str(error))
        return None
    missing = [name for name in template.names if known is not None and name not in known]
    for name in missing:
        check.wrong(steps, unknown(check, name, known or ()))
    if missing:
        return None
    return template if template.names else template.texts[0]


def _name(between: str, *, is_closed: bool) -> str:
    if not is_closed:
        raise TemplateError("a { without its }; write {{ for a brace itself")
    if not between or "{" in between:
        raise TemplateError(f"{{{between}}} names nothing; write {{{{ for a brace itself")
    return between


def _next_brace(text: str, at: int) -> int:
    found = [end for end in (text.find("{", at), text.find("}", at)) if end >= 0]
    return min(found, default=len(text))
