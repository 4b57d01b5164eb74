"""The command line: flags become options, errors become exit codes.

stdout carries data only; progress, messages and errors go to stderr. Heavy modules are imported
inside the commands that need them.
"""

import gc
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:] == ["--version"]:  # answered before anything else is imported
        from batchgen._version import __version__

        sys.stdout.write(f"batchgen {__version__}\n")
        return
    try:
        from batchgen.cli.commands import invoke

        code = invoke(sys.argv[1:])
    except KeyboardInterrupt:  # while modules are imported; a run has a way of its own to end
        sys.stderr.write("stopped by sigint\n")
        code = 130
    bucket = sys.modules.get("batchgen.objects.bucket")
    if bucket is not None and bucket.are_calls_under_way():
        from batchgen.cli.streams import leave_at_once

        leave_at_once(code)  # its threads would hold the process for minutes
    gc.freeze()  # the process ends: to look once more for cycles in all of it takes a while
    sys.exit(code)
