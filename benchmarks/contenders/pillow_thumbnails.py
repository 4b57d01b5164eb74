"""What a script does: open, `thumbnail`, save as WebP, one after the other in one process."""

import json
from io import BytesIO
from pathlib import Path

from PIL import Image

from benchmarks.work import Reading


def run(work: Reading) -> None:
    """Make all thumbnails with what Pillow does unless it is told; look at no digest."""
    n_bytes = 0
    with Path(work.job).open(encoding="utf-8") as lines:
        for line in lines:
            with Image.open(json.loads(line)["path"]) as image:
                image.thumbnail((384, 384))
                out = BytesIO()
                image.save(out, "WEBP")
                n_bytes += len(out.getvalue())
    if n_bytes < work.n * 1000:
        raise SystemExit(f"{n_bytes} bytes of {work.n} thumbnails")
