"""What is wrong with items: with their files, their size, their copies and one another."""
# ruff: noqa: E501 - messages stand as they are said

from __future__ import annotations

import json
import tracemalloc
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from batchgen.manifest import Manifest, open_manifest
from batchgen.manifest.comparison import Comparison, Marks
from batchgen.manifest.graph import Graph
from batchgen.manifest.problems import Problems
from batchgen.manifest.shapes import Line
from batchgen.manifest.sources import UsualLine
from batchgen.model import Item, content_key
from batchgen.references import ReferenceLibrary

ITEMS = "defaults: {model: m}\nitems:\n"  # what follows begins on line 3


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a picture in it, which the paths in messages start from."""
    (tmp_path / "folder").mkdir()
    Image.new("RGB", (4, 4), "teal").save(tmp_path / "photo.png")
    Image.new("RGB", (4, 4), "navy").save(tmp_path / "folder" / "inner.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, content: str) -> Path:
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(content)
    return Path(path)


def items_of(job: Path) -> tuple[Manifest, list[Item]]:
    manifest = open_manifest(job)
    return manifest, list(manifest.items(ReferenceLibrary()))


def errors_of(job: Path) -> list[str]:
    return [str(problem) for problem in items_of(job)[0].problems.sorted_errors]


def said_of(items: str, *, head: str = "") -> list[str]:
    """What is said of items that begin on line 3, with the head below them."""
    return errors_of(write("job.yaml", ITEMS + items + head))


def good(items: str, *, head: str = "") -> list[Item]:
    manifest, found = items_of(write("job.yaml", ITEMS + items + head))
    assert manifest.problems.sorted_errors == ()
    return found


def picture_of(path: str, size_bytes: int) -> None:
    """What begins like a picture; nothing behind it takes room on the disk."""
    with Path(path).open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
        file.truncate(size_bytes)


# --- items that build on items ------------------------------------------------------------------


def test_a_circle_through_another_copy_is_told() -> None:
    assert said_of("- {id: a, count: 2, prompt: p, references: ['item:a#2']}\n") == [
        "job.yaml:3:45: items[a#2].references[0]: it builds on itself: a#2 → a#2"
    ]
    assert said_of(
        "- {id: a, count: 3, prompt: p, references: ['item:b#3']}\n"
        "- {id: b, count: 3, prompt: p, references: ['item:a#2']}\n"
    ) == ["job.yaml:4:45: items[b#3].references[0]: it builds on itself: b#3 → a#2 → b#3"]


def test_copies_share_what_is_wrong_with_them() -> None:
    assert said_of("- {id: a, count: 3, prompt: p, references: ['item:nobody']}\n") == [
        "job.yaml:3:45: items[a#1].references[0]: no item has the id 'nobody'"
    ]


def test_an_item_and_what_looks_like_its_copy_make_no_circle() -> None:
    items = "- {id: a, prompt: p}\n- {id: 'a#1', prompt: p, references: ['item:a']}\n"
    assert [item.id for item in good(items)] == ["a", "a#1"]


def test_a_copy_of_an_item_with_a_mistake_is_not_missed() -> None:
    assert said_of(
        "- {id: a, count: 2, prompt: p, seed: x}\n- {id: b, prompt: p, references: ['item:a#2']}\n"
    ) == ["job.yaml:3:38: items[a].seed: expected a whole number, found 'x'"]


def test_every_fault_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    faults = Graph.faults

    def noted(self: Graph) -> object:
        known = faults(self)
        found.extend(message for ones in known.values() for message in ones.values())
        return known

    monkeypatch.setattr(Graph, "faults", noted)
    counts = (1, 2, 3)
    items = "".join(
        f"- {{id: i{n}, count: {counts[n % 3]}, prompt: p{n}, references: "
        f"['item:i{(n * 7 + 1) % 9}', 'item:i{(n * 5 + 2) % 9}#{counts[n % 3]}', 'item:x{n}']}}\n"
        for n in range(9)
    )
    told = {problem.split(": ", 2)[2] for problem in said_of(items)}
    assert len(set(found)) > 9
    assert told == set(found)


# --- what is kept to compare items --------------------------------------------------------------


def test_the_text_of_twins_is_not_kept() -> None:
    n_pairs = 25_000
    marks = Marks()
    keys = [f"{n:064x}" for n in range(n_pairs)]
    for key in keys * 2:
        marks.keys.add(hash(key))
    comparison = Comparison(Problems(), marks)
    path, line = Path("job.jsonl"), Line(id="a", prompt="p")
    tracemalloc.start()
    try:
        for n, key in enumerate(keys):
            item = Item(id=f"i{n}", model="m", prompt="p", key=key)
            comparison.take(UsualLine(path, n, b"%650d" % n, line), [item])
        used_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used_bytes / n_pairs < 320


# --- copies -------------------------------------------------------------------------------------


def test_an_id_is_short_enough_for_the_numbers_of_its_copies() -> None:
    long = "x" * 178
    assert [item.id for item in good(f"- {{id: {long}, prompt: p, count: 9}}\n")][8] == f"{long}#9"
    assert said_of(f"- {{id: {long}, prompt: p, count: 10}}\n") == [
        f"job.yaml:3:8: items[{long}].id: with count, its longest copy would be {long}#10: 181 characters; expected at most 180"
    ]
    assert len(good(f"- {{id: {'x' * 180}, prompt: p}}\n")) == 1


# --- the size of a request ----------------------------------------------------------------------

LIMIT = "limits: {max_body_mib: 1}\n"
OVER = "its request is 1.3 MiB, and limits.max_body_mib is 1"


def test_an_item_that_is_too_large_is_not_yielded() -> None:
    picture_of("large.png", 1 << 20)
    items = "- {id: a, prompt: p, references: [large.png]}\n- {id: b, prompt: p}\n"
    _, found = items_of(write("job.yaml", ITEMS + items + LIMIT))
    assert [item.id for item in found] == ["b"]


def test_the_size_is_told_where_the_weight_is() -> None:
    picture_of("large.png", 1 << 20)
    remedy = "set reference_max_px, or send fewer references"
    items = "- {id: a, turns: [{prompt: p, references: [photo.png]}, {prompt: q, references: [large.png]}]}\n"
    assert said_of(items, head=LIMIT) == [
        f"job.yaml:3:81: items[a].turns[1].references: {OVER}: {remedy}"
    ]
    items = "- {id: a, references: [large.png], turns: [{prompt: p}]}\n"
    assert said_of(items, head=LIMIT) == [f"job.yaml:3:23: items[a].references: {OVER}: {remedy}"]


def test_what_makes_a_request_smaller_fits_what_it_is_made_of() -> None:
    text = "x" * 1_363_000
    assert said_of(f"- {{id: a, prompt: {text}}}\n", head=LIMIT) == [
        f"job.yaml:3:19: items[a].prompt: {OVER}: shorten its text"
    ]
    assert said_of(f"- {{id: a, turns: [{{prompt: {text}}}]}}\n", head=LIMIT) == [
        f"job.yaml:3:18: items[a].turns: {OVER}: shorten its text"
    ]
    body = f"{{contents: [{{parts: [{{text: {text}}}]}}]}}"
    assert said_of(f"- {{id: a, request: {body}}}\n", head=LIMIT) == [
        f"job.yaml:3:20: items[a].request: {OVER}: put less into it"
    ]


def test_a_lower_bound_is_advised_where_there_is_one() -> None:
    Image.effect_noise((1_100, 1_100), 90).save("noise.png")
    items = "- {id: a, prompt: p, reference_max_px: 2000, references: [noise.png]}\n"
    (told,) = said_of(items, head=LIMIT)
    assert told.endswith(": lower reference_max_px, or send fewer references")
    assert len(good(items.replace("2000", "1000"), head=LIMIT)) == 1  # its size is not known yet


# --- raw requests -------------------------------------------------------------------------------


def test_the_model_in_a_request_is_text() -> None:
    assert said_of("- {id: a, request: {model: 3, contents: [1]}}\n") == [
        "job.yaml:3:28: items[a].request.model: expected text, found 3; put it in quotes"
    ]
    job = write(
        "job.yaml", "items:\n- {id: a, request: {model: [m], contents: [{parts: [{text: p}]}]}}\n"
    )
    assert errors_of(job) == [
        "job.yaml:2:28: items[a].request.model: expected text, found a list; put it in quotes"
    ]


def test_requests_that_differ_in_a_role_left_out_have_one_key() -> None:
    items = good(
        "- {id: a, request: {contents: [{parts: [{text: p}]}]}}\n"
        "- {id: b, request: {contents: [{role: null, parts: [{text: p}]}]}}\n"
        "- {id: c, request: {contents: [{role: user, parts: [{text: p}]}]}}\n"
        "- {id: d, request: {contents: [{role: model, parts: [{text: p}]}]}}\n"
    )
    assert len({item.key for item in items[:3]}) == 1
    assert items[3].key != items[0].key
    assert items[0].request == {"contents": [{"role": "user", "parts": [{"text": "p"}]}]}


def test_the_key_of_an_item_that_is_built_by_hand_stays() -> None:
    without = Item(id="a", model="m", request={"contents": [{"parts": []}]})
    with_role = Item(id="a", model="m", request={"contents": [{"role": "user", "parts": []}]})
    assert content_key(without) != content_key(with_role)


# --- references ---------------------------------------------------------------------------------


def test_a_bad_reference_hides_no_missing_file() -> None:
    assert said_of("- {id: a, prompt: p, references: [none.xyz, '@nobody', gone.xyz]}\n") == [
        "job.yaml:3:35: items[a].references[0]: none.xyz does not exist",
        "job.yaml:3:45: items[a].references[1]: no reference is named 'nobody'; the job names none under `references`",
        "job.yaml:3:56: items[a].references[2]: gone.xyz does not exist",
    ]
    assert said_of("- {id: a, turns: [{prompt: p, references: [none.xyz, '@nobody']}]}\n") == [
        "job.yaml:3:44: items[a].turns[0].references[0]: none.xyz does not exist",
        "job.yaml:3:54: items[a].turns[0].references[1]: no reference is named 'nobody'; the job names none under `references`",
    ]


def test_a_reference_of_the_item_is_told_at_the_item_though_its_first_turn_sends_it() -> None:
    assert said_of("- {id: a, references: [none.xyz], turns: [{prompt: p}]}\n") == [
        "job.yaml:3:24: items[a].references[0]: none.xyz does not exist"
    ]


def test_an_empty_list_in_the_first_turn_unsets_default_references() -> None:
    head = "defaults: {model: m, references: [photo.png]}\nitems:\n"
    job = write(
        "job.yaml",
        head
        + "- {id: a, turns: [{prompt: p, references: []}]}\n"
        + "- {id: b, turns: [{prompt: p}]}\n"
        + "- {id: c, turns: [{prompt: p, references: null}]}\n"
        + "- {id: d, references: [], turns: [{prompt: p}]}\n",
    )
    manifest, items = items_of(job)
    assert manifest.problems.sorted_errors == ()
    assert [len(item.all_references) for item in items] == [0, 1, 1, 0]


def test_no_message_shows_a_signature() -> None:
    secret = "https://h.example/a.png?sig=SECRET"
    for reference in (
        "'az://box/a.png?sig=SECRET'",
        f"{{path: '{secret}'}}",
        "'http://h.example/a?sig=SECRET'",
    ):
        (told,) = said_of(f"- {{id: a, prompt: p, references: [{reference}]}}\n")
        assert "SECRET" not in told
        assert "a" in told
    for item in (f"prompt: {{file: '{secret}'}}", f"prompt: p, each: '{secret}'"):
        assert "SECRET" not in "".join(said_of(f"- {{id: a, {item}}}\n"))


def test_an_address_under_path_is_told_to_go_under_url() -> None:
    assert said_of("- {id: a, prompt: p, references: [{path: 'https://h.example/a?b=c'}]}\n") == [
        "job.yaml:3:42: items[a].references[0].path: https://h.example/a is an address, no path: write it under url"
    ]


def test_stores_are_named_without_their_queries() -> None:
    assert said_of("- {id: a, prompt: p, references: ['az://box/a.png?sig=S']}\n") == [
        "job.yaml:3:35: items[a].references[0]: az://box/a.png has a query or a fragment: an object has neither"
    ]


# --- files that are not there -------------------------------------------------------------------


def said_of_file(written: str) -> str:
    """What is said of a reference, behind its place."""
    (told,) = said_of(f"- {{id: a, prompt: p, references: [{json.dumps(written)}]}}\n")
    return told.split(": ", 2)[2]


def test_the_nearest_file_is_named_with_its_folder() -> None:
    assert said_of_file("folder/iner.png") == (
        "folder/iner.png does not exist; did you mean 'folder/inner.png'?"
    )
    assert said_of_file("./phto.png") == "./phto.png does not exist; did you mean './photo.png'?"
    near = f"{Path.cwd()}/photo.png"
    assert said_of_file(near[:-5] + ".png").endswith(f"; did you mean '{near}'?")


def test_a_name_of_other_unicode_characters_is_told() -> None:
    there, written = unicodedata.normalize("NFD", "café.png"), "café.png"
    Path("photo.png").rename(there)
    assert said_of_file(written) == (
        "café.png does not exist; it is there under a name of other Unicode characters: "
        "rename it, or copy its name from the disk"
    )


def test_a_path_from_where_the_command_was_started_is_told_how_it_is_written() -> None:
    job = write(
        "folder/job.yaml", ITEMS + "- {id: a, prompt: p, references: [folder/inner.png, photo.png]}"
    )
    assert errors_of(job) == [
        "folder/job.yaml:3:35: items[a].references[0]: folder/inner.png does not exist; paths start at the job file: write 'inner.png'",
        "folder/job.yaml:3:53: items[a].references[1]: photo.png does not exist; paths start at the job file: write '../photo.png'",
    ]


def test_a_backslash_is_no_folder() -> None:
    assert said_of_file("folder\\inner.png") == (
        "folder\\inner.png does not exist; write / between folders"
    )


def test_white_space_at_the_ends_is_seen() -> None:
    assert said_of_file("photo.png ") == "'photo.png ' does not exist; did you mean 'photo.png'?"


def test_prompts_and_tables_are_looked_for_likewise() -> None:
    write("folder/hero.txt", "A hero")
    write("folder/list.csv", "sku\na\n")
    assert said_of(
        "- {id: a, prompt: {file: folder/hro.txt}}\n"
        "- {id: '{sku}', prompt: '{sku}', each: folder/lst.csv}\n"
        "- {id: b, prompt: {file: 'folder\\hero.txt'}}\n"
    ) == [
        "job.yaml:3:26: items[a].prompt.file: cannot read the prompt folder/hro.txt: no such file or directory; did you mean 'folder/hero.txt'?",
        "job.yaml:4:40: items[2].each: cannot read the table folder/lst.csv: no such file or directory; did you mean 'folder/list.csv'?",
        "job.yaml:5:26: items[b].prompt.file: cannot read the prompt folder\\hero.txt: no such file or directory; write / between folders",
    ]


# --- references of the head ---------------------------------------------------------------------


def test_a_missing_reference_of_the_head_is_told_there_and_there_alone() -> None:
    head = "references: {logo: lgo.xyz, good: photo.png}\ndefaults: {model: m, references: ['@logo', gone.xyz]}\nitems:\n"
    items = "- {id: a, prompt: p}\n- {id: b, prompt: p, references: ['@logo', '@good', none.xyz, {name: logo, label: x}]}\n"
    manifest, found = items_of(write("job.yaml", head + items))
    assert [str(one) for one in manifest.problems.sorted_errors] == [
        "job.yaml:1:20: references.logo: lgo.xyz does not exist",
        "job.yaml:2:44: defaults.references[1]: gone.xyz does not exist",
        "job.yaml:5:53: items[b].references[2]: none.xyz does not exist",
    ]
    assert found == []


def test_what_the_head_names_is_examined_though_no_item_uses_it() -> None:
    items = '{"id": "a", "prompt": "p", "model": "m"}\n'
    job = {"references": {"logo": "lgo.xyz"}, "defaults": {"references": [{"path": "gone.xyz"}]}}
    assert errors_of(write("job.jsonl", json.dumps({"job": job}) + "\n" + items)) == [
        "job.jsonl:1:33: references.logo: lgo.xyz does not exist",
        "job.jsonl:1:73: defaults.references[0]: gone.xyz does not exist",
    ]


def test_good_references_of_the_head_are_not_mentioned() -> None:
    head = "references: {logo: photo.png, far: 'https://h.example/a.png'}\n"
    assert len(good("- {id: a, prompt: p, references: ['@logo']}\n", head=head)) == 1


def test_a_path_that_no_disk_can_hold_is_told() -> None:
    assert said_of_file("x" * 300 + ".png").endswith("cannot be read (File name too long)")
    (told,) = said_of(f"- {{id: '{{sku}}', prompt: p, each: {'x' * 300}}}\n")
    assert told.startswith("job.yaml:3:34: items[1].each: ")


def test_a_name_that_is_refused_is_not_told_again_where_it_is_used(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(
        "defaults: {model: m}\nreferences: {u: 'item:a'}\n"
        "items:\n- {id: a, prompt: p}\n- {id: b, prompt: q, references: ['@u']}\n"
    )
    manifest = open_manifest(job)
    assert [item.id for item in manifest.items(ReferenceLibrary())] == ["a", "b"]
    [error] = manifest.problems.errors
    assert (error.line, error.field) == (2, "references.u")
