"""Items with several turns: what each request holds, what is kept, and where a run goes on."""

import base64
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import batchgen
from batchgen.emulator import Emulator, Settings
from batchgen.plan import Redo
from tests import ledgers, servers
from tests.runs import KEY, Ran, run_job, write_job
from tests.servers import Answer, Asked, FaultServer

Json: TypeAlias = dict[str, Any]
Say: TypeAlias = Callable[[str], Json]

PROMPTS = ("one", "two", "three")
FLASH = "gemini-3.1-flash-image"


def poster(*prompts: str, **fields: object) -> Json:
    turns = [{"prompt": prompt} for prompt in prompts or PROMPTS]
    return {"id": "poster 4:5", "turns": turns, **fields}


def signed(prompt: str) -> Json:
    """A content as the models of today give it, with members that nobody knows yet."""
    return {
        "parts": [
            {"text": "hm \u2028", "thought": True},
            {"text": "Here \u4e2d", "thoughtSignature": "dGV4dA=="},
            servers.image_part(servers.png(f"draft of {prompt}"), thoughtSignature="ZHJhZnQ="),
            {**servers.image_part(servers.png(prompt), "image/jpeg"), "thoughtSignature": "cGlj"},
            {"newKind": {"n": [1.50, None, {"data": "0"}]}},
        ],
        "role": "model",
    }


def unsigned(prompt: str) -> Json:
    return {"role": "model", "parts": [servers.image_part(servers.png(prompt))]}


