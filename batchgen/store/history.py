"""What all runs of a directory did: an index into its ledger.

For each item and content key it knows where the last line about it stands, and reads that line
again when somebody asks; so a job of a million items is remembered in a hundred megabytes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import msgspec

from batchgen.model import Attempt, ImageFile, Item, Status, Tokens, content_key
from batchgen.store.ledger import Call, End, Filed, Line, Run, Sent, read_lines
from batchgen.store.places import Places
from batchgen.store.shelf import Shelf

# An item's id, and the content key of one of its turns.
Name: TypeAlias = tuple[str, str]
AddableT = TypeVar("AddableT", Tokens, Decimal)


@dataclass(frozen=True, slots=True)
class Past:
    """What all runs did for one item and content key, that is for one turn of an item.

    Attributes:
        last: The last attempt, whose decision says what came of it; of an image that was made
            under another name, as if it had been made for this one.
        made: The attempt that made the picture that there is; one that failed later, because the
            picture was to be made again, takes nothing away.
        place: Where the last one stands among all lines; later is larger.
    """

    last: Attempt
    made: Attempt | None
    place: int
    n_attempts: int
    tokens: Tokens | None
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an item stands, by all that was done for it.

    Attributes:
        last: The latest attempt, of whatever turn.
        n_attempts, tokens, cost_usd: Over all turns.
    """

    status: Status
    last: Attempt
    n_attempts: int
    tokens: Tokens | None
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Departed:
    """A request that left in an earlier run, and what it took of the limits.

    Attributes:
        usd: What it cost, or may have; None if that is not known.
    """

    run_id: str
    item: str
    at: str
    model: str
    input_tokens: int
    usd: Decimal | None


class _Sum(msgspec.Struct, frozen=True, gc=False):
    """What was done under one name, over all its attempts."""

    n_attempts: int = 0
    tokens: Tokens | None = None
    cost_usd: Decimal | None = None

    def __add__(self, more: "_Sum") -> "_Sum":
        return _Sum(
            self.n_attempts + more.n_attempts,
            _sum(self.tokens, more.tokens),
            _sum(self.cost_usd, more.cost_usd),
        )


