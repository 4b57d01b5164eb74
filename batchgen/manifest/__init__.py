"""The job file: YAML, JSON Lines or a table in, settings and a stream of checked items out.

    sources      what is written for each item    <- nodes (YAML), json_lines, tables, batch_lines
      └── expand     each × matrix − exclude      <- tables, templates, files (prompts)
            └── items    one item, checked        <- fields, setting_fields, reference_fields
                  └── reader   the whole job      <- shapes (what is like an earlier item)

- `settings`: the head of a job;
- `problems`, `origins`: errors and warnings with their places, which are looked up last;
- `comparison`, `seen`, `graph`: what items have to do with one another.
"""

from batchgen.manifest.reader import Manifest, open_manifest
from batchgen.manifest.settings import Settings

__all__ = ["Manifest", "Settings", "open_manifest"]
