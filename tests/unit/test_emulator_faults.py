"""Which request gets which fault, and what a faults file may say."""

from pathlib import Path

import pytest

from batchgen.emulator import FaultsError, faults, faults_file
from batchgen.emulator.faults import Action, Faults, Rule, Seen

BUSY = faults.Status(status=503)


def seen(*texts: str, model_id: str = "gemini-3-pro-image", number: int = 1, nth: int = 1) -> Seen:
    return Seen(texts or ("a cat",), model_id, number, nth)


def rules(tmp_path: Path, text: str) -> tuple[Rule, ...]:
    path = tmp_path / "faults.yaml"
    path.write_text(text)
    return faults_file.load(path)


def action(tmp_path: Path, text: str) -> Action:
    (rule,) = rules(tmp_path, f"- {{{text}}}\n")
    return rule.action


# --- which request


def test_a_prompt_glob_matches_one_text_or_all_of_them() -> None:
    rule = Rule(action=BUSY, prompt="a*cat")
    assert rule.concerns(seen("a red cat"))
    assert rule.concerns(seen("Image 1:", "a red cat"))
    assert rule.concerns(seen("a dog", "a cat"))
    assert not rule.concerns(seen("two cats"))


def test_a_model_glob_matches_the_id_that_was_asked_for() -> None:
    rule = Rule(action=BUSY, model="*-preview")
    assert rule.concerns(seen(model_id="gemini-3-pro-image-preview"))
    assert not rule.concerns(seen(model_id="gemini-3-pro-image"))


def test_nth_counts_within_a_prompt_and_requests_over_all() -> None:
    rule = Rule(action=BUSY, nth=frozenset({2}), requests=(range(5, 8),))
    assert rule.concerns(seen(nth=2, number=7))
    assert not rule.concerns(seen(nth=1, number=7))
    assert not rule.concerns(seen(nth=2, number=8))


def test_every_counts_the_requests_that_the_rule_concerns() -> None:
    engine = Faults([Rule(action=BUSY, prompt="*cat", every=3)])
    texts = ["a cat", "a dog", "a cat", "a cat", "a cat", "a cat", "a cat"]
    hit = [engine.action_for(seen(text)) is BUSY for text in texts]
    assert hit == [False, False, False, True, False, False, True]


def test_probability_is_drawn_once_for_each_request_of_a_prompt() -> None:
    engine = Faults([Rule(action=BUSY, probability=0.25)], seed=7)
    prompts = [seen(f"prompt {n}") for n in range(400)]
    hit = [engine.action_for(one) is BUSY for one in prompts]
    assert 60 < sum(hit) < 140
    assert hit == [engine.action_for(one) is BUSY for one in prompts]
    other = Faults([Rule(action=BUSY, probability=0.25)], seed=8)
    assert hit != [other.action_for(one) is BUSY for one in prompts]


def test_the_first_rule_that_matches_wins() -> None:
    engine = Faults([Rule(action=BUSY, prompt="*cat"), Rule(action=faults.TextOnly())])
    assert engine.action_for(seen("a cat")) is BUSY
    assert engine.action_for(seen("a dog")) == faults.TextOnly()


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat [[NO_IMAGE]]", faults.Finish("NO_IMAGE")),
        ("a [[IMAGE_SAFETY]] cat", faults.Finish("IMAGE_SAFETY")),
        ("[[BLOCKED]]", faults.Block("OTHER")),
        ("[[BLOCKED=SAFETY]]", faults.Block("SAFETY")),
        ("[[TEXT_ONLY]]", faults.TextOnly()),
        ("[[THOUGHTS_ONLY]]", faults.ThoughtsOnly()),
        ("[[FILE_URI]]", faults.FileUri()),
        ("[[UNSIGNED]]", faults.Signatures("missing")),
        ("[[WRONG_SIZE]]", faults.WrongSize("dropped")),
        ("[[DRAFTS=3]]", faults.Drafts(3)),
        ("[[DRAFTS=99]]", faults.Drafts(10)),
        ("[[drafts]]", None),
        ("[[ a cat ]]", None),
    ],
)
def test_magic_words_in_the_prompt_are_faults(prompt: str, expected: Action | None) -> None:
    assert Faults([]).action_for(seen(prompt)) == expected


