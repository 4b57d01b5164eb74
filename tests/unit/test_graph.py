"""Which items build on which: what is missing, what leads back to itself, and how long it takes."""

import time

from batchgen.manifest.graph import Graph
from batchgen.model import Item, Reference, Turn


def graph_of(named: dict[str, list[str]], bad: tuple[str, ...] = ()) -> Graph:
    """Items by their ids, each with the names that it builds on; bad ones are only there."""
    graph = Graph()
    for identity, names in named.items():
        references = tuple(Reference(item=name) for name in names)
        graph.add(Item(id=identity, model="m", prompt="p", references=references))
    for identity in named:
        graph.found(identity)
    for identity in bad:
        graph.found_bad(identity)
    return graph


def test_items_that_build_on_none_have_no_faults() -> None:
    graph = graph_of({"a": [], "b": []})
    assert not graph
    assert graph.faults() == {}


def test_an_item_that_is_not_there_is_named_with_the_nearest() -> None:
    assert graph_of({"hero": [], "b": ["her"]}).faults() == {
        "b": {"her": "no item has the id 'her'; did you mean 'hero'?"}
    }


def test_a_name_means_the_first_copy_where_no_item_has_it() -> None:
    assert graph_of({"a#1": [], "a#2": [], "b": ["a", "a#2"]}).faults() == {}
    assert graph_of({"a#1": ["b"], "b": ["a"]}).faults() == {
        "a#1": {"b": "it builds on itself: a#1 → b → a#1"}
    }


def test_a_name_means_the_item_itself_where_both_are_there() -> None:
    assert graph_of({"a": [], "a#1": ["a"]}).faults() == {}
    assert graph_of({"a#1": ["a"], "a": []}).faults() == {}


def test_a_circle_through_another_copy_is_found() -> None:
    assert graph_of({"a#1": ["a#2"], "a#2": ["a#2"]}).faults() == {
        "a#2": {"a#2": "it builds on itself: a#2 → a#2"}
    }


def test_each_circle_is_found_once_with_the_name_as_it_was_written() -> None:
    assert graph_of({"a": ["b", "c"], "b": ["a"], "c": ["a"]}).faults() == {
        "a": {
            "b": "it builds on itself: a → b → a",
            "c": "it builds on itself: a → c → a",
        }
    }
    assert graph_of({"b": ["a"], "a#1": ["b"]}).faults() == {
        "b": {"a": "it builds on itself: b → a#1 → b"}
    }


def test_references_of_turns_count() -> None:
    graph = Graph()
    turns = (Turn(prompt="p"), Turn(prompt="q", references=(Reference(item="a"),)))
    graph.add(Item(id="a", model="m", turns=turns))
    graph.found("a")
    assert graph.faults() == {"a": {"a": "it builds on itself: a → a"}}


def test_copies_of_an_item_with_a_mistake_are_not_missed() -> None:
    graph = graph_of({"b": ["a", "a#2", "zebra#2", "c"]}, bad=("a", "c"))
    assert graph.faults() == {"b": {"zebra#2": "no item has the id 'zebra#2'"}}


def test_a_chain_of_a_hundred_thousand_is_walked_in_no_time() -> None:
    n_items = 100_000
    graph = graph_of({f"i{n}": [f"i{n + 1}"] if n + 1 < n_items else [] for n in range(n_items)})
    start = time.process_time()
    assert graph.faults() == {}
    assert time.process_time() - start < 2.5  # 0.2 s; walked with reversed dicts, minutes


def test_a_long_circle_is_shown_by_its_beginning() -> None:
    n_items = 100_000
    graph = graph_of({f"i{n}": [f"i{(n + 1) % n_items}"] for n in range(n_items)})
    told = "it builds on itself: i0 → i1 → i2 → i3 → i4 → i5 → … → i0"
    assert graph.faults() == {"i0": {"i1": told}}


def test_no_more_than_a_thousand_circles_are_told() -> None:
    graph = graph_of({f"i{n}": [f"i{n}"] for n in range(3_000)})
    assert len(graph.faults()) == 1_000
