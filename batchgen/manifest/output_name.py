"""`output.name`: where the pictures of a job lie below `images/`.

    shoes/{sku}/{id}      a picture of the item `hero`, tagged sku A/17: shoes/A_17/hero.png

It knows `{id}`, `{model}` and the names of tags. A `/` that is written in it makes folders; one in
a value does not, so that no value leads out of `images/`, nor into a folder that nobody wrote.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from batchgen.manifest.fields import Checker, nearest, shown
from batchgen.manifest.nodes import Steps
from batchgen.manifest.templates import Template, TemplateError, parse, part_of
from batchgen.model import Item
from batchgen.naming import file_stem

DEFAULT: Final = "{id}"
# With every part as long as a part may be, the path is still one that any disk takes.
MAX_FOLDERS: Final = 8

_OF_EVERY_ITEM: Final = ("id", "model")
_PARTS_OF_A_VALUE: Final = re.compile(r"[.\[!:]")
_TAGS: Final = "tags."


@dataclass(frozen=True, slots=True)
class OutputName:
    """A path below `images/`, without the extension.

    Attributes:
        parts: The folders and the file's stem, a template each.
    """

    parts: tuple[Template, ...]

    def path(self, item: Item) -> str:
        """Where the item's picture lies; the item must have every tag that is read."""
        values = {**item.tags, "id": item.id, "model": item.model}
        return "/".join([file_stem(part.fill(values)) for part in self.parts])

    def fault(self, item: Item, *, may_search: bool = True) -> str | None:
        """What to say of an item that lacks a tag; None if it has all.

        Args:
            item: The item.
            may_search: Whether to look for the nearest tag.
        """
        for part in self.parts:
            for name in part.names:
                if name not in item.tags and name not in _OF_EVERY_ITEM:
                    return _missing(name, item, may_search=may_search)
        return None


def read_output_name(check: Checker, value: Any, steps: Steps) -> OutputName | None:
    """Read `output.name`; None for the default, which names files by their ids."""
    text = None if value is None else check.text(value, steps)
    if text is None or text == DEFAULT:
        return None
    try:
        template = parse(text)
    except TemplateError as error:
        check.wrong(steps, str(error))
        return None
    parts = _parts(template)
    fault = _fault(template, parts)
    if fault is not None:
        check.wrong(steps, fault)
        return None
    return OutputName(parts)


def _parts(template: Template) -> tuple[Template, ...]:
    """Split a template at each `/` that is written in it."""
    parts: list[Template] = []
    texts: list[str] = []
    names: list[str] = []
    for n, text in enumerate(template.texts):
        first, *others = text.split("/")
        texts.append(first)
        for other in others:
            parts.append(Template(tuple(texts), tuple(names)))
            texts, names = [other], []
        names.extend(template.names[n : n + 1])
    return (*parts, Template(tuple(texts), tuple(names)))


def _fault(template: Template, parts: tuple[Template, ...]) -> str | None:
    """What is wrong with a template whatever the items are."""
    for name in template.names:
        known = _PARTS_OF_A_VALUE.split(name, maxsplit=1)[0]
        if known != name and known in _OF_EVERY_ITEM:
            return part_of(name, _OF_EVERY_ITEM)
    if any("\\" in text for text in template.texts):
        return "a \\ makes no folder; write /"
    for part in parts:
        text = "".join(part.texts)
        if not part.names and not text.strip():
            return "a part of the path is empty; write a name before and after each /"
        if not part.names and not text.strip(". "):
            return f"{shown(text)} names no folder and no file; pictures stay below images/"
    if len(parts) > MAX_FOLDERS + 1:
        return f"{len(parts) - 1} folders are too many; expected at most {MAX_FOLDERS}"
    return None


def _missing(name: str, item: Item, *, may_search: bool) -> str:
    known = _PARTS_OF_A_VALUE.split(name.removeprefix(_TAGS), maxsplit=1)[0]
    if known in item.tags:
        return f"output.name reads {{{name}}}; write {{{known}}}, without prefix, part or format"
    near = nearest(name, (*item.tags, *_OF_EVERY_ITEM)) if may_search else ""
    return f"output.name reads the tag {shown(name)}, which this item does not have{near}"
