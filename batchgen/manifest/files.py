"""The text files that a job names besides itself: tables and prompts.

Only regular files are opened, and nothing is waited for: a job must not be able to hang on a pipe
or to read a process's environment, which holds the key.
"""

import errno
import os
import stat
from collections.abc import Mapping
from io import BufferedReader, FileIO
from itertools import islice
from pathlib import Path
from typing import Any, Final

from batchgen.manifest.fields import Checker, nearest
from batchgen.manifest.nodes import Steps

MAX_PROMPT_BYTES: Final = 1 << 20

_MAX_NAMES: Final = 10_000  # so many files are looked at for the nearest name
_NOT_FILES: Final = ("/proc/", "/sys/")


def open_text(path: Path) -> BufferedReader:
    """Open a regular file for reading.

    Raises:
        OSError: It cannot be read, or is no regular file.
    """
    real = os.path.realpath(path)
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError as error:  # a NUL, or a character that no file name can hold
        raise OSError(errno.EINVAL, "that is no path") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode) or real.startswith(_NOT_FILES):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file")
    return BufferedReader(FileIO(descriptor))


def read_prompt(path: Path) -> str:
    """Read a prompt from a file of UTF-8 text; the line end at its end is not part of it.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no text, or more than a prompt can be.
    """
    with open_text(path) as file:
        raw = file.read(MAX_PROMPT_BYTES + 1)
    if len(raw) > MAX_PROMPT_BYTES:
        raise ValueError(f"it is larger than {MAX_PROMPT_BYTES >> 20} MiB, too much for a prompt")
    if b"\0" in raw:
        raise ValueError("it is no text")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(f"its line {line} holds a byte that is no UTF-8") from error
    return text.removesuffix("\n").removesuffix("\r")


def with_prompt_files(check: Checker, fields: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Put the texts of prompt files into an item that is a template, in its prompt and all turns.

    Only those that the job names itself, whose text is a part of the template. A file that a row
    has a say in is a value: its text is taken as it stands, when its name is known.

    Args:
        check: Takes files that cannot be read.
        fields: An item's fields as written.
        base: The directory that paths start from.
    """
    read = dict(fields)
    if "prompt" in fields:
        read["prompt"] = _template_text(check, fields["prompt"], ("prompt",), base)
    if isinstance(turns := fields.get("turns"), list):
        read["turns"] = [
            {**turn, "prompt": _template_text(check, turn["prompt"], ("turns", n, "prompt"), base)}
            if isinstance(turn, dict) and "prompt" in turn
            else turn
            for n, turn in enumerate(turns)
        ]
    return read


def prompt_text(check: Checker, prompt: Any, steps: Steps, base: Path) -> str | None:
    """The text of a prompt, also where it is in a file; None after reporting a mistake."""
    if not isinstance(prompt, dict):
        return check.text(prompt, steps)
    fields = check.mapping(prompt, steps, ("file",))
    name = check.text(fields.get("file"), (*steps, "file"))
    if name is None:
        return None
    try:
        return check.text(read_prompt(base / name), (*steps, "file"))
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError)
        near = nearest_file(base / name) if is_missing and check.may_search else ""
        check.wrong((*steps, "file"), f"cannot read the prompt {name}: {why(error)}{near}")
    except ValueError as error:
        check.wrong((*steps, "file"), f"cannot use the prompt {name}: {error}")
    return None


def nearest_file(path: Path) -> str:
    """Name the file beside a missing one whose name is nearest."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, _MAX_NAMES)]
    except OSError:
        return ""
    return nearest(path.name, names)


def why(error: OSError) -> str:
    """What the system says, in the words of a sentence."""
    return (error.strerror or str(error)).lower()


def _template_text(check: Checker, prompt: Any, steps: Steps, base: Path) -> Any:
    name = prompt.get("file") if isinstance(prompt, dict) else None
    if not isinstance(name, str) or "{" in name or "}" in name:
        return prompt
    return prompt_text(check, prompt, steps, base)