def test_a_magic_word_with_a_number_hits_only_the_first_requests() -> None:
    found = [faults.magic_word(seen("a cat [[NO_IMAGE:2]]", nth=n)) for n in (1, 2, 3)]
    assert found == [faults.Finish("NO_IMAGE")] * 2 + [None]
    found = [faults.magic_word(seen("a cat [[WRONG_SIZE:1]]", nth=n)) for n in (1, 2)]
    assert found == [faults.WrongSize("dropped"), None]


def test_magic_words_are_not_part_of_what_is_drawn() -> None:
    assert faults.without_magic_words("a cat [[NO_IMAGE:1]]") == "a cat"


# --- what a file may say


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("status: 503", faults.Status(status=503)),
        (
            "status: 429, quota: day, retry_delay: 2s, retry_after: 7",
            faults.Status(status=429, quota="day", retry_delay="2s", retry_after="7"),
        ),
        ("status: 429, reason: spend", faults.Status(status=429, quota="spend")),
        (
            "status: 503, reason: MODEL_CAPACITY_EXHAUSTED, body: list",
            faults.Status(status=503, reason="MODEL_CAPACITY_EXHAUSTED", body="list"),
        ),
        (
            "status: 500, body: gateway, code: invalid_request, message: nope",
            faults.Status(status=500, body="gateway", code="invalid_request", message="nope"),
        ),
        ("finish_reason: NO_IMAGE", faults.Finish("NO_IMAGE")),
        ("finish_with_picture: MAX_TOKENS", faults.FinishWithPicture("MAX_TOKENS")),
        ("block_reason: OTHER", faults.Block("OTHER")),
        ("block_reason: SAFETY, message: never", faults.Block("SAFETY", "never")),
        ("text_only: true", faults.TextOnly()),
        ("thoughts_only: true", faults.ThoughtsOnly()),
        ("drafts: 3", faults.Drafts(3)),
        ("candidates: second", faults.Candidates("second")),
        ("file_uri: true", faults.FileUri()),
        ("signatures: missing", faults.Signatures("missing")),
        ("cut: 0.5", faults.Cut(0.5)),
        ("reset: before", faults.Reset("before")),
        ("reset: during", faults.Reset("during")),
        ("hang: 30", faults.Wait(30)),
        ("latency: 0.5", faults.Wait(0.5)),
        ("drip: 1000", faults.Drip(1000)),
        ("redirect: 'https://www.example.com/'", faults.Redirect("https://www.example.com/")),
        ("encoding: gzip_cut", faults.Encoding("gzip_cut")),
        ("spelling: snake", faults.Spelling("snake")),
        ("usage: null_details", faults.Usage("null_details")),
        ("mime_label: image/png", faults.MimeLabel("image/png")),
        ("wrong_size: true", faults.WrongSize("ratio")),
        ("wrong_size: ratio", faults.WrongSize("ratio")),
        ("wrong_size: dropped", faults.WrongSize("dropped")),
        ("garbage: two_documents", faults.Garbage("two_documents")),
        ("image: svg", faults.BadImage("svg")),
        ("image: heic", faults.BadImage("heic")),
        ("image: empty", faults.BadImage("empty")),
    ],
)
def test_every_action_can_be_written(tmp_path: Path, text: str, expected: Action) -> None:
    assert action(tmp_path, text) == expected


def test_every_condition_can_be_written(tmp_path: Path) -> None:
    text = """
- prompt: "*cat*"
  model: "*flash*"
  nth: [1, 3]
  requests: [2, 4-6]
  every: 2
  probability: 0.5
  status: 503
- {nth: 2, requests: 10-12, text_only: true}
"""
    first, second = rules(tmp_path, text)
    assert first == Rule(
        action=BUSY,
        prompt="*cat*",
        model="*flash*",
        nth=frozenset({1, 3}),
        requests=(range(2, 3), range(4, 7)),
        every=2,
        probability=0.5,
    )
    assert (second.nth, second.requests) == (frozenset({2}), (range(10, 13),))


