"""`batchgen schedule`."""

import os
import pwd
import sys
from collections.abc import Iterator, Mapping
from copy import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
from click.core import ParameterSource

from batchgen._version import __version__
from batchgen.cli import choice
from batchgen.cli.commands import cli
from batchgen.cli.streams import print_text, say
from batchgen.wording import usd

if TYPE_CHECKING:
    from batchgen.manifest import Manifest
    from batchgen.schedule import Start, When

# Its flags, and the variables of the environment that they have.
_RUN: Final = cli.commands["run"]
_ZONES: Final = "/zoneinfo/"
_STDIN: Final = "-"
_LOCALTIME: Final = "/etc/localtime"
_OF_SOME_FORMATS: Final = {
    "user": ("systemd",),
    "time_zone": ("k8s",),
    "image": ("k8s",),
    "api_key_file": ("systemd", "cron"),
}
# Files that a run writes outside of the job's directory, by the name of their option.
_WRITTEN: Final = frozenset({"metrics_file", "log_file"})
# Addresses that may hold a token or a password.
_ADDRESSES: Final = frozenset({"notify", "proxy"})
# What `choice.chosen` takes besides the names of options.
_SELECTING: Final = frozenset({"retry_failed", "force", "sample", "only", "tags", "shard"})
# What the unit's own /tmp hides.
_TEMPORARY: Final = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - named, not used


class _Command(click.Command):
    """Knows the flags of `run`, and where they belong."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words; a flag of `run` before the `--` gets an error of its own."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if any(error.option_name in option.opts for option in _RUN.params):
                told = f"{error.option_name} is a flag of `run`: write it after --"
                raise click.UsageError(told, ctx) from None
            raise


@click.command(cls=_Command)
@click.argument("job", type=click.Path(path_type=Path))
@click.argument("run_flags", nargs=-1, type=click.UNPROCESSED, metavar="[-- RUN FLAGS…]")
@click.option(
    "--at", required=True, metavar="HH:MM", allow_from_autoenv=False, help="When to start it."
)
@click.option(
    "--days",
    metavar="DAYS",
    allow_from_autoenv=False,
    help="On which days: mon-fri, or sat,sun, or fri-mon; every day unless told.",
)
@click.option(
    *("--format", "kind"),
    type=click.Choice(["systemd", "cron", "k8s"]),
    default="systemd",
    show_default=True,
    allow_from_autoenv=False,
    help="For whom to write it.",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    allow_from_autoenv=False,
    help="Write it into files there, and print nothing.",
)
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    allow_from_autoenv=False,
    help="Where the key will lie; /etc/batchgen/NAME.key or ~/.config/batchgen/NAME.key.",
)
@click.option(
    "--user", allow_from_autoenv=False, help="Who it runs as (systemd); you, unless told."
)
@click.option(
    "--time-zone",
    allow_from_autoenv=False,
    help="Whose clock is meant (k8s), as Europe/Berlin; this machine's, unless told.",
)
@click.option(
    "--image",
    allow_from_autoenv=False,
    help=f"The container's image (k8s); batchgen:{__version__} unless told.",
)
@click.pass_context
def schedule(
    context: click.Context,
    /,
    job: Path,
    run_flags: tuple[str, ...],
    *,
    kind: str,
    into: Path | None,
    **flags: Any,
) -> None:
    """Print what starts JOB every night: for systemd, for cron, or for Kubernetes.

    Flags of `run` come after `--`. They and the job are checked first. The comments at the top of
    what is printed tell how to install it, and how to start it once now. The key is in none of it.

    \b
        batchgen schedule spring.yaml --at 02:00 --days mon-fri -- --max-cost 5 --deadline 06:30
    """  # noqa: D301 - click's mark for a paragraph that stays as it is
    from batchgen.schedule import check_texts, read_when

    for name, its_kinds in _OF_SOME_FORMATS.items():
        if flags[name] is not None and kind not in its_kinds:
            words = " and ".join(its_kinds)
            raise click.UsageError(f"--{name.replace('_', '-')} is for --format {words} alone")
    if str(job) == _STDIN:
        raise click.UsageError("a job on standard input is gone at night: write it to a file")
    when = read_when(flags["at"], flags["days"])
    path = _absolute(job)
    asked = _check_flags(context, path, run_flags)
    manifest = _check_job(job, asked)
    start = _start(kind, path, asked, manifest, when=when, **flags)
    check_texts(start)
    files = _render(kind, start, flags["image"], flags["time_zone"])
    for warning in _warnings(kind, start, asked, manifest):
        say(f"warning: {warning}")
    if into is None:
        print_text("\n".join(files.values()))
    else:
        _write(into, files)


class _Asked(NamedTuple):
    """The flags of `run`: as written, what they mean, and which of them are there."""

    words: tuple[str, ...]
    values: Mapping[str, Any]
    names: frozenset[str]

    @property
    def paths(self) -> tuple[str, ...]:
        """What they name of files."""
        named = (self.values[name] for name in sorted(self.names))
        return tuple(str(value) for value in named if isinstance(value, Path))

    @property
    def directories(self) -> tuple[str, ...]:
        """Where files land outside of the job's directory."""
        files = (self.values[name] for name in sorted(_WRITTEN & self.names))
        return tuple(dict.fromkeys(str(_absolute(file).parent) for file in files))


