"""Which items a run is about: patterns, tags, samples and shards."""

from collections.abc import Iterable
from decimal import Decimal
from itertools import product
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.model import Item, Reference
from batchgen.selection import (
    Selection,
    Shard,
    find_groups,
    share_of_count,
    share_of_usd,
)

SCENES = ("studio", "beach")
RATIOS = ("1:1", "4:5", "16:9")


def item(name: str, **settings: object) -> Item:
    return Item(id=name, model="m", prompt="p", **settings)  # type: ignore[arg-type]


def catalogue(n_products: int) -> list[Item]:
    return [
        item(f"{n}-{scene}-{ratio}", aspect_ratio=ratio, tags={"sku": str(n), "scene": scene})
        for n, scene, ratio in product(range(n_products), SCENES, RATIOS)
    ]


def chosen(selection: Selection, items: Iterable[Item]) -> list[str]:
    job = list(items)
    marked = list(selection.marked(lambda: job))
    assert [one for one, _ in marked] == job
    return [one.id for one, is_selected in marked if is_selected]


JOB = [item("hero"), item("hero-wide", tags={"scene": "beach"}), item("Hero", tags={"scene": "x"})]


@pytest.mark.parametrize(
    ("selection", "ids"),
    [
        (Selection(), ["hero", "hero-wide", "Hero"]),
        (Selection(only=("hero",)), ["hero"]),
        (Selection(only=("hero*",)), ["hero", "hero-wide"]),
        (Selection(only=("?ero",)), ["hero", "Hero"]),
        (Selection(only=("[H]*", "*-wide")), ["hero-wide", "Hero"]),
        (Selection(only=("nothing",)), []),
        (Selection(tags={"scene": ("beach",)}), ["hero-wide"]),
        (Selection(tags={"scene": ("beach", "x")}), ["hero-wide", "Hero"]),
        (Selection(tags={"scene": ("beach",), "sku": ("1",)}), []),
        (Selection(only=("H*",), tags={"scene": ("beach", "x")}), ["Hero"]),
        (Selection(sample=9), ["hero", "hero-wide", "Hero"]),
        (Selection(only=("hero*",), sample=1), ["hero"]),
    ],
    ids=str,
)
def test_conditions_add_up(selection: Selection, ids: list[str]) -> None:
    assert chosen(selection, JOB) == ids
    assert selection.is_whole == (selection == Selection())


@given(st.integers(0, 40), st.integers(1, 12))
def test_shards_part_a_job_without_rest_or_overlap(n_products: int, n_shards: int) -> None:
    job = catalogue(n_products)
    shards = [chosen(Selection(shard=Shard(n, n_shards)), job) for n in range(1, n_shards + 1)]
    assert sorted(name for shard in shards for name in shard) == sorted(one.id for one in job)


def test_shards_are_about_as_large_as_each_other() -> None:
    job = catalogue(2000)
    sizes = [len(chosen(Selection(shard=Shard(n, 8)), job)) for n in range(1, 9)]
    assert 1300 < min(sizes) <= max(sizes) < 1700


def test_an_item_stays_in_its_shard_whatever_others_come_and_go() -> None:
    job = catalogue(50)
    shard = Selection(shard=Shard(2, 5))
    before = set(chosen(shard, job))
    fewer = [one for n, one in enumerate(reversed(job)) if n % 3]
    assert set(chosen(shard, fewer)) == before & {one.id for one in fewer}


def test_the_parts_of_a_job_are_the_same_on_every_machine() -> None:
    parts = {"a": 2, "b": 2, "hero": 2, "größe": 1, "日本": 1, "cover-1": 3, "x" * 300: 1}
    for name, number in parts.items():
        of = [n for n in (1, 2, 3) if chosen(Selection(shard=Shard(n, 3)), [item(name)])]
        assert of == [number], name


def _building_on(name: str, *others: str) -> Item:
    return item(name, references=tuple(Reference(item=other) for other in others))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40), st.randoms())
def test_items_that_build_on_each_other_and_those_that_ask_for_the_same_stay_together(
    edges: list[tuple[int, int]], rng: Random
) -> None:
    builds_on: dict[int, set[int]] = {}
    for first, second in edges:
        builds_on.setdefault(max(first, second), set()).add(min(first, second))
    job = [_building_on(f"i{n}", *(f"i{m}" for m in builds_on.get(n, ()))) for n in range(31)]
    twins = [msgspec.structs.replace(item(f"t{n}"), key=f"k{n % 3}") for n in range(7)]
    job += twins
    rng.shuffle(job)
    parents = {f"i{n}": f"i{n}" for n in range(31)}
    groups = find_groups(job, parents, {hash("k0"), hash("k1"), hash("k2")})
    of = {one.id: groups.get(one.id, one.id) for one in job}
    for one in job:
        for reference in one.all_references:
            assert of[one.id] == of[reference.item or ""]
    assert [of[f"t{n}"] for n in range(7)] == ["t0", "t1", "t2", "t0", "t1", "t2", "t0"]
    for smallest in set(of.values()):
        assert min(name for name, group in of.items() if group == smallest) == smallest
    joined = {frozenset({f"i{n}", f"i{m}"}) for n in builds_on for m in builds_on[n]}
    assert len({of[f"i{n}"] for n in range(31)}) == 31 - _n_joins(joined)


