"""`results.jsonl`: one line an item, in the order of the job."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from batchgen.model import Result
from batchgen.store.inside import open_inside

_decoder = msgspec.json.Decoder(Result)


def read_results(path: Path) -> Iterator[Result]:
    """Yield the results of a job's directory."""
    with open_inside(path) as file:
        for line in file:
            yield _decoder.decode(line)
