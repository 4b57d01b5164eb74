"""References as a job writes them: a path, an address, another item, or a name of the job's own."""

from collections.abc import Mapping
from typing import Any, Final

from batchgen.manifest.fields import Checker, shown
from batchgen.manifest.nodes import Steps
from batchgen.model import MAX_REFERENCES, Reference
from batchgen.objects import AddressError, is_address, read_address
from batchgen.references import UnusableReferenceError, check_url, shown_url

_FORMS: Final = ("path", "url", "item", "name")


def read_references(
    check: Checker, value: Any, steps: Steps, names: Mapping[str, Reference]
) -> tuple[Reference, ...] | None:
    """Read a list of references; names are resolved, paths stay as they were written.

    One with a mistake leaves an empty place, so that the others can be looked at in theirs; a list
    that is none, or too long, is None.

    Args:
        check: Takes the mistakes.
        value: What was written.
        steps: What leads to it.
        names: The job's named references.
    """
    if not isinstance(value, list):
        check.wrong(steps, f"expected a list of paths, found {shown(value)}")
        return None
    if len(value) > MAX_REFERENCES:
        check.wrong(steps, f"{len(value)} references; expected at most {MAX_REFERENCES}")
        return None
    read = [read_reference(check, one, (*steps, n), names) for n, one in enumerate(value)]
    return tuple(Reference() if one is None else one for one in read)


def read_reference(
    check: Checker, value: Any, steps: Steps, names: Mapping[str, Reference]
) -> Reference | None:
    """Read one reference: a word, or a mapping that tells what kind of word it is."""
    if not isinstance(value, dict):
        text = check.text(value, steps)
        return None if text is None else _of_form(check, *_form(text), steps, names)
    fields = check.mapping(value, steps, (*_FORMS, "label"))
    given = [form for form in _FORMS if fields.get(form) is not None]
    if len(given) != 1:
        found = " and ".join(given) if given else "none"
        check.wrong(steps, f"expected one of {', '.join(_FORMS)}, found {found}")
        return None
    at = (*steps, given[0])
    text = check.text(fields[given[0]], at)
    label = None
    if fields.get("label") is not None and not (
        label := check.text(fields["label"], (*steps, "label"))
    ):
        return None
    read = None if text is None else _of_form(check, given[0], text, at, names)
    if read is None or label is None:
        return read
    return Reference(path=read.path, url=read.url, item=read.item, label=label)


def _form(text: str) -> tuple[str, str]:
    """What kind of reference a plain word is, and what is left of the word."""
    if text.startswith("@"):
        return "name", text[1:]
    if text.startswith("item:"):
        return "item", text.removeprefix("item:")
    if "://" in text or text.startswith("data:"):
        return "url", text
    return "path", text


def _of_form(
    check: Checker, form: str, text: str, steps: Steps, names: Mapping[str, Reference]
) -> Reference | None:
    match form:
        case "name":
            return _named(check, text.removeprefix("@"), steps, names)
        case "item":
            target = check.item_id(text, steps)
            return None if target is None else Reference(item=target)
        case "url":
            return _url(check, text, steps)
        case _:
            return _path(check, text, steps)


def _named(
    check: Checker, name: str, steps: Steps, names: Mapping[str, Reference]
) -> Reference | None:
    if name in names:
        return names[name]
    near = check.near(name, names) if names else "; the job names none under `references`"
    check.wrong(steps, f"no reference is named '{name}'{near}")
    return None


def _url(check: Checker, text: str, steps: Steps) -> Reference | None:
    try:
        if is_address(text):
            read_address(text)
        else:
            check_url(text)
    except (AddressError, UnusableReferenceError) as error:
        check.wrong(steps, f"{shown_url(text)} {error}")
        return None
    return Reference(url=text)


def _path(check: Checker, text: str, steps: Steps) -> Reference | None:
    if "\0" in text:
        check.wrong(steps, f"{shown(text)}: a path cannot hold a NUL")
        return None
    if "://" in text:
        check.wrong(steps, f"{shown_url(text)} is an address, no path: write it under url")
        return None
    return Reference(path=text)
