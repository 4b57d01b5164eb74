"""Which reference a refusal may be about."""

import pytest

from batchgen.errors import AttemptError, BadRequest, Blocked, NoImage, PromptBlocked
from batchgen.model import Item, Reference, Turn
from batchgen.suspects import suspects

VASE = Reference(path="/shop/photos/vase.jpg", label="Image A:")
BOWL = Reference(url="https://cdn.example.com/bowl.png?sig=secret")
HERO = Reference(item="hero")


def item(*references: Reference) -> Item:
    return Item(id="a", model="m", prompt="p", references=references)


def test_a_blocked_prompt_with_one_reference_names_it() -> None:
    said = suspects(PromptBlocked("x"), item(VASE), 1)
    assert said.startswith("; its reference vase.jpg may be the cause: ")


def test_with_several_all_are_named_and_no_signature_is() -> None:
    said = suspects(PromptBlocked("x"), item(VASE, BOWL, HERO), 1)
    names = "vase.jpg, https://cdn.example.com/bowl.png, item:hero"
    assert said.startswith(f"; one of its 3 references may be the cause ({names}): ")
    assert "secret" not in said


def test_of_many_the_first_are_named() -> None:
    many = [Reference(path=f"/x/{n}.png") for n in range(14)]
    assert "(0.png, 1.png, 2.png, 3.png, 4.png, …)" in suspects(PromptBlocked("x"), item(*many), 1)


@pytest.mark.parametrize("kind", [PromptBlocked, BadRequest])
@pytest.mark.parametrize(("part", "name"), [(2, "vase.jpg"), (3, "bowl.png"), (4, "item:hero")])
def test_a_part_that_is_named_tells_which(kind: type[AttemptError], part: int, name: str) -> None:
    error = kind(f"Unable to process. Invalid value at 'contents[0].parts[{part}].inline_data'")
    said = suspects(error, item(VASE, BOWL, HERO), 1)
    assert said.startswith("; the part that is named is the reference ")
    assert said.endswith(name)


@pytest.mark.parametrize("part", [0, 1, 9])
def test_a_part_that_is_no_reference_tells_nothing(part: int) -> None:
    assert not suspects(BadRequest(f"bad parts[{part}]"), item(VASE, BOWL), 1)


@pytest.mark.parametrize("error", [Blocked("parts[1]"), NoImage("parts[1]"), BadRequest("no")])
def test_other_failures_have_no_suspects(error: AttemptError) -> None:
    assert not suspects(error, item(VASE), 1)


def test_without_references_there_are_none() -> None:
    assert not suspects(PromptBlocked("parts[1]"), item(), 1)


def test_in_a_conversation_those_of_the_turns_so_far_are_under_suspicion() -> None:
    turns = (
        Turn(prompt="a", references=(VASE,)),
        Turn(prompt="b"),
        Turn(prompt="c", references=(HERO,)),
    )
    held = Item(id="a", model="m", turns=turns)
    assert "vase.jpg may be" in suspects(PromptBlocked("parts[1]"), held, 2)
    assert "one of its 2 references" in suspects(PromptBlocked("parts[1]"), held, 3)