def _n_joins(pairs: set[frozenset[str]]) -> int:
    """How many of some pairs join two groups that were apart, by merging sets."""
    groups: list[set[str]] = []
    n_joins = 0
    for pair in pairs:
        touched = [group for group in groups if group & pair]
        merged = set(pair).union(*touched)
        n_joins += len(merged) - 1 - sum(len(group) - 1 for group in touched)
        groups = [group for group in groups if group not in touched] + [merged]
    return n_joins


def test_a_name_of_several_copies_means_the_first() -> None:
    job = [item("hero#1"), item("hero#2"), _building_on("x", "hero")]
    assert find_groups(job, {"hero": "hero#1"}, set()) == {"x": "hero#1", "hero#1": "hero#1"}


def test_items_with_one_address_are_together_whatever_lay_there_and_others_are_not() -> None:
    def of(name: str, url: str, sha256: str | None) -> Item:
        there = item(name, references=(Reference(url=f"https://example.org/{url}", sha256=sha256),))
        return msgspec.structs.replace(there, key=f"k{sha256}")

    job = [of("a", "x", "1"), of("b", "x", "1"), of("c", "y", "1"), of("d", "y", "1")]
    assert find_groups(job, {}, {hash("k1")}) == {"a": "a", "b": "a", "c": "c", "d": "c"}
    not_there = [msgspec.structs.replace(one, key="k") for one in job]
    assert find_groups(not_there, {}, {hash("k")}) == {"a": "a", "b": "a", "c": "c", "d": "c"}


@pytest.mark.parametrize("text", ["1/1", "2/4", "10000/10000"])
def test_a_shard_is_written_as_it_is_read(text: str) -> None:
    shard = Shard.read(text)
    assert shard is not None
    assert (str(shard), Shard.named(shard.name)) == (text, shard)


@pytest.mark.parametrize(
    "text", ["", "0/4", "5/4", "1", "1/", "/4", "1/0", "01/4", "1/10001", "-1/4", "1/4 ", "1/4/4"]
)
def test_what_is_no_shard_is_none(text: str) -> None:
    assert Shard.read(text) is None
    assert Shard.named(f"s{text}") is None


@given(st.integers(1, 5000), st.integers(1, 60), st.decimals(0, 1000, places=4))
def test_shares_add_up_to_no_more_than_there_is(count: int, n_shards: int, usd: Decimal) -> None:
    shards = [Shard(n, n_shards) for n in range(1, n_shards + 1)]
    assert sum(share_of_count(count, shard) for shard in shards) == count
    shared_usd = sum(share_of_usd(usd, shard) for shard in shards)
    assert 0 <= usd - shared_usd < Decimal("0.000001") * n_shards


@given(st.integers(0, 40), st.integers(1, 60), st.sampled_from([1, 2, 5]))
def test_a_sample_has_as_many_items_as_were_asked_for_one_of_each_stretch(
    n_products: int, n_wanted: int, n_shards: int
) -> None:
    job = catalogue(n_products)
    shard = Shard(1, n_shards)
    whole = chosen(Selection(shard=shard), job)
    sample = chosen(Selection(shard=shard, sample=n_wanted), job)
    assert len(sample) == min(n_wanted, len(whole))
    places = [whole.index(name) for name in sample]
    assert places == sorted(places)
    if len(whole) > n_wanted:
        stretches = [place * n_wanted // len(whole) for place in places]
        assert max(stretches) - min(stretches) >= n_wanted - 2


@pytest.mark.parametrize("n_products", [6, 7, 50, 999])
def test_a_small_sample_meets_every_value_of_the_matrix(n_products: int) -> None:
    sample = chosen(Selection(sample=6), catalogue(n_products))
    assert {name.split("-")[1] for name in sample} == set(SCENES)
    assert {name.split("-")[2] for name in sample} == set(RATIOS)


def test_the_same_job_gives_the_same_sample() -> None:
    job = catalogue(100)
    assert chosen(Selection(sample=17), job) == chosen(Selection(sample=17), job)


@pytest.mark.parametrize(
    ("selection", "n_readings"),
    [
        (Selection(), 1),
        (Selection(only=("hero*",), tags={"scene": ("beach",)}, shard=Shard(1, 2)), 1),
        (Selection(sample=2), 3),
    ],
    ids=str,
)
def test_a_job_is_read_once_to_be_marked_unless_a_sample_is_drawn(
    selection: Selection, n_readings: int
) -> None:
    readings = []

    def read() -> list[Item]:
        readings.append(1)
        return JOB

    assert len(list(selection.marked(read))) == len(JOB)
    assert len(readings) == n_readings
