"""YAML as plain values with places: text stays text, and every value knows its line and column.

YAML 1.1 would make the number 556 of an unquoted `9:16`. So nothing is resolved here: a scalar is
the text that was written, or None where nothing was written (`null`, `~` or empty), and each field
converts its own. Only what goes to the service as it stands (`extra`, `request`) is typed, by the
core schema of YAML 1.2, in which `9:16`, `no` and dates are text.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import yaml

from batchgen.manifest.yaml_faults import fault

MAX_YAML_BYTES: Final = 64 << 20
MAX_DEPTH: Final = 64
# A node takes about 600 bytes once it is read. What has more is a bomb, or better as JSON Lines.
MAX_KEYS: Final = 50_000
MAX_NODES: Final = 1_000_000
TOO_DEEP: Final = f"nested deeper than {MAX_DEPTH} levels"
_MAX_DIGITS: Final = 300  # beyond, Python takes long over a number that no service takes
# Nodes reached a second time through an alias; a bomb passes it at once, a real job never.
MAX_ALIASED_NODES: Final = 200_000
# Their text, which is shared here, and is written out once for each when it is sent.
MAX_ALIASED_CHARS: Final = MAX_YAML_BYTES
# And of the whole document, whose items may all share one base.
MAX_ALIASED_NODES_IN_ALL: Final = 5_000_000

# Where a key is looked up in fewer, an index is not worth its while.
_FEW_KEYS: Final = 16

_NOTHING: Final = frozenset({"", "~", "null", "Null", "NULL"})
_OWN_TAGS: Final = "tag:yaml.org,2002:"
_MERGE: Final = f"{_OWN_TAGS}merge"
_TEXT: Final = f"{_OWN_TAGS}str"

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
# What a tag is written at: a scalar or not, and the place in the text; a mapping may begin where
# its first key does.
_Tags: TypeAlias = dict[tuple[bool, int], str]


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
        tags: Those that are written; a node alone does not tell `!!str 5` from `5`.
    """

    root: yaml.Node | None
    first_line: int = 1
    tags: _Tags = field(default_factory=dict, repr=False)
    _seen: set[int] = field(default_factory=set)
    _aliased: int = 0
    _aliased_chars: int = 0
    _aliased_in_all: int = 0
    _by_key: dict[int, dict[str, tuple[yaml.Node, yaml.Node]]] = field(default_factory=dict)

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
        self._aliased = self._aliased_chars = 0
        return None if node is None else self._plain(node, 0, typed)

    def restart(self) -> None:
        """Begin to read the document anew: nothing has been reached yet."""
        self._seen.clear()
        self._aliased_in_all = 0

    def place(self, steps: Steps, *, key: bool = False) -> Place:
        """Where a value stands, or its key; the nearest thing around it if it is not there."""
        node = self.root
        mark = node.start_mark if node is not None else None
        for n, step in enumerate(steps):
            found = self._child(node, step)
            if found is None:
                break
            key_node, node = found
            mark = (key_node if key and n == len(steps) - 1 else node).start_mark
        return self._at(mark)

    def _child(self, node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
        """The same as the function, but quick where many keys of one mapping are asked for."""
        if not isinstance(node, yaml.MappingNode) or len(node.value) < _FEW_KEYS:
            return _child(node, step)
        if (by_key := self._by_key.get(id(node))) is None:
            by_key = self._by_key[id(node)] = {}
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    by_key.setdefault(key.value, (key, value))
        return by_key.get(step) if isinstance(step, str) else None

    def _at(self, mark: Any) -> Place:
        if mark is None:
            return Place(self.first_line, 1)
        return Place(mark.line + self.first_line, mark.column + 1)

    def _plain(self, node: yaml.Node, depth: int, typed: Typed) -> Any:
        if depth > MAX_DEPTH:
            raise YamlError(TOO_DEEP, self._at(node.start_mark))
        if id(node) in self._seen:
            self._aliased += 1
            self._aliased_in_all += 1
            if isinstance(node, yaml.ScalarNode):
                self._aliased_chars += len(node.value)
            if (
                self._aliased > MAX_ALIASED_NODES
                or self._aliased_chars > MAX_ALIASED_CHARS
                or self._aliased_in_all > MAX_ALIASED_NODES_IN_ALL
            ):
                raise YamlError("its aliases expand to too much", self._at(node.start_mark))
        self._seen.add(id(node))
        is_text = bool(self.tags) and self._is_tagged_text(node)
        match node:
            case yaml.ScalarNode():
                if node.style or is_text:
                    return node.value
                return core_scalar(node.value) if typed is True else _text(node.value)
            case yaml.SequenceNode():
                return [self._plain(child, depth + 1, typed) for child in node.value]
            case yaml.MappingNode():
                return self._mapping(node, depth, typed)
            case _:
                raise TypeError(node)

    def _is_tagged_text(self, node: yaml.Node) -> bool:
        """Whether it is written as `!!str`; no other tag means anything here."""
        is_scalar = isinstance(node, yaml.ScalarNode)
        tag = self.tags.get((is_scalar, node.start_mark.index))
        if tag is None or (tag == _TEXT and is_scalar):
            return tag is not None
        written = f"!!{tag.removeprefix(_OWN_TAGS)}" if tag.startswith(_OWN_TAGS) else tag
        remedy = "leave it out, or write !!str for text" if is_scalar else "leave it out"
        message = f"the tag {written} means nothing here: {remedy}"
        raise YamlError(message, self._at(node.start_mark))

    def _mapping(self, node: yaml.MappingNode, depth: int, typed: Typed) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            at = self._at(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError("a key must be a word", at)
            if self.tags:
                self._is_tagged_text(key_node)
            if key_node.tag == _MERGE:
                for mapping in self._merged(value_node, depth, typed):
                    merged = {**mapping, **merged}
                continue
            key = key_node.value
            below = typed if isinstance(typed, bool) else typed.get(key, False)
            value = self._plain(value_node, depth + 1, below)
            if key in own:
                raise YamlError(f"duplicate key '{key}' (first on line {lines[key]})", at)
            own[key], lines[key] = value, at.line
        return {**merged, **own}

    def _merged(self, node: yaml.Node, depth: int, typed: Typed) -> list[dict[str, Any]]:
        """The mappings that `<<` names: one, or a list of them."""
        value = self._plain(node, depth + 1, typed)
        mappings = value if isinstance(value, list) else [value]
        if not all(isinstance(one, dict) for one in mappings):
            message = "<< takes in a mapping, or a list of mappings: write <<: *NAME"
            raise YamlError(message, self._at(node.start_mark))
        return mappings


def core_scalar(text: str) -> str | int | float | bool | None:
    """What a plain scalar means by the core schema of YAML 1.2."""
    if text in _NOTHING:
        return None
    if text in _SWITCHES:
        return _SWITCHES[text]
    if _INT.match(text):
        return int(text) if len(text) < _MAX_DIGITS else float(text)
    if _BASED.match(text):
        return int(text, 0) if len(text) < _MAX_DIGITS else math.inf
    return float(text) if _FLOAT.match(text) else text


def compose(text: str, *, first_line: int = 1) -> Document:
    """Parse one YAML document without resolving anything.

    Raises:
        YamlError: It is no YAML, with the place of the first thing that is wrong.
    """
    try:
        tags = _tags(text, first_line)
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        message, mark = fault(error, text)
        place = Place(mark.line + first_line, mark.column + 1) if mark else Place(first_line, 1)
        raise YamlError(f"this is no YAML: {message}", place) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, max(error.position, 0)) + first_line
        raise YamlError("a character that YAML does not allow", Place(line, 1)) from error
    return Document(root, first_line, tags)


def _tags(text: str, first_line: int) -> _Tags:
    """The tags that are written in a text, having made sure that all of it may be put together.

    Events come one by one and are forgotten; putting them together takes memory, and recurses in C,
    which would end the process.
    """
    tags: _Tags = {}
    bounds = _Bounds()
    event: Any
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if (fault := bounds.fault(event)) is not None:
            mark = event.start_mark
            raise YamlError(fault, Place(mark.line + first_line, mark.column + 1))
        is_collection = isinstance(event, yaml.CollectionStartEvent)
        if (is_collection or isinstance(event, yaml.ScalarEvent)) and event.tag is not None:
            tags[not is_collection, event.start_mark.index] = event.tag
    return tags


@dataclass(slots=True)
class _Bounds:
    """How deep, how wide and how large a document has become."""

    _n_nodes: int = 0
    _left: list[float] = field(default_factory=lambda: [math.inf])

    def fault(self, event: yaml.Event) -> str | None:
        """Take one event; what it makes too much, if so."""
        if isinstance(event, yaml.CollectionEndEvent):
            self._left.pop()
            return None
        if not isinstance(event, yaml.NodeEvent):
            return None
        self._n_nodes += 1
        self._left[-1] -= 1  # of keys and values that a mapping may still hold
        if isinstance(event, yaml.CollectionStartEvent):
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            self._left.append(2 * MAX_KEYS if is_mapping else math.inf)
        if len(self._left) > MAX_DEPTH + 1:
            return TOO_DEEP
        if self._left[-1] < 0:
            return f"a mapping of more than {MAX_KEYS:,} keys"
        if self._n_nodes > MAX_NODES:
            return f"more than {MAX_NODES:,} values in YAML: write it as JSONL"
        return None


def is_deeper(value: Any, levels: int = MAX_DEPTH) -> bool:
    """Whether lists and mappings are nested in a value deeper than so many levels."""
    if not isinstance(value, list | dict):
        return False
    if levels == 0:
        return True
    inner = value.values() if isinstance(value, dict) else value
    return any(is_deeper(one, levels - 1) for one in inner)


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
