"""One written item as the many that it stands for: `each` × `matrix` − `exclude`.

    each: products.csv                        one item a row
    matrix: {scene: [studio, beach]}          times the cross product, the last name fastest
    exclude: [{sku: A-17, scene: beach}]      without those that match on all names given
    prompt: Photo of {title}, {scene} scene   filled from the row and the matrix

Everything streams: neither the rows nor the combinations are ever held together.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Final, TypeAlias

from batchgen.manifest.fields import Checker, Mistake, shown
from batchgen.manifest.files import (
    leads_out,
    shown_path,
    where_instead,
    why,
    with_prompt_files,
)
from batchgen.manifest.nodes import Place, Steps
from batchgen.manifest.origins import Origin, Part
from batchgen.manifest.tables import InlineTable, Row, RowError, Table, Tables
from batchgen.manifest.templates import (
    compiled,
    filled,
    names_in,
    part_of,
    templates_in,
    unknown,
)
from batchgen.objects import is_address

EXPANSION: Final = ("each", "matrix", "exclude")
ASKED: Final = ("prompt", "turns", "request")
TAGS: Final = "tags."

# The numbers of the patterns of `exclude` by their names, and by the values of these.
_Patterns: TypeAlias = dict[tuple[str, ...], dict[tuple[str | None, ...], list[int]]]

# Columns of a table that hold lists, for which a cell has no notation of its own.
_LISTS: Final = frozenset({"references", "modalities"})


@dataclass(frozen=True, slots=True)
class Draft:
    """One item to read: its fields, and where they come from.

    Attributes:
        fields: As written, templates filled.
        origin: Where the item is written.
        row: Where its row stands, if it has one.
        from_row: The steps to what the row has a say in, and the column through which.
        from_matrix: Names of the matrix, with the number of the value each.
        set_by_matrix: Those of them that set an item field.
        is_expanded: Whether it is one of many that are written as one.
    """

    fields: Any
    origin: Origin
    row: Origin | None = None
    from_row: Mapping[Steps, str] = field(default_factory=dict)
    from_matrix: Mapping[str, int] = field(default_factory=dict)
    set_by_matrix: Collection[str] = ()
    is_expanded: bool = False

    @property
    def home(self) -> Origin:
        """What tells the item best from others of its expansion."""
        return self.row or self.origin

    def draft(self) -> "Draft":
        """Itself, which a line of JSON has to be made into first."""
        return self

    def is_in_row(self, mistake: Mistake) -> bool:
        """Whether a mistake of the item is one of its row, not of all that is written for it."""
        return self._in_row(mistake.steps) is not None

    def place(self, mistake: Mistake) -> tuple[Path, Place]:
        """Where a mistake of the item stands."""
        steps = mistake.steps
        if self.row is not None and (in_row := self._in_row(steps)) is not None:
            return self.row.path, self.row.place(in_row, key=mistake.at_key)
        in_matrix = self._in_matrix(steps)
        return self.origin.path, self.origin.place(in_matrix or steps, key=mistake.at_key)

    def _in_row(self, steps: Steps) -> Steps | None:
        """Where the row has a say in a part, or in something of it: the column, and what follows.

        What the matrix sets is not the row's.
        """
        if self._in_matrix(steps) is not None:
            return None
        for known, column in self.from_row.items():
            n = min(len(known), len(steps))
            if n and known[:n] == steps[:n]:
                return (column, *steps[n:])
        return None

    def _in_matrix(self, steps: Steps) -> Steps | None:
        """Where a part is set in the matrix."""
        for name in self.set_by_matrix:
            known = _steps_of(name)
            if known == steps[: len(known)]:
                return ("matrix", name, self.from_matrix[name], *steps[len(known) :])
        return None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that no item can be made of, and the item that reads it."""

    error: RowError
    origin: Origin


