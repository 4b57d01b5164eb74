"""Which items of a job a run is about: `--only`, `--tag`, `--sample`. Pure.

What is not selected keeps the state that it has; nothing is sent for it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import repeat

import msgspec

from batchgen.model import Item


class Shard(msgspec.Struct, frozen=True):
    """One of several parts of a job, `number` of `total` from 1; together they are the job."""

    number: int
    total: int


class Selection(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a run is about; everything, unless it says otherwise. Conditions add up.

    Its JSON form stands in the ledger, so that a report knows what its run was about.

    Attributes:
        only: Patterns for ids (`*`, `?`, `[…]`), of which one must match.
        ids: Those of the items, if it is about some that are known by name.
        tags: Tags that an item must have, each with one of these values.
        shard: The part of what is left; it has no flag yet.
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

    def marked(self, items: Callable[[], Iterable[Item]]) -> Iterator[tuple[Item, bool]]:
        """Give the items, in order, each with whether it is selected.

        Args:
            items: Gives the items of the job; called once, and more than once for a sample.

        Cost: with a sample, the places of what is selected are held.
        """
        if self.is_whole:
            return zip(items(), repeat(object=True), strict=False)
        if self.sample is None:
            return self._fitting(items())
        n_fitting = sum(fits for _, fits in self._fitting(items()))
        places = set(_spread(self._fitting(items()), n_fitting, self.sample))
        return ((item, n in places) for n, item in enumerate(items()))

    def _fitting(self, items: Iterable[Item]) -> Iterator[tuple[Item, bool]]:
        """Each item, with whether it fits."""
        n, shard = 0, self.shard
        for item in items:
            fits = self._fits(item)
            n += fits
            is_of_shard = shard is None or n % shard.total == shard.number % shard.total
            yield item, fits and is_of_shard

    def _fits(self, item: Item) -> bool:
        if self.ids is not None and item.id not in self.ids:
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
