"""The files that a job names besides itself: where their paths lead, and the texts among them.

Only regular files are opened, and nothing is waited for: a job must not be able to hang on a pipe
or to read a process's environment, which holds the key. No link leads further than the path itself
says.

Source: docs/adr/0011.
"""

import errno
import os
import stat
import unicodedata
from collections.abc import Mapping
from io import BufferedReader, FileIO
from itertools import islice
from pathlib import Path
from typing import Any, Final

from batchgen.manifest.fields import Checker, nearest_word
from batchgen.manifest.nodes import Steps
from batchgen.manifest.versions import Version
from batchgen.objects import AddressError, ObjectAddress, address_of, is_address, read_address
from batchgen.objects.spool import spooled
from batchgen.references import shown_url

MAX_PROMPT_BYTES: Final = 1 << 20

_MAX_NAMES: Final = 10_000  # so many files are looked at for the nearest name
_NOT_FILES: Final = ("/proc/", "/sys/")


def leads_out(base: Path, written: str) -> str | None:
    """Why a path is not followed, because a link takes it elsewhere; None if it is.

    Links may lead anywhere below the folder that a path starts from: the job's own, or the one
    that its leading `..` name. What is written in full may lead anywhere, as it says so itself.

    Args:
        base: The directory that relative paths start from, without links.
        written: The path as it stands in the job.

    Returns:
        Words that follow the path.
    """
    if Path(written).is_absolute() or "\0" in written or is_address(written):
        return None
    if address_of(base) is not None:
        return None  # there are no links in a store
    ups = [".."] * os.path.normpath(written).split("/").count("..")
    start, real = os.path.realpath(base.joinpath(*ups)), os.path.realpath(base / written)
    if Path(real).is_relative_to(start):
        return None
    outside = f"outside {'/'.join(ups)}" if ups else "outside the job's folder"
    return f"leads through a link to {real}, {outside}; if that is meant, write that path"


def object_of(base: Path, written: str) -> ObjectAddress | None:
    """The object that a path means: by its own address, or beside a job that lies in a store.

    None for a file of this machine; a path that is written in full is one in any job.

    Raises:
        OSError: It is meant as one, and is none.
    """
    try:
        if is_address(written):
            return read_address(written)
        home = address_of(base)
        return None if home is None or Path(written).is_absolute() else home / written
    except AddressError as error:
        raise OSError(errno.EINVAL, f"it {error}") from None


def found_file(base: Path, written: str) -> Path:
    """Where a file that a job names can be read: what lies in a store is brought.

    Raises:
        OSError: It cannot be, or is not there.
    """
    address = object_of(base, written)
    if address is None:
        return base / written
    return spooled(address)


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
    file: BufferedReader = BufferedReader(FileIO(descriptor))
    # Of size 0, and yet with something in it: what the kernel tells of processes, wherever it is.
    if os.fstat(descriptor).st_size == 0 and file.peek(1):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file")
    return file


def read_prompt(path: Path) -> str:
    """Read a prompt from a file of UTF-8 text; the line end at its end is not part of it.

    Each reading is of one version; two items may read two.

    Raises:
        JobError: It changed meanwhile.
        OSError: It cannot be read.
        ValueError: It is no text, or more than a prompt can be.
    """
    with Version(path, path, open_text).opened() as file:
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
    if (fault := leads_out(base, name)) is not None:
        check.wrong((*steps, "file"), f"{shown_path(name)} {fault}")
        return None
    try:
        return check.text(read_prompt(found_file(base, name)), (*steps, "file"))
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError)
        near = where_instead(check, name, base) if is_missing else ""
        message = f"cannot read the prompt {shown_path(name)}: {why(error)}{near}"
        check.wrong((*steps, "file"), message)
    except ValueError as error:
        check.wrong((*steps, "file"), f"cannot use the prompt {name}: {error}")
    return None


def shown_path(written: str) -> str:
    """A path as a message shows it: white space at its ends is seen, a signature is not."""
    if "://" in written:
        return shown_url(written)
    return repr(written) if written != written.strip() else written


def where_instead(check: Checker, written: str, base: Path) -> str:
    """Where a file may be that is not where it was written; follows what says that it is not.

    Args:
        check: Says whether a search is worth its time.
        written: The path as it stands in the job.
        base: The directory that paths start from.
    """
    if is_address(written) or address_of(base) is not None:
        return ""
    if "://" in written:
        return "; this is an address: download the file and name its path"
    if "\\" in written:
        return "; write / between folders"
    if os.path.exists(written):  # noqa: PTH110 - which knows of no path too long to ask for
        return f"; paths start at the job file: write '{os.path.relpath(written, base)}'"
    return _nearest_file(written, base) if check.may_search else ""


def _nearest_file(written: str, base: Path) -> str:
    """Name the file beside a missing one whose name is nearest, if not the same to the eye."""
    path = base / written
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, _MAX_NAMES)]
    except (OSError, ValueError):
        return ""
    if not path.name.isascii() and _composed(path.name) in map(_composed, names):
        return (
            "; it is there under a name of other Unicode characters: rename it, or copy its name "
            "from the disk"
        )
    near = nearest_word(path.name, names)
    return f"; did you mean '{written.removesuffix(path.name)}{near}'?" if near else ""


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def why(error: OSError) -> str:
    """What the system says, in the words of a sentence."""
    return (error.strerror or str(error)).lower()


def _template_text(check: Checker, prompt: Any, steps: Steps, base: Path) -> Any:
    name = prompt.get("file") if isinstance(prompt, dict) else None
    if not isinstance(name, str) or "{" in name or "}" in name:
        return prompt
    return prompt_text(check, prompt, steps, base)