class Expansion:
    """The drafts of one item with `each` or `matrix`.

    Making one finds the mistakes that all its drafts would share.
    """

    def __init__(
        self,
        check: Checker,
        written: Mapping[str, Any],
        origin: Origin,
        *,
        tables: Tables,
        item_fields: Collection[str],
    ) -> None:
        """Read `each`, `matrix` and `exclude`, open the table, and compile the templates.

        Args:
            check: Takes what is wrong.
            written: The item.
            origin: Where it stands.
            tables: Opens those that the job names.
            item_fields: The names that set an item field.
        """
        self._origin, self._check = origin, check
        self._matrix = _read_matrix(check, written.get("matrix"))
        self._has_rows = written.get("each") is not None
        self._table = _read_table(check, written.get("each"), origin, tables)
        self._names = self._known_names(check)
        self._exclude: _Patterns = _read_exclude(check, written.get("exclude"), self._names)
        self._unmatched = {
            n for by_value in self._exclude.values() for ns in by_value.values() for n in ns
        }
        own = {name: value for name, value in written.items() if name not in EXPANSION}
        own = with_prompt_files(check, own, tables.base)
        self._templates = {
            name: compiled(check, value, (name,), self._names) for name, value in own.items()
        }
        self._read = names_in(self._templates)
        self._check_matrix(check)
        # An item asks for one thing: a column `prompt` is only a value where it writes turns.
        asks = ASKED if any(name in own for name in ASKED) else ()
        self._sets = frozenset(item_fields) - own.keys() - set(asks)
        self._from_row: dict[Steps, str] = {
            steps: min(columns)
            for steps, template in templates_in(self._templates)
            if (columns := set(template.names) - self._matrix.keys())
        }

    def drafts(self) -> Iterator[Draft | BadRow]:
        """Yield an item for each row and combination that is not excluded."""
        if self._table is None:
            yield from self._combined({}, None)
            return
        for row in self._table.rows():
            if isinstance(row, RowError):
                yield BadRow(row, self._origin)
            elif (fault := self._fault(row)) is not None:
                yield BadRow(fault, self._origin)
            else:
                yield from self._combined(row.cells, row.origin)

    def unmatched(self) -> Iterator[Steps]:
        """The steps to patterns of `exclude` that matched nothing, once all drafts are made."""
        return (("exclude", n) for n in sorted(self._unmatched))

    def _combined(self, cells: Mapping[str, Any], row: Origin | None) -> Iterator[Draft]:
        texts = {name: as_text(cell) for name, cell in cells.items()}
        set_by_row = fields_of({name: cell for name, cell in cells.items() if self._is_set(name)})
        from_row = dict(self._from_row)
        from_row.update(
            (_steps_of(name), name)
            for name, cell in cells.items()
            if self._is_set(name) and not _is_empty(cell)
        )
        for numbers, picked in _combinations(self._matrix):
            values = {**texts, **{name: as_text(value) for name, value in picked.items()}}
            if self._is_excluded(values):
                continue
            fields = {**filled(self._templates, values), **set_by_row}
            set_by_matrix = {name: value for name, value in picked.items() if self._is_set(name)}
            _set(fields, set_by_matrix)
            yield Draft(
                fields,
                self._origin,
                row,
                from_row,
                from_matrix=numbers,
                set_by_matrix=set_by_matrix.keys(),
                is_expanded=True,
            )

    def _is_set(self, name: str) -> bool:
        """Whether a column or matrix name sets an item field: the item does not write it itself."""
        return name in self._sets or (name.startswith(TAGS) and "tags" in self._sets)

    def _is_excluded(self, values: Mapping[str, str]) -> bool:
        is_excluded = False
        for names, patterns in self._exclude.items():
            if numbers := patterns.get(tuple(values.get(name) for name in names)):
                self._unmatched.difference_update(numbers)
                is_excluded = True
        return is_excluded

    def _fault(self, row: Row) -> "RowError | None":
        """What keeps a row from being put into the templates."""
        for name in sorted(row.cells.keys() & self._matrix.keys()):
            message = f"'{name}' is a name of the matrix already; name it otherwise"
            return RowError(message, row.origin.path, row.origin.place((name,), key=True))
        for name in sorted(self._read):
            if name not in row.cells and name not in self._matrix:
                known = (*row.cells, *self._matrix)
                near = self._check.near(name, known)
                message = f"this row has no '{name}', which the item reads{near}"
                message = part_of(name, known) or message
                return RowError(message, row.origin.path, row.origin.place(()))
            if isinstance(row.cells.get(name), list | dict):
                message = not_text(row.cells[name], name)
                return RowError(message, row.origin.path, row.origin.place((name,)))
        return None

    def _check_matrix(self, check: Checker) -> None:
        """Report values that templates read and that are no text."""
        for name in self._read & self._matrix.keys():
            for n, value in enumerate(self._matrix[name]):
                if isinstance(value, list | dict):
                    check.wrong(("matrix", name, n), not_text(value, name))

    def _known_names(self, check: Checker) -> tuple[str, ...] | None:
        """The names that templates may read; None if only the rows tell."""
        if self._has_rows and (self._table is None or self._table.columns is None):
            return None
        if check.mistakes:
            return None
        columns = (self._table.columns or ()) if self._table is not None else ()
        for name in columns:
            if name in self._matrix:
                message = f"'{name}' is a column of the table already; name it otherwise"
                check.at_key(("matrix", name), message)
        return tuple(dict.fromkeys((*columns, *self._matrix)))


