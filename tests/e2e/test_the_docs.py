"""Every command and every job of the docs is run as it stands, page by page, on an emulator."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import click
import pytest

from batchgen.cli.commands import cli
from batchgen.manifest import open_manifest
from batchgen.references import ReferenceLibrary
from tests import commands, docs
from tests.commands import EmulatorProcess
from tests.docs import ROOT, Block, Page
from tests.job_schema import SCHEMA, mistakes, read
from tests.reference import slug
from tests.runs import KEY, MODEL
from tests.servers import closed_port, png

PAGES = docs.pages()
BLOCKS = [block for page in PAGES.values() for block in page.blocks]
# What no test can run, and how often a page says so. A command that can be run has no place here.
NOT_RUN: Counter[tuple[str, str]] = Counter(
    {
        ("README.md", "needs a clone"): 1,
        ("README.md", "installs it"): 1,
        ("docs/how-to/many-machines.md", "it needs a cluster"): 3,
        ("docs/how-to/object-stores.md", "it needs a bucket"): 2,
        ("docs/how-to/nightly.md", "it installs a unit of systemd"): 1,
        ("docs/quickstart.md", "installs it"): 1,
        ("docs/scale.md", "needs a clone"): 1,
    }
)
# What a person does with the mouse, and a page does out of sight of its reader.
UNSEEN: Counter[tuple[str, str]] = Counter(
    {
        ("README.md", "python -m tests.marked output/spring"): 1,
        ("docs/how-to/catalogue.md", "python -m tests.marked output/spring"): 1,
    }
)
DEADLINE_S = 150  # a page is many commands, one after the other
SLOW = frozenset({"README.md", "docs/how-to/catalogue.md"})


# --- where a page is run ------------------------------------------------------------------------


@dataclass
class Outside:
    """A proxy that refuses: whatever would leave this machine comes here, and is remembered."""

    listener: socket.socket
    asked: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def refuse_all(self) -> None:
        with suppress(OSError):  # when it is closed
            while True:
                connection, _ = self.listener.accept()
                with connection, suppress(OSError):
                    self.asked.append(connection.recv(1000).partition(b"\r\n")[0])
                    connection.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")


@contextmanager
def no_way_out() -> Iterator[Outside]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        outside = Outside(listener)
        threading.Thread(target=outside.refuse_all, daemon=True).start()
        yield outside
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def service() -> Iterator[EmulatorProcess]:
    with commands.emulator("--latency", "0") as running:
        yield running


@pytest.fixture
def emulated(service: EmulatorProcess) -> EmulatorProcess:
    """The emulator of the module, which has forgotten all other pages."""
    reset = Request(f"{service.url}/emulator/reset", method="POST")
    with build_opener(ProxyHandler({})).open(reset, timeout=10):
        return service


def environment(service: EmulatorProcess, outside: Outside, home: Path) -> dict[str, str]:
    """A key of the tests, all addresses led to the emulator, and no pace but the emulator's."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ways = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), outside.url)
    keys = dict.fromkeys(("COMETAPI_KEY", "GEMINI_API_KEY", "GATEWAY_KEY"), KEY)
    return commands.environment(
        PATH=programs,
        HOME=str(home),
        no_proxy="127.0.0.1,localhost",
        BATCHGEN_BASE_URL=service.url,
        BATCHGEN_RPM="60000",
        **ways,
        **{name.upper(): way for name, way in ways.items()},
        **keys,
    )


def prepare(page: Page, directory: Path) -> None:
    """What lies there before the page begins: jobs/, and the pictures that its jobs name."""
    shutil.copytree(ROOT / "jobs", directory / "jobs")
    for name in docs.pictures(page):
        path = directory / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(name))


def with_free_ports(text: str) -> str:
    """The ports that pages name may be taken on this machine: others stand for them."""
    for port in set(re.findall(r"\b(?:808\d|8642)\b", text)):
        with closed_port() as free:
            text = re.sub(rf"\b{port}\b", str(free.getsockname()[1]), text)
    return text


@dataclass
class Ran:
    """How the commands of a page ended, and all that they printed."""

    code: int
    told: str


