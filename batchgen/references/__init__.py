"""Reference images: local files and https addresses, as the bytes that a request carries.

    path ──> files ────────────────┐
                                   ├──> library ──> scale ──> read_reference, while sending
    url ──> addresses ──> fetch ───┘                  │
                            └──────────> cache <──────┘

A path is opened, sniffed and hashed once a run; an address is fetched once a run, to disk; what is
larger than it should be is scaled down once. What a request carries is always a file that is still
what it was when the job was read.

aiohttp and Pillow are imported by the functions that need them: most jobs need neither here.
"""

from batchgen.references.addresses import check_url, is_public, shown_url
from batchgen.references.files import UnusableReferenceError, read_reference, sniff
from batchgen.references.library import ReferenceLibrary

__all__ = [
    "ReferenceLibrary",
    "UnusableReferenceError",
    "check_url",
    "is_public",
    "read_reference",
    "shown_url",
    "sniff",
]