@dataclass
class Service:
    """Answers every message with a content, and counts the last messages that it was sent."""

    say: Say = signed
    faults: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[list[Json]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer:
        contents = json.loads(asked.body)["contents"]
        self.asked.append(contents)
        prompt = contents[-1]["parts"][0]["text"]
        if self.faults.get(prompt):
            return self.faults[prompt].pop(0)
        document = servers.document()
        document["candidates"][0]["content"] = self.say(prompt)
        return servers.whole(document)

    @property
    def prompts(self) -> list[str]:
        return [contents[-1]["parts"][0]["text"] for contents in self.asked]


def user(*parts: Json) -> Json:
    return {"role": "user", "parts": list(parts)}


def inline(data: bytes, mime: str = "image/png") -> Json:
    return {"inlineData": {"mimeType": mime, "data": base64.b64encode(data).decode()}}


def kept(ran: Ran) -> list[str]:
    return sorted(path.name for path in (ran.directory / "turns").glob("*"))


async def run(
    tmp_path: Path, service: Service, item: Json | None = None, **options: Any
) -> tuple[Ran, list[str]]:
    """Run the job with one item, and say which turns were asked for."""
    head = {name: options.pop(name) for name in ("model", "retries") if name in options}
    job = write_job(tmp_path / "job.jsonl", [item or poster()], **head)
    n_before = len(service.prompts)
    with FaultServer(service) as server:
        ran = await run_job(job, server, **options)
    return ran, service.prompts[n_before:]


# --- one conversation ---------------------------------------------------------------------------


async def test_each_request_holds_the_whole_conversation_so_far(tmp_path: Path) -> None:
    service = Service()
    ran, prompts = await run(tmp_path, service)
    assert ran.exit_code == 0
    assert prompts == list(PROMPTS)
    first, second, third = (user({"text": prompt}) for prompt in PROMPTS)
    assert service.asked == [
        [first],
        [first, signed("one"), second],
        [first, signed("one"), second, signed("two"), third],
    ]


async def test_every_answer_is_kept_as_it_was_received_and_its_picture_beside_it(
    tmp_path: Path,
) -> None:
    ran, _ = await run(tmp_path, Service())
    names = [f"poster 4x5.{n}.{ending}" for n, ending in ((1, "json"), (1, "png"), (2, "json"))]
    assert kept(ran) == [*names, "poster 4x5.2.png", "poster 4x5.3.json"]
    turns = ran.directory / "turns"
    for n, prompt in enumerate(PROMPTS, 1):
        assert json.loads((turns / f"poster 4x5.{n}.json").read_bytes()) == signed(prompt)
    assert (turns / "poster 4x5.2.png").read_bytes() == servers.png("two")
    assert (ran.directory / "images/poster 4x5.png").read_bytes() == servers.png("three")
    assert (ran.directory / "text/poster 4x5.txt").read_text() == "Here \u4e2d"


async def test_the_ledger_has_a_line_and_a_key_for_each_turn(tmp_path: Path) -> None:
    ran, _ = await run(tmp_path, Service())
    told = [(a["turn"], a["attempt"], a["outcome"], a["decision"]) for a in ran.attempts]
    assert told == [(n, 1, "image", "done") for n in (1, 2, 3)]
    assert len({a["key"] for a in ran.attempts}) == 3
    [result] = ledgers.results(ran.directory).values()
    assert result["key"] == ran.attempts[-1]["key"]
    assert (result["status"], result["attempts"]) == ("done", 3)
    assert [image["path"] for image in result["images"]] == ["images/poster 4x5.png"]
    assert all("note" not in a for a in ran.attempts)
    sent = [line for line in ledgers.segments(ran.directory)[0] if line["event"] == "sent"]
    assert [line["key"] for line in sent] == [a["key"] for a in ran.attempts]
    estimates = [line["est_usd"] for line in sent]
    assert estimates == sorted(set(estimates))  # each call carries one picture more


async def test_references_stay_in_the_turn_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(servers.png("a"))
    (tmp_path / "b.png").write_bytes(servers.png("b"))
    turns = [
        {"prompt": "one", "references": [{"path": "a.png", "label": "A:"}]},
        {"prompt": "two", "references": ["b.png"]},
    ]
    service = Service()
    ran, _ = await run(tmp_path, service, {"id": "x", "turns": turns})
    assert ran.exit_code == 0
    assert service.asked[1] == [
        user({"text": "one"}, {"text": "A:"}, inline(servers.png("a"))),
        signed("one"),
        user({"text": "two"}, inline(servers.png("b"))),
    ]


async def test_a_service_that_checks_its_signatures_takes_a_conversation(tmp_path: Path) -> None:
    items = [
        poster(),
        poster("four", "five", id="thinks", include_thoughts=True, thinking_level="HIGH"),
        poster("six [[DRAFTS=3]]", "seven", id="drafts", modalities=["TEXT", "IMAGE"]),
        poster("eight", "nine", id="old", model="gemini-2.5-flash-image"),
    ]
    job = write_job(tmp_path / "job.jsonl", items, model=FLASH)
    with Emulator(Settings(latency_s=(0, 0))) as emulator:
        ran = await run_job(job, emulator.base_url)
        counts = emulator.counts()
    assert ran.told == [("image", "done", "yes")] * 9
    assert counts["by_status"] == {"200": 9}
    assert all("note" not in a for a in ran.attempts)


async def test_a_snake_case_answer_is_sent_back_as_it_came(tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {spelling: snake}\n")
    job = write_job(tmp_path / "job.jsonl", [poster()], model=FLASH)
    with Emulator(Settings(latency_s=(0, 0), faults=faults)) as emulator:
        ran = await run_job(job, emulator.base_url)
    assert ran.told == [("image", "done", "yes")] * 3
    assert all("note" not in a for a in ran.attempts)


async def test_a_content_without_a_role_is_sent_back_as_the_models(tmp_path: Path) -> None:
    def no_role(prompt: str) -> Json:
        content = signed(prompt)
        del content["role"]
        return content

    service = Service(no_role)
    ran, _ = await run(tmp_path, service, poster("one", "two"))
    assert ran.exit_code == 0
    assert service.asked[1][1] == signed("one")
    stored = json.loads((ran.directory / "turns/poster 4x5.1.json").read_bytes())
    assert stored == no_role("one")


@pytest.mark.parametrize("spelt", ["data:image/png;base64,{}", "{}\n", "urlsafe"])
async def test_pictures_in_odd_base64_are_sent_back_in_plain(tmp_path: Path, spelt: str) -> None:
    plain = base64.b64encode(servers.png("one")).decode()

    def odd(prompt: str) -> Json:
        content = signed(prompt)
        urlsafe = plain.replace("+", "-").replace("/", "_").rstrip("=")
        data = urlsafe if spelt == "urlsafe" else spelt.format(plain)
        content["parts"][2]["inlineData"]["data"] = data
        return content

    service = Service(odd)
    ran, _ = await run(tmp_path, service, poster("one", "two"))
    assert ran.exit_code == 0
    expected = signed("one")
    expected["parts"][2]["inlineData"]["data"] = plain
    assert service.asked[1][1] == expected


# --- what goes wrong ----------------------------------------------------------------------------


async def test_retries_and_their_numbers_start_anew_with_each_turn(tmp_path: Path) -> None:
    down = servers.refuses(503, {"error": {"code": 503, "status": "UNAVAILABLE"}})
    service = Service(faults={prompt: [down, down] for prompt in PROMPTS})
    ran, prompts = await run(tmp_path, service, retries={"transport": 2})
    assert ran.exit_code == 0
    assert Counter(prompts) == dict.fromkeys(PROMPTS, 3)
    assert [(a["turn"], a["attempt"]) for a in ran.attempts] == [
        (turn, attempt) for turn in (1, 2, 3) for attempt in (1, 2, 3)
    ]


async def test_a_turn_that_fails_fails_the_item_and_the_next_run_goes_on_there(
    tmp_path: Path,
) -> None:
    words = servers.whole(servers.document({"text": "no"}))
    service = Service(faults={"two": [words]})
    ran, prompts = await run(tmp_path, service, retries={"no_image": 0})
    assert prompts == ["one", "two"]
    assert ran.exit_code == 4
    [result] = ledgers.results(ran.directory).values()
    assert (result["status"], result["outcome"]) == ("failed", "text_only")
    assert not (ran.directory / "text").exists()
    ran, prompts = await run(tmp_path, service, retries={"no_image": 0})
    assert prompts == ["two", "three"]
    assert ran.exit_code == 0


async def test_a_picture_that_is_not_whole_is_no_turn(tmp_path: Path) -> None:
    cut = servers.document(servers.image_part(servers.png("x")[:-9], thoughtSignature="cGlj"))
    service = Service(faults={"one": [servers.whole(cut)]})
    ran, prompts = await run(tmp_path, service, poster("one", "two"), retries={"unsure": 0})
    assert (prompts, ran.exit_code) == (["one"], 4)
    assert kept(ran) == []
    assert len(ran.quarantined) == 1


async def test_without_signatures_the_next_turn_is_sent_with_the_picture_alone(
    tmp_path: Path,
) -> None:
    service = Service(lambda prompt: unsigned(prompt) if prompt == "one" else signed(prompt))
    ran, _ = await run(tmp_path, service)
    assert ran.told == [("image", "done", "yes")] * 3
    begun_anew = user({"text": "two"}, inline(servers.png("one")))
    assert service.asked[1] == [begun_anew]
    assert service.asked[2] == [begun_anew, signed("two"), user({"text": "three"})]
    stored = json.loads((ran.directory / "turns/poster 4x5.1.json").read_bytes())
    assert stored == unsigned("one")
    first, second, third = ran.attempts
    assert "note" not in first
    for line in (second, third):
        assert "picture of turn 1" in line["note"]
        assert "thoughtSignature" in line["note"]
        assert line["error"] is None


@pytest.mark.parametrize("label", ["image/jpg", "image/svg+xml", "IMAGE/JPG", None])
async def test_a_label_that_no_service_takes_is_not_sent_back_and_the_picture_goes_on(
    tmp_path: Path, label: str | None
) -> None:
    def mislabelled(prompt: str) -> Json:
        content = signed(prompt)
        for part in content["parts"]:
            if "inlineData" in part:
                part["inlineData"]["mimeType"] = label
        return content

    service = Service(mislabelled)
    ran, _ = await run(tmp_path, service, poster("one", "two"))
    assert ran.exit_code == 0
    assert service.asked[1] == [user({"text": "two"}, inline(servers.png("one")))]
    assert f"labelled {str(label).lower()}" in ran.attempts[1]["note"]


async def test_a_failed_turn_says_which_it_is(tmp_path: Path) -> None:
    def answers(asked: Asked) -> Answer:
        refusal = servers.refuses(400, {"error": {"message": "no"}})
        return refusal if b"two" in asked.body else servers.draws(asked)

    job = write_job(tmp_path / "job.jsonl", [poster("one", "two")], model="gemini-2.5-flash-image")
    with FaultServer(answers) as server:
        ran = await run_job(job, server)
    assert ran.attempts[-1]["error"]["message"] == "turn 2: HTTP 400: no"


@pytest.mark.parametrize("n_references", [13, 14])
async def test_the_picture_in_place_of_a_conversation_counts_among_the_fourteen_of_a_request(
    tmp_path: Path, n_references: int
) -> None:
    names = [f"{n}.png" for n in range(n_references)]
    for name in names:
        (tmp_path / name).write_bytes(servers.png(name))
    item = {"id": "cat", "turns": [{"prompt": "one"}, {"prompt": "two", "references": names}]}
    service = Service(unsigned)
    ran, prompts = await run(tmp_path, service, item)
    if n_references == 13:
        assert ran.exit_code == 0
        assert len(service.asked[1][0]["parts"]) == 15
        return
    assert prompts == ["one"]
    refused = ran.attempts[-1]
    assert (refused["outcome"], refused["attempt"], refused["billed"]) == ("bad_request", 0, "no")
    assert "there is room for 13 references, not 14" in refused["error"]["message"]


async def test_a_note_on_something_else_does_not_say_that_the_content_was_not_kept(
    tmp_path: Path,
) -> None:
    item = {"id": "cat", "turns": [{"prompt": "one"}, {"prompt": "two"}], "aspect_ratio": "16:9"}
    service = Service()
    ran, _ = await run(tmp_path, service, item)
    assert "16:9 was asked for" in ran.attempts[0]["note"]
    (ran.directory / "turns/cat.1.json").unlink()
    item["turns"] = [{"prompt": "one"}, {"prompt": "two, bluer"}]
    _, prompts = await run(tmp_path, service, item)
    assert prompts == ["one", "two, bluer"]


async def test_the_family_that_knows_no_signatures_needs_none(tmp_path: Path) -> None:
    service = Service(unsigned)
    ran, _ = await run(tmp_path, service, poster("one", "two"), model="gemini-2.5-flash-image")
    assert ran.exit_code == 0
    assert service.asked[1][1] == unsigned("one")


@pytest.mark.parametrize("written", [KEY, "".join(f"\\u{ord(char):04x}" for char in KEY)])
async def test_an_answer_that_holds_the_key_is_not_kept_and_the_picture_goes_on(
    tmp_path: Path, written: str
) -> None:
    def quoting(_: Asked) -> Answer:
        document = servers.document(servers.image_part(servers.png("x"), thoughtSignature="KEY"))
        body = json.dumps(document).replace("KEY", written)
        return servers.sends(servers.http(200, body.encode()))

    job = write_job(tmp_path / "job.jsonl", [poster("one", "two")])
    with FaultServer(quoting) as server:
        ran = await run_job(job, server)
    assert ran.exit_code == 0
    assert kept(ran) == ["poster 4x5.1.png"]
    first, second = ran.attempts
    assert "is not kept" in first["note"]
    assert "picture of turn 1" in second["note"]
    [again] = json.loads(server.log[1].body)["contents"]
    assert again == user({"text": "two"}, inline(servers.png("x")))
    for path in ran.directory.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()


async def test_a_run_that_is_asked_to_stop_ends_after_the_turn_under_way(tmp_path: Path) -> None:
    service = Service()
    job = write_job(tmp_path / "job.jsonl", [poster()])

    def stop(event: batchgen.Event) -> None:
        if isinstance(event, batchgen.AttemptEnded):
            runner.request_stop("sigint")

    with FaultServer(service) as server:
        where = {"output": tmp_path / "output", "base_url": server.url, "on_event": stop}
        async with batchgen.Runner(job, **where) as runner:  # type: ignore[arg-type]
            [result] = [one async for one in runner.results()]
    assert service.prompts == ["one"]
    assert (result.status, runner.summary.exit_code) == ("pending", 130)
    ledgers.check_directory(runner.directory)
    ran, prompts = await run(tmp_path, service)
    assert (prompts, ran.exit_code) == (["two", "three"], 0)


# --- where a run goes on ------------------------------------------------------------------------


async def test_a_conversation_that_is_done_is_not_held_again(tmp_path: Path) -> None:
    service = Service()
    await run(tmp_path, service)
    ran, prompts = await run(tmp_path, service)
    assert (prompts, ran.exit_code) == ([], 0)


async def test_an_edited_turn_makes_that_turn_and_those_after_it_again(tmp_path: Path) -> None:
    service = Service()
    await run(tmp_path, service)
    ran, prompts = await run(tmp_path, service, poster("one", "two", "other"))
    assert (prompts, ran.exit_code) == (["other"], 0)
    assert service.asked[-1][:4] == service.asked[2][:4]
    ran, prompts = await run(tmp_path, service, poster("one", "changed", "other"))
    assert (prompts, ran.exit_code) == (["changed", "other"], 0)


async def test_a_turn_more_is_added_to_what_was_said(tmp_path: Path) -> None:
    service = Service()
    await run(tmp_path, service, poster("one", "two"))
    ran, prompts = await run(tmp_path, service, poster("one", "two", "three"))
    assert (prompts, ran.exit_code) == (["three"], 0)
    assert service.asked[-1][3] == signed("two")
    assert (ran.directory / "images/poster 4x5.png").read_bytes() == servers.png("three")


async def test_going_back_to_what_was_asked_before_never_mixes_two_conversations(
    tmp_path: Path,
) -> None:
    service = Service()
    await run(tmp_path, service)
    ran, _ = await run(tmp_path, service, poster("other", "two", "three"))
    (ran.directory / "images/poster 4x5.png").unlink()  # it is the other conversation's
    ran, prompts = await run(tmp_path, service)
    assert ran.exit_code == 0
    assert prompts == list(PROMPTS)  # what was said of turn 1 is now the other one's
    assert service.asked[-1][1::2] == [signed("one"), signed("two")]


@pytest.mark.parametrize(
    ("lost", "again"),
    [
        (["turns/poster 4x5.1.json"], []),
        (["images/poster 4x5.png"], ["three"]),
        (["images/poster 4x5.png", "turns/poster 4x5.2.json"], ["two", "three"]),
        (["images/poster 4x5.png", "turns/poster 4x5.1.json"], ["one", "two", "three"]),
        (["images/poster 4x5.png", "turns/poster 4x5.2.png"], ["three"]),
    ],
)
async def test_what_is_gone_from_the_disk_is_made_again_from_there_on(
    tmp_path: Path, lost: list[str], again: list[str]
) -> None:
    service = Service()
    ran, _ = await run(tmp_path, service)
    for name in lost:
        (ran.directory / name).unlink()
    ran, prompts = await run(tmp_path, service)
    assert (prompts, ran.exit_code) == (again, 0)


async def test_a_forced_run_holds_the_whole_conversation_again(tmp_path: Path) -> None:
    service = Service()
    await run(tmp_path, service)
    ran, prompts = await run(tmp_path, service, redo=Redo(done=True))
    assert (prompts, ran.exit_code) == (list(PROMPTS), 0)
