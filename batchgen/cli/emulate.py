"""`batchgen emulate`."""

from pathlib import Path

import click

from batchgen.cli.streams import say


def _latency(_context: click.Context, _option: click.Parameter, value: str) -> tuple[float, float]:
    """`S` or `MIN-MAX`, in seconds."""
    least, _, most = value.partition("-")
    try:
        spread = (float(least), float(most or least))
    except ValueError as error:
        raise click.BadParameter("expected seconds: S or MIN-MAX") from error
    if not 0 <= spread[0] <= spread[1]:
        raise click.BadParameter("expected MIN to be at least 0 and at most MAX")
    return spread


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option(
    "--latency",
    default="0.2-0.8",
    show_default=True,
    callback=_latency,
    help="Seconds an answer takes: S or MIN-MAX.",
)
@click.option(
    "--rpm",
    type=click.IntRange(min=1),
    allow_from_autoenv=False,  # BATCHGEN_RPM is the pace of a run
    help="Answer 429 above so many a minute.",
)
@click.option(
    "--faults",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A YAML file of what should go wrong; docs/emulator.md has its format.",
)
def emulate(port: int, latency: tuple[float, float], rpm: int | None, faults: Path | None) -> None:
    """Serve a stand-in for Gemini's image API on 127.0.0.1.

    It draws pictures with the prompt on them, counts tokens as the real models do, and goes wrong
    on demand. Point a run at it with --provider emulator --base-url http://127.0.0.1:PORT.

    Words in a prompt make it go wrong too: [[NO_IMAGE]] or any other finish reason, [[BLOCKED]],
    [[TEXT_ONLY]], [[DRAFTS=3]]; [[NO_IMAGE:1]] for the first request of that prompt alone.
    docs/emulator.md tells more.

    Its --rpm is not read from BATCHGEN_RPM, which is the pace of a run.
    """
    from batchgen.emulator import FaultsError, Settings, serve

    try:
        settings = Settings(port=port, latency_s=latency, rpm=rpm, faults=faults)
        serve(settings, lambda url: say(f"listening on {url}"))
    except FaultsError as error:
        raise click.UsageError(str(error)) from error
