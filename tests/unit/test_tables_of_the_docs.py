"""The tables of docs/requests.md and docs/outcomes.md say what the code does."""

from __future__ import annotations

import ast
import errno
import json
import re
import socket
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from batchgen import errors
from batchgen.errors import (
    AttemptError,
    BadReply,
    BadRequest,
    BrokenImage,
    Bug,
    Cancelled,
    Interrupted,
    MissingReference,
    NeverLeft,
    NoAnswer,
    NoImage,
    SkippedDependency,
    Unterminated,
    WorkerLost,
    WrongSize,
)
from batchgen.known_models import KnownModels
from batchgen.manifest import Manifest, open_manifest
from batchgen.manifest.setting_fields import HARM_CATEGORIES, HARM_THRESHOLDS
from batchgen.model import ASPECT_RATIOS, IMAGE_SIZES, THINKING_LEVELS, Item, Outcome
from batchgen.plan import SETTLED_FAILURES
from batchgen.references import ReferenceLibrary, read_reference
from batchgen.retry import Retries
from batchgen.timeouts import Timeouts
from batchgen.transport import Transport, translate
from batchgen.transport.body import MAX_ANSWER_BYTES, check_size
from batchgen.wire import fault, reply
from batchgen.wire.camel import camelised
from batchgen.wire.fault import read_fault
from batchgen.wire.reply import Reply, read_reply, why_no_image
from batchgen.wire.request import build_body, endpoint_path
from batchgen.wire.stream import ImageSink, ReplyStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
REQUESTS = (ROOT / "docs/requests.md").read_text("utf-8")
OUTCOMES = (ROOT / "docs/outcomes.md").read_text("utf-8")


# --- reading the pages --------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A row of a table: the headline above it, and its cells by the names of their columns."""

    headline: str
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def __str__(self) -> str:
        first, second, *_ = self.cells.values()
        return f"{self.headline}: {first} {second}"[:80]


def rows(page: str, *columns: str) -> Iterator[Row]:
    """The rows of all tables that have these columns."""
    headline = ""
    header: list[str] = []
    for line in page.splitlines():
        if line.startswith("#"):
            headline = line.lstrip("# ")
        if not line.startswith("|"):
            header = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not header:
            header = cells
        elif set("".join(cells)) - {"-"} and set(columns) <= set(header):
            assert len(cells) == len(header), line
            yield Row(headline, dict(zip(header, cells, strict=True)))


