"""The pages of the docs as programs: the files that they name, and the commands, in their order.

A fenced block says behind its language what becomes of it:

    ```yaml spring.yaml      written to this file; so are csv, jsonl, python and all others
    ```yaml                  a whole job, which must be without an error
    ```yaml part             a part of one, which must fit the schema
    ```sh                    run by `sh -eu`, all of a page in one shell, in an empty directory
    ```sh exits 4            run, and must end so
    ```sh serves             one command, started; it is there until the page ends
    ```sh not-run WHY        not run
    ```python                run; `python part` is only read
    ```text printed          what the commands above print, but for money, times and `…`
    ```text                  whatever else is no command
    <!-- run: COMMAND -->    run, and not seen by a reader: what somebody does with the mouse

In the directory lies a copy of jobs/. `export NAME=…` keeps the key of the tests.
"""

import ast
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import click
from markdown_it import MarkdownIt
from markdown_it.token import Token

from batchgen.cli.commands import cli

ROOT: Final = Path(__file__).parent.parent
# A block in another language than these might hide a command that nobody runs.
WRITTEN: Final = frozenset({"yaml", "csv", "json", "jsonl", "python", "ini"})
SHOWN: Final = frozenset({"text", "markdown", "dockerfile"})
UNSEEN: Final = "unseen"
_UNSEEN: Final = re.compile(r"<!-- run: (.+) -->\s*")
_ENDS: Final = re.compile(r"exits ([0-9]+)")
_KEY: Final = re.compile(r"^(\s*export \w+)=….*$", re.MULTILINE)
_PICTURE: Final = re.compile(r"[\w./{}-]+\.(?:jpe?g|png|webp)")
_NAME: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, and the line on which it begins."""

    page: str
    line: int
    language: str
    told: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that it is to be written to."""
        return self.told if self.language in WRITTEN and "." in self.told else None

    @property
    def exit_code(self) -> int:
        """How its commands end."""
        ends = _ENDS.fullmatch(self.told)
        return int(ends[1]) if ends else 0

    @property
    def reason(self) -> str | None:
        """Why its commands are not run."""
        how, _, why = self.told.partition(" ")
        return why if self.language == "sh" and how == "not-run" else None

    @property
    def is_understood(self) -> bool:
        """Whether what it says of itself means something."""
        if self.language == "sh":
            served = self.told == "serves" and len(self.text.splitlines()) == 1
            return not self.told or served or bool(self.reason) or bool(_ENDS.fullmatch(self.told))
        if self.language in WRITTEN:
            return bool(self.file) or self.told in {"", "part"}
        if self.language == UNSEEN:
            return not self.told
        return self.language in SHOWN and (not self.told or self.is_printed)

    @property
    def is_printed(self) -> bool:
        """Whether it shows what the commands above it print."""
        return (self.language, self.told) == ("text", "printed")


@dataclass(frozen=True)
class Page:
    """A page with its blocks, in order."""

    name: str
    text: str
    blocks: tuple[Block, ...]

    @property
    def tokens(self) -> list[Token]:
        """What stands in its running text and tables."""
        return [one for part in _parsed(self.text) for one in part.children or ()]

    @property
    def headings(self) -> list[str]:
        parts = _parsed(self.text)
        return [
            "".join(one.content for one in after.children or ())
            for part, after in pairwise(parts)
            if part.type == "heading_open"
        ]

    @property
    def is_run(self) -> bool:
        """Whether it has anything that is run, or a job that is checked."""
        return any(one.reason is None and one.language not in SHOWN for one in self.blocks)


@cache
def _parsed(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)


@cache
def pages() -> dict[str, Page]:
    """All pages for people, by their path from the root."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "output/README.md"]
    names = sorted(path.relative_to(ROOT).as_posix() for path in paths)
    return {name: _read(name, (ROOT / name).read_text("utf-8")) for name in names}


def _read(name: str, text: str) -> Page:
    found = [one for one in _parsed(text) if one.type in {"fence", "code_block", "html_block"}]
    return Page(name, text, tuple(one for part in found if (one := _block(name, part))))


def _block(page: str, fence: Token) -> Block | None:
    language, _, told = fence.info.strip().partition(" ")
    line = fence.map[0] + 1 if fence.map else 0
    if fence.type == "html_block":
        unseen = _UNSEEN.fullmatch(fence.content)
        return Block(page, line, UNSEEN, "", unseen[1] + "\n") if unseen else None
    return Block(page, line, language, told.strip(), fence.content)


# --- what a page does ---------------------------------------------------------------------------

_MARK: Final = "--- "
_BEGIN: Final = """\
served=
trap '[ -z "$served" ] || kill $served; wait' EXIT
"""
_SERVES: Final = """\
{command} >/dev/null 2>{log} &
served="$served $!"
until grep -q http:// {log}; do
    kill -0 $! || {{ cat {log} >&2; exit 1; }}
    sleep 0.05
