"""Templates: what `{name}` is, what it is not, and what is put in its place."""

from __future__ import annotations

from typing import Any

import pytest

from batchgen.manifest.fields import Checker
from batchgen.manifest.templates import (
    Template,
    TemplateError,
    compiled,
    filled,
    names_in,
    parse,
    unknown,
)


@pytest.mark.parametrize(
    ("text", "texts", "names"),
    [
        ("", ("",), ()),
        ("no names", ("no names",), ()),
        ("{a}", ("", ""), ("a",)),
        ("x {a}{b} y", ("x ", "", " y"), ("a", "b")),
        ("{a} {a}", ("", " ", ""), ("a", "a")),
        ("{two words}", ("", ""), ("two words",)),
        ("{tags.x}", ("", ""), ("tags.x",)),
        ("{{a}}", ("{a}",), ()),
        ("{{{a}}}", ("{", "}"), ("a",)),
        ("{{}}", ("{}",), ()),
        ("{{{{", ("{{",), ()),
        ("é{ü}😀", ("é", "😀"), ("ü",)),
    ],
)
def test_a_template_is_texts_with_names_in_between(
    text: str, texts: tuple[str, ...], names: tuple[str, ...]
) -> None:
    assert parse(text) == Template(texts, names)


@pytest.mark.parametrize(
    "text", ["{", "}", "a {b", "a b}", "{a}}", "{{a}", "{}", "{a{b}", "{a}{", "}{"]
)
def test_a_brace_without_its_partner_is_no_template(text: str) -> None:
    with pytest.raises(TemplateError, match="for a brace itself"):
        parse(text)


@pytest.mark.parametrize("value", ["{b}", "{{", "}", "{a}", "%s", "\\1", "$a", "", "\n"])
def test_what_is_put_in_is_never_looked_at_again(value: str) -> None:
    assert parse("<{a}|{b}>").fill({"a": value, "b": value}) == f"<{value}|{value}>"


def test_texts_are_filled_at_any_depth_and_keys_are_not() -> None:
    written: dict[str, Any] = {"{a}": ["{a}", {"x": "-{a}-"}, 7, None, True], "y": "plain {{}}"}
    check = Checker()
    template = compiled(check, written, (), ("a",))
    assert check.mistakes == []
    assert names_in(template) == {"a"}
    assert filled(template, {"a": "1"}) == {
        "{a}": ["1", {"x": "-1-"}, 7, None, True],
        "y": "plain {}",
    }


def test_a_text_without_names_needs_no_filling() -> None:
    assert compiled(Checker(), "{{a}} as it is", (), ()) == "{a} as it is"


def test_a_name_that_is_not_there_is_told_with_the_steps_that_lead_to_it() -> None:
    check = Checker()
    compiled(check, {"x": ["{sku}", "{skuu}"]}, ("extra",), ("sku",))
    (mistake,) = check.mistakes
    assert mistake.steps == ("extra", "x", 1)
    assert mistake.message == "no column and no matrix name is 'skuu'; did you mean 'sku'?"


def test_names_are_not_judged_before_they_are_known() -> None:
    check = Checker()
    assert names_in(compiled(check, "{anything}", (), None)) == {"anything"}
    assert check.mistakes == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.b", "{a.b}: a value has no parts and no format; write {a}"),
        ("a[0]", "{a[0]}: a value has no parts and no format; write {a}"),
        ("a!r", "{a!r}: a value has no parts and no format; write {a}"),
        ("a:>9", "{a:>9}: a value has no parts and no format; write {a}"),
        ("Sku", "no column and no matrix name is 'Sku'; did you mean 'sku'?"),
        ("__class__", "no column and no matrix name is '__class__'; expected a, sku"),
    ],
)
def test_an_unknown_name_is_told_with_what_was_meant(name: str, message: str) -> None:
    assert unknown(Checker(), name, ("a", "sku")) == message


def test_where_there_are_no_names_that_is_said() -> None:
    assert unknown(Checker(), "a", ()) == "no column and no matrix name is 'a'; there are none"
