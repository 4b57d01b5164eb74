"""The thumbnails that a run makes at its end: for a minute at most, and not once it shall stop."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from batchgen.clock import Clock
from batchgen.report.thumbnails.batch import Made, make_thumbnails
from batchgen.report.thumbnails.folder import Source
from batchgen.wording import counted, duration

_LONGEST_S: Final = 60.0


@dataclass(slots=True)
class ThumbnailsOfARun:
    """Makes those of one run.

    Attributes:
        root: The job's directory.
        clock: Durations are taken from it.
        is_wanted: Asked before each picture; who is told to stop makes no use of the minute.
    """

    root: Path
    clock: Clock
    is_wanted: Callable[[], bool]
    _made: Made = Made()

    def make(self, sources: Iterable[Source]) -> Made:
        """Make what is missing, and remember what became of it."""
        self._made = make_thumbnails(
            self.root, sources, longest_s=_LONGEST_S, is_wanted=self.is_wanted, clock=self.clock
        )
        return self._made

    @property
    def warning(self) -> str | None:
        """That some are missing, and why; the page shows the pictures themselves, only later."""
        if not self._made.n_left:
            return None
        late = f"a run takes no more than {duration(_LONGEST_S)} for them"
        why = self._made.problem or (late if self.is_wanted() else "it was told to stop")
        return (
            f"{counted(self._made.n_left, 'picture')} of the report without a thumbnail: {why}; "
            f"`batchgen report {self.root}` makes the rest"
        )