def _check_flags(context: click.Context, job: Path, words: tuple[str, ...]) -> _Asked:
    """Read flags as `run` would, but for the environment, which is another one at night.

    Raises:
        click.UsageError: What `run` itself would say, or that a flag makes no sense at night.
        UsageError: A value that no run takes.
    """
    from batchgen.options import RunOptions, check_options

    command = click.Command("run", params=[_without_variable(one) for one in _RUN.params])
    read = command.make_context("run", [str(job), *words], parent=context.parent)
    given = {
        name
        for name in read.params
        if read.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    asked = _Asked(words=words, values=read.params, names=frozenset(given - {"job"}))
    _refuse_by_day(asked)
    known = _SELECTING | set(RunOptions.__annotations__)
    check_options(choice.chosen(**{name: read.params[name] for name in known & set(read.params)}))
    return asked


def _without_variable(parameter: click.Parameter) -> click.Parameter:
    parameter = copy(parameter)
    parameter.envvar = None
    return parameter


def _refuse_by_day(asked: _Asked) -> None:
    """Refuse what only makes sense by day, and what would show a secret in the file."""
    from batchgen.provider import address_secrets

    for name in sorted(asked.names):
        value, flag = asked.values[name], f"--{name.replace('_', '-')}"
        if name == "dry_run" and value:
            raise click.UsageError("--dry-run makes nothing: leave it out, or use `batchgen plan`")
        if name == "progress" and value == "bar":
            raise click.UsageError("--progress bar is for a terminal, and at night there is none")
        if name == "api_key_file":
            raise click.UsageError("--api-key-file goes before the --: it is for `schedule`")
        # Whoever has the address of a hook may post; of a proxy only a password is a secret.
        if name in _ADDRESSES and (name == "notify" or address_secrets(value)):
            raise click.UsageError(
                f"{flag}: what is in this address may be a secret, and others can read what is "
                f"printed here; set BATCHGEN_{name.upper()} where the comments on top tell"
            )


def _check_job(job: Path, asked: _Asked) -> "Manifest":
    """Read the whole job.

    Raises:
        JobError: It has errors.
    """
    from batchgen.manifest import open_manifest
    from batchgen.references import ReferenceLibrary

    manifest = open_manifest(job)
    for _ in manifest.items(ReferenceLibrary(), model=asked.values["model"]):
        pass
    manifest.raise_problems()
    return manifest


def _start(
    kind: str, job: Path, asked: _Asked, manifest: "Manifest", *, when: "When", **flags: Any
) -> "Start":
    from batchgen.access import choose_provider
    from batchgen.options import choose_place
    from batchgen.schedule import Start

    values = asked.values
    provider = choose_provider(manifest.settings.provider, values["provider"], values["base_url"])
    me = pwd.getpwuid(os.getuid())
    home = os.environ.get("HOME") or me.pw_dir
    name = manifest.name
    output, address = choose_place(values["output"], job, name)
    if address is not None and kind == "k8s":
        raise click.UsageError(
            f"{address}: a pod keeps nothing of what it had not sent when it was killed; write the "
            "Job by hand, with a volume that XDG_STATE_HOME names"
        )
    key_file = flags["api_key_file"] or Path(
        f"{home}/.config/batchgen/{name}.key" if kind == "cron" else f"/etc/batchgen/{name}.key"
    )
    return Start(
        name=name,
        when=when,
        program=_program(),
        job=str(job),
        flags=asked.words,
        asked=asked.names,
        paths=asked.paths,
        directory=str(Path.cwd()),
        output=str(_absolute(output if address is not None else output.parent)),
        writes=asked.directories,
        # A name in small letters may be the key itself, written into the job by mistake.
        key_env=tuple(one for one in provider.key_env if one.isupper()),
        key_file=str(_absolute(key_file)) if provider.needs_key else None,
        hook_env=manifest.settings.hook.url_env,
        user=flags["user"] or me.pw_name,
        home=home,
        grace_s=values["grace"],
    )


def _absolute(path: Path) -> Path:
    """The path from the root on; a link in it stays one, which may lead elsewhere by then."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - `resolve` would follow it


def _program() -> tuple[str, ...]:
    """The words that start this program from anywhere."""
    started = Path(sys.argv[0]).absolute()
    if started.name != "__main__.py" and started.is_file() and os.access(started, os.X_OK):
        return (str(started),)
    return (sys.executable, "-m", "batchgen")


def _render(kind: str, start: "Start", image: str | None, zone: str | None) -> dict[str, str]:
    from batchgen.schedule import cron, k8s, systemd

    if kind == "k8s":
        return k8s.render(
            start, image=image or f"batchgen:{__version__}", time_zone=_zone(zone, start.when)
        )
    return systemd.render(start) if kind == "systemd" else cron.render(start)


def _zone(asked: str | None, when: "When") -> str:
    """The time zone by its name, this machine's unless told.

    Raises:
        click.UsageError: There is none of that name, or this machine's has no name.
    """
    from zoneinfo import ZoneInfo, available_timezones

    from batchgen.schedule import skipped_nights

    name = asked or os.environ.get("TZ", "").removeprefix(":") or _zone_of_machine()
    try:
        zone = ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # not known, or no name of one
        if name and not available_timezones():
            say(f"warning: this machine has no time zones, and {name} was not looked up")
            return name
        raise click.UsageError(
            f"time zone {name!r}: expected a name such as Europe/Berlin; tell it by --time-zone"
        ) from None
    for night in skipped_nights(when, zone, datetime.now(UTC).date())[:1]:
        say(
            f"warning: on {night} the clocks of {name} jump over {when.clock}, "
            "and Kubernetes leaves that night out"
        )
    return name


def _zone_of_machine() -> str:
    """What /etc/localtime is a link to; nothing if it is none."""
    try:
        return os.readlink(_LOCALTIME).partition(_ZONES)[2]  # noqa: PTH115 - a text
    except OSError:
        return ""


def _warnings(kind: str, start: "Start", asked: _Asked, manifest: "Manifest") -> Iterator[str]:
    """What will not be at night as it is by day."""
    for option in _RUN.params:
        if isinstance(option.envvar, str) and os.environ.get(option.envvar):
            yield f"{option.envvar} is set here and will not be at night: give its flag after --"
    if asked.values["force"] or asked.values["marked"]:
        flag = "--force" if asked.values["force"] else "--redo"
        yield f"{flag} makes the same pictures every night, and pays for them every night"
    confirm_usd = manifest.settings.budget.confirm_above_usd
    if confirm_usd is not None and not asked.values["yes"]:
        yield (
            f"nobody is there at night to say yes to more than {usd(confirm_usd)}, or to a price "
            "that nobody knows (budget.confirm_above_usd): such a run makes nothing, unless --yes "
            "is given after --"
        )
    if kind == "systemd" and any(
        Path(start.directory).is_relative_to(one) or Path(start.job).is_relative_to(one)
        for one in _TEMPORARY
    ):
        yield "the service has a /tmp of its own, and will not find the job: move it elsewhere"


def _write(directory: Path, files: Mapping[str, str]) -> None:
    """Write the files, all or none; one that is there already must say the same.

    Raises:
        click.UsageError: There is another one of that name.
        StoreError: The disk failed.
    """
    from batchgen.errors import store_errors
    from batchgen.store.replace import replaced

    with store_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        there = {name for name in files if os.path.lexists(directory / name)}
        for name in sorted(there):
            path = directory / name
            if not path.is_file() or path.read_bytes() != files[name].encode():
                raise click.UsageError(
                    f"{path} is there already and says something else: compare, and move it away"
                )
        for name, text in files.items():
            if name not in there:
                with replaced(directory / name) as file:
                    file.write(text.encode())
            say(f"{'as it is' if name in there else 'wrote':8}  {directory / name}")
