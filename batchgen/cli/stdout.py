"""Data for whoever reads our output; everything else goes to stderr."""

import os
import sys
from typing import Any


def print_json(value: Any) -> None:
    """Print one JSON object on one line.

    A reader that has gone is no error: what was done is done, and the exit code tells of it.
    """
    import msgspec

    try:
        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
