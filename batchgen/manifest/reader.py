"""A whole job file, read item by item, with every problem and its place."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from batchgen.errors import JobError, Problem
from batchgen.manifest.fields import Checker, Mistake, is_encodable, shown
from batchgen.manifest.items import OpenReference, read_item
from batchgen.manifest.nodes import (
    MAX_YAML_BYTES,
    Document,
    Place,
    Steps,
    YamlError,
    children,
    compose,
    emptied,
)
from batchgen.manifest.settings import Settings, read_head
from batchgen.model import Item
from batchgen.naming import collision_key, file_stem

# JSON writes characters beyond the basic plane as pairs, which YAML does not read.
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_JSON_PLACE: Final = re.compile(r"\(byte (\d+)\)")


class Manifest(ABC):
    """An opened job file: its settings, and its items as a stream.

    Reading the items once finds every problem; only a manifest whose items have been read to
    their end without one may be run.

    Attributes:
        path: The file, as the user named it.
        settings: The head of the job.
        name: What names the output directory.
        problems: What has been found so far.
        n_items: Items read so far, bad ones included.
    """

    settings: Settings

    def __init__(self, path: Path) -> None:
        """Set the file; subclasses read the head."""
        self.path = path
        self.problems: list[Problem] = []
        self.n_items = 0
        self._taken: dict[str, tuple[str, int]] = {}

    @property
    def name(self) -> str:
        """The job's name; the file's stem unless it says otherwise."""
        return self.settings.name or self.path.stem

    def items(self, open_reference: OpenReference, *, model: str | None = None) -> Iterator[Item]:
        """Yield the good items in order, and gather the problems of the others.

        Args:
            open_reference: Examines a reference by its absolute path.
            model: Wins over the job's default, not over an item's own.
        """
        defaults = dict(self.settings.defaults)
        if model is not None:
            defaults["model"] = model
        base = self.path.resolve().parent
        self.n_items = 0
        self._taken.clear()
        for written, document, steps in self._written():
            self.n_items += 1
            check = Checker()
            item = read_item(
                check, written, defaults=defaults, base=base, open_reference=open_reference
            )
            self._report(check, document, steps, written)
            is_free = self._claim(written, document, steps)
            if item is not None and is_free:
                yield item
        if self.n_items == 0 and not self.problems:
            self._problem(Place(1, 1), "items", "the job has no items")

    @abstractmethod
    def _written(self) -> Iterator[tuple[Any, "_Lazy", Steps]]:
        """Yield each item as it was written, with the document and steps that place it."""

    def _claim(self, written: Any, document: "_Lazy", steps: Steps) -> bool:
        """Refuse an id, or a file name made of it, that an earlier item has, good or bad."""
        identity = written.get("id") if isinstance(written, dict) else None
        if not isinstance(identity, str) or not is_encodable(identity):
            return False
        name = collision_key(file_stem(identity))
        taken = self._taken.get(name)
        if taken is None:
            self._taken[name] = (identity, document.line(steps))
            return True
        first, line = taken
        message = (
            f"duplicate id {shown(identity)} (first on line {line})"
            if first == identity
            else f"{shown(identity)} and {shown(first)} (line {line}) would share a file name on "
            "some disks; rename one"
        )
        self._problem(document.place((*steps, "id")), f"items[{identity}].id", message)
        return False

    def _report(self, check: Checker, document: "_Lazy", steps: Steps, written: Any) -> None:
        """Turn mistakes into problems; only now is anything looked up for its place."""
        identity = written.get("id") if isinstance(written, dict) else None
        owner = f"items[{identity if isinstance(identity, str) else self.n_items}]"
        for mistake in check.mistakes:
            place = document.place((*steps, *mistake.steps), key=mistake.at_key)
            self._problem(place, _field(owner, mistake), mistake.message)

    def _report_head(self, check: Checker, document: "_Lazy", steps: Steps = ()) -> None:
        for mistake in check.mistakes:
            place = document.place(mistake.steps, key=mistake.at_key)
            inside = mistake.steps[: len(steps)] == steps
            field = _dotted(mistake.steps[len(steps) :] if inside else mistake.steps)
            self.problems.append(_problem(self.path, place, field, mistake.message))

    def _problem(self, place: Place, field: str, message: str) -> None:
        self.problems.append(_problem(self.path, place, field, message))

    def check_name(self) -> None:
        """Report a file whose stem cannot name a directory, where the job has no name itself."""
        check = Checker()
        if self.settings.name is None and check.job_name(self.path.stem, ()) is None:
            message = f"the file's name {shown(self.path.stem)} is no job name; write a name here"
            self._problem(Place(1, 1), "name", message)

    def raise_problems(self) -> None:
        """Raise JobError if anything is wrong."""
        if self.problems:
            raise JobError(tuple(sorted(self.problems, key=lambda one: (one.line, one.column))))


class _Lazy:
    """A document that is parsed for its places only when one is asked for."""

    def __init__(self, text: str, first_line: int, document: Document | None = None) -> None:
        self._text, self._first_line, self._document = text, first_line, document

    def place(self, steps: Steps, *, key: bool = False) -> Place:
        if self._document is None:
            try:
                text = _without_surrogates(self._text)
                self._document = compose(text, first_line=self._first_line)
            except YamlError:  # JSON that is no YAML: the line is all that can be told
                self._document = Document(None, self._first_line)
        return self._document.place(steps, key=key)

    def line(self, steps: Steps) -> int:
        """The line alone, which costs nothing for a line of JSON."""
        return self._first_line if self._document is None else self.place(steps).line


class YamlManifest(Manifest):
    """A YAML job: one document, parsed whole."""

    def __init__(self, path: Path, text: str) -> None:
        """Parse the document and read its head."""
        super().__init__(path)
        self.settings = Settings()
        try:
            self._document = compose(text)
            head = self._document.value(emptied(self._document.root, "items"))
        except YamlError as error:
            self._document = Document(None)
            self._problem(error.place, "", error.message)
            return
        self._lazy = _Lazy("", 1, self._document)
        check = Checker()
        self.settings = read_head(check, head)
        self._report_head(check, self._lazy)

    def _written(self) -> Iterator[tuple[Any, _Lazy, Steps]]:
        if self._document.root is None:
            return
        self._document.restart()
        nodes = children(self._document.root, "items")
        if nodes is None:
            self._problem(self._document.place(("items",)), "items", "expected a list of items")
            return
        for n, node in enumerate(nodes):
            try:
                written = self._document.value(node)
            except YamlError as error:
                self.n_items += 1
                self._problem(error.place, f"items[{n + 1}]", error.message)
                continue
            yield written, self._lazy, ("items", n)


class JsonLinesManifest(Manifest):
    """A JSONL job: one item a line, read as a stream; line 1 may hold the head."""

    def __init__(self, path: Path) -> None:
        """Read the head, if line 1 is one."""
        super().__init__(path)
        self.settings = Settings()
        self._has_head = False
        with path.open("rb") as file:
            first = file.readline(MAX_YAML_BYTES).removeprefix(b"\xef\xbb\xbf")
        written = _decoded(first)
        if isinstance(written, dict) and "job" in written:
            self._has_head = True
            check = Checker()
            check.mapping(written, (), ("job",))
            self.settings = read_head(check, written["job"], ("job",))
            self._report_head(check, _Lazy(first.decode("utf-8", "replace"), 1), ("job",))

    def _written(self) -> Iterator[tuple[Any, _Lazy, Steps]]:
        with self.path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
                if not line.strip() or (number == 1 and self._has_head):
                    continue
                written = _decoded(line)
                if isinstance(written, Exception):
                    self.n_items += 1
                    place, message = _json_problem(written, line, number)
                    self._problem(place, "", message)
                    continue
                yield written, _Lazy(line.decode("utf-8", "replace"), number), ()


def open_manifest(path: Path) -> Manifest:
    """Open a job file by its ending: `.jsonl` and `.ndjson` are JSON Lines, the rest is YAML.

    Raises:
        JobError: It cannot be read at all.
    """
    try:
        manifest = _open(path)
    except OSError as error:
        message = f"cannot read the job file: {error.strerror}"
        raise JobError((_problem(path, Place(1, 1), "", message),)) from error
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        place = Place(before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        raise JobError((_problem(path, place, "", "a byte that is no UTF-8"),)) from error
    manifest.check_name()
    return manifest


def _open(path: Path) -> Manifest:
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        return JsonLinesManifest(path)
    if path.stat().st_size > MAX_YAML_BYTES:
        message = "YAML of more than 64 MiB: write it as JSONL"
        raise JobError((_problem(path, Place(1, 1), "", message),))
    return YamlManifest(path, path.read_bytes().decode("utf-8-sig"))


def _problem(path: Path, place: Place, field: str, message: str) -> Problem:
    return Problem(str(path), place.line, place.column, field, message)


def _without_surrogates(text: str) -> str:
    return _SURROGATE.sub(r"\\u0041", text)


def _field(owner: str, mistake: Mistake) -> str:
    return owner + "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in mistake.steps
    )


def _dotted(steps: Steps) -> str:
    return "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps).lstrip(".")


class _DuplicateKeyError(ValueError):
    """An object has a name twice, of which JSON readers take one or the other."""


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise _DuplicateKeyError


# msgspec takes the last of two equal names without a word: a second reading looks for them.
_names = json.JSONDecoder(object_pairs_hook=_once, parse_int=str, parse_float=str)


def _decoded(line: bytes) -> Any:
    """The line's value, or the error that kept it from being read."""
    try:
        value = msgspec.json.decode(line)
        _names.decode(line.decode())
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return error
    return value


def _json_problem(error: Exception, line: bytes, number: int) -> tuple[Place, str]:
    """Where and why a line cannot be read."""
    found = _JSON_PLACE.search(str(error))
    at = int(found.group(1)) if found else 0
    place = Place(number, len(line[:at].decode("utf-8", "replace")) + 1)
    match error:
        case UnicodeDecodeError():
            return place, "a byte that is no UTF-8"
        case RecursionError():
            return place, "this line is nested too deeply"
        case _DuplicateKeyError():
            return _duplicate(line, number)
        case _:
            return place, f"this line is no JSON: {_JSON_PLACE.sub('', str(error)).strip()}"


def _duplicate(line: bytes, number: int) -> tuple[Place, str]:
    """Which key it is, and where: YAML's reader knows places."""
    try:
        document = compose(_without_surrogates(line.decode()), first_line=number)
        document.value(document.root)
    except YamlError as error:
        return error.place, error.message
    return Place(number, 1), "duplicate key"
