"""What libraries log for want of anybody else who hears it, and the warnings of Python."""

import logging
from collections.abc import Callable


def hear_libraries(warned: Callable[[str], None]) -> None:
    """Tell of what would otherwise be written to stderr, where it has no place."""
    logging.lastResort = _Handler(warned)
    logging.captureWarnings(capture=True)


class _Handler(logging.Handler):
    def __init__(self, warned: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._warned = warned

    def emit(self, record: logging.LogRecord) -> None:
        """Write it down as a warning."""
        self._warned(f"{record.name}: {record.getMessage()}")
