"""How much room a file system has, for directories that may not be there yet."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Space:
    """What is free where a directory is, or will be.

    Attributes:
        free_bytes, free_files: None where the file system does not tell, as some in a network.
    """

    free_bytes: int | None
    free_files: int | None


def look_at_space(directory: Path) -> Space:
    """Ask the file system of the nearest directory that is there.

    Raises:
        OSError: It does not answer.
    """
    disk = os.statvfs(nearest(directory))
    return Space(
        free_bytes=disk.f_bavail * disk.f_frsize if disk.f_blocks else None,
        free_files=disk.f_favail if disk.f_files else None,
    )


def nearest(directory: Path) -> Path:
    """The directory, or the nearest above it that is there."""
    directory = directory.absolute()
    return next((one for one in (directory, *directory.parents) if one.exists()), Path("/"))