@dataclass(slots=True)
class History:
    """All segments of a directory, read in the order of their runs.

    Attributes:
        unfinished: Requests that left and whose outcome nobody wrote.
        models: Those that were ever asked.
        unreadable: Places (`NAME:LINE`) of lines that are no ledger line.
        since: From this stamp on, requests are listed in `recent`; None lists none.
        observe: Told of each line as it is taken.

    Cost: about 100 bytes for each item and key, whatever is known of it.
    """

    runs: dict[str, Run] = field(default_factory=dict)
    ends: dict[str, End] = field(default_factory=dict)
    unfinished: dict[Call, Sent] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)
    unreadable: list[str] = field(default_factory=list)
    since: str | None = None
    recent: list[Departed] = field(default_factory=list)
    observe: Callable[[Line], None] | None = None
    _last: dict[int, int] = field(default_factory=dict)  # the place of the last line, by name
    _done: dict[int, int] = field(default_factory=dict)  # places, where a later line made nothing
    _sums: dict[int, _Sum] = field(default_factory=dict)  # of names with more than one line
    _writers: dict[int, int] = field(default_factory=dict)  # places, by the path of a picture
    _lines: Places = field(default_factory=Places)

    def apply(self, line: Line, place: int | None = None) -> None:
        """Take one line, in the order of the ledger.

        Args:
            line: The line.
            place: Where it stands, as `place_in` says; one that stands nowhere yet is kept.
        """
        if not self.knows(line):
            self.add(line, place)

    def add(self, line: Line, place: int | None = None) -> None:
        """Take a line that it does not know; see `apply`."""
        if self.observe is not None:
            self.observe(line)
        match line:
            case Attempt():
                sent = self.unfinished.pop((line.run_id, line.item, line.turn, line.attempt), None)
                self._take(line, final_image(line.images), place)
                self.models.add(line.model)
                if self.since is not None and line.attempt and line.at >= self.since:
                    self.recent.append(_departed(line, sent))
            case Filed():
                self._vacate(line)
                self._take(line, final_image(as_attempt(line).images), place)
                if line.attempts:  # who gave it up has the cost no more
                    self._sums[hash((line.made.item, line.made.key))] = _Sum()
            case Sent():
                self.unfinished[line.call] = line
            case Run():
                self.runs[line.run_id] = line
            case End():
                self.ends[line.run_id] = line

    def place_in(self, segment: Path, begins: int) -> int:
        """Name a place: that of the line which begins so many bytes into a segment."""
        return self._lines.place_in(segment, begins)

    def knows(self, line: Line) -> bool:
        """Whether a line tells nothing new: a disk that failed may give one twice, and later on.

        What came of a call stays, and a call that has ended is not under way again.
        """
        if not isinstance(line, Sent | Attempt) or not line.attempt:
            return False
        name = (line.item, line.key)
        past = self.past(name) if self.has(name) else None
        if past is None or past.last.run_id != line.run_id:
            return False
        return line.attempt <= past.last.attempt

    @property
    def is_cut_off(self) -> bool:
        """Whether a run did not see all of its calls end."""
        last = max(self.runs, default=None)
        return bool(self.unfinished) or (last is not None and last not in self.ends)

    def has(self, name: Name) -> bool:
        """Whether anything was ever done for an item and key."""
        return hash(name) in self._last

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever done."""
        return not self._last

    def past(self, name: Name) -> Past | None:
        """What was done for an item and key; None if nothing was.

        Raises:
            StoreError: The ledger cannot be read any more.
        """
        hashed = hash(name)
        place = self._last.get(hashed)
        if place is None:
            return None
        line = self._lines.read(place)
        if (line.item, line.key) != name:  # of many millions, two have the same hash
            return None
        total = self._sums.get(hashed) or _sum_of(line)
        last = as_attempt(line)
        made = last if _made(last) else None
        if (done := self._done.get(hashed)) is not None:
            made = as_attempt(self._lines.read(done))
        return Past(last, made, place, total.n_attempts, total.tokens, total.cost_usd)

    def standing(self, item: Item) -> Standing | None:
        """Where an item stands, over all its turns; None if nothing was done for it yet.

        Of all its turns the latest attempt decides, so that a conversation that is held anew is
        not taken for done by its last turn of the time before. An item without turns that has its
        picture is done, whatever came of an attempt to make it anew.
        """
        turns = [past for name in turn_names(item) if (past := self.past(name)) is not None]
        if not turns:
            return None
        latest = max(turns, key=_place).last
        if len(item.turns) <= 1 and turns[-1].made is not None:
            latest = turns[-1].made
        total, *more = [_Sum(turn.n_attempts, turn.tokens, turn.cost_usd) for turn in turns]
        for one in more:
            total += one
        status = _status(item, latest)
        return Standing(status, latest, total.n_attempts, total.tokens, total.cost_usd)

    def owner(self, path: str) -> str | None:
        """The id of the item whose final picture lies at a path; None if none does."""
        place = self._writers.get(hash(path))
        return None if place is None else self._lines.read(place).item

    def made_at(self, path: str) -> str | None:
        """The SHA-256 of the final picture that was made last for a path; None if none was."""
        last = self.made_last(path)
        picture = None if last is None else final_image(last.images)
        return None if picture is None else picture.sha256

    def made_last(self, path: str) -> Attempt | None:
        """The attempt that made the final picture at a path, in its owner's name; None if none."""
        place = self._writers.get(hash(path))
        last = None if place is None else as_attempt(self._lines.read(place))
        picture = None if last is None else final_image(last.images)
        return None if picture is None or picture.path != path else last

    def was_written_by(self, name: Name, path: str) -> bool:
        """Whether nobody but an item and key has had a picture at a path, of late."""
        place = self._writers.get(hash(path))
        if place is None or place == self._last.get(hash(name)):
            return True
        line = self._lines.read(place)
        return (line.item, line.key) == name

    def has_files(self, last: Attempt, shelf: Shelf) -> bool:
        """Whether the final picture of an attempt is there in its recorded size, and still its own.

        What was made since under the same name, of an item that changed, is another picture. Who
        throws away the drafts does not want the picture made, and paid for, again.

        Raises:
            StoreError: The disk does not say; that is no reason to pay again.
        """
        for image in last.images:
            if image.role != "final":
                continue
            if shelf.size_bytes(image.path) != image.bytes:
                return False
            if self.was_written_by((last.item, last.key), image.path):
                continue
            if self.made_at(image.path) != image.sha256:
                return False
        return True

    def _take(self, line: Attempt | Filed, picture: ImageFile | None, place: int | None) -> None:
        name = hash((line.item, line.key))
        before = self._last.get(name)
        if before is not None:
            self._sums[name] = self._sum_at(name, before) + _sum_of(line)
        if _made(line):
            self._done.pop(name, None)
        elif before is not None and name not in self._done and _made(self._lines.read(before)):
            self._done[name] = before
        place = self._lines.keep(line) if place is None else place
        self._last[name] = place
        self._lines.note(place, line)
        if picture is not None:
            self._writers[hash(picture.path)] = place

    def _vacate(self, line: Filed) -> None:
        """Where a picture lay that lies elsewhere now there is none of it any more."""
        old = line.moved_from
        if old is not None and self.was_written_by((line.made.item, line.made.key), old):
            self._writers.pop(hash(old), None)

    def _sum_at(self, name: int, place: int) -> _Sum:
        return self._sums.get(name) or _sum_of(self._lines.read(place))