def fields_of(cells: Mapping[str, Any]) -> dict[str, Any]:
    """The item fields that cells set; an empty cell is an absent field.

    `tags.NAME` makes a tag; in a text, `|` separates references and modalities.
    """
    fields: dict[str, Any] = {}
    given = {name: cell for name, cell in cells.items() if not _is_empty(cell)}
    for name in _LISTS & given.keys():
        if isinstance(text := given[name], str):
            given[name] = [part.strip() for part in text.split("|") if part.strip()]
    _set(fields, given)
    return fields


def _set(fields: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Set fields by their names, and tags one by one."""
    tags = {name: value for name, value in values.items() if name.startswith(TAGS)}
    fields.update((name, value) for name, value in values.items() if name not in tags)
    if tags and isinstance(others := fields.get("tags", {}), dict):
        named = {name.removeprefix(TAGS): value for name, value in tags.items()}
        fields["tags"] = {**others, **named}


def _is_empty(cell: Any) -> bool:
    return cell is None or cell == ""


def _steps_of(name: str) -> Steps:
    """The steps to what a column or a matrix name sets."""
    return ("tags", name.removeprefix(TAGS)) if name.startswith(TAGS) else (name,)


def as_text(value: Any) -> str:
    """A value as it is put into a text."""
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)


def not_text(value: Any, name: str) -> str:
    """What to say of a list or a mapping that a template reads."""
    return f"{shown(value)} cannot be put into a text ({{{name}}})"


def _combinations(
    matrix: Mapping[str, Sequence[Any]],
) -> Iterator[tuple[dict[str, int], dict[str, Any]]]:
    """The cross product, the last name fastest: the numbers of the values, and the values."""
    for numbers in product(*(range(len(values)) for values in matrix.values())):
        numbered = dict(zip(matrix, numbers, strict=True))
        yield numbered, {name: matrix[name][n] for name, n in numbered.items()}


def _read_matrix(check: Checker, written: Any) -> dict[str, list[Any]]:
    if written is None:
        return {}
    if not isinstance(written, dict) or not written:
        check.wrong(("matrix",), f"expected names with lists of values, found {shown(written)}")
        return {}
    matrix = {}
    for name, values in written.items():
        if not isinstance(values, list) or not values:
            check.wrong(("matrix", name), f"expected a list of values, found {shown(values)}")
        elif len(set(map(repr, values))) != len(values):
            check.wrong(("matrix", name), "the same value is there twice")
        else:
            matrix[name] = values
    return matrix


def _read_table(check: Checker, written: Any, origin: Origin, tables: Tables) -> Table | None:
    if written is None:
        return None
    if isinstance(written, list):
        return _read_inline(check, written, origin)
    path = check.text(written, ("each",))
    if path is None:
        return None
    if "://" in path and not is_address(path):
        message = "is an address: download the table and name its path"
        check.wrong(("each",), f"{shown_path(path)} {message}")
        return None
    base = tables.base
    if (fault := leads_out(base, path)) is not None:
        check.wrong(("each",), f"{shown_path(path)} {fault}")
        return None
    there = Path(path) if is_address(path) else origin.path.parent / path
    try:
        table = tables.open(path, there)
        if next(table.rows(), None) is not None:
            return table
        check.elsewhere(("each",), RowError("the table has no rows", there, Place(1, 1)))
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError)
        near = where_instead(check, path, base) if is_missing else ""
        check.wrong(("each",), f"cannot read the table {shown_path(path)}: {why(error)}{near}")
    except RowError as error:
        check.elsewhere(("each",), error)
    except ValueError as error:
        is_missing = not os.path.lexists(base / path)
        near = where_instead(check, path, base) if is_missing else ""
        check.wrong(("each",), f"{error}{near}")
    return None


def _read_inline(check: Checker, written: list[Any], origin: Origin) -> Table | None:
    rows = [check.mapping(row, ("each", n), None) for n, row in enumerate(written)]
    if not rows:
        check.wrong(("each",), "the list has no rows")
    return InlineTable(rows, [Part(origin, ("each", n)) for n in range(len(rows))])


def _read_exclude(check: Checker, written: Any, names: Collection[str] | None) -> _Patterns:
    if written is None:
        return {}
    if not isinstance(written, list):
        check.wrong(("exclude",), f"expected a list of mappings, found {shown(written)}")
        return {}
    patterns: _Patterns = {}
    for n, one in enumerate(written):
        pattern = check.mapping(one, ("exclude", n), None)
        if one in ({}, None):
            check.wrong(("exclude", n), "it names nothing; expected names and values to leave out")
        for name in pattern:
            if names is not None and name not in names:
                check.at_key(("exclude", n, name), unknown(check, name, names))
        by_value = patterns.setdefault(tuple(sorted(pattern)), {})
        texts = tuple(as_text(pattern[name]) for name in sorted(pattern))
        by_value.setdefault(texts, []).append(n)
    return patterns
