"""Whether whoever shall be told how a run ended can be; nothing is posted."""

from collections.abc import Iterator

from batchgen.doctor.findings import BAD_USAGE, Finding, fine, problem, warning
from batchgen.errors import UsageError
from batchgen.hook import Hook, host_of, service_of
from batchgen.options import RunOptions, read_hook


def check_hook(hook: Hook, options: RunOptions) -> Iterator[Finding]:
    """Look for the address; nothing is found where nobody shall be told."""
    told: list[str] = []
    try:
        url = read_hook(hook, options, told.append)
    except UsageError as error:
        yield problem("notify", str(error), "correct BATCHGEN_NOTIFY, or unset it", BAD_USAGE)
        return
    for one in told:
        remedy = f"set {hook.url_env} to the address of the hook, where the run is started from"
        yield warning("notify", one, remedy)
    if url is not None:
        service = hook.service or service_of(url)
        yield fine("notify", f"{host_of(url)} is told on {hook.on}, in the form of {service}")