_place: Final = attrgetter("place")


def as_attempt(line: Attempt | Filed) -> Attempt:
    """The attempt that made what an item has, in the item's own name."""
    if isinstance(line, Attempt):
        return line
    images = tuple(
        msgspec.structs.replace(image, path=line.path) if n == 0 else image
        for n, image in enumerate(line.made.images)
    )
    return msgspec.structs.replace(line.made, item=line.item, key=line.key, images=images)


def _sum_of(line: Attempt | Filed) -> _Sum:
    match line:
        case Attempt():
            cost_usd = None if line.billed == "maybe" else line.cost_usd
            return _Sum(1 if line.attempt else 0, line.tokens, cost_usd)
        case Filed():
            return _Sum(line.attempts, line.tokens, line.cost_usd)


def _made(line: Attempt | Filed) -> bool:
    """Whether it made a picture, or gave one to its item."""
    return isinstance(line, Filed) or (line.decision == "done" and bool(line.images))


def _departed(attempt: Attempt, sent: Sent | None) -> Departed:
    """What is known of a request, and else what was reserved for it."""
    n_input: int | msgspec.UnsetType = msgspec.UNSET if sent is None else sent.est_tokens
    if attempt.tokens is not None:
        n_input = attempt.tokens.input_text + attempt.tokens.input_image
    usd = attempt.cost_usd
    if usd is None and sent is not None:
        usd = sent.est_usd
    n_known = 0 if isinstance(n_input, msgspec.UnsetType) else n_input
    return Departed(attempt.run_id, attempt.item, attempt.at, attempt.model, n_known, usd)


def turn_names(item: Item) -> list[Name]:
    """What the turns of an item go by in a history; the last is the item's own name."""
    if not item.turns:
        return [(item.id, item.key)]
    earlier = [(item.id, content_key(item, turn=turn)) for turn in range(1, len(item.turns))]
    return [*earlier, (item.id, item.key)]


def final_image(images: Iterable[ImageFile]) -> ImageFile | None:
    """The picture that an item was made for; None where there is none."""
    for image in images:
        if image.role == "final":
            return image
    return None


def _status(item: Item, latest: Attempt) -> Status:
    match latest.decision:
        case "failed" | "skipped":
            return latest.decision
        case "retry" | "stop":
            return "pending"
        case "done":
            # What was a turn in the middle of a longer conversation made no final picture.
            is_last = latest.key == item.key and final_image(latest.images) is not None
            return "done" if is_last else "pending"


def _sum(total: AddableT | None, more: AddableT | None) -> AddableT | None:
    """What is known of a sum."""
    if total is None or more is None:
        return more if total is None else total
    return total + more


def read_history(
    paths: Iterable[Path],
    *,
    since: str | None = None,
    observe: Callable[[Line], None] | None = None,
) -> History:
    """Read segments into one history.

    Args:
        paths: The segments, oldest first.
        since: From this stamp on, requests are listed one by one.
        observe: Told of each line, so that who learns from them all need not read them again.

    Raises:
        StoreError: A line is of a newer version of batchgen, or a segment cannot be read.
    """
    history = History(since=since, observe=observe)
    for path in paths:
        first = history.place_in(path, 0)
        for begins, line in read_lines(path, history.unreadable):
            history.apply(line, first + begins)
    return history
