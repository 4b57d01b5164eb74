"""What each command imports: a heavy module, or a package of ours, that is new here is named.

The real command tells it itself (`-X importtime`). Ours are told by the first name below
`batchgen`, and must be as listed; of others only those in HEAVY are looked at, which may be fewer.
Whoever adds a name below says that every start of that command may wait for it.
"""

import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from batchgen.cli.commands import cli
from tests.commands import DEADLINE_S, ROOT, environment
from tests.runs import KEY, write_job
from tests.servers import FaultServer, draws


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Each takes a millisecond or more to import, brings much along, or is only for some commands.
HEAVY = _names("""
    PIL aiohttp aiolimiter click jinja2 markupsafe msgspec multidict pybase64 tqdm yaml yarl
    argparse asyncio concurrent.futures.process concurrent.futures.thread csv ctypes dataclasses
    decimal difflib doctest email.message fractions hashlib http.client http.server
    importlib.metadata importlib.resources json logging multiprocessing optparse pdb
    pkg_resources pydoc setuptools smtplib socket sqlite3 ssl statistics subprocess tempfile
    unittest urllib.request uuid wsgiref xml xmlrpc zipfile zoneinfo
""")

# --- what belongs together ----------------------------------------------------------------------

CLI = _names("_version cli  click uuid")
HELP_OF_ONE = CLI | _names("sanitize wording  decimal")
# What is shipped as a file; that brings the two others along, in Python 3.11.
SHIPPED = _names("importlib.resources  tempfile zipfile")
RECORDS = _names("model errors  dataclasses decimal hashlib msgspec")
LOOP = _names("asyncio  logging socket ssl subprocess concurrent.futures.thread")
JOB = (
    CLI | RECORDS | LOOP | SHIPPED
    | _names("acceptance budget clock cost ending events hook known_models limits manifest naming")
    | _names("objects provider references retry sanitize seen selection stop timeouts wire")
    | _names("wording")
    | _names("csv json pybase64 yaml zoneinfo")
)  # fmt: skip
LEDGER = CLI | RECORDS | LOOP | _names("naming sanitize seen selection store wording  json")
REPORT = (
    LEDGER | SHIPPED
    | _names("acceptance clock dependencies ending known_models report review wire")
    | _names("jinja2 markupsafe pybase64 yaml")
)  # fmt: skip
STORES = _names("mirror objects")
BAR = _names("tqdm  csv email.message importlib.metadata multiprocessing tempfile zipfile")
PLAN = (
    JOB | LEDGER | STORES
    | _names("access answer conversation dependencies forecast foresight intake options plan")
    | _names("pricing recovery review settle suspects")
    | _names("ctypes fractions statistics")
)  # fmt: skip
HTTP = _names("aiohttp multidict yarl  email.message http.client urllib.request")
RUN = (
    PLAN | HTTP
    | _names("aftermath attempt breakers caller conclusion course crew executors filing governor")
    | _names("hold journal metrics notify pool preparation progress recorder report runner search")
    | _names("takeover tally transport watch workshop")
)  # fmt: skip
SPENDING = LEDGER | JOB | _names("dependencies paper pricing report spending spreadsheet")

# --- the commands -------------------------------------------------------------------------------

