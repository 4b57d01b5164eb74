"""The flags that several commands share: what is made of a job, and who is asked for it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from batchgen.options import RunOptions
    from batchgen.selection import Shard

# What a variable of a flag may say that needs no value: all outcomes, or as if it were not set.
_SWITCH: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), ""),
    **dict.fromkeys(("0", "false", "no", "off")),
}


def _redo_outcomes(
    context: click.Context, option: click.Parameter, value: str | None
) -> "frozenset[Any] | None":
    """`--retry-failed` alone means every outcome; its variable may be a switch or name some."""
    if context.get_parameter_source(str(option.name)) is ParameterSource.ENVIRONMENT:
        value = _SWITCH.get(str(value).lower(), value)
    if value is None:
        return None
    from batchgen.model import Outcome

    words = [word for word in value.split(",") if word]
    unknown = sorted(set(words) - set(Outcome))
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: expected {', '.join(Outcome)}")
    return frozenset(map(Outcome, words))


class _Words(click.types.StringParamType):
    """Words, which a variable of the environment separates by commas."""

    envvar_list_splitter = ","


def _tags(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """Values by tag; several of one tag mean any of them."""
    tags: dict[str, tuple[str, ...]] = {}
    for value in values:
        name, mark, wanted = value.partition("=")
        if not mark or not name:
            raise click.BadParameter(f"{value!r}: expected NAME=VALUE")
        tags[name] = (*tags.get(name, ()), wanted)
    return tags


output = click.option(
    *("-o", "--output"),
    type=click.Path(path_type=Path, file_okay=False),
    help="Parent of the job's directory; `output` unless told. s3://, gs:// and az:// are stores.",
)
provider = click.option("--provider", help="cometapi, google or emulator, instead of the job's.")
base_url = click.option("--base-url", help="Another address; key and auth stay the provider's.")
api_key_file = click.option(
    "--api-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Read the key from here instead of the environment.",
)
ca_file = click.option(
    "--ca-file", type=click.Path(path_type=Path), help="Trust these certificates."
)
proxy = click.option("--proxy", help="http://HOST:PORT, instead of the environment's.")
model = click.option(
    "--model", help="For items that name none themselves; wins over defaults.model."
)
retry_failed = click.option(
    "--retry-failed",
    is_flag=False,
    flag_value="",
    metavar="[=OUTCOME,…]",
    callback=_redo_outcomes,
    help="Send what was refused for good too; or, of what failed, only these outcomes.",
)
redo = click.option(
    "--redo",
    "marked",
    is_flag=True,
    help="Only what review.jsonl marks to be made again; the old pictures are kept.",
)
ignore_change = click.option(
    "--ignore-change",
    type=click.Choice(["model"]),
    multiple=True,
    help="What was made by another model counts as done.",
)
force = click.option("--force", is_flag=True, help="Send also what is done; it is paid again.")
limit = click.option(
    "--limit", type=click.IntRange(min=1), help="So many items that need work, in order."
)
sample = click.option(
    "--sample", type=click.IntRange(min=1), help="So many items, spread over the job."
)
only = click.option(
    "--only",
    type=_Words(),
    multiple=True,
    metavar="GLOB",
    help="Items whose id matches; * ? […]. May be repeated: any of them.",
)
tag = click.option(
    *("--tag", "tags"),
    type=_Words(),
    multiple=True,
    metavar="K=V",
    callback=_tags,
    help="Items with this tag. May be repeated: any value of one tag, all of several tags.",
)


def _shard(_context: click.Context, _option: click.Parameter, value: str | None) -> Any:
    """`I/N`, from 1 to N."""
    if value is None:
        return None
    from batchgen.selection import MAX_SHARDS, Shard

    if (shard := Shard.read(value)) is None:
        raise click.BadParameter(
            f"{value!r}: expected I/N, such as 2/4: part I of N, from 1 to at most {MAX_SHARDS:,}"
        )
    return shard


shard = click.option(
    "--shard",
    metavar="I/N",
    callback=_shard,
    help="Part I of N (from 1) of the job, with that share of rates and budget.",
)
prices = click.option(
    "--prices",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A price file, which wins over the job's prices and over your own.",
)


def chosen(
    *,
    retry_failed: "frozenset[Any] | None",
    force: bool,
    sample: int | None,
    only: tuple[str, ...],
    tags: dict[str, tuple[str, ...]],
    shard: "Shard | None",
    **others: Any,
) -> "RunOptions":
    """The options of a run that these flags, and others named like an option, mean."""
    from batchgen.plan import Redo
    from batchgen.selection import Selection

    redo = Redo(failed=retry_failed, done=force)
    selection = Selection(only=only, tags=tags, sample=sample, shard=shard)
    return {"redo": redo, "selection": selection, **others}  # type: ignore[typeddict-item]
