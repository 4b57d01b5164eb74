"""The two pages that are written by a program: docs/cli.md and docs/job-reference.md. `make docs`.

The first is what `--help` says of each command, the second what the schema says of each field.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeAlias

import click

from batchgen.cli.commands import cli, environment_names

Json: TypeAlias = dict[str, Any]

DOCS: Final = Path(__file__).parent.parent / "docs"
# What click leaves of a terminal of 80 columns.
WIDTH: Final = 78
_BY: Final = "<!-- Written by `make docs` from {source}: change it there. -->"


def pages() -> dict[Path, str]:
    """What stands in each page that is written by a program."""
    return {DOCS / "cli.md": cli_page(), DOCS / "job-reference.md": job_page()}


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _linked(heading: str, shown: str | None = None) -> str:
    return f"[{shown or heading}](#{slug(heading)})"


# --- the command line ---------------------------------------------------------------------------

_CLI: Final = """\
# The command line

{by}

What `--help` says, command by command. [README.md](../README.md#commands) has an overview,
[outcomes.md](outcomes.md) what an item may come to.

{index}
"""


def cli_page() -> str:
    """Every command with its help, in the order of `batchgen --help`."""
    names = cli.list_commands(click.Context(cli))
    index = " · ".join(_linked(f"batchgen {name}", f"`{name}`") for name in names)
    head = _CLI.format(by=_BY.format(source="what the commands say"), index=index)
    sections = [
        _section("batchgen", cli),
        *(_section(f"batchgen {n}", cli.commands[n]) for n in names),
    ]
    return "\n".join([head, *sections, _environment()])


def _section(heading: str, command: click.Command) -> str:
    return f"## {heading}\n\n```text\n{help_of(command)}\n```\n"


def help_of(command: click.Command) -> str:
    """What `--help` says of a command, on a terminal of 80 columns."""
    group = click.Context(cli, info_name="batchgen", terminal_width=WIDTH, **cli.context_settings)
    if command is cli:
        return cli.get_help(group)
    context = click.Context(command, parent=group, info_name=command.name)
    return command.get_help(context)


def _environment() -> str:
    rows = [
        f"| `{variable}` | {', '.join(f'`{name}`' for name in commands)} |"
        for variable, commands in environment_names().items()
    ]
    return "\n".join(
        [
            "## In the environment\n",
            "A variable sets the flag of the same name; a flag on the command line wins. Switches",
            "take 1, true, yes or on; flags that may be repeated take values between commas.\n",
            "| variable | read by |",
            "|---|---|",
            *rows,
            "",
        ]
    )


# --- the job file -------------------------------------------------------------------------------

_JOB: Final = """\
# The fields of a job file

{by}

Every field, from the schema that `batchgen schema` prints. [job-file.md](job-file.md) explains how
they go together; [requests.md](requests.md) tells what becomes of them in a request.

`null` is the same as a field that is not there, where a field says nothing else. In an item with
`each` or `matrix`, `{{name}}` may stand wherever a value is asked for.

{index}
"""


def job_page() -> str:
    """Every field of the job file, each map under the field that holds it."""
    schema = json.loads(resources.files("batchgen").joinpath("job.schema.json").read_text("utf-8"))
    told = _Fields(schema)
    sections = [line for one in schema["properties"] for line in told.section(one)]
    index = "\n".join(
        f"- {_linked(top)}: {told.index(top)}".removesuffix(": ") for top in told.tops
    )
    head = _JOB.format(by=_BY.format(source="batchgen/job.schema.json"), index=index)
    return "\n".join([head, *sections])


@dataclass
class _Fields:
    """Writes down fields, and remembers where a kind of map was described."""

    schema: Json
    homes: dict[str, str] = field(default_factory=dict)
    below: dict[str, list[str]] = field(default_factory=dict)

    @property
    def tops(self) -> list[str]:
        return list(self.schema["properties"])

    def index(self, top: str) -> str:
        """Links to what lies in a field at the top."""
        return " · ".join(_linked(one, one.removeprefix(f"{top}.")) for one in self.below[top])

    def section(self, top: str) -> Iterator[str]:
        """A field at the top, and all that lies in it."""
        self.below[top] = []
        yield from self._field(top, self.schema["properties"][top], level=2)

    def _field(self, path: str, one: Json, level: int) -> Iterator[str]:
        whole = self._resolved(one)
        yield f"{'#' * level} {path}\n"
        yield f"{self._facts(whole)}\n"
        yield f"{whole['description']}\n"
        if examples := whole.get("examples"):
            yield f"For example {', '.join(f'`{_flow(example)}`' for example in examples)}.\n"
        if path == "defaults":
            names = (_linked(f"items.{name}", f"`{name}`") for name in whole["properties"])
            yield " · ".join(names) + "\n"
            return
        for where, mapping in self._mappings(path, one):
            yield from self._inside(where, mapping)

    def _inside(self, path: str, mapping: Json) -> Iterator[str]:
        needed = mapping.get("required", ())
        for name, one in mapping["properties"].items():
            if one is False or "description" not in self._resolved(one):
                continue  # what may not be there, and the names of harm, which their parent lists
            below = f"{path}.{name}"
            self.below[path.partition(".")[0]].append(below)
            told = {**one, "needed": True} if name in needed else one
            yield from self._field(below, told, level=3)

    def _mappings(self, path: str, one: Json) -> Iterator[tuple[str, Json]]:
        """The maps with fields of their own that a value may be or hold, each once on the page."""
        reference = one.get("$ref")
        if reference is not None:
            if reference in self.homes:
                return
            self.homes[reference] = path
            one = self._resolved({"$ref": reference})
        if "properties" in one:
            yield path, one
        for kind in one.get("anyOf", ()):
            yield from self._mappings(path, kind)
        for inside in ("items", "additionalProperties"):
            if isinstance(one.get(inside), dict):
                yield from self._mappings(path, one[inside])

    def _resolved(self, one: Json) -> Json:
        """A schema with what it refers to; its own words win."""
        if "$ref" not in one:
            return one
        there: Any = self.schema
        for step in one["$ref"].removeprefix("#/").split("/"):
            there = there[step]
        return {**self._resolved(there), **one}

    def _facts(self, whole: Json) -> str:
        """What a value may be, whether there must be one, and which it is if there is none."""
        facts = [self._values(whole)]
        if whole.get("needed"):
            facts.append("required")
        if "default" in whole:
            facts.append(f"default `{_flow(whole['default'])}`")
        return " · ".join(facts)

    def _values(self, one: Json) -> str:
        one = self._resolved(one)
        return one.get("title") or _either(self._kinds(one))

    def _kinds(self, one: Json) -> Iterator[str]:
        """What a value may be, in words; templates and null are told of once, at the top."""
        if "anyOf" in one:
            yield from (
                self._values(kind) for kind in one["anyOf"] if not _goes_without_saying(kind)
            )
        elif "enum" in one:
            yield from (f"`{_flow(word)}`" for word in one["enum"] if word is not None)
        elif "const" in one:
            yield f"`{_flow(one['const'])}`"
        else:
            kinds = one.get("type", "object")
            names = [kinds] if isinstance(kinds, str) else kinds
            yield from (self._kind(name, one) for name in names if name != "null")

    def _kind(self, name: str, one: Json) -> str:
        match name:
            case "array":
                return f"a list{self._of(one.get('items'))}{_of_a_length(one)}"
            case "object":
                return self._map(one)
            case "boolean":
                return "`true` | `false`"
            case "integer" | "number":
                return ("a whole number" if name == "integer" else "a number") + _between(one)
            case _:
                return "text"

    def _map(self, one: Json) -> str:
        values = one.get("additionalProperties")
        if isinstance(values, dict):
            return f"a mapping of names to {self._values(values)}"
        return "a mapping"

    def _of(self, inside: Json | None) -> str:
        """What each thing in a list may be, if anything is said of it."""
        return "" if inside is None else f", each {self._values(inside)}"


def _goes_without_saying(kind: Json) -> bool:
    """Templates and null are told of at the top; what has a comment is there for editors."""
    is_template = kind.get("$ref") == "#/$defs/template"
    return is_template or kind.get("type") == "null" or "$comment" in kind


def _either(kinds: Iterator[str]) -> str:
    """`a` | `b` | `c`, each once."""
    return " | ".join(dict.fromkeys(kinds))


def _between(one: Json) -> str:
    match one.get("minimum"), one.get("maximum"):
        case None, None:
            return ""
        case least, None:
            return f", {least} or more"
        case least, most:
            return f", {least} to {most}"


def _of_a_length(one: Json) -> str:
    return f", at most {one['maxItems']}" if "maxItems" in one else ""


def _flow(value: Any) -> str:
    """A value as it stands in a YAML file, in one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{name}: {_flow(one)}" for name, one in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_flow, value)) + "]"
        case str():
            return json.dumps(value, ensure_ascii=False) if _needs_quotes(value) else value
        case _:
            return json.dumps(value)


def _needs_quotes(text: str) -> bool:
    return (
        not text
        or text[0] in "@{[&*!|>%#'\"`-?:, "
        or ": " in text
        or text[-1] == ":"
        or "," in text
    )


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, "utf-8")