COMMANDS = {
    "--version": _names("_version cli"),
    "--help": CLI,
    "init NEW": CLI | RECORDS | SHIPPED,
    "schema": CLI | SHIPPED,
    "completion bash": CLI | SHIPPED,
    "validate JOB": JOB,
    "validate YAML": JOB,
    "plan JOB": PLAN | _names("paper preview search"),
    "schedule JOB --at 02:00": (
        JOB | LEDGER | STORES | _names("access dependencies options plan review schedule")
    ),
    "doctor DEMO": PLAN | HTTP | _names("doctor paper transport"),
    "report DIR --no-thumbnails": REPORT | BAR | STORES,
    "report DIR --history": (
        (LEDGER - {"seen"}) | SHIPPED | STORES | _names("clock paper report wire")
    ),
    "verify DIR": (
        LEDGER | SHIPPED | BAR | STORES
        | _names("clock conversation dependencies events known_models progress tally verify")
        | _names("wire")
        | _names("PIL fractions pybase64 yaml")
    ),
    "cost DIR": SPENDING | STORES | _names("review"),
    "cost --show-prices": SPENDING,
    "export DIR --format csv": (
        LEDGER | STORES | _names("clock dependencies report spreadsheet  csv tempfile")
    ),
    "export DIR --format gemini-batch": LEDGER | JOB | STORES | _names("dependencies export"),
}  # fmt: skip
# A run, until its first line says what there is to do; and at its end, when there is a report.
AT_THE_START = RUN
AT_THE_END = RUN | REPORT | {"paper"}
DEMO = AT_THE_END | _names("emulator  PIL argparse difflib")
_ALONE = "--no-thumbnails"
EMULATE = (
    _names("_version cli emulator")
    | LOOP | HTTP | SHIPPED
    | _names("PIL argparse click dataclasses decimal difflib fractions hashlib json msgspec")
    | _names("pybase64 uuid yaml")
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a job has been run."""

    words: dict[str, str]
    told: str

    def line(self, command: str) -> list[str]:
        return [self.words.get(word, word) for word in command.split()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("imports")
    job = write_job(root / "job.jsonl", ["cat", "dog"])
    demo = write_job(root / "demo.jsonl", ["cat"], provider="emulator", name="demo")
    yaml = root / "job.yaml"
    yaml.write_text(
        "name: yam\ndefaults: {model: gemini-3-pro-image}\nitems: [{id: cat, prompt: cat}]\n"
    )
    with FaultServer(draws) as server:
        told = _told(["run", str(job), "--output", str(root), "--base-url", server.url, _ALONE])
    words = {"JOB": job, "YAML": yaml, "DEMO": demo, "DIR": root / "job", "NEW": root / "new"}
    return Place({name: str(path) for name, path in words.items()}, told)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_what_it_needs_and_nothing_heavy_besides(
    command: str, place: Place
) -> None:
    _check(command, _told(place.line(command)), COMMANDS[command])


def test_a_run_waits_for_no_report_before_it_sends_and_for_no_emulator_at_all(
    place: Place,
) -> None:
    before, opening, _ = place.told.partition("job: 2 of 2 to make")
    assert opening
    _check("run, before it sends", before, AT_THE_START)
    _check("run", place.told, AT_THE_END)


def test_a_run_on_the_emulator_imports_that_besides(place: Place) -> None:
    command = ["run", place.words["DEMO"], "--output", str(Path(place.words["DIR"]).parent), _ALONE]
    _check("run on the emulator", _told(command), DEMO)


def test_the_emulator_imports_nothing_of_the_product_but_its_command() -> None:
    _check("emulate", _told(["emulate", "--port", "0"], until="listening on"), EMULATE)


def test_help_of_a_command_imports_nothing_that_the_command_needs() -> None:
    with ThreadPoolExecutor(2) as threads:
        commands = list(cli.commands)
        told = threads.map(lambda name: _told([name, "--help"]), commands)
        for name, lines in zip(commands, told, strict=True):
            _check(f"{name} --help", lines, HELP_OF_ONE, may_be_fewer=True)


def _told(arguments: Sequence[str], until: str | None = None) -> str:
    """What a command says on stderr with a line for each import; one that lasts is ended."""
    env = environment(COMETAPI_KEY=KEY)
    del env["BATCHGEN_NO_THUMBNAILS"]  # to see whether it means something, all commands are read
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "batchgen", *arguments],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert process.stderr is not None
    with process.stderr:
        told = ""
        if until is not None:
            for line in process.stderr:
                told += line
                if until in line:
                    process.terminate()
                    break
        told += process.stderr.read()
    expected = 0 if until is None else -signal.SIGTERM
    assert process.wait(DEADLINE_S) in {0, expected}, _without_imports(told)
    return told


def _check(command: str, told: str, listed: frozenset[str], *, may_be_fewer: bool = False) -> None:
    """Compare what a command imported with the list, and name what is not the same."""
    modules = {line.rpartition("|")[2].strip() for line in told.splitlines() if _is_import(line)}
    assert modules, "no import was told of"
    ours = {name.split(".")[1] for name in modules if name.startswith("batchgen.")}
    heavy = modules & HEAVY
    new = sorted((ours | heavy) - listed)
    assert not new, f"`{command}` imports {', '.join(new)}: does it have to, at its start?"
    gone = sorted(_of_ours(listed) - ours)
    assert may_be_fewer or not gone, (
        f"`{command}` imports no {', '.join(gone)} now: shorten its list"
    )


def _of_ours(listed: frozenset[str]) -> set[str]:
    return {path.stem for path in (ROOT / "batchgen").iterdir()} & listed


def _is_import(line: str) -> bool:
    return line.startswith("import time:") and "[us]" not in line


def _without_imports(told: str) -> str:
    return "\n".join(line for line in told.splitlines() if not _is_import(line))
