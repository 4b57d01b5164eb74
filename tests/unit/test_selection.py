"""Which items a run is about: patterns, tags, samples and shards."""

from collections.abc import Iterable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.model import Item
from batchgen.selection import Selection, Shard

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
        (Selection(shard=Shard(1, 2)), ["hero", "Hero"]),
        (Selection(shard=Shard(2, 2)), ["hero-wide"]),
        (Selection(shard=Shard(3, 4)), ["Hero"]),
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
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


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
