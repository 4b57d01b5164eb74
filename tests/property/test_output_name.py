"""Whatever template and values are written, a picture's path is one of names below images/."""

from __future__ import annotations

import unicodedata

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from batchgen.manifest.fields import Checker
from batchgen.manifest.output_name import MAX_FOLDERS, OutputName, read_output_name
from batchgen.model import Item
from batchgen.naming import MAX_NAME_BYTES, collision_key

CHARACTERS = st.sampled_from("./\\:~ aA1é\u0301\0\n{}") | st.characters(codec="utf-8")
VALUES = st.text(CHARACTERS) | st.text(CHARACTERS, min_size=180, max_size=200)
SHORT = st.text(CHARACTERS, max_size=20)  # what is cut has a digest, and is alike to nothing
PIECES = st.sampled_from(["{id}", "{model}", "{t}", "{u}", "/", "a", ".", " ", "{{", "}}", "-"])
TEMPLATES = st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=8)


def read(template: str) -> tuple[OutputName | None, Checker]:
    check = Checker()
    return read_output_name(check, template, ("output", "name")), check


@given(TEMPLATES)
def test_a_template_is_the_default_or_read_or_a_mistake(template: str) -> None:
    name, check = read(template)
    assert (name is not None) + bool(check.mistakes) + (template == "{id}") == 1


@given(TEMPLATES, VALUES, VALUES, VALUES)
def test_a_path_is_made_of_safe_names_as_many_as_the_template_has(
    template: str, identity: str, tag: str, model: str
) -> None:
    name, _ = read(template)
    item = Item(id=identity, model=model, prompt="p", tags={"t": tag, "u": identity[::-1]})
    if name is None or name.fault(item) is not None:
        return
    parts = name.path(item).split("/")
    assert len(parts) == len(name.parts) <= MAX_FOLDERS + 1
    for part in parts:
        assert part == part.strip(". ") != ""
        assert unicodedata.is_normalized("NFC", part)
        assert len(part.encode()) <= MAX_NAME_BYTES
        assert not any(ch < " " or ch in '\\:*?"<>|\x7f' for ch in part)


@given(SHORT, SHORT)
def test_values_that_look_alike_to_a_disk_make_one_path(one: str, other: str) -> None:
    name, _ = read("{t}/x")
    assert name is not None
    item = Item(id="a", model="m", prompt="p", tags={"t": one})
    decomposed = msgspec.structs.replace(item, tags={"t": unicodedata.normalize("NFD", one)})
    assert name.path(item) == name.path(decomposed)
    different = msgspec.structs.replace(item, tags={"t": other})
    if collision_key(one) == collision_key(other):
        assert collision_key(name.path(item)) == collision_key(name.path(different))
