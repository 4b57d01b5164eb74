"""One item of a job: from what was written, in YAML, JSON or a table, to an `Item`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from batchgen.known_models import KnownModels
from batchgen.manifest.expand import ASKED, EXPANSION
from batchgen.manifest.fields import Checker, shown
from batchgen.manifest.files import nearest_file, prompt_text
from batchgen.manifest.nodes import Steps, Typed
from batchgen.manifest.reference_fields import MAX_REFERENCES, read_references
from batchgen.manifest.setting_fields import MAX_COUNT, Readers, is_json
from batchgen.manifest.shapes import MAX_USUAL_PROMPT_BYTES
from batchgen.manifest.tables import AS_WRITTEN
from batchgen.model import Item, Reference, ReferenceFile, Turn, content_key
from batchgen.wire.camel import camelised

_MAX_LOCATED: Final = 16_384
WARN_BODY_BYTES: Final = 18 << 20

SETTINGS: Final = (
    *("model", "references", "reference_max_px", "modalities", "aspect_ratio", "image_size"),
    *("thinking_level", "include_thoughts", "google_search", "system_instruction"),
    *("safety_settings", "temperature", "top_p", "top_k", "seed", "store", "extra", "tags"),
    "count",
)
FIELDS: Final = ("id", *ASKED, *SETTINGS, "copy")
BESIDE_REQUEST: Final = frozenset({"id", "request", "model", "tags", "count", "copy"})
# Where scalars are typed as YAML 1.2 does, because they are sent as they stand.
_AS_WRITTEN: Final[Mapping[str, Typed]] = dict.fromkeys(AS_WRITTEN, True)
TYPED: Final[Typed] = {**_AS_WRITTEN, "each": _AS_WRITTEN, "matrix": _AS_WRITTEN}


class References(Protocol):
    """What can be found out about references while a job is read."""

    def open(self, path: str) -> ReferenceFile:
        """Examine a file; raises ValueError with what is wrong, in words that follow its name."""

    def is_larger(self, path: str, max_px: int) -> bool:
        """Whether its longest side is longer; raises ValueError likewise."""


@dataclass(frozen=True, slots=True)
class ReadItem:
    """A good item, and how many of it are wanted."""

    item: Item
    count: int = 1


def read_settings(check: Checker, written: Any, steps: Steps, readers: Readers) -> dict[str, Any]:
    """Read `defaults`: any item field but those that make an item one of its own."""
    fields = check.mapping(written, steps, SETTINGS)
    return {
        name: readers.read(check, name, value, (*steps, name)) for name, value in fields.items()
    }


@dataclass(frozen=True, slots=True)
class ItemReader:
    """Reads the items of one job.

    Attributes:
        defaults: Checked settings for what an item does not write.
        names: The job's named references.
        base: The directory that relative paths start from.
        references: Finds out whether a reference can be sent, and its digest.
        on: The day by which a model's end is judged.
        max_body_bytes: A request may not be larger; None for no bound.
    """

    defaults: Mapping[str, Any]
    names: Mapping[str, Reference]
    base: Path
    references: References
    on: date
    max_body_bytes: int | None = None
    _located_before: dict[tuple[Reference, int | None], Reference] = field(
        default_factory=dict, repr=False
    )

    def read(self, check: Checker, written: Any) -> ReadItem | None:
        """Read one item, its defaults merged in and its content key worked out.

        A field that is written as nothing (`null`) unsets a default.

        Args:
            check: Takes the mistakes; with one, the answer is None.
            written: The mapping as it stands in the job, templates filled.
        """
        if not isinstance(written, dict):
            check.wrong((), f"expected an item (a mapping), found {shown(written)}")
            return None
        n_before = len(check.mistakes)
        fields = check.mapping(written, (), FIELDS, EXPANSION)
        identity = self._identity(check, fields)
        own = self._own_settings(check, fields)
        asked = self._asked(check, fields)
        self._take_model(asked, own)
        values = {**self.defaults, **own}
        if not values.get("model") and fields.get("model") is None:
            message = "model: no model is named; set it here, in defaults, or with --model"
            check.wrong((), message)
        if own.get("references") and any(turn.references for turn in asked.get("turns", ())[:1]):
            check.wrong(("references",), "the first turn has references of its own; put all there")
        copy = self._copy(check, fields)
        if len(check.mistakes) > n_before or identity is None:
            self._look_at_files(check, own, asked)
            return None
        item = self._composed(identity, values, asked, copy)
        item = self._located(check, item)
        if len(check.mistakes) > n_before:
            return None
        self._warn(check, item)
        count = 1 if fields.get("copy") is not None else values.get("count") or 1
        return ReadItem(msgspec.structs.replace(item, key=content_key(item)), count)

    def _identity(self, check: Checker, fields: Mapping[str, Any]) -> str | None:
        if fields.get("id") is None:
            check.wrong((), "id: it is missing")
            return None
        return check.item_id(fields["id"], ("id",))

    def _own_settings(self, check: Checker, fields: Mapping[str, Any]) -> dict[str, Any]:
        readers = Readers(self.names)
        return {
            name: readers.read(check, name, fields[name], (name,))
            for name in SETTINGS
            if name in fields
        }

    def _asked(self, check: Checker, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The one of prompt, turns and request that the item has."""
        given = [name for name in ASKED if fields.get(name) is not None]
        if len(given) != 1:
            message = (
                f"expected one of prompt, turns and request, found {' and '.join(given)}"
                if given
                else "prompt: it is missing; expected prompt, turns or request"
            )
            check.wrong((), message)
            return {}
        match given[0]:
            case "prompt":
                return {"prompt": prompt_text(check, fields["prompt"], ("prompt",), self.base)}
            case "turns":
                return {"turns": self._turns(check, fields["turns"])}
            case _:
                return {"request": self._request(check, fields)}

    def _turns(self, check: Checker, written: Any) -> tuple[Turn, ...]:
        if not isinstance(written, list) or not written:
            check.wrong(("turns",), f"expected a list of turns, found {shown(written)}")
            return ()
        return tuple(self._turn(check, one, ("turns", n)) for n, one in enumerate(written))

    def _turn(self, check: Checker, written: Any, steps: Steps) -> Turn:
        fields = check.mapping(written, steps, ("prompt", "references"))
        if fields.get("prompt") is None:
            if isinstance(written, dict):
                check.wrong(steps, "prompt: it is missing")
            return Turn(prompt="")
        prompt = prompt_text(check, fields["prompt"], (*steps, "prompt"), self.base)
        at = (*steps, "references")
        references = (
            None
            if fields.get("references") is None
            else read_references(check, fields["references"], at, self.names)
        )
        return Turn(prompt=prompt or "", references=references or ())

    def _request(self, check: Checker, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        """A body of `generateContent` in either spelling."""
        for name, value in fields.items():
            if name not in BESIDE_REQUEST and value is not None:
                check.at_key((name,), "it cannot stand beside request, which is the whole body")
        body = fields["request"]
        if not isinstance(body, dict):
            check.wrong(("request",), f"expected a body (a mapping), found {shown(body)}")
            return None
        if not isinstance(body.get("contents"), list) or not body["contents"]:
            check.wrong(("request",), "contents: expected a list with something in it")
            return None
        if not is_json(body):
            check.wrong(("request",), "it holds a number that JSON has no word for")
            return None
        try:
            return camelised(body)
        except ValueError as error:
            check.wrong(("request",), str(error))
            return None

    def _take_model(self, asked: Mapping[str, Any], own: dict[str, Any]) -> None:
        """A model in a raw body goes into the path; the item's own wins over it."""
        model = (asked.get("request") or {}).pop("model", None)
        if isinstance(model, str) and model.strip() and own.get("model") is None:
            own["model"] = model.strip()

    def _copy(self, check: Checker, fields: Mapping[str, Any]) -> int:
        if fields.get("copy") is None:
            return 1
        if fields.get("count") is not None:
            check.at_key(("copy",), "it cannot stand beside count, which makes the copies")
        number = check.number(fields["copy"], ("copy",), least=1, most=MAX_COUNT, whole=True)
        return int(number or 1)

    def _composed(
        self, identity: str, values: Mapping[str, Any], asked: Mapping[str, Any], copy: int
    ) -> Item:
        """Put an item together; what is beside a raw request is not sent, so it is not set."""
        model = values["model"]
        if (request := asked.get("request")) is not None:
            tags = values.get("tags") or {}
            return Item(id=identity, model=model, request=request, copy=copy, tags=tags)
        settings = {name: value for name, value in values.items() if value is not None}
        settings.pop("count", None)
        references = settings.pop("references", ())
        turns = asked.get("turns", ())
        if turns and references and not turns[0].references:
            turns = (msgspec.structs.replace(turns[0], references=references), *turns[1:])
            references = ()
        return Item(
            id=identity,
            prompt=asked.get("prompt"),
            turns=turns,
            references=() if turns else references,
            copy=copy,
            **settings,
        )

    def _located(self, check: Checker, item: Item) -> Item:
        """The item with its files found, examined and known by their bytes."""
        if not item.turns:
            return msgspec.structs.replace(
                item, references=self._files(check, item.references, (), item.reference_max_px)
            )
        turns = tuple(
            msgspec.structs.replace(
                turn,
                references=self._files(check, turn.references, ("turns", n), item.reference_max_px),
            )
            for n, turn in enumerate(item.turns)
        )
        if sum(len(turn.references) for turn in turns) > MAX_REFERENCES:
            message = f"its turns hold more than {MAX_REFERENCES} references in all"
            check.wrong(("turns",), message)
        return msgspec.structs.replace(item, turns=turns)

    def _look_at_files(
        self, check: Checker, own: Mapping[str, Any], asked: Mapping[str, Any]
    ) -> None:
        """Examine the files of an item that has other mistakes: all are told in one go."""
        self._files(check, own.get("references") or (), (), None)
        for n, turn in enumerate(asked.get("turns", ())):
            self._files(check, turn.references, ("turns", n), None)

    def _files(
        self,
        check: Checker,
        references: tuple[Reference, ...],
        steps: Steps,
        max_px: int | None,
    ) -> tuple[Reference, ...]:
        return tuple(
            reference
            if reference.path is None
            else self._file(check, reference, (*steps, "references", n), max_px)
            for n, reference in enumerate(references)
        )

    def _file(
        self, check: Checker, reference: Reference, steps: Steps, max_px: int | None
    ) -> Reference:
        known = self._located_before.get((reference, max_px))
        if known is None:
            known = self._find(check, reference, steps, max_px)
            if len(self._located_before) >= _MAX_LOCATED:
                self._located_before.clear()
            if known is not reference:
                self._located_before[reference, max_px] = known
        return known

    def _find(
        self, check: Checker, reference: Reference, steps: Steps, max_px: int | None
    ) -> Reference:
        # Real, so that the file that is checked is the file that is sent, by whatever way.
        path = os.path.realpath(self.base / str(reference.path))
        try:
            file = self.references.open(path)
            is_scaled = max_px is not None and self.references.is_larger(path, max_px)
        except ValueError as error:
            is_missing = "not exist" in str(error)
            near = nearest_file(Path(path)) if is_missing and check.may_search else ""
            check.wrong(steps, f"{reference.path} {error}{near}")
            return reference
        return Reference(
            path=path,
            label=reference.label,
            sha256=file.sha256,
            max_px=max_px if is_scaled else None,
        )

    def _warn(self, check: Checker, item: Item) -> None:
        """Say what the service may not take, and what is sent all the same."""
        for mismatch in KnownModels.shipped().mismatches(item, on=self.on):
            check.warn((mismatch.field,), mismatch.message)
        size_bytes = self._body_bytes(item)
        size_mib = size_bytes / (1 << 20)
        if self.max_body_bytes is not None and size_bytes > self.max_body_bytes:
            most_mib = self.max_body_bytes / (1 << 20)
            message = (
                f"its request is {size_mib:.1f} MiB, and limits.max_body_mib is {most_mib:g}: "
                "set reference_max_px, or send fewer references"
            )
            check.wrong(("references",), message)
        elif size_bytes >= WARN_BODY_BYTES:
            message = (
                f"its request is {size_mib:.0f} MiB; services begin to refuse at 20: "
                "reference_max_px sends smaller references"
            )
            check.warn(("references",), message)

    def has_room_for_more(self, item: Item) -> bool:
        """Whether no usual prompt could make the request too large, nor worth a word."""
        most = min(WARN_BODY_BYTES, self.max_body_bytes or WARN_BODY_BYTES)
        return self._body_bytes(item) + MAX_USUAL_PROMPT_BYTES < most

    def _body_bytes(self, item: Item) -> int:
        """About how large the request is: files in base64, and texts. URLs are not known yet."""
        if item.request is not None:
            return len(msgspec.json.encode(item.request))
        files = [ref for ref in item.all_references if ref.path is not None and ref.max_px is None]
        encoded = sum(self.references.open(str(ref.path)).size_bytes * 4 // 3 for ref in files)
        return encoded + sum(len(turn.prompt.encode()) for turn in item.conversation)


def copies(read: ReadItem) -> Sequence[Item]:
    """The items that a count asks for: `ID#1` to `ID#N`, each with a key of its own."""
    if read.count == 1:
        return (read.item,)
    numbered = [
        msgspec.structs.replace(read.item, id=f"{read.item.id}#{n}", copy=n)
        for n in range(1, read.count + 1)
    ]
    return [msgspec.structs.replace(item, key=content_key(item)) for item in numbered]
