"""Every kind of answer that the service may give, through the command, each told by its own name.

The emulator's own counts say what was sent; what the command made of it stands in its directory.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from PIL import Image

from tests import commands, ledgers, servers
from tests.commands import Done, EmulatorProcess, batchgen
from tests.runs import write_job

Json: TypeAlias = dict[str, Any]

FLASH = "gemini-3.1-flash-image"
SMALL = {"model": FLASH, "image_size": "512", "aspect_ratio": "1:1", "modalities": ["IMAGE"]}
SAID = "Got it! Here's the image:"  # what the emulator writes instead of drawing


def run(job: Path, emulated: EmulatorProcess, *flags: str | Path) -> Done:
    to = ("--provider", "emulator", "--base-url", emulated.url)
    return batchgen("run", job, "-o", job.parent / "output", *to, *flags)


def by_item(directory: Path) -> dict[str, list[Json]]:
    """The attempts of each item, in their order."""
    found: dict[str, list[Json]] = {}
    for line in ledgers.attempts(directory):
        found.setdefault(line["item"], []).append(line)
    return found


def endings(images: list[Json], role: str) -> list[str]:
    return [Path(image["path"]).suffix for image in images if image["role"] == role]


# --- the table ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Told:
    """What is told of an item: of its last attempt, and by the emulator's count.

    Attributes:
        has_message: Whether the service's own words on how it ended stand in the ledger.
        quarantined: The endings of what lies in quarantine, of all its attempts.
    """

    outcome: str = "image"
    decision: str = "done"
    requests: int = 1
    billed: str = "yes"
    finish_reason: str | None = "STOP"
    block_reason: str | None = None
    has_message: bool = False
    text: str | None = None
    quarantined: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """An answer: by the words in its prompt, or by a rule of the faults file."""

    told: Told
    words: str = ""
    rule: str = ""


DRAWN = Told()
REFUSED = Told(outcome="blocked", decision="failed")
NO_IMAGE = Told(outcome="no_image", decision="failed")
BROKEN = Told(outcome="broken_image", decision="failed")
BAD_REPLY = Told(
    outcome="bad_reply", decision="failed", requests=2, billed="maybe", finish_reason=None
)

# How often each is asked for in all, where nothing comes of it; after a refusal once.
TRIES = {
    "STOP": 3,
    "NO_IMAGE": 3,
    "MAX_TOKENS": 1,
    "MISSING_THOUGHT_SIGNATURE": 1,
    "OTHER": 2,
    "IMAGE_OTHER": 2,
    "FINISH_REASON_UNSPECIFIED": 2,
    "MALFORMED_RESPONSE": 2,
    "MALFORMED_FUNCTION_CALL": 2,
    "UNEXPECTED_TOOL_CALL": 2,
    "TOO_MANY_TOOL_CALLS": 2,
    "CONTINUATION": 2,
    "A_REASON_OF_TOMORROW": 2,
    "IMAGE_OF_TOMORROW": 2,
}
REFUSALS = (
    *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"),
    *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
    *("ESCALATION", "MODEL_ARMOR"),
)
# With these the emulator says, as Google does, that nothing is charged.
NOT_CHARGED = ("IMAGE_OTHER", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT")
BLOCK_REASONS = (
    *("BLOCKED_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST"),
    *("PROHIBITED_CONTENT", "IMAGE_SAFETY", "MODEL_ARMOR", "JAILBREAK", "A_REASON_OF_TOMORROW"),
)


def finished(reason: str) -> Row:
    told = replace(NO_IMAGE, requests=TRIES[reason]) if reason in TRIES else REFUSED
    if reason in NOT_CHARGED:
        told = replace(told, billed="no", has_message=True)
    return Row(replace(told, finish_reason=reason), words=f"[[{reason}]]")


def blocked(reason: str) -> Row:
    return Row(
        replace(REFUSED, finish_reason=None, block_reason=reason), words=f"[[BLOCKED={reason}]]"
    )


def drawn_with(reason: str) -> Row:
    return Row(replace(DRAWN, finish_reason=reason), rule=f"finish_with_picture: {reason}")


ROWS: dict[str, Row] = {
    **{f"finish {reason}": finished(reason) for reason in (*TRIES, *REFUSALS)},
    **{f"block {reason}": blocked(reason) for reason in BLOCK_REASONS},
    "block with a message": Row(
        replace(REFUSED, finish_reason=None, block_reason="OTHER", has_message=True),
        rule="block_reason: OTHER, message: No such pictures here.",
    ),
    # pictures, whatever stands beside them
    "plain": Row(DRAWN),
    "no image once": Row(replace(DRAWN, requests=2), words="[[NO_IMAGE:1]]"),
    "words once": Row(replace(DRAWN, requests=2), words="[[TEXT_ONLY:1]]"),
    "drafts": Row(DRAWN, words="[[DRAFTS=3]]"),
    "unsigned": Row(DRAWN, words="[[UNSIGNED]]"),
    "wrong size": Row(DRAWN, words="[[WRONG_SIZE]]"),
    "picture, cut": drawn_with("MAX_TOKENS"),
    "picture, refused": drawn_with("IMAGE_SAFETY"),
    "picture, none": drawn_with("NO_IMAGE"),
    "picture, unknown": drawn_with("A_REASON_OF_TOMORROW"),
    "second candidate": Row(DRAWN, rule="candidates: second"),
    "wrong label": Row(DRAWN, rule="mime_label: image/gif"),
    "no usage": Row(DRAWN, rule="usage: missing"),
    "usage in strings": Row(DRAWN, rule="usage: strings"),
    "snake case": Row(DRAWN, rule="spelling: snake"),
    "list of one": Row(DRAWN, rule="garbage: array"),
    # no final picture
    "words": Row(
        replace(NO_IMAGE, outcome="text_only", requests=3, text=SAID), words="[[TEXT_ONLY]]"
    ),
    "thoughts": Row(
        replace(NO_IMAGE, requests=2, quarantined=(".png", ".png")), words="[[THOUGHTS_ONLY]]"
    ),
    "address": Row(NO_IMAGE, words="[[FILE_URI]]"),
    "empty data": Row(replace(NO_IMAGE, requests=3), rule="image: empty"),
    "no candidates": Row(
        replace(NO_IMAGE, requests=3, finish_reason=None), rule="garbage: no_candidates"
    ),
    # broken or other bytes
    "truncated": Row(
        replace(BROKEN, requests=2, quarantined=(".png", ".png")), rule="image: truncated"
    ),
    "page": Row(replace(BROKEN, quarantined=(".bin",)), rule="image: not_image"),
    "svg": Row(replace(BROKEN, quarantined=(".bin",)), rule="image: svg"),
    "heic": Row(replace(BROKEN, quarantined=(".bin",)), rule="image: heic"),
    "truncated once": Row(
        replace(DRAWN, requests=2, quarantined=(".png",)), rule="nth: 1, image: truncated"
    ),
    # no answer
    "no json": Row(BAD_REPLY, rule="garbage: not_json"),
    "no body": Row(BAD_REPLY, rule="garbage: empty"),
    "two documents": Row(
        replace(BAD_REPLY, quarantined=(".png",) * 4), rule="garbage: two_documents"
    ),
}


def prompt_of(name: str) -> str:
    return f"A vase, {name} {ROWS[name].words}".strip()


def id_of(name: str) -> str:
    return name.replace(",", "")


def told_of(attempts: list[Json], n_requests: int) -> Told:
    """What a directory and an emulator tell of an item."""
    last = attempts[-1]
    quarantined = [end for line in attempts for end in endings(line["images"], "quarantine")]
    return Told(
        outcome=last["outcome"],
        decision=last["decision"],
        requests=n_requests,
        billed=last["billed"],
        finish_reason=last["finish_reason"],
        block_reason=last.get("block_reason"),
        has_message="finish_message" in last,
        text=last["text"],
        quarantined=tuple(quarantined),
    )


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[EmulatorProcess]:
    rules = [
        f"- {{prompt: '{prompt_of(name)}', {row.rule}}}\n" for name, row in ROWS.items() if row.rule
    ]
    faults = tmp_path / "faults.yaml"
    faults.write_text("".join(rules))
    with commands.emulator("--latency", "0", "--faults", str(faults)) as running:
        yield running


def test_every_answer_has_its_outcome_its_retries_and_the_services_own_words(
    faulty: EmulatorProcess, tmp_path: Path
) -> None:
    items = [{"id": id_of(name), "prompt": prompt_of(name)} for name in ROWS]
    job = write_job(tmp_path / "job.jsonl", items, defaults=SMALL)
    done = run(job, faulty, "--concurrency", "32", "--rpm", "9999", "--json")
    assert done.code == 4, done.err
    directory = tmp_path / "output/job"
    ledgers.check_directory(directory)

    sent, lines = faulty.by_prompt, by_item(directory)
    told = {name: told_of(lines[id_of(name)], sent[prompt_of(name)]) for name in ROWS}
    wrong = {name: (told[name], row.told) for name, row in ROWS.items() if told[name] != row.told}
    assert not wrong
    for attempts in lines.values():
        assert [line["attempt"] for line in attempts] == [*range(1, len(attempts) + 1)]
        assert {line["decision"] for line in attempts[:-1]} <= {"retry"}
        assert len({line["billed"] for line in attempts[:-1]}) <= 1
    assert {name: len(lines[id_of(name)]) for name in ROWS} == {
        name: row.told.requests for name, row in ROWS.items()
    }
    assert faulty.counts()["by_status"] == {"200": sum(sent.values())}

    kept = {path.name for path in (directory / "quarantine").iterdir()}
    assert len(kept) == sum(len(row.told.quarantined) for row in ROWS.values())
    n_done = sum(row.told.outcome == "image" for row in ROWS.values())
    assert done.json["items"]["done"] == n_done
    assert len(list((directory / "images").iterdir())) == n_done
    assert (directory / "text/words.txt").read_text() == SAID
    # Each failure says what the service said, for a person.
    for name, row in ROWS.items():
        error = lines[id_of(name)][-1]["error"]
        for word in (row.told.finish_reason, row.told.block_reason):
            if error is not None and word not in {None, "STOP", "NO_IMAGE"}:
                assert word in error["message"], name


def test_a_plain_run_asks_again_for_all_that_failed_but_what_was_refused(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    words = {"refused": "[[SAFETY]]", "blocked": "[[BLOCKED=OTHER]]", "cut": "[[MAX_TOKENS]]"}
    items = [{"id": name, "prompt": f"{name} {word}"} for name, word in words.items()]
    job = write_job(tmp_path / "job.jsonl", items, defaults=SMALL)
    assert run(job, emulated).code == 4
    assert run(job, emulated).code == 4
    once = {f"{name} {words[name]}": 1 for name in ("refused", "blocked")}
    assert emulated.by_prompt == {**once, "cut [[MAX_TOKENS]]": 2}
    assert run(job, emulated, "--retry-failed=blocked").code == 4
    assert emulated.by_prompt == {**dict.fromkeys(once, 2), "cut [[MAX_TOKENS]]": 2}


def test_an_account_that_is_limited_stops_the_run_at_once(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    prompts = ["a [[PUP_LIMITED_DISABLED]]", "b", "c"]
    items = [{"id": prompt[0], "prompt": prompt} for prompt in prompts]
    job = write_job(tmp_path / "job.jsonl", items, defaults=SMALL)
    done = run(job, emulated, "--concurrency", "1", "--json")
    assert done.code == 7, done.err
    assert emulated.by_prompt == {prompts[0]: 1}
    directory = tmp_path / "output/job"
    ledgers.check_directory(directory)
    [attempt] = ledgers.attempts(directory)
    assert (attempt["outcome"], attempt["decision"]) == ("unauthorized", "stop")
    assert attempt["finish_reason"] == "PUP_LIMITED_DISABLED"
    assert done.json["items"]["pending"] == 3


# --- a refused prompt, and its references ---------------------------------------------------------


def test_a_refused_prompt_names_the_reference_that_may_be_the_cause(tmp_path: Path) -> None:
    names = ("vase.png", "bowl.png", "cup.png")
    for name in names:
        (tmp_path / name).write_bytes(servers.png(name))
    faults = tmp_path / "faults.yaml"
    pointed = "Unable to process input image at contents[0].parts[2]."
    faults.write_text(f"- {{prompt: 'pointed*', block_reason: OTHER, message: '{pointed}'}}\n")
    items: list[str | Json] = [
        {"id": "none", "prompt": "none [[BLOCKED]]"},
        {"id": "one", "prompt": "one [[BLOCKED]]", "references": ["vase.png"]},
        {"id": "three", "prompt": "three [[BLOCKED]]", "references": [*names]},
        {"id": "pointed", "prompt": "pointed", "references": [*names]},
        {"id": "output", "prompt": "output [[IMAGE_SAFETY]]", "references": ["vase.png"]},
    ]
    job = write_job(tmp_path / "job.jsonl", items, defaults=SMALL)
    with commands.emulator("--latency", "0", "--faults", str(faults)) as emulated:
        assert run(job, emulated).code == 4
        assert set(emulated.by_prompt.values()) == {1}
        assert emulated.n_requests == 5
    results = ledgers.results(tmp_path / "output/job")
    named = {
        one: tuple(name for name in names if name in result["error"]["message"])
        for one, result in results.items()
    }
    assert named == {
        "none": (),
        "one": ("vase.png",),
        "three": names,
        "pointed": ("bowl.png",),
        "output": (),
    }
    assert {result["outcome"] for result in results.values()} == {"blocked"}


# --- a picture of the wrong size ------------------------------------------------------------------

WIDE = {**SMALL, "aspect_ratio": "16:9"}


def wrong_size_job(folder: Path, action: str, **words: str) -> Path:
    items = [{"id": name, "prompt": prompt(name, word)} for name, word in words.items()]
    output = {"on_wrong_size": action}
    return write_job(folder / "job.jsonl", items, defaults=WIDE, output=output)


def prompt(name: str, word: str) -> str:
    return f"{name} {word}".strip()


def measured(directory: Path, name: str) -> tuple[int, int]:
    with Image.open(directory / name) as opened:
        return opened.size


def told(directory: Path, item: str) -> list[tuple[str, str, str]]:
    return [
        (line["outcome"], line["decision"], line["billed"]) for line in by_item(directory)[item]
    ]


def test_a_picture_of_the_wrong_size_is_accepted_with_a_note(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    job = wrong_size_job(tmp_path, "accept", wrong="[[WRONG_SIZE]]", right="")
    for _ in range(2):
        assert run(job, emulated).code == 0
        assert emulated.by_prompt == {"wrong [[WRONG_SIZE]]": 1, "right": 1}
    directory = tmp_path / "output/job"
    ledgers.check_directory(directory)
    assert measured(directory, "images/wrong.png") == (1024, 1024)
    width, height = measured(directory, "images/right.png")
    assert 1.7 < width / height < 1.87
    [wrong], [right] = (by_item(directory)[name] for name in ("wrong", "right"))
    assert "1024x1024" in wrong["note"]
    assert "note" not in right
    assert not (directory / "quarantine").exists()


def test_pictures_of_the_wrong_size_are_warned_of_once(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    job = wrong_size_job(tmp_path, "accept", one="[[WRONG_SIZE]]", two="[[WRONG_SIZE]]", right="")
    done = run(job, emulated)
    warnings = [line for line in done.err.splitlines() if line.startswith("warning:")]
    [warning] = [line for line in warnings if "1024x1024" in line]
    assert warning.startswith(("warning: one: the picture is", "warning: two: the picture is"))
    assert warning.endswith("unless output.on_wrong_size says otherwise")
    again = run(job, emulated)
    assert "1024x1024" not in again.err


def test_a_picture_of_the_wrong_size_is_asked_for_again_within_its_tries(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    once, thrice = "[[WRONG_SIZE:1]]", "[[WRONG_SIZE:3]]"
    job = wrong_size_job(tmp_path, "retry", once=once, thrice=thrice, right="")
    first = run(job, emulated, "--json")
    assert first.code == 4, first.err
    sent = {f"once {once}": 2, f"thrice {thrice}": 3, "right": 1}
    assert emulated.by_prompt == sent
    directory = tmp_path / "output/job"
    ledgers.check_directory(directory)
    again, failed = ("wrong_size", "retry", "yes"), ("wrong_size", "failed", "yes")
    assert told(directory, "once") == [again, ("image", "done", "yes")]
    assert told(directory, "thrice") == [again, again, failed]
    assert not (directory / "images/thrice.png").exists()
    aside = sorted((directory / "quarantine").iterdir())
    assert [measured(directory, f"quarantine/{path.name}") for path in aside] == [(1024, 1024)] * 4
    assert float(first.json["cost_waste_usd"]) > 0

    _, left = ledgers.lines(directory / "failed.jsonl")
    assert left["id"] == "thrice"
    for flags in ((), ("--retry-failed=blocked,no_image",)):
        assert run(job, emulated, *flags).code == 4
        assert emulated.by_prompt == sent
    assert run(job, emulated, "--retry-failed=wrong_size").code == 0
    assert emulated.by_prompt == {**sent, f"thrice {thrice}": 4}
    ledgers.check_directory(directory)
    assert not (directory / "failed.jsonl").exists()


def test_a_picture_of_the_wrong_size_fails_its_item_and_failed_jsonl_judges_as_the_job_did(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    word = "[[WRONG_SIZE:2]]"
    job = wrong_size_job(tmp_path, "fail", wrong=word)
    directory = tmp_path / "output/job"
    assert run(job, emulated).code == 4
    assert told(directory, "wrong") == [("wrong_size", "failed", "yes")]
    assert emulated.by_prompt == {f"wrong {word}": 1}
    failed = directory / "failed.jsonl"
    # Without -o they go to where they come from.
    to = ("--provider", "emulator", "--base-url", emulated.url)
    assert batchgen("run", failed, *to).code == 4
    assert emulated.by_prompt == {f"wrong {word}": 1}
    assert batchgen("run", failed, *to, "--retry-failed").code == 4
    assert emulated.by_prompt == {f"wrong {word}": 2}
    assert told(directory, "wrong") == [("wrong_size", "failed", "yes")] * 2
    assert len(list((directory / "quarantine").iterdir())) == 2
    assert batchgen("run", failed, *to, "--retry-failed=wrong_size").code == 0
    assert run(job, emulated).code == 0
    assert emulated.by_prompt == {f"wrong {word}": 3}
    ledgers.check_directory(directory)


def test_another_choice_for_the_wrong_size_is_no_other_picture(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    word = "[[WRONG_SIZE]]"
    assert run(wrong_size_job(tmp_path, "fail", wrong=word), emulated).code == 4
    assert run(wrong_size_job(tmp_path, "accept", wrong=word), emulated).code == 4
    assert emulated.n_requests == 1
    assert run(wrong_size_job(tmp_path, "accept", wrong=word), emulated, "--retry-failed").code == 0
    assert run(wrong_size_job(tmp_path, "fail", wrong=word), emulated).code == 0
    assert emulated.n_requests == 2


# --- what is kept besides the picture -------------------------------------------------------------


def keeping_job(folder: Path, **output: bool) -> Path:
    drafts = "[[DRAFTS=3]]"
    turns = [{"prompt": f"first {drafts}"}, {"prompt": f"second {drafts}"}]
    items: list[str | Json] = [
        {"id": "drawn", "prompt": f"drawn {drafts}", "include_thoughts": True},
        {"id": "talk", "turns": turns, "include_thoughts": True},
        {"id": "plain", "prompt": "plain"},
    ]
    return write_job(folder / "job.jsonl", items, defaults=SMALL, output=output)


def files(directory: Path, *folders: str) -> set[str]:
    return {
        path.relative_to(directory).as_posix()
        for folder in folders
        for path in (directory / folder).rglob("*")
    }


def test_drafts_and_thoughts_are_kept_and_only_the_final_picture_matters(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    job = keeping_job(tmp_path, keep_drafts=True, keep_thoughts=True)
    done = run(job, emulated)
    assert done.code == 0, done.err
    assert emulated.n_requests == 4
    directory = tmp_path / "output/job"
    ledgers.check_directory(directory)
    drafts = {f"drafts/{name}.{n}.png" for name in ("drawn.1", "talk.1", "talk.2") for n in (1, 2)}
    thoughts = {f"thoughts/{name}.1.png" for name in ("drawn.1", "talk.1", "talk.2")}
    assert files(directory, "drafts", "thoughts") == drafts | thoughts
    assert files(directory, "images") == {f"images/{one}.png" for one in ("drawn", "talk", "plain")}

    result = ledgers.results(directory)["drawn"]
    assert [(image["role"], image["path"]) for image in result["images"]] == [
        ("final", "images/drawn.png"),
        ("draft", "drafts/drawn.1.1.png"),
        ("draft", "drafts/drawn.1.2.png"),
        ("thought", "thoughts/drawn.1.1.png"),
    ]
    sizes = [measured(directory, image["path"]) for image in result["images"]]
    assert sizes == [(512, 512)] * 3 + [(256, 256)]
    for line in ledgers.attempts(directory):
        for image in line["images"]:
            ledgers.check_image(directory, image)
    shas = [image["sha256"] for line in ledgers.attempts(directory) for image in line["images"]]
    assert len(shas) == len(set(shas))

    for path in (directory / "drafts").iterdir():
        path.unlink()
    (directory / "drafts").rmdir()
    assert run(job, emulated).code == 0
    assert emulated.n_requests == 4
    assert batchgen("report", directory).code == 0
    ledgers.check_directory(directory)


def test_neither_is_kept_unless_the_job_says_so_and_the_choice_makes_nothing_again(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    assert run(keeping_job(tmp_path), emulated).code == 0
    directory = tmp_path / "output/job"
    ledgers.check_directory(directory)
    assert not files(directory, "drafts", "thoughts", "quarantine")
    for result in ledgers.results(directory).values():
        assert [image["role"] for image in result["images"]] == ["final"]
    job = keeping_job(tmp_path, keep_drafts=True, keep_thoughts=True)
    assert run(job, emulated).code == 0
    assert emulated.n_requests == 4
    assert run(job, emulated, "--force", "--only", "drawn").code == 0
    assert emulated.n_requests == 5
    assert len(files(directory, "drafts")) == 2
    assert len(files(directory, "thoughts")) == 1
    assert run(keeping_job(tmp_path), emulated, "--force", "--only", "drawn").code == 0
    assert not files(directory, "drafts", "thoughts")
