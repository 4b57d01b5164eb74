"""Tab, in the shells themselves: what it makes of a line that somebody types."""

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from batchgen.cli.completion import _joined, _understood
from tests import commands
from tests.commands import DEADLINE_S, batchgen

# A line, and the word that its last one becomes; all in a directory as below.
COMPLETED: Final = {
    "batchgen val": "validate",
    "batchgen run --dead": "--deadline",
    "batchgen run --provider em": "emulator",
    "batchgen run --provider=em": "--provider=emulator",
    "batchgen run --progress pl": "plain",
    "batchgen run --deadline 06:30 --tag sku=A-17 no": "notable.yaml",
    "batchgen validate notable.yaml my\\ jobs/s": "my jobs/spring night.jsonl",
    "batchgen run 'my jobs/s": "my jobs/spring night.jsonl",
    "batchgen report sp": "spare",
    "batchgen report out": "output/spring",
    "batchgen run --model gemini-3-p": "gemini-3-pro-image",
    "batchgen run 3:": "3:4.yaml",
    "batchgen report 4:5/o": "4:5/out",
    "batchgen run a=": "a=b.yaml",
    "batchgen run --retry-failed no": "notable.yaml",
    "batchgen run --retry-failed=blocked,text": "--retry-failed=blocked,text_only",
    "batchgen cost --by model,ou": "model,outcome",
    "batchgen schedule notable.yaml --at 02:00 -- --dead": "--deadline",
    "batchgen schedule notable.yaml --at 02:00 -- --max-cost 5 --fail-on ne": "new",
}
FILES: Final = (
    "notable.yaml",
    "notes.txt",
    "my jobs/spring night.jsonl",
    "my jobs/sketch.png",
    "3:4.yaml",
    "a=b.yaml",
)
FOLDERS: Final = ("output/spring/ledger", "spare", "4:5/out")
SET_UP: Final = {
    "bash": 'PS1=; eval "$(batchgen completion bash)"',
    "zsh": "PS1=; unsetopt prompt_sp; bindkey -e; autoload -Uz compinit; compinit -u -D; "
    'eval "$(batchgen completion zsh)"',
}
FLAGS: Final = {"bash": ("--noprofile", "--norc", "-i"), "zsh": ("-f", "-i")}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in FOLDERS:
        (tmp_path / name).mkdir(parents=True)
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return commands.environment(PATH=programs, TERM="xterm", **more)


def skip_without(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"NOT TRIED: {shell} is not installed: apt-get install {shell}")


def typed(shell: str, lines: list[str], directory: Path) -> str:
    """What a shell on a terminal prints when each line is typed, Tab is pressed, and it is run.

    Before it runs, `said` is put in front of it, which prints the last word of the line.
    """
    keys = "".join(f"{line}\t\x01said \r" for line in lines)
    said = "said() { for word; do :; done; printf '<%s>\\n' \"$word\"; }"
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [shell, *FLAGS[shell]],
        cwd=directory,
        env=environment(HOME=str(directory), ZDOTDIR=str(directory)),
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    try:
        os.write(leader, f"{SET_UP[shell]}; {said}\r{keys}exit\r".encode())
        told, _ = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        os.close(leader)
    return told.decode()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_completes_a_line(shell: str, directory: Path) -> None:
    skip_without(shell)
    told = typed(shell, list(COMPLETED), directory)
    words = [line[1:-1].rstrip("/") for line in told.splitlines() if line.startswith("<")]
    assert dict(zip(COMPLETED, words, strict=True)) == COMPLETED


def test_fish_is_told_how_a_line_may_go_on(directory: Path) -> None:
    skip_without("fish")
    asks = "batchgen completion fish | source; for one in $argv; complete -C $one; echo .; end"
    done = subprocess.run(
        ["fish", "--no-config", "-c", asks, *COMPLETED],
        cwd=directory,
        env=environment(HOME=str(directory), XDG_CONFIG_HOME=str(directory)),
        capture_output=True,
        timeout=DEADLINE_S,
        check=True,
        text=True,
    )
    told = [one.partition("\t")[0] for one in done.stdout.splitlines()]
    words = " ".join(told).removesuffix(" .").split(" . ")
    found = {line: word.rstrip("/") for line, word in zip(COMPLETED, words, strict=True)}
    assert found == COMPLETED
    assert not done.stderr


def test_a_shell_that_asks_is_told_nothing_but_words() -> None:
    asked = {"COMP_WORDS": "batchgen cost --by o", "COMP_CWORD": "3"}
    done = batchgen(**asked, _BATCHGEN_COMPLETE="bash_complete", BATCHGEN_NONSENSE="1")
    assert (done.out, done.err) == ("plain,outcome\n", "")


@pytest.mark.parametrize(
    ("split", "joined"),
    [
        (["run", "--provider", "=", "em"], ["run", "--provider=em"]),
        (["run", "--provider", "="], ["run", "--provider="]),
        (["run", "--deadline", "06", ":", "30", ""], ["run", "--deadline", "06:30", ""]),
        (["cost", "--by", "tag", ":", "sku", "--si"], ["cost", "--by", "tag:sku", "--si"]),
        (["run", ""], ["run", ""]),
    ],
)
def test_what_bash_splits_at_its_marks_is_one_word(split: list[str], joined: list[str]) -> None:
    assert _joined(split) == joined


@pytest.mark.parametrize(
    ("words", "typed", "understood"),
    [
        (["schedule", "a.yaml", "--at", "02:00", "--"], "", (["run", "JOB"], "--")),
        (["schedule", "a.yaml", "--"], "--de", (["run", "JOB"], "--de")),
        (["schedule", "a.yaml", "--", "--fail-on"], "", (["run", "JOB", "--fail-on"], "")),
        (["schedule", "a.yaml"], "--", (["schedule", "a.yaml"], "--")),
        (["run", "--retry-failed"], "", (["run", "--retry-failed="], "")),
        (["run", "--"], "", (["run", "--"], "")),
    ],
)
def test_flags_of_run_follow_the_two_dashes_of_schedule(
    words: list[str], typed: str, understood: tuple[list[str], str]
) -> None:
    assert _understood(words, typed) == understood
