"""batchgen: a batch job runner for Gemini-native image generation.

    job file ──> plan ──> pool ──> transport ──> wire ──> store ──> ledger ──> report and cost
    manifest/    plan     pool     transport/    wire/    answer    store/     report/    cost/
    intake       depend-  limits/  preparation   attempt  settle    ledger     spending/  pricing
    selection    encies   retry    governor      workshop store/    recorder   reconcile/ known_
                 forecast/ budget  caller        references/                   export       models
                 takeover breakers crew/         conversation                  verify     preview/
                 filing, search
                 course, foresight                                             live/     doctor/
                                                                   conclusion  notify/   metrics
    beside it: schedule/ starts it at night, journal/ and progress tell how it goes; objects/ and
    mirror/ have its files in a bucket, shards (selection, store/lock) many of it in one directory,
    and executors/ run it: in this process, or with a crew on a Ray cluster.

Everything that a program may rely on is in `__all__`:

    import batchgen

    summary = batchgen.run("jobs/catalog.yaml", provider="emulator")
    print(summary.items.done, summary.cost_usd)

Names are imported when they are first used, so that `batchgen --help` does not wait for aiohttp.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from batchgen._version import __version__

if TYPE_CHECKING:
    from batchgen.errors import (
        BatchgenError,
        JobError,
        OutputHeld,
        Problem,
        StoreError,
        UsageError,
    )
    from batchgen.events import (
        AttemptBegan,
        AttemptEnded,
        Cooling,
        Event,
        ItemEnded,
        RunBegan,
        Stopping,
        Ticked,
        Warned,
    )
    from batchgen.executors.local import run
    from batchgen.model import Attempt, ImageFile, Outcome, Result, Tokens
    from batchgen.options import RunOptions
    from batchgen.plan import Redo
    from batchgen.report.summary import Summary
    from batchgen.runner import Runner
    from batchgen.selection import Selection

__all__ = [
    "Attempt",
    "AttemptBegan",
    "AttemptEnded",
    "BatchgenError",
    "Cooling",
    "Event",
    "ImageFile",
    "ItemEnded",
    "JobError",
    "Outcome",
    "OutputHeld",
    "Problem",
    "Redo",
    "Result",
    "RunBegan",
    "RunOptions",
    "Runner",
    "Selection",
    "Stopping",
    "StoreError",
    "Summary",
    "Ticked",
    "Tokens",
    "UsageError",
    "Warned",
    "__version__",
    "run",
]

_HOMES = {
    "batchgen.errors": (
        *("BatchgenError", "JobError", "OutputHeld", "Problem", "StoreError", "UsageError"),
    ),
    "batchgen.events": (
        *("AttemptBegan", "AttemptEnded", "Cooling", "Event", "ItemEnded", "RunBegan"),
        *("Stopping", "Ticked", "Warned"),
    ),
    "batchgen.executors.local": ("run",),
    "batchgen.model": ("Attempt", "ImageFile", "Outcome", "Result", "Tokens"),
    "batchgen.plan": ("Redo",),
    "batchgen.report.summary": ("Summary",),
    "batchgen.options": ("RunOptions",),
    "batchgen.runner": ("Runner",),
    "batchgen.selection": ("Selection",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'batchgen' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted(__all__)
