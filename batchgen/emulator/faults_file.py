"""Reading a faults file: YAML in, rules out, and an error that names the line.

YAML's own loader forgets where a value stood, so this reads the node tree.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from batchgen.emulator import faults
from batchgen.emulator.errors import QUOTAS
from batchgen.emulator.faults import BODIES, Action, FaultsError, Rule

T = TypeVar("T")

_CONDITIONS = ("prompt", "model", "nth", "requests", "every", "probability")
_STATUS_KEYS = ("body", "quota", "retry_delay", "retry_after", "reason", "code")
_BESIDE: dict[str, tuple[str, ...]] = {  # what says more, and the actions that it may stand beside
    **dict.fromkeys(_STATUS_KEYS, ("status",)),
    "message": ("status", "block_reason"),
}
_WRONG_SIZES: tuple[Literal["ratio", "dropped"], ...] = ("ratio", "dropped")
_SPELLINGS: tuple[Literal["snake"], ...] = ("snake",)
_MAX_BYTES = 2**20
_LONGEST_S = 86_400


@dataclass(frozen=True)
class _Value:
    """A YAML value with the place it stood in, and what it says about itself when it is wrong."""

    path: Path
    line: int
    key: str
    plain: Any

    def error(self, expected: str) -> FaultsError:
        return FaultsError(
            f"{self.path}:{self.line}: {self.key}: {self.plain!r}, expected {expected}"
        )

    def whole(self, low: int, high: int | None = None) -> int:
        fits = isinstance(self.plain, int) and not isinstance(self.plain, bool)
        if not fits or self.plain < low or (high is not None and self.plain > high):
            span = f"from {low} to {high}" if high is not None else f"of {low} or more"
            raise self.error(f"a whole number {span}")
        return int(self.plain)

    def number(self, low: float, high: float, *, what: str) -> float:
        fits = isinstance(self.plain, int | float) and not isinstance(self.plain, bool)
        if not fits or not low <= self.plain <= high:
            raise self.error(what)
        return float(self.plain)

    def text(self, what: str = "text") -> str:
        if not isinstance(self.plain, str) or not self.plain:
            raise self.error(what)
        return self.plain

    def one_of(self, options: Sequence[T]) -> T:
        for option in options:
            if option == self.plain:
                return option
        raise self.error(_choices(self.plain, map(str, options)))

    def name(self) -> str:
        """A constant of the API."""
        if not isinstance(self.plain, str) or not re.fullmatch(r"[A-Z][A-Z0-9_]*", self.plain):
            raise self.error("a name in capitals, such as NO_IMAGE")
        return self.plain


_Rule = Mapping[str, _Value]


def load(path: Path) -> tuple[Rule, ...]:
    """The rules of a file.

    Raises:
        FaultsError: It cannot be read, is no YAML, or a rule makes no sense.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FaultsError(f"{path}:1: {error.strerror}, expected a readable YAML file") from error
    if len(raw) > _MAX_BYTES:
        raise FaultsError(f"{path}:1: {len(raw)} bytes, expected at most {_MAX_BYTES}")
    try:
        root = yaml.compose(raw, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "no YAML"
        line = mark.line + 1 if mark else 1
        raise FaultsError(f"{path}:{line}: {problem}, expected YAML") from error
    if not isinstance(root, yaml.SequenceNode):
        line = root.start_mark.line + 1 if root else 1
        raise FaultsError(f"{path}:{line}: not a list, expected a list of rules")
    return tuple(_rule(path, node) for node in root.value)


def _rule(path: Path, node: yaml.Node) -> Rule:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise FaultsError(f"{path}:{line}: not a rule, expected keys such as status and prompt")
    values = _values(path, node)
    actions = [key for key in values if key in _ACTIONS]
    if len(actions) != 1:
        found = " and ".join(actions) or "no action"
        expected = f"exactly one of {', '.join(_ACTIONS)}"
        at = values[actions[1]].line if actions else line
        raise FaultsError(f"{path}:{at}: {found} in one rule, expected {expected}")
    (action,) = actions
    for key, owners in _BESIDE.items():
        if key in values and action not in owners:
            at, owner = values[key].line, " or ".join(owners)
            raise FaultsError(f"{path}:{at}: {key} without {owner}, expected both or neither")
    return _with_conditions(_action(action, values), values)


def _values(path: Path, node: yaml.MappingNode) -> dict[str, _Value]:
    known = (*_CONDITIONS, *_ACTIONS, *_BESIDE)
    values: dict[str, _Value] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = str(key_node.value)
        if key not in known:
            expected = _choices(key, known)
            raise FaultsError(f"{path}:{line}: unknown key {key!r}, expected {expected}")
        if key in values:
            raise FaultsError(f"{path}:{line}: {key} twice in one rule, expected it once")
        values[key] = _Value(path, value_node.start_mark.line + 1, key, _plain(value_node))
    return values


def _plain(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError):
        return f"!{node.tag}"  # no value that any key takes
    finally:
        loader.dispose()


def _choices(given: object, known: Iterable[str]) -> str:
    options = tuple(known)
    near = difflib.get_close_matches(str(given), options, n=1)
    listed = f"one of {', '.join(options)}"
    return f"{near[0]!r} perhaps, or {listed}" if near else listed


# --- conditions


def _with_conditions(action: Action, values: _Rule) -> Rule:
    prompt, model, every = values.get("prompt"), values.get("model"), values.get("every")
    nth, spans, share = values.get("nth"), values.get("requests"), values.get("probability")
    return Rule(
        action=action,
        prompt=prompt.text("a glob") if prompt else None,
        model=model.text("a glob") if model else None,
        nth=frozenset(_numbers(nth)) if nth else None,
        requests=tuple(_spans(spans)) if spans else None,
        every=every.whole(1) if every else None,
        probability=share.number(0, 1, what="a number from 0 to 1") if share else None,
    )


def _numbers(value: _Value) -> Iterable[int]:
    for plain in value.plain if isinstance(value.plain, list) else [value.plain]:
        yield _Value(value.path, value.line, value.key, plain).whole(1)


def _spans(value: _Value) -> Iterable[range]:
    for plain in value.plain if isinstance(value.plain, list) else [value.plain]:
        one = _Value(value.path, value.line, value.key, plain)
        span = re.fullmatch(r"(\d+)\s*-\s*(\d+)", str(plain))
        if span and 0 < int(span[1]) <= int(span[2]):
            yield range(int(span[1]), int(span[2]) + 1)
        elif isinstance(plain, int) and not isinstance(plain, bool) and plain > 0:
            yield range(plain, plain + 1)
        else:
            raise one.error("N or A-B, counted from 1")


# --- actions


def _action(key: str, values: _Rule) -> Action:
    if key in _DETAILED:
        return _DETAILED[key](values)
    return _SIMPLE[key](values[key])


def _status(values: _Rule) -> Action:
    body = values.get("body")
    kind, content, content_type = _body(body) if body else ("google", b"", "application/json")
    reason, quota = values.get("reason"), values.get("quota")
    spoken = quota or (reason if reason and reason.plain in QUOTAS else None)
    delay, after = values.get("retry_delay"), values.get("retry_after")
    code, message = values.get("code"), values.get("message")
    return faults.Status(
        status=values["status"].whole(200, 599),
        body=kind,
        content=content,
        content_type=content_type,
        quota=spoken.one_of(QUOTAS) if spoken else None,
        retry_delay=_duration(delay) if delay else None,
        retry_after=str(after.plain) if after else None,
        reason=reason.name() if reason and spoken is not reason else None,
        code=code.text() if code else "",
        message=message.text() if message else None,
    )


def _body(value: _Value) -> tuple[faults.Body, bytes, str]:
    named = next((body for body in BODIES if body == value.plain and body != "file"), None)
    if named is not None:
        return named, b"", "application/json"
    path = value.path.parent / value.text(_choices(value.plain, BODIES[:-1]))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise value.error(f"{', '.join(BODIES[:-1])} or a readable file") from error
    looks_like_html = content.lstrip().startswith(b"<")
    return "file", content, "text/html" if looks_like_html else "application/json"


def _duration(value: _Value) -> str:
    if not isinstance(value.plain, str) or not re.fullmatch(r"\d+(\.\d+)?s", value.plain):
        raise value.error("a duration such as 2s or 0.5s")
    return value.plain


def _block(values: _Rule) -> Action:
    message = values.get("message")
    return faults.Block(values["block_reason"].name(), message.text() if message else None)


def _wrong_size(value: _Value) -> Action:
    if value.plain is True:
        return faults.WrongSize("ratio")
    return faults.WrongSize(value.one_of(_WRONG_SIZES))


def _when_true(action: Action) -> Callable[[_Value], Action]:
    def read(value: _Value) -> Action:
        if value.plain is not True:
            raise value.error("true")
        return action

    return read


def _literal(kind: Callable[[Any], Action], *options: str) -> Callable[[_Value], Action]:
    return lambda value: kind(value.one_of(options))


_DETAILED: dict[str, Callable[[_Rule], Action]] = {"status": _status, "block_reason": _block}
_SIMPLE: dict[str, Callable[[_Value], Action]] = {
    "finish_reason": lambda value: faults.Finish(value.name()),
    "finish_with_picture": lambda value: faults.FinishWithPicture(value.name()),
    "text_only": _when_true(faults.TextOnly()),
    "thoughts_only": _when_true(faults.ThoughtsOnly()),
    "drafts": lambda value: faults.Drafts(value.whole(1, faults.MOST_DRAFTS)),
    "candidates": _literal(faults.Candidates, "second"),
    "file_uri": _when_true(faults.FileUri()),
    "signatures": _literal(faults.Signatures, "missing"),
    "cut": lambda value: faults.Cut(value.number(0, 0.999, what="a share from 0 to 0.999")),
    "reset": _literal(faults.Reset, "before", "during"),
    "hang": lambda value: faults.Wait(value.number(0, _LONGEST_S, what="seconds")),
    "latency": lambda value: faults.Wait(value.number(0, _LONGEST_S, what="seconds")),
    "drip": lambda value: faults.Drip(value.whole(1)),
    "redirect": lambda value: faults.Redirect(value.text("a URL")),
    "encoding": _literal(faults.Encoding, "chunked", "gzip", "gzip_cut", "close"),
    "spelling": lambda value: faults.Spelling(value.one_of(_SPELLINGS)),
    "usage": _literal(faults.Usage, "missing", "null_details", "strings"),
    "mime_label": lambda value: faults.MimeLabel(value.text("a MIME type")),
    "wrong_size": _wrong_size,
    "image": _literal(faults.BadImage, "truncated", "not_image", "svg", "heic", "empty"),
    "garbage": _literal(
        faults.Garbage, "not_json", "html", "empty", "array", "two_documents", "no_candidates"
    ),
}
_ACTIONS = (*_DETAILED, *_SIMPLE)
