"""One item of a job: from what was written, in YAML, JSON or a table, to an `Item`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import msgspec

from batchgen.known_models import KnownModels
from batchgen.manifest.expand import ASKED, EXPANSION
from batchgen.manifest.fields import MAX_ID_CHARS, Checker, shown
from batchgen.manifest.files import prompt_text
from batchgen.manifest.nodes import Steps, Typed
from batchgen.manifest.reference_fields import read_references
from batchgen.manifest.reference_files import Files
from batchgen.manifest.setting_fields import MAX_COUNT, Readers, is_json
from batchgen.manifest.shapes import MAX_USUAL_PROMPT_BYTES
from batchgen.manifest.tables import AS_WRITTEN
from batchgen.model import MAX_REFERENCES, Item, Reference, Turn, content_key
from batchgen.wire.camel import camelised
from batchgen.wire.request import with_roles

WARN_BODY_BYTES: Final = 18 << 20

SETTINGS: Final = (
    *("model", "references", "reference_max_px", "modalities", "aspect_ratio", "image_size"),
    *("thinking_level", "include_thoughts", "google_search", "system_instruction"),
    *("safety_settings", "temperature", "top_p", "top_k", "seed", "store", "extra", "tags"),
    "count",
)
FIELDS: Final = ("id", *ASKED, *SETTINGS, "copy")
_NO_DEFAULTS: Final = ("id", *ASKED, "copy", *EXPANSION)
BESIDE_REQUEST: Final = frozenset({"id", "request", "model", "tags", "count", "copy"})
# Where scalars are typed as YAML 1.2 does, because they are sent as they stand.
_AS_WRITTEN: Final[Mapping[str, Typed]] = dict.fromkeys(AS_WRITTEN, True)
TYPED: Final[Typed] = {**_AS_WRITTEN, "each": _AS_WRITTEN, "matrix": _AS_WRITTEN}


@dataclass(frozen=True, slots=True)
class ReadItem:
    """A good item, and how many of it are wanted."""

    item: Item
    count: int = 1


def read_settings(check: Checker, written: Any, steps: Steps, readers: Readers) -> dict[str, Any]:
    """Read `defaults`: any item field but those that make an item one of its own."""
    refused = dict.fromkeys(_NO_DEFAULTS, "it cannot be a default")
    fields = check.mapping(written, steps, SETTINGS, refused=refused)
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
        files: Finds the reference files, and what is known of them.
        on: The day by which a model's end is judged.
        max_body_bytes: A request may not be larger; None for no bound.
        is_priced: Whether a model has a price, where each must have one.
    """

    defaults: Mapping[str, Any]
    names: Mapping[str, Reference]
    base: Path
    files: Files
    on: date
    max_body_bytes: int | None = None
    is_priced: Callable[[str], bool] | None = None

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
        fields = check.mapping(written, (), (*FIELDS, *EXPANSION))
        identity = self._identity(check, fields)
        own = self._own_settings(check, fields)
        asked = self._asked(check, fields)
        self._take_model(check, asked, own)
        values = self._values(check, fields, own, asked)
        copy = self._copy(check, fields)
        count = 1 if fields.get("copy") is not None else values.get("count") or 1
        if identity is not None:
            self._check_copies(check, identity, count)
        if len(check.mistakes) > n_before or identity is None:
            self._look_at_files(check, own, asked)
            return None
        places = _reference_places(asked)
        item = self._located(check, self._composed(identity, values, asked, copy), places)
        if item is None or self._is_too_large(check, item, places):
            return None
        if self.is_priced is not None and not self.is_priced(item.model):
            check.wrong(
                ("model",),
                f"'{item.model}' has no price, and a bound on money cannot be kept without one: "
                "give it one under prices.models, choose another model, or leave the bound out",
            )
            return None
        for mismatch in KnownModels.shipped().mismatches(item, on=self.on):
            check.warn((mismatch.field,), mismatch.message)
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
        # A single message may stand without its list: the API's own parser takes that.
        if not isinstance(body.get("contents"), list | dict) or not body["contents"]:
            check.wrong(("request",), "contents: expected a list with something in it")
            return None
        if not is_json(body):
            check.wrong(("request",), "it holds a number that JSON has no word for")
            return None
        try:
            respelt = camelised(body)
        except ValueError as error:
            check.wrong(("request",), str(error))
            return None
        # As it is sent: whether the role is written or not, what is asked for is the same.
        return with_roles(respelt)

    def _take_model(self, check: Checker, asked: Mapping[str, Any], own: dict[str, Any]) -> None:
        """A model in a raw body goes into the path; the item's own wins over it."""
        request = asked.get("request") or {}
        if request.get("model") is None:
            request.pop("model", None)
        elif (model := check.text(request["model"], ("request", "model"))) is not None:
            del request["model"]
            if own.get("model") is None:
                own["model"] = model.strip()

    def _values(
        self,
        check: Checker,
        fields: Mapping[str, Any],
        own: Mapping[str, Any],
        asked: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The item's settings, over the defaults."""
        values = {**self.defaults, **own}
        is_told = fields.get("model") is not None or "model" in (asked.get("request") or {})
        if not values.get("model") and not is_told:
            message = "model: no model is named; set it here, in defaults, or with --model"
            check.wrong((), message)
        if own.get("references"):
            if any(turn.references for turn in asked.get("turns", ())[:1]):
                message = "the first turn has references of its own; put all there"
                check.wrong(("references",), message)
        elif "turns" in asked and _first_turn_wants_none(fields["turns"]):
            values["references"] = ()
        return values

    def _copy(self, check: Checker, fields: Mapping[str, Any]) -> int:
        if fields.get("copy") is None:
            return 1
        if fields.get("count") is not None:
            check.at_key(("copy",), "it cannot stand beside count, which makes the copies")
        number = check.number(fields["copy"], ("copy",), least=1, most=MAX_COUNT, whole=True)
        return int(number or 1)

    def _check_copies(self, check: Checker, identity: str, count: int) -> None:
        """Copies have ids of their own, which jobs made of what failed write as ids."""
        longest = f"{identity}#{count}"
        if count > 1 and len(longest) > MAX_ID_CHARS:
            message = (
                f"with count, its longest copy would be {longest}: {len(longest)} characters; "
                f"expected at most {MAX_ID_CHARS}"
            )
            check.wrong(("id",), message)

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

    def _located(self, check: Checker, item: Item, places: Sequence[Steps]) -> Item | None:
        """The item with its files found, examined and known by their bytes; None if it cannot be.

        Args:
            check: Takes what is wrong.
            item: Its references have the paths that were written.
            places: What leads to the references of each turn.
        """
        found = [
            self.files.located(check, turn.references, steps, item.reference_max_px)
            for turn, steps in zip(item.conversation, places, strict=False)
        ]
        located = [references for references in found if references is not None]
        if len(located) < len(found):
            return None
        if not item.turns:
            return msgspec.structs.replace(item, references=located[0]) if located else item
        if sum(map(len, located)) > MAX_REFERENCES:
            message = f"its turns hold more than {MAX_REFERENCES} references in all"
            check.wrong(("turns",), message)
            return None
        turns = tuple(
            msgspec.structs.replace(turn, references=references)
            for turn, references in zip(item.turns, located, strict=True)
        )
        return msgspec.structs.replace(item, turns=turns)

    def _look_at_files(
        self, check: Checker, own: Mapping[str, Any], asked: Mapping[str, Any]
    ) -> None:
        """Examine the files of an item that has other mistakes: all are told in one go."""
        self.files.located(check, own.get("references") or (), ("references",), None)
        for n, turn in enumerate(asked.get("turns", ())):
            self.files.located(check, turn.references, ("turns", n, "references"), None)

    def _is_too_large(self, check: Checker, item: Item, places: Sequence[Steps]) -> bool:
        """Whether the request may not be sent; says so, and what services may not take."""
        size_bytes = self._body_bytes(item)
        is_too_large = self.max_body_bytes is not None and size_bytes > self.max_body_bytes
        if not is_too_large and size_bytes < WARN_BODY_BYTES:
            return False
        steps, remedy = self._heaviest(item, places)
        size_mib = size_bytes / (1 << 20)
        if self.max_body_bytes is not None and is_too_large:
            most_mib = self.max_body_bytes / (1 << 20)
            limit = f"limits.max_body_mib is {most_mib:g}"
            check.wrong(steps, f"its request is {size_mib:.1f} MiB, and {limit}: {remedy}")
        else:
            begin = "services begin to refuse at 20"
            check.warn(steps, f"its request is {size_mib:.0f} MiB; {begin}: {remedy}")
        return is_too_large

    def _heaviest(self, item: Item, places: Sequence[Steps]) -> tuple[Steps, str]:
        """What leads to the heaviest part of a request, and how it can be made lighter."""
        if item.request is not None:
            return ("request",), "put less into it"
        sizes = [self.files.size_bytes(turn.references) for turn in item.conversation]
        heaviest = max(range(len(sizes)), key=sizes.__getitem__)
        if not sizes[heaviest]:
            return (("turns",) if item.turns else ("prompt",)), "shorten its text"
        how = "set" if item.reference_max_px is None else "lower"
        return places[heaviest], f"{how} reference_max_px, or send fewer references"

    def has_room_for_more(self, item: Item) -> bool:
        """Whether no usual prompt could make the request too large, nor worth a word."""
        most = min(WARN_BODY_BYTES, self.max_body_bytes or WARN_BODY_BYTES)
        return self._body_bytes(item) + MAX_USUAL_PROMPT_BYTES < most

    def _body_bytes(self, item: Item) -> int:
        """About how large the request is: files in base64, and texts. URLs are not known yet."""
        if item.request is not None:
            return len(msgspec.json.encode(item.request))
        texts = sum(len(turn.prompt.encode()) for turn in item.conversation)
        return texts + self.files.size_bytes(item.all_references)


def copies(read: ReadItem) -> Sequence[Item]:
    """The items that a count asks for: `ID#1` to `ID#N`, each with a key of its own."""
    if read.count == 1:
        return (read.item,)
    numbered = [
        msgspec.structs.replace(read.item, id=f"{read.item.id}#{n}", copy=n)
        for n in range(1, read.count + 1)
    ]
    return [msgspec.structs.replace(item, key=content_key(item)) for item in numbered]


def _reference_places(asked: Mapping[str, Any]) -> list[Steps]:
    """What leads to the references of each turn; the first one's may be those of the item."""
    return [
        ("turns", n, "references") if n or turn.references else ("references",)
        for n, turn in enumerate(asked.get("turns", ()))
    ] or [("references",)]


def _first_turn_wants_none(written: Any) -> bool:
    """Whether turns begin with one whose references are written as an empty list."""
    first = written[0] if isinstance(written, list) and written else None
    return isinstance(first, dict) and first.get("references") == []
