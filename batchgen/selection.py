"""Which items of a job a run is about: `--only`, `--tag`, `--shard`, `--sample`. Pure.

What is not selected keeps the state that it has; nothing is sent for it.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from decimal import ROUND_DOWN, Decimal
from fnmatch import fnmatchcase
from itertools import repeat
from typing import Final, Self

import msgspec

from batchgen.model import Item, Reference, content_key

MAX_SHARDS: Final = 10_000
_MICRO_USD: Final = Decimal("0.000001")
_SHARD: Final = re.compile(r"([1-9][0-9]{0,4})/([1-9][0-9]{0,4})")
NO_GROUPS: Final[Mapping[str, str]] = {}


class Shard(msgspec.Struct, frozen=True):
    """One of several parts of a job, `number` of `total` from 1; together they are the job.

    What belongs together is in one of them: items that build on each other, and those that ask for
    the same, which is made once. Which one depends on nothing but the smallest id among them, so
    that items come and go without any other changing its shard.
    """

    number: int
    total: int

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Read `2/4`; None if it is no shard."""
        found = _SHARD.fullmatch(text)
        if found is None:
            return None
        number, total = int(found[1]), int(found[2])
        return cls(number, total) if number <= total <= MAX_SHARDS else None

    @classmethod
    def named(cls, name: str) -> Self | None:
        """Read what `name` gives; None if it is none."""
        return cls.read(name[1:].replace("-", "/")) if name[:1] == "s" else None

    @property
    def name(self) -> str:
        """How it is called in names of files: `s2-4`."""
        return f"s{self.number}-{self.total}"

    def __str__(self) -> str:
        """How it is written: `2/4`."""
        return f"{self.number}/{self.total}"

    def holds(self, smallest_id: str) -> bool:
        """Whether the items are in it of which this is the smallest id."""
        digest = hashlib.sha256(smallest_id.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.total == self.number - 1


def share_of_count(count: int, shard: Shard) -> int:
    """A shard's share of so many; together they have all of them."""
    return count // shard.total + (shard.number <= count % shard.total)


def share_of_usd(usd: Decimal, shard: Shard) -> Decimal:
    """A shard's share of an amount, rounded down to a millionth of a dollar."""
    return (usd / shard.total).quantize(_MICRO_USD, ROUND_DOWN)


def key_by_address(item: Item) -> str:
    """What an item asks for, where what was fetched counts by its address; told without looking."""
    if all(one.url is None for one in item.all_references):
        return item.key
    turns = tuple(
        msgspec.structs.replace(turn, references=_by_address(turn.references))
        for turn in item.turns
    )
    item = msgspec.structs.replace(item, references=_by_address(item.references), turns=turns)
    return content_key(item)


def _by_address(references: tuple[Reference, ...]) -> tuple[Reference, ...]:
    return tuple(
        one if one.url is None else msgspec.structs.replace(one, sha256=None, max_px=None)
        for one in references
    )


def find_groups(
    items: Iterable[Item], parents: Mapping[str, str], twins: Container[int]
) -> dict[str, str]:
    """Find what belongs together: the smallest id of each group, by the ids of its items.

    An item that belongs to no other is left out. What is fetched counts by its address, not by its
    bytes: each shard fetches for itself, and all must find the same.

    Args:
        items: The expanded job, with content keys.
        parents: The ids of items that others build on, by the names that references use.
        twins: Hashes of the content keys that several items have.
    """
    smallest: dict[str, str] = {}
    first_by_key: dict[str, str] = {}

    def root(item_id: str) -> str:
        while (above := smallest.get(item_id, item_id)) != item_id:
            smallest[item_id] = smallest.get(above, above)
            item_id = above
        return item_id

    def join(one: str, other: str) -> None:
        low, high = sorted((root(one), root(other)))
        smallest[low] = smallest[high] = low

    for item in items:
        if parents:
            for reference in item.all_references:
                if reference.item is not None:
                    join(item.id, parents.get(reference.item, reference.item))
        if hash(item.key) in twins:
            join(item.id, first_by_key.setdefault(key_by_address(item), item.id))
    return {item_id: root(item_id) for item_id in list(smallest)}


class Selection(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a run is about; everything, unless it says otherwise. Conditions add up.

    Its JSON form stands in the ledger, so that a report knows what its run was about.

    Attributes:
        only: Patterns for ids (`*`, `?`, `[…]`), of which one must match.
        ids: Those of the items, if it is about some that are known by name.
        tags: Tags that an item must have, each with one of these values.
        shard: The part of the job of which only these items are.
        sample: So many of what is left then, spread over it.
    """

    only: tuple[str, ...] = ()
    ids: frozenset[str] | None = None
    tags: Mapping[str, tuple[str, ...]] = {}
    shard: Shard | None = None
    sample: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it leaves nothing out."""
        return self == Selection()

    def marked(
        self, items: Callable[[], Iterable[Item]], groups: Mapping[str, str] = NO_GROUPS
    ) -> Iterator[tuple[Item, bool]]:
        """Give the items, in order, each with whether it is selected.

        Args:
            items: Gives the items of the job; called once, and more than once for a sample.
            groups: What belongs together, by which shards part them; see `find_groups`.

        Cost: with a sample, the places of what is selected are held.
        """
        if self.is_whole:
            return zip(items(), repeat(object=True), strict=False)
        if self.sample is None:
            return self._fitting(items(), groups)
        n_fitting = sum(fits for _, fits in self._fitting(items(), groups))
        places = set(_spread(self._fitting(items(), groups), n_fitting, self.sample))
        return ((item, n in places) for n, item in enumerate(items()))

    def _fitting(
        self, items: Iterable[Item], groups: Mapping[str, str]
    ) -> Iterator[tuple[Item, bool]]:
        """Each item, with whether it fits."""
        return ((item, self._fits(item, groups)) for item in items)

    def _fits(self, item: Item, groups: Mapping[str, str]) -> bool:
        if self.ids is not None and item.id not in self.ids:
            return False
        if self.shard is not None and not self.shard.holds(groups.get(item.id, item.id)):
            return False
        return (
            not self.only or any(fnmatchcase(item.id, pattern) for pattern in self.only)
        ) and all(item.tags.get(name) in values for name, values in self.tags.items())


def _spread(fitting: Iterable[tuple[Item, bool]], n_fitting: int, n_wanted: int) -> Iterator[int]:
    """Choose one item of each of equal stretches: the one least like those chosen before.

    So a small sample of a large matrix meets each of its values, which every n-th item would not.
    """
    chosen: Counter[tuple[str, object]] = Counter()
    best: tuple[int, int, Item] | None = None
    n = 0
    for place, (item, fits) in enumerate(fitting):
        if not fits:
            continue
        likeness = sum(chosen[trait] for trait in _traits(item))
        if best is None or likeness < best[0]:
            best = likeness, place, item
        n += 1
        if n * n_wanted // n_fitting > (n - 1) * n_wanted // n_fitting:  # the end of a stretch
            yield best[1]
            chosen.update(_traits(best[2]))
            best = None


def _traits(item: Item) -> Iterator[tuple[str, object]]:
    """What items have in common."""
    yield "model", item.model
    yield "aspect_ratio", item.aspect_ratio
    yield "image_size", item.image_size
    yield from item.tags.items()
    yield from item.variant.items()
