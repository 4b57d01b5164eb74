"""What the schema of the job file says of a job, which is read as an editor reads it."""

import json
import re
from importlib import resources
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

SCHEMA = json.loads(resources.files("batchgen").joinpath("job.schema.json").read_text("utf-8"))
REGISTRY: Registry[Any] = Registry().with_resource("job", Resource.from_contents(SCHEMA))


class CoreLoader(yaml.SafeLoader):
    """Reads scalars as an editor does: by the core schema of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's way


def _resolve(kind: str, pattern: str) -> None:
    regexp = re.compile(rf"(?:{pattern})\Z")
    CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", regexp, None)


_resolve("null", "null|Null|NULL|~|")
_resolve("bool", "true|True|TRUE|false|False|FALSE")
_resolve("int", r"[-+]?[0-9]+")
_resolve("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


def read(text: str) -> Any:
    return yaml.load(text, Loader=CoreLoader)


def mistakes(value: Any, part: str = "") -> list[str]:
    """What the schema, or a part of it, says of a value."""
    validator = Draft202012Validator({"$ref": f"job#{part}"}, registry=REGISTRY)
    return [error.message for error in validator.iter_errors(value)]
