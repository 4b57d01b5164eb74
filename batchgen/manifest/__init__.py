"""The job file: YAML or JSONL in, settings and a stream of checked items out.

- `nodes`: YAML as plain values with places;
- `fields`: checks of single values;
- `items`: one item;
- `settings`: the head of a job;
- `reader`: a whole file, item by item, with every problem and its place.
"""

from batchgen.manifest.reader import Manifest, open_manifest
from batchgen.manifest.settings import Settings

__all__ = ["Manifest", "Settings", "open_manifest"]