def quoted(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall("`([^`]+)`", cell)


# --- docs/requests.md: every field --------------------------------------------------------------

# What a request may hold, by the public reference of the API and of its clients: once by place.
FIELDS_OF_THE_BODY = {
    *("contents[].role", "contents[].parts[].text", "contents[].parts[].thoughtSignature"),
    *("contents[].parts[].inlineData.mimeType", "contents[].parts[].inlineData.data"),
    *("contents[].parts[].fileData.mimeType", "contents[].parts[].fileData.fileUri"),
    "contents[].parts[].mediaResolution.level",
    *("systemInstruction.parts[].text", "model", "store", "labels", "serviceTier", "toolConfig"),
    *("cachedContent", "continuationToken"),
    "generationConfig.responseModalities",
    "generationConfig.imageConfig.aspectRatio",
    "generationConfig.imageConfig.imageSize",
    "generationConfig.imageConfig.personGeneration",
    "generationConfig.imageConfig.prominentPeople",
    "generationConfig.imageConfig.imageOutputOptions.mimeType",
    "generationConfig.imageConfig.imageOutputOptions.compressionQuality",
    "generationConfig.thinkingConfig.thinkingLevel",
    "generationConfig.thinkingConfig.includeThoughts",
    "generationConfig.thinkingConfig.thinkingBudget",
    *("generationConfig.temperature", "generationConfig.topP", "generationConfig.topK"),
    *("generationConfig.seed", "generationConfig.maxOutputTokens"),
    *("generationConfig.candidateCount", "generationConfig.stopSequences"),
    *("generationConfig.mediaResolution", "generationConfig.responseMimeType"),
    *("tools[].googleSearch", "tools[].googleSearch.searchTypes.webSearch"),
    "tools[].googleSearch.searchTypes.imageSearch",
    *("tools[].codeExecution", "tools[].functionDeclarations"),
    *("safetySettings[].category", "safetySettings[].threshold", "safetySettings[].method"),
}
FIELDS_OF_THE_ADDRESS = {
    *("POST", "?key=", "x-goog-api-key", "Authorization", "Content-Type"),
    "X-Vertex-AI-LLM-Shared-Request-Type",
}
IN_THE_ADDRESS = "Address and headers"
KEY = "KEY"
# References that the pieces name, by their first bytes.
PHOTOS = {"photos/mug.jpg": b"\xff\xd8\xff\xe0" + bytes(60)}


@dataclass(frozen=True)
class Field:
    """A row about a field: where it is, with which value (None: it is not sent), and for what."""

    row: Row

    @property
    def path(self) -> str:
        (place, *_) = quoted(self.row["is sent"])
        (prefix, *_) = [*quoted(self.row.headline), ""]
        return f"{prefix}.{place}" if prefix else place.partition(" ")[0]

    @property
    def value(self) -> str | None:
        if self.row["is sent"].startswith("no "):
            return None
        return quoted(self.row["is sent"])[-1]

    @property
    def pieces(self) -> list[str]:
        return quoted(self.row["in a job"])

    @property
    def proofs(self) -> list[tuple[str, str]]:
        """The tests that are named, as file and name."""
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)[^`]*`", self.row["proven by"])
        assert named, self.row
        return named


FIELDS = [Field(row) for row in rows(REQUESTS, "is sent", "in a job", "notes", "proven by")]
OF_THE_BODY = [field for field in FIELDS if field.row.headline != IN_THE_ADDRESS]
OF_THE_ADDRESS = [field for field in FIELDS if field.row.headline == IN_THE_ADDRESS]
PIECES = [
    pytest.param(field, piece, id=f"{field.path}-{piece}"[:80])
    for field in OF_THE_BODY
    for piece in field.pieces
]


def job_of(piece: str, folder: Path) -> tuple[Manifest, list[Item]]:
    """A job with one item, which holds the piece; or its head does. It has no mistake."""
    for name, data in PHOTOS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    head = piece if piece.startswith("provider:") else ""
    own = "" if head else f", {piece}"
    asks = re.match("(prompt|turns|request):", piece)
    path = folder / "job.yaml"
    path.write_text(
        f"defaults: {{model: gemini-nano-banana-2.1}}\n{head}\n"
        f"items:\n- {{id: a{'' if asks else ', prompt: p'}{own}}}\n",
        "utf-8",
    )
    manifest = open_manifest(path)
    items = list(manifest.items(ReferenceLibrary()))
    manifest.raise_problems()
    return manifest, items


async def body_of(item: Item) -> Any:
    library = ReferenceLibrary()
    files = [library.open(str(reference.path)) for reference in item.all_references]
    body = build_body(KnownModels.shipped().as_sent(item), files)
    return json.loads(b"".join([chunk async for chunk in body.chunks(read_reference)]))


def found(value: Any, path: str) -> list[Any]:
    """All that stands at a path, where `[]` means any element of a list."""
    name, _, rest = path.partition(".")
    inner = value.get(name.removesuffix("[]")) if isinstance(value, dict) else None
    values = (inner or []) if name.endswith("[]") else [] if inner is None else [inner]
    return [one for each in values for one in found(each, rest)] if rest else values


def test_every_field_of_the_api_has_a_row_and_every_row_a_field() -> None:
    assert {field.path for field in OF_THE_BODY} == FIELDS_OF_THE_BODY
    assert {field.path for field in OF_THE_ADDRESS} == FIELDS_OF_THE_ADDRESS


@pytest.mark.parametrize(("field", "piece"), PIECES)
async def test_a_piece_of_a_job_sends_what_its_row_says(
    field: Field, piece: str, tmp_path: Path
) -> None:
    _, items = job_of(piece, tmp_path)
    for item in items:
        sent = found(await body_of(item), field.path)
        if field.value is None:
            assert sent == []
        elif field.value.endswith('…"'):
            assert any(json.dumps(one).startswith(field.value[:-2]) for one in sent)
        else:
            assert json.loads(field.value) in sent


@pytest.mark.parametrize(("field", "piece"), PIECES)
async def test_a_raw_request_may_spell_it_with_underscores(
    field: Field, piece: str, tmp_path: Path
) -> None:
    _, (item, *_) = job_of(piece, tmp_path)
    body = await body_of(item)
    assert (found(body, field.path) == []) == (field.value is None)
    assert camelised(snake(body)) == body


def snake(value: Any) -> Any:
    match value:
        case dict():
            return {re.sub("[A-Z]", r"_\g<0>", n).lower(): snake(one) for n, one in value.items()}
        case list():
            return [snake(one) for one in value]
        case _:
            return value


@pytest.mark.parametrize("field", OF_THE_ADDRESS, ids=lambda field: field.path)
def test_a_header_is_sent_as_its_row_says(field: Field, tmp_path: Path) -> None:
    for piece in field.pieces or ["provider: google"]:
        manifest, (item,) = job_of(piece, tmp_path)
        provider = manifest.settings.provider
        url = provider.base_url + endpoint_path(item.model)
        headers = Transport(provider, KEY, Timeouts())._headers
        if field.path == "POST":
            assert field.value == f"POST {url}"
        else:
            assert headers.get(field.path) == field.value
            assert "?" not in url


@pytest.mark.parametrize(
    "words",
    [ASPECT_RATIOS, IMAGE_SIZES, THINKING_LEVELS, HARM_CATEGORIES, HARM_THRESHOLDS],
    ids=lambda words: words[0],
)
def test_every_word_that_a_field_takes_is_named(words: tuple[str, ...]) -> None:
    assert not set(words) - set(quoted(REQUESTS))


# --- docs/requests.md: the tests that are named -------------------------------------------------


@cache
def named_tests(file: str) -> dict[str, str]:
    """The tests of a file with their text, the cases above them included."""
    text = (ROOT / file).read_text("utf-8")
    lines = text.splitlines()
    return {
        node.name: "\n".join(lines[node.lineno - 1 - _n_lines_above(node) : node.end_lineno])
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


def _n_lines_above(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return node.lineno - min([node.lineno, *(one.lineno for one in node.decorator_list)])


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: str(field.row))
def test_the_tests_that_a_row_names_are_there_and_speak_of_its_field(field: Field) -> None:
    texts = [named_tests(file)[name] for file, name in field.proofs]
    member = field.path.rpartition(".")[2]
    spellings = (member, *snake({member: None}))
    is_generic = any(file == str(Path(__file__).relative_to(ROOT)) for file, _ in field.proofs)
    if field.row.headline != IN_THE_ADDRESS and not is_generic:
        assert any(name in text for text in texts for name in spellings)


def test_links_to_tests_lead_to_their_files() -> None:
    files = dict(re.findall(r"^\[(\w+)\]: \.\./(\S+)$", REQUESTS, re.MULTILINE))
    links = re.findall(r"\[`(tests/[\w/]+\.py)::(\w+)`\]\[(\w+)\]", REQUESTS)
    assert links
    for file, name, label in links:
        assert files[label] == file
        assert name in named_tests(file)


# --- docs/outcomes.md ---------------------------------------------------------------------------

ENDS = list(rows(OUTCOMES, "outcome", "cause", "error", "tried again", "next run", "billed"))
PICTURES = list(rows(OUTCOMES, "outcome", "what came", "cost"))
BLOCK_REASONS = {
    *("BLOCKED_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST"),
    *("PROHIBITED_CONTENT", "IMAGE_SAFETY", "MODEL_ARMOR", "JAILBREAK"),
}
# By the public reference of the API; STOP is how a good answer ends.
FINISH_REASONS = {
    *("FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "LANGUAGE"),
    *("OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL"),
    *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER", "NO_IMAGE", "IMAGE_RECITATION"),
    *("UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE"),
    *("MALFORMED_RESPONSE", "ESCALATION", "PUP_LIMITED_DISABLED", "CONTINUATION", "MODEL_ARMOR"),
}
# What a 403 says of a key, and it or a 401 of its credit, where there is no code.
OF_THE_KEY = (
    *("key suspended", "reported as leaked", "project has been denied access"),
    *("unregistered callers", "Requests … are blocked", "not been used in project"),
    "method requires billing",
)
NO_CREDIT = (
    *("quota is not enough", "insufficient balance", "insufficient credit"),
    *("额度不足", "额度已用尽", "预扣费额度失败", "余额不足"),
)
THOUGHT = reply.ReplyImage(index=0, role="thought")


@dataclass(frozen=True)
class Case:
    """An error as the code makes it, and words that stand in the cause of its row."""

    error: AttemptError
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.error.kind}: {' '.join(self.words)}"


def refused(status: int, word: str | None = None, **details: Any) -> AttemptError:
    body = {"error": {"code": status, "status": word, "details": [details]}} if word else {}
    return read_fault(status, {}, json.dumps(body).encode())


def worded(status: int, message: str) -> AttemptError:
    return read_fault(status, {}, json.dumps({"error": {"message": message}}).encode())


def caught(act: Callable[[], object]) -> AttemptError:
    with pytest.raises(AttemptError) as raised:
        act()
    return raised.value


def without_sinks(_: int) -> ImageSink:
    raise AssertionError("no image was to come")


def no_picture() -> Iterator[Case]:
    for reason in sorted(FINISH_REASONS - {"STOP"}):
        yield Case(why_no_image(Reply(finish_reason=reason)), (f"`{reason}`",))
    for reason in sorted(BLOCK_REASONS):
        yield Case(why_no_image(Reply(block_reason=reason)), ("`blockReason`", f"`{reason}`"))
    yield Case(why_no_image(Reply(block_reason="NEW")), ("`blockReason`", "nobody knows"))
    yield Case(why_no_image(Reply(finish_reason="NEW")), ("nobody knows yet",))
    yield Case(why_no_image(Reply(text="Here:", finish_reason="STOP")), ("`STOP`", "words"))
    yield Case(why_no_image(Reply(text="Here:", finish_reason="NO_IMAGE")), ("`NO_IMAGE`", "words"))
    for reason in ("IMAGE_OTHER", "CONTINUATION", "NEW"):
        odd = Reply(text="Here:", finish_reason=reason)
        yield Case(why_no_image(odd), ("words", "asked again once"))
    yield Case(why_no_image(Reply(finish_reason="STOP")), ("`STOP`", "nothing in it"))
    yield Case(why_no_image(read_reply(b"{}")), ("no candidate at all",))
    part = {"inlineData": {"data": None}}
    without = json.dumps({"candidates": [{"content": {"parts": [part]}}]}).encode()
    yield Case(why_no_image(read_reply(without)), ("without data",))
    yield Case(why_no_image(Reply(addresses=("https://x",))), ("address alone",))
    yield Case(NoImage("a stray picture", tries=1), ("where none belongs",))
    yield Case(why_no_image(Reply(images=(THOUGHT,))), ("thoughts",))


def refusals() -> Iterator[Case]:
    for status in (401, 402, 404, 422, 413, 429, 409, 425, 408, 499, 502, 504, 204, 206, 403, 400):
        yield Case(refused(status), (str(status),))
    for status in (301, 302, 307, 308, 501, 520, 521, 522, 523, 524, 525, 526, 529, 530):
        yield Case(refused(status), (str(status),))
    for status in (400, 403, 404, 405, 406, 410):
        yield Case(read_fault(status, {}, b"<html>"), ("web page", str(status)))
    yield Case(refused(418), ("other 4xx",))
    for status in (405, 411, 415, 431):
        yield Case(refused(status), (str(status), "no item is the cause"))
    yield Case(refused(407), ("407", "proxy"))
    yield Case(refused(507), ("every other 5xx",))
    yield Case(refused(600), ("from 600 on",))
    for status, word in ((500, "INTERNAL"), (503, "UNAVAILABLE")):
        yield Case(refused(status, word), (str(status), f"`{word}`"))
        yield Case(refused(status), (str(status), "without these words"))
    yield Case(refused(503, "RESOURCE_EXHAUSTED"), ("503", "`RESOURCE_EXHAUSTED`"))
    yield Case(refused(400, "FAILED_PRECONDITION"), ("400", "`FAILED_PRECONDITION`"))
    for words in (fault._OUT_OF_CREDIT, fault._KEY_REASONS, fault._NO_ROUTE, fault._OUR_FAULT):
        for word in sorted(words):
            yield Case(refused(418, word), (f"`{word}`",))
    daily = {"violations": [{"quotaId": "GenerateRequestsPerDay"}]}
    yield Case(refused(429, "RESOURCE_EXHAUSTED", **daily), ("429", "PerDay"))
    nameless = caught(partial(read_reply, b'{"error": {"message": "?"}}'))
    yield Case(nameless, ("a 200 with an `error`",))
    yield Case(BadRequest("nothing was sent"), ("`limits.max_body_mib`",))
    yield Case(BadRequest("nothing was sent"), ("no room",))


def refusals_in_words() -> Iterator[Case]:
    for said in OF_THE_KEY:
        yield Case(worded(403, said.replace("…", "from x")), ("403", said.removeprefix("key ")))
    for status in (401, 403):
        for said in NO_CREDIT:
            yield Case(worded(status, said), (str(status), said))
    yield Case(worded(429, "limit: 0"), ("429", "limit: 0"))
    yield Case(worded(429, "Your prepayment credits are depleted."), ("429", "are depleted"))
    yield Case(worded(429, "exceeded its monthly spending cap"), ("429", "monthly spending cap"))
    yield Case(worded(429, "Your spend-based rate limit"), ("429", "spend"))
    for status in (429, 503):
        for said in ("saturated", "饱和"):
            yield Case(worded(status, f"upstream {said}"), (str(status), said))
    yield Case(worded(429, "upstream overloaded"), ("429", "overloaded"))


def network() -> Iterator[Case]:
    host = aiohttp.client_reqrep.ConnectionKey("h", 1, is_ssl=True, ssl=True, **NO_PROXY)
    refusal = aiohttp.ClientConnectorError(host, OSError(111, "refused"))
    unknown = aiohttp.ClientConnectorDNSError(host, socket.gaierror(socket.EAI_NONAME, "unknown"))
    proxied = aiohttp.ClientHttpProxyError(REQUEST, (), status=403)
    gateway = aiohttp.ClientHttpProxyError(REQUEST, (), status=502)
    tls = aiohttp.ClientConnectorSSLError(host, OSError(1, "tls"))
    closed = aiohttp.ServerDisconnectedError()
    yield Case(translate(refusal, upload_began=False), ("refused",))
    crowded = aiohttp.ClientConnectorError(host, OSError(errno.EMFILE, "too many"))
    yield Case(translate(crowded, upload_began=False), ("may open no more files",))
    yield Case(translate(proxied, upload_began=False), ("CONNECT",))
    yield Case(translate(gateway, upload_began=False), ("a proxy that cannot connect",))
    yield Case(translate(unknown, upload_began=False), ("no host of that name",))
    yield Case(translate(TimeoutError(), upload_began=False), ("`timeouts.connect`",))
    yield Case(translate(tls, upload_began=False), ("TLS",))
    yield Case(translate(closed, upload_began=True), ("closed",))
    yield Case(translate(ConnectionResetError(), upload_began=True), ("reset",))
    yield Case(translate(TimeoutError(), upload_began=True), ("`timeouts.attempt`",))
    yield Case(NoAnswer("stalled"), ("`timeouts.idle`",))
    slow = Timeouts()
    rate = f"{slow.min_rate_bytes_s // 1024} KiB/s of it for {slow.min_rate_over_s:g} s"
    yield Case(NoAnswer("dripped"), (rate,))
    yield Case(Unterminated("cut"), ("frame",))
    for body, word in ((b'{"a": ', "cut"), (b"", "empty"), (b"3", "no object"), (b"{}{}", "two")):
        yield Case(caught(partial(read_reply, body)), (word,))
    deep, page = ReplyStream(without_sinks), ReplyStream(without_sinks)
    deep.feed(b"[" * 101)
    yield Case(caught(deep.end), ("100 levels",))
    yield Case(caught(partial(check_size, MAX_ANSWER_BYTES + 1)), ("512 MiB",))
    yield Case(caught(partial(page.feed, b"<html>")), ("web page", "200"))
    yield Case(BadReply("damaged"), ("compression",))


def of_our_own() -> Iterator[Case]:
    yield Case(BrokenImage("cut"), ("base64",))
    yield Case(BrokenImage("cut"), ("power cut",))
    yield Case(BrokenImage("a page", tries=0), ("no PNG, JPEG or WebP",))
    yield Case(WrongSize("wide"), ("`on_wrong_size: retry`",))
    yield Case(WrongSize("wide", tries=0), ("`on_wrong_size: fail`",))
    yield Case(MissingReference("gone"), ("reference",))
    yield Case(SkippedDependency("no parent"), ("builds on",))
    yield Case(Cancelled("given up"), ("Ctrl-C",))
    yield Case(Interrupted("killed"), ("killed",))
    yield Case(WorkerLost("lost"), ("worker", "said nothing"))
    yield Case(NeverLeft("lost"), ("worker", "before the call had left"))
    yield Case(Bug("ours"), ("batchgen failed",))


REQUEST = aiohttp.RequestInfo(URL("http://h"), "CONNECT", CIMultiDictProxy(CIMultiDict()))
NO_PROXY: dict[str, Any] = {"proxy": None, "proxy_auth": None, "proxy_headers_hash": None}
CASES = [*no_picture(), *refusals(), *refusals_in_words(), *network(), *of_our_own()]


def rows_of(case: Case) -> list[Row]:
    """The rows whose outcome and error it has, and whose cause says its words."""
    return [
        row
        for row in ENDS
        if row["outcome"] == f"`{case.error.outcome}`"
        and row["error"] == f"`{case.error.kind}`"
        and all(word in row["cause"] for word in case.words)
    ]


def tried_again(error: AttemptError) -> str:
    if error.stops_run:
        return "stops the run"
    budget = Retries().budget(error)
    return f"`{error.family}`, {budget}" if budget else "no"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_the_code_makes_of_a_cause_is_what_its_row_says(case: Case) -> None:
    told = [(row["tried again"], row["billed"]) for row in rows_of(case)]
    assert (tried_again(case.error), f"`{case.error.billed}`") in told


@pytest.mark.parametrize("row", ENDS, ids=str)
def test_every_row_is_what_the_code_makes_of_some_cause(row: Row) -> None:
    made = [case.error for case in CASES if row in rows_of(case)]
    told = (row["tried again"], row["billed"])
    assert told in {(tried_again(error), f"`{error.billed}`") for error in made}


@pytest.mark.parametrize("row", ENDS, ids=str)
def test_a_later_run_sends_what_was_not_refused_for_good(row: Row) -> None:
    (outcome,) = quoted(row["outcome"])
    assert row["next run"] == ("no" if Outcome(outcome) in SETTLED_FAILURES else "yes")


def test_every_outcome_and_every_error_has_a_row() -> None:
    named = [quoted(row["outcome"]) for row in (*ENDS, *PICTURES)]
    assert {outcome for (outcome,) in named} == set(Outcome)
    kinds = {
        name
        for name, one in vars(errors).items()
        if isinstance(one, type) and issubclass(one, AttemptError) and one is not AttemptError
    }
    assert {kind for row in ENDS for kind in quoted(row["error"])} == kinds


def test_every_reason_that_the_code_tells_apart_is_one_of_the_api_and_named() -> None:
    told_apart = {*reply._REFUSED, *reply._ODD, *reply._HOPELESS}
    assert told_apart <= FINISH_REASONS
    assert not FINISH_REASONS - set(quoted(OUTCOMES))
    assert not BLOCK_REASONS - set(quoted(OUTCOMES))


def test_the_budgets_are_those_of_a_job_that_says_nothing() -> None:
    told = {quoted(row["budget"])[0]: int(row["default"]) for row in rows(OUTCOMES, "budget")}
    policy = Retries()
    assert told == {
        "transport": policy.transport,
        "unsure": policy.unsure,
        "rate_limit": policy.rate_limit,
        "no_image": policy.no_image,
    }
    assert f"({policy.max_wait:g} s)" in OUTCOMES
