"""One item of a job: from what was written, in YAML or JSON, to an `Item`."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import msgspec

from batchgen.manifest.fields import Checker, nearest, shown
from batchgen.manifest.nodes import Steps
from batchgen.model import (
    ASPECT_RATIOS,
    IMAGE_SIZES,
    MODALITIES,
    Item,
    Modality,
    Reference,
    ReferenceFile,
    content_key,
)

MAX_REFERENCES: Final = 14

SETTINGS: Final = ("model", "modalities", "aspect_ratio", "image_size", "references", "tags")
FIELDS: Final = ("id", "prompt", *SETTINGS)
LATER: Final = frozenset(
    {
        *("turns", "request", "reference_max_px", "thinking_level", "include_thoughts"),
        *("google_search", "system_instruction", "safety_settings", "temperature", "top_p"),
        *("top_k", "seed", "store", "count", "extra", "each", "matrix", "exclude"),
    }
)

# Opens a reference by its absolute path; raises ValueError with what is wrong with it.
OpenReference: TypeAlias = Callable[[str], ReferenceFile]


def read_settings(check: Checker, written: Any, steps: Steps) -> dict[str, Any]:
    """Read `defaults`: any item field but those that make an item one of its own."""
    fields = check.mapping(written, steps, SETTINGS, LATER)
    return {name: _setting(check, name, value, (*steps, name)) for name, value in fields.items()}


def read_item(
    check: Checker,
    written: Any,
    *,
    defaults: Mapping[str, Any],
    base: Path,
    open_reference: OpenReference,
) -> Item | None:
    """Read one item, its defaults merged in and its content key worked out.

    A field that is written as nothing (`null`) unsets a default.

    Args:
        check: Takes the mistakes; with one, the item is None.
        written: The mapping as it stands in the job.
        defaults: Checked settings for what the item does not write.
        base: The directory that relative paths start from.
        open_reference: Finds out whether a reference can be sent, and its digest.
    """
    n_before = len(check.mistakes)
    if not isinstance(written, dict):
        check.wrong((), f"expected an item (a mapping), found {shown(written)}")
        return None
    fields = check.mapping(written, (), FIELDS, LATER)
    own = {
        name: _setting(check, name, fields[name], (name,)) for name in SETTINGS if name in fields
    }
    values = {**defaults, **own}
    identity = _required(check, fields, "id", check.item_id)
    prompt = _required(check, fields, "prompt", check.prompt)
    if not values.get("model") and "model" not in own:
        check.wrong((), "model: no model is named; set it here, in defaults, or with --model")
    references: tuple[Reference, ...] = values.get("references") or ()
    files = _open(check, references, base, open_reference)
    if len(check.mistakes) > n_before or identity is None or prompt is None:
        return None
    item = Item(
        id=identity,
        model=values["model"],
        prompt=prompt,
        references=tuple(
            Reference(path=file.path, label=reference.label, sha256=file.sha256)
            for file, reference in zip(files, references, strict=True)
        ),
        modalities=values.get("modalities"),
        aspect_ratio=values.get("aspect_ratio"),
        image_size=values.get("image_size"),
        tags=values.get("tags") or {},
    )
    return msgspec.structs.replace(item, key=content_key(item))


def _required(
    check: Checker,
    fields: Mapping[str, Any],
    name: str,
    convert: Callable[[Any, Steps], str | None],
) -> str | None:
    if name not in fields:
        check.wrong((), f"{name}: it is missing")
        return None
    return convert(fields[name], (name,))


def _setting(check: Checker, name: str, value: Any, steps: Steps) -> Any:
    if value is None:
        return None
    match name:
        case "model":
            model = check.text(value, steps)
            return model.strip() if model else None
        case "modalities":
            return _modalities(check, value, steps)
        case "aspect_ratio":
            return check.choice(_ratio(value), steps, ASPECT_RATIOS)
        case "image_size":
            return check.choice(_size(value), steps, IMAGE_SIZES)
        case "references":
            return _references(check, value, steps)
        case "tags":
            return _tags(check, value, steps)
        case _:
            raise AssertionError(name)


def _ratio(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _size(value: Any) -> Any:
    """`512px`, `1k` and the number 512 are taken for what they mean."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        return value
    size = str(value).strip()
    return size.upper() if size[-1:] in {"k", "K"} else size.removesuffix("px")


def _modalities(check: Checker, value: Any, steps: Steps) -> tuple[Modality, ...] | None:
    names = value if isinstance(value, list) else [value]
    read = [
        check.choice(name.upper() if isinstance(name, str) else name, (*steps, n), MODALITIES)
        for n, name in enumerate(names)
    ]
    if "IMAGE" not in read and None not in read:
        check.wrong(steps, "expected [IMAGE] or [TEXT, IMAGE]")
        return None
    if len(set(read)) != len(read):
        check.wrong(steps, "the same modality is named twice")
        return None
    return cast("tuple[Modality, ...]", tuple(read)) if None not in read else None


def _references(check: Checker, value: Any, steps: Steps) -> tuple[Reference, ...] | None:
    if not isinstance(value, list):
        check.wrong(steps, f"expected a list of paths, found {shown(value)}")
        return None
    if len(value) > MAX_REFERENCES:
        check.wrong(steps, f"{len(value)} references; expected at most {MAX_REFERENCES}")
        return None
    read = [_reference(check, one, (*steps, n)) for n, one in enumerate(value)]
    return None if None in read else cast("tuple[Reference, ...]", tuple(read))


def _reference(check: Checker, value: Any, steps: Steps) -> Reference | None:
    if isinstance(value, dict):
        fields = check.mapping(value, steps, ("path", "label"), ("url", "item", "name"))
        label = check.text(fields["label"], (*steps, "label")) if fields.get("label") else None
        if "path" not in fields:
            check.wrong(steps, "path: it is missing")
            return None
        path = check.text(fields["path"], (*steps, "path"))
    else:
        path, label = check.text(value, steps), None
    if path is None:
        return None
    if path.startswith(("@", "item:", "https://", "http://", "s3://", "gs://", "az://")):
        check.wrong(steps, f"{shown(path)}: this version of batchgen takes local files only")
        return None
    if "\0" in path:
        check.wrong(steps, f"{shown(path)}: a path cannot hold a NUL")
        return None
    return Reference(path=path, label=label)


def _tags(check: Checker, value: Any, steps: Steps) -> dict[str, str] | None:
    if not isinstance(value, dict):
        check.wrong(steps, f"expected a mapping of words, found {shown(value)}")
        return None
    tags = {name: _tag(check, one, (*steps, name)) for name, one in value.items()}
    return {name: text for name, text in tags.items() if text is not None}


def _tag(check: Checker, value: Any, steps: Steps) -> str | None:
    return "" if value == "" else check.text(value, steps)


def _open(
    check: Checker, references: tuple[Reference, ...], base: Path, open_reference: OpenReference
) -> list[ReferenceFile]:
    files = []
    for n, reference in enumerate(references):
        # Real, so that the file that is checked is the file that is sent, by whatever way.
        path = os.path.realpath(base / reference.path)
        try:
            files.append(open_reference(path))
        except ValueError as error:
            near = nearest_file(Path(path)) if "not exist" in str(error) else ""
            check.wrong(("references", n), f"{reference.path} {error}{near}")
    return files


def nearest_file(path: Path) -> str:
    """Name the file beside a missing one whose name is nearest."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    return nearest(path.name, names)
