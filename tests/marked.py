"""Mark the first picture of a job to be made again, as somebody does who looks at the report.

The pages of the docs do so out of sight: `python -m tests.marked output/spring`.
"""

import json
import sys
from pathlib import Path


def mark(job: Path) -> None:
    """Write the mark into `review.jsonl` of the job's directory."""
    lines = (job / "results.jsonl").read_text("utf-8").splitlines()
    result = next(one for one in map(json.loads, lines) if one["images"])
    picture = result["images"][0]["sha256"]
    with (job / "review.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"item": result["id"], "sha256": picture, "mark": "redo"}) + "\n")


if __name__ == "__main__":
    mark(Path(sys.argv[1]))