done
"""
_EXITS: Final = """\
set +e
(set -eu
{text})
code=$?
set -e
[ $code = {code} ] || {{ echo "ended with $code, not {code}" >&2; exit 1; }}
"""


def script(page: Page, directory: Path) -> str:
    """A program for `sh -eu` that writes the page's files and runs its commands, in order."""
    steps = (_step(block, directory) for block in page.blocks)
    return _BEGIN + "".join(f"echo '{_MARK}{at}' >&2\n{step}" for at, step in steps if step)


def _step(block: Block, directory: Path) -> tuple[Block, str]:
    if block.file is not None:
        return block, _written(block, directory / block.file)
    match block.language, block.told:
        case (language, "") if language == UNSEEN:
            return block, block.text
        case "python", "":
            return block, f"python - <<'END OF BLOCK'\n{block.text}END OF BLOCK\n"
        case "sh", "serves":
            command = shlex.join(shlex.split(block.text, comments=True))
            log = shlex.quote(str(directory / f".served-{block.line}"))
            return block, _SERVES.format(command=command, log=log)
        case "sh", told if block.reason is None:
            text = _KEY.sub(r'\1="$COMETAPI_KEY"', block.text)
            return block, _EXITS.format(text=text, code=block.exit_code) if told else text
        case _:
            return block, ""


def _written(block: Block, path: Path) -> str:
    folder, file = shlex.quote(str(path.parent)), shlex.quote(str(path))
    return f"mkdir -p {folder}\ncat >{file} <<'END OF BLOCK'\n{block.text}END OF BLOCK\n"


def not_printed(page: Page, told: str) -> list[str]:
    """The lines that a page shows as printed, and that the commands above them did not print.

    Args:
        page: With blocks of `text printed`.
        told: All that its script printed.
    """
    parts = re.split(rf"^{_MARK}(.+)\n", told, flags=re.MULTILINE)
    by_block = dict(zip(parts[1::2], map(_masked, parts[2::2]), strict=True))
    above, wrong = "", []
    for block in page.blocks:
        above = by_block.get(str(block), above)
        if block.is_printed:
            lines = block.text.splitlines()
            wrong += [f"{block}: {line}" for line in lines if not _shows(_masked(line), above)]
    return wrong


def _shows(line: str, printed: str) -> bool:
    """Whether one line of what was printed is this one, in which `…` stands for anything."""
    pattern = ".*".join(re.escape(part.strip()) for part in line.split("…"))
    return bool(re.search(f"^ *{pattern} *$", printed, re.MULTILINE))


def _masked(text: str) -> str:
    """Without what differs from run to run, money and times; blanks are as good as one."""
    text = re.sub(r"\$[\d.,]*\d", "$", text)
    text = re.sub(r"\b(?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?s\b", "TIME", text)
    return re.sub("[^\\S\n]+", " ", text)


def wrong_commands(text: str) -> list[str]:
    """The lines of a script that call batchgen with a command or a flag that it does not have."""
    wrong = []
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["batchgen"] and not _is_understood(words[1:]):
            wrong.append(line)
    return wrong


def _is_understood(words: list[str]) -> bool:
    try:
        name, command, rest = cli.resolve_command(click.Context(cli), words)
        if command is None:
            return False
        context = command.make_context(name, list(rest))
        if flags := context.params.get("run_flags"):
            cli.commands["run"].make_context("run", ["JOB", *flags])
    except click.ClickException:
        return False
    return True


def check_python(page: Page) -> None:
    """Read every program; one that is only shown is never run."""
    for block in page.blocks:
        if block.language == "python":
            ast.parse(block.text, str(block))


# --- what a page needs --------------------------------------------------------------------------


def pictures(page: Page) -> set[str]:
    """The pictures that its jobs and tables name; those of a template with all that it may be."""
    named = [one for one in page.blocks if one.language in WRITTEN]
    values = _values([one.text for one in named])
    found = set()
    for block in named:
        folder = Path(block.file or "").parent
        for path in _PICTURE.findall(block.text):
            found |= {(folder / one).as_posix() for one in _spelt_out(path, values)}
    return {one for one in found if not one.startswith(("/", "output/")) and ".." not in one}


def _values(texts: Iterable[str]) -> dict[str, set[str]]:
    """What each name may be: `sku: A-17` anywhere, and the cells of a column."""
    values: dict[str, set[str]] = {}
    for text in texts:
        for name, value in re.findall(r"\"?(\w+)\"?: *\"?([\w.-]+)", text):
            values.setdefault(name, set()).add(value)
        head, *rows = [line.split(",") for line in text.splitlines()] or [[]]
        for row in rows:
            for name, cell in zip(head, row, strict=False):
                values.setdefault(name, set()).add(cell.strip('"'))
    return values


def _spelt_out(path: str, values: dict[str, set[str]]) -> Iterator[str]:
    name = _NAME.search(path)
    if name is None:
        yield path
        return
    for value in values.get(name[1], ()):
        if "/" not in value and len(value) < 100:
            yield from _spelt_out(path.replace(name[0], value), values)
