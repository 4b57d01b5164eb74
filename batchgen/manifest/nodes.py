"""YAML as plain values with places: text stays text, and every value knows its line and column.

YAML 1.1 would make the number 556 of an unquoted `9:16`. So nothing is resolved here: a scalar is
the text that was written, or None where nothing was written (`null`, `~` or empty), and each field
converts its own. Only what goes to the service as it stands (`extra`, `request`) is typed, by the
core schema of YAML 1.2, in which `9:16`, `no` and dates are text.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import yaml

MAX_YAML_BYTES: Final = 64 << 20
MAX_DEPTH: Final = 64
_MAX_DIGITS: Final = 300  # beyond, Python takes long over a number that no service takes
# Nodes reached a second time through an alias; a bomb passes it at once, a real job never.
MAX_ALIASED_NODES: Final = 200_000

_NOTHING: Final = frozenset({"", "~", "null", "Null", "NULL"})
_MERGE: Final = "tag:yaml.org,2002:merge"
_OWN_TAGS: Final = "tag:yaml.org,2002:"
_BUILT_IN: Final = frozenset(
    f"{_OWN_TAGS}{name}"
    for name in (
        *("str", "int", "float", "bool", "null", "timestamp", "value", "binary"),
        *("seq", "map", "merge"),
    )
)

_INT: Final = re.compile(r"[-+]?[0-9]+\Z")
_BASED: Final = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_SWITCHES: Final = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

Steps: TypeAlias = tuple[str | int, ...]
# Which members of a mapping are typed: True for a whole member, a mapping for members of it.
Typed: TypeAlias = "Mapping[str, Typed] | bool"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands; lines and columns count from 1."""

    line: int
    column: int


class YamlError(ValueError):
    """The text is no YAML that a job may hold."""

    def __init__(self, message: str, place: Place) -> None:
        """Set what is wrong, and where."""
        super().__init__(message)
        self.message = message
        self.place = place


@dataclass(slots=True)
class Document:
    """A parsed YAML document, or one line of JSON read as YAML for its places.

    Attributes:
        root: None for an empty document.
        first_line: The line of the file on which the text begins.
    """

    root: yaml.Node | None
    first_line: int = 1
    _seen: set[int] = field(default_factory=set)
    _aliased: int = 0

    def value(self, node: yaml.Node | None = None, *, typed: Typed = False) -> Any:
        """Turn a node (the whole document by default) into text, lists, mappings and None.

        Args:
            node: The document's own, or one that was made of them.
            typed: Where scalars become numbers and switches besides.

        Raises:
            YamlError: A duplicate key (both lines are named), an unknown tag, too deep, too many
                aliases.
        """
        node = node or self.root
        return None if node is None else self._plain(node, 0, typed)

    def restart(self) -> None:
        """Begin to read the document anew: nothing has been reached yet."""
        self._seen.clear()
        self._aliased = 0

    def place(self, steps: Steps, *, key: bool = False) -> Place:
        """Where a value stands, or its key; the nearest thing around it if it is not there."""
        node = self.root
        mark = node.start_mark if node is not None else None
        for n, step in enumerate(steps):
            found = _child(node, step)
            if found is None:
                break
            key_node, node = found
            mark = (key_node if key and n == len(steps) - 1 else node).start_mark
        return self._at(mark)

    def _at(self, mark: Any) -> Place:
        if mark is None:
            return Place(self.first_line, 1)
        return Place(mark.line + self.first_line, mark.column + 1)

    def _plain(self, node: yaml.Node, depth: int, typed: Typed) -> Any:
        if depth > MAX_DEPTH:
            raise YamlError(f"nested deeper than {MAX_DEPTH} levels", self._at(node.start_mark))
        if id(node) in self._seen:
            self._aliased += 1
            if self._aliased > MAX_ALIASED_NODES:
                raise YamlError("its aliases expand to too much", self._at(node.start_mark))
        self._seen.add(id(node))
        if node.tag not in _BUILT_IN:
            raise YamlError(f"the tag {node.tag} means nothing here", self._at(node.start_mark))
        match node:
            case yaml.ScalarNode():
                if node.style:
                    return node.value
                return core_scalar(node.value) if typed is True else _text(node.value)
            case yaml.SequenceNode():
                return [self._plain(child, depth + 1, typed) for child in node.value]
            case yaml.MappingNode():
                return self._mapping(node, depth, typed)
            case _:
                raise TypeError(node)

    def _mapping(self, node: yaml.MappingNode, depth: int, typed: Typed) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            at = self._at(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError("a key must be a word", at)
            if key_node.tag == _MERGE:
                value = self._plain(value_node, depth + 1, typed)
                for mapping in value if isinstance(value, list) else [value]:
                    merged = {**(mapping if isinstance(mapping, dict) else {}), **merged}
                continue
            key = key_node.value
            below = typed if isinstance(typed, bool) else typed.get(key, False)
            value = self._plain(value_node, depth + 1, below)
            if key in own:
                raise YamlError(f"duplicate key '{key}' (first on line {lines[key]})", at)
            own[key], lines[key] = value, at.line
        return {**merged, **own}


def core_scalar(text: str) -> str | int | float | bool | None:
    """What a plain scalar means by the core schema of YAML 1.2."""
    if text in _NOTHING:
        return None
    if text in _SWITCHES:
        return _SWITCHES[text]
    if _INT.match(text):
        return int(text) if len(text) < _MAX_DIGITS else float(text)
    if _BASED.match(text):
        return int(text, 0)
    return float(text) if _FLOAT.match(text) else text


def compose(text: str, *, first_line: int = 1) -> Document:
    """Parse one YAML document without resolving anything.

    Raises:
        YamlError: It is no YAML, with the place of the first thing that is wrong.
    """
    try:
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + first_line, mark.column + 1) if mark else Place(first_line, 1)
        raise YamlError(f"this is no YAML: {_why(error)}", place) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, max(error.position, 0)) + first_line
        raise YamlError("a character that YAML does not allow", Place(line, 1)) from error
    except RecursionError as error:
        raise YamlError(f"nested deeper than {MAX_DEPTH} levels", Place(first_line, 1)) from error
    return Document(root, first_line)


def children(node: yaml.Node | None, name: str) -> Sequence[yaml.Node] | None:
    """The nodes of a list under a key of a mapping; None if there is no such list."""
    found = _child(node, name)
    return found[1].value if found and isinstance(found[1], yaml.SequenceNode) else None


def emptied(node: yaml.Node | None, name: str) -> yaml.Node | None:
    """A mapping with nothing under one of its keys, sharing the rest."""
    if not isinstance(node, yaml.MappingNode):
        return node
    nothing = yaml.ScalarNode(f"{_OWN_TAGS}null", "", node.start_mark, node.end_mark)
    kept = [(key, nothing if key.value == name else value) for key, value in node.value]
    return yaml.MappingNode(node.tag, kept, node.start_mark, node.end_mark)


def _text(text: str) -> str | None:
    return None if text in _NOTHING else text


def _why(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.problem, error.context) if part]
    if "cannot start any token" in parts[0]:
        parts.append("(text that begins with @ or % needs quotes, and tabs do not indent)")
    return " ".join(reversed(parts) if parts[0].startswith("but ") else parts)


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return (node.value[step],) * 2 if step < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        return next(_named(node, step), None)
    return None


def _named(node: yaml.MappingNode, step: str | int) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value == step:
            yield key, value
