"""`results.jsonl`: one line an item, in the order of the job."""

from collections.abc import Iterable, Iterator
from itertools import compress
from pathlib import Path

import msgspec

from batchgen.model import Result
from batchgen.store.inside import open_inside

_decoder = msgspec.json.Decoder(Result)


def read_results(path: Path, wanted: Iterable[object] | None = None) -> Iterator[Result]:
    """Yield the results of a job's directory.

    Args:
        path: The file.
        wanted: Of each line, whether it is wanted: no other is decoded. All are, unless it is told.
    """
    with open_inside(path) as file:
        for line in file if wanted is None else compress(file, wanted):
            yield _decoder.decode(line)