def run(script: str, directory: Path, env: dict[str, str]) -> Ran:
    """Run a script in a directory; none of what it started outlives it."""
    path = directory / ".page.sh"
    path.write_text(script, "utf-8")
    with path.with_suffix(".log").open("w+", encoding="utf-8") as told:
        process = subprocess.Popen(
            ["sh", "-eu", path],
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with suppress(subprocess.TimeoutExpired):
            process.wait(DEADLINE_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        told.seek(0)
        return Ran(process.returncode, told.read())


# --- pages --------------------------------------------------------------------------------------


def _pages_that_run() -> list[Any]:
    names = [name for name, page in PAGES.items() if page.is_run]
    return [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in names]


@pytest.mark.docs
@pytest.mark.timeout(DEADLINE_S + 30)
@pytest.mark.parametrize("name", _pages_that_run())
def test_what_a_page_says_works_as_it_stands(
    name: str, emulated: EmulatorProcess, tmp_path: Path
) -> None:
    page = PAGES[name]
    prepare(page, tmp_path)
    docs.check_python(page)
    script = with_free_ports(docs.script(page, tmp_path))
    with no_way_out() as outside:
        done = run(script, tmp_path, environment(emulated, outside, tmp_path))
    assert done.code == 0, done.told
    assert not docs.not_printed(page, done.told), done.told
    assert not outside.asked
    for block in page.blocks:
        check_job(block, tmp_path)


def check_job(block: Block, directory: Path) -> None:
    """A block that is a job, or a part of one, has no mistake."""
    match block.language, block.told:
        case "yaml", "":
            path = directory / f"block-{block.line}.yaml"
            path.write_text(block.text, "utf-8")
            manifest = open_manifest(path)
            n_items = sum(1 for _ in manifest.items(ReferenceLibrary(), model=MODEL))
            assert not manifest.problems.sorted_errors, str(block)
            assert n_items, str(block)
        case "yaml", "part":
            assert not mistakes(as_job(block.text)), str(block)
        case "json", "":
            assert json.loads(block.text), str(block)
        case _:
            pass


def as_job(text: str) -> Any:
    """A job of which this is a part: items, or fields of the head; of what is neither, a job."""
    part = read(text)
    whole = {"items": [{"id": "a", "prompt": "b"}]}
    if isinstance(part, list):
        return {"items": part}
    return {**whole, **part} if part.keys() & SCHEMA["properties"].keys() else whole


def test_every_block_says_what_becomes_of_it() -> None:
    assert not [f"{one}: ```{one.language} {one.told}" for one in BLOCKS if not one.is_understood]


def test_what_is_not_run_is_known() -> None:
    found = Counter((one.page, one.reason) for one in BLOCKS if one.reason is not None)
    assert found == NOT_RUN


def test_what_is_run_out_of_sight_is_known() -> None:
    found = Counter((one.page, one.text.strip()) for one in BLOCKS if one.language == docs.UNSEEN)
    assert found == UNSEEN


def test_the_commands_that_are_not_run_are_commands() -> None:
    not_run = [one for one in BLOCKS if one.reason is not None]
    assert not [f"{one}: {line}" for one in not_run for line in docs.wrong_commands(one.text)]


@pytest.mark.parametrize(
    ("line", "is_wrong"),
    [
        ("batchgen schedule a.yaml --at 02:00 --into units -- --max-cost 5  # so", False),
        ("batchgen schedule a.yaml --at 02:00 --intoo units", True),
        ("batchgen schedule a.yaml --at 02:00 -- --max-costs 5", True),
        ("batchgen run a.yaml --redo", False),
        ("batchgen runn a.yaml", True),
        ("batchgen run", True),
        ("sudo cp units/* /etc/systemd/system/", False),
    ],
)
def test_a_command_that_batchgen_does_not_have_is_found(line: str, *, is_wrong: bool) -> None:
    assert docs.wrong_commands(f"mkdir -p units\n{line}\n") == [line] * is_wrong


@pytest.mark.parametrize(
    ("shown", "is_wrong"),
    [
        ("14 of 14 to make, about $0.56", False),
        ("19 of 14 to make, about $0.56", True),
        ("14 of 14 to make, about $9.00", False),
        ("14 of …", False),
        ("14 of 14 to make", True),
        ("done   · 1h02m03s", False),
    ],
)
def test_a_line_that_was_not_printed_is_found(shown: str, *, is_wrong: bool) -> None:
    blocks = (Block("a.md", 3, "sh", "", "x"), Block("a.md", 9, "text", "printed", shown))
    told = "--- a.md:1\n19 of 14\n--- a.md:3\n14 of 14 to make, about $1.20\ndone · 2.0s\n"
    assert bool(docs.not_printed(Page("a.md", "", blocks), told)) == is_wrong


def test_no_command_hides_in_what_is_only_shown() -> None:
    shown = [
        (one, line) for one in BLOCKS if one.language == "text" for line in one.text.splitlines()
    ]
    assert not [f"{one}: {line}" for one, line in shown if line.startswith(("$ ", "batchgen "))]


def test_every_file_that_a_page_writes_is_used_there() -> None:
    for page in PAGES.values():
        for block in page.blocks:
            if block.file is not None:
                others = [one.text for one in page.blocks if one is not block]
                names = {Path(block.file).name, *Path(block.file).parts[:-1]}
                assert any(name in text for name in names for text in others), str(block)


# --- what is said in passing --------------------------------------------------------------------


def _in_passing(first: str) -> list[tuple[str, list[str]]]:
    """Each command in the running text of a page, as words."""
    return [
        (name, one.content.replace("…", " ").replace("[", " ").split())
        for name, page in PAGES.items()
        for one in page.tokens
        if one.type == "code_inline" and one.content.startswith(f"{first} ")
    ]


def test_the_commands_in_the_text_have_the_flags_that_they_are_shown_with() -> None:
    told = _in_passing("batchgen")
    assert len(told) > 20
    wrong = [f"{name}: {' '.join(words)}" for name, words in told if not _is_command(words[1:])]
    assert not wrong


def _is_command(words: list[str]) -> bool:
    if words[0].startswith("-"):
        return words[0] in {"--help", "--version"}
    command = cli.commands.get(words[0])
    if command is None:
        return False
    options = (one for one in command.params if isinstance(one, click.Option))
    known = {"--help", *(name for option in options for name in option.opts)}
    return {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)} <= known


def test_what_make_is_asked_for_is_a_target() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    named = {words[1] for _, words in _in_passing("make")}
    assert "demo" in named
    assert not {word for word in named if word.islower()} - set(targets)


def test_every_link_between_pages_leads_somewhere() -> None:
    links = [
        (name, str(one.attrs["href"]))
        for name, page in PAGES.items()
        for one in page.tokens
        if one.type == "link_open"
    ]
    inside = [(name, link) for name, link in links if "://" not in link]
    assert len(inside) > 50
    assert not [f"{name}: {link}" for name, link in inside if not _leads_somewhere(name, link)]


def _leads_somewhere(name: str, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = ((ROOT / name).parent / path).resolve() if path else ROOT / name
    if not anchor:
        return target.exists()
    page = PAGES.get(target.relative_to(ROOT).as_posix())
    return page is not None and anchor in {slug(heading) for heading in page.headings}