def test_a_body_can_stand_in_a_file_beside_the_faults(tmp_path: Path) -> None:
    (tmp_path / "teapot.html").write_text("<html>short and stout</html>")
    found = action(tmp_path, "status: 418, body: teapot.html")
    assert isinstance(found, faults.Status)
    assert (found.body, found.content) == ("file", b"<html>short and stout</html>")
    assert found.content_type == "text/html"


def test_an_empty_list_has_no_rules(tmp_path: Path) -> None:
    assert rules(tmp_path, "[]") == ()


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", 1, "not a list"),
        ("rules: []", 1, "not a list"),
        ("- status: 503\n- just words", 2, "not a rule"),
        ("- status: 503\n  nht: 2", 2, "unknown key 'nht', expected 'nth' perhaps"),
        ("- nth: 2", 1, "no action in one rule"),
        ("- status: 503\n  text_only: true", 2, "status and text_only in one rule"),
        ("- {text_only: true}\n- {text_only: true,\n   body: html}", 3, "body without status"),
        ("- {text_only: true, message: hm}", 1, "message without status or block_reason"),
        ("- {block_reason: OTHER,\n   reason: SPAM}", 2, "reason without status"),
        ("- {block_reason: OTHER, message: 5}", 1, "expected text"),
        ("- status: 503\n  status: 504", 2, "status twice"),
        ("- status: 99", 1, "a whole number from 200 to 599"),
        ("- status: true", 1, "a whole number"),
        ("- {status: 429, quota: hour}", 1, "one of minute, day, spend, free"),
        ("- {status: 429, retry_delay: 2}", 1, "a duration such as 2s"),
        ("- {status: 429, reason: because}", 1, "a name in capitals"),
        ("- {status: 503, body: missing.html}", 1, "a readable file"),
        ("- {status: 503, body: [1]}", 1, "google, list"),
        ("- finish_reason: no_image", 1, "a name in capitals"),
        ("- finish_reason: NO", 1, "a name in capitals"),
        ("- finish_with_picture: true", 1, "a name in capitals"),
        ("- candidates: 2", 1, "one of second"),
        ("- signatures: none", 1, "one of missing"),
        ("- thoughts_only: 1", 1, "expected true"),
        ("- file_uri: 'https://www.example.com/'", 1, "expected true"),
        ("- drafts: 11", 1, "from 1 to 10"),
        ("- cut: 1", 1, "a share from 0 to 0.999"),
        ("- reset: after", 1, "one of before, during"),
        ("- hang: -1", 1, "seconds"),
        ("- hang: .nan", 1, "seconds"),
        ("- drip: 0", 1, "1 or more"),
        ("- encoding: gzipped", 1, "'gzip' perhaps"),
        ("- wrong_size: no", 1, "one of ratio, dropped"),
        ("- wrong_size: drop", 1, "'dropped' perhaps"),
        ("- {status: 503, nth: 0}", 1, "1 or more"),
        ("- {status: 503, requests: 9-3}", 1, "N or A-B"),
        ("- {status: 503, requests: x}", 1, "N or A-B"),
        ("- {status: 503, every: 0}", 1, "1 or more"),
        ("- {status: 503, probability: 2}", 1, "a number from 0 to 1"),
        ("- {status: 503, prompt: 5}", 1, "a glob"),
        ("- status: 503\n - oops: [", 2, "expected YAML"),
        ("- status: !!python/name:os.system ''", 1, "a whole number"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, what: str
) -> None:
    with pytest.raises(FaultsError) as caught:
        rules(tmp_path, text)
    place, message = str(caught.value).split(": ", 1)
    assert place == f"{tmp_path / 'faults.yaml'}:{line}"
    assert what in message


def test_a_file_that_is_not_there_is_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(FaultsError, match="readable"):
        faults_file.load(tmp_path / "none.yaml")
