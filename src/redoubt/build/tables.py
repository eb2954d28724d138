"""The tables of an app as its migrations leave them, and what leads from them to those of another spec.

Read from the text of the migrations themselves, so that what was emitted once, by whatever version, stays as it is. Only
what a build writes is read; anything else is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from .errors import TablesChanged


@define
class Table:
    """One table: columns and constraints by name, each as the source that declares it; indexes are kept apart."""

    columns: dict[str, str] = field(factory=dict)
    constraints: dict[str, str] = field(factory=dict)


@define
class Tables:
    """Tables and indexes by name, and the prices that the database defends: (table, entity, field)."""

    tables: dict[str, Table] = field(factory=dict)
    indexes: dict[str, tuple[str, tuple[str, ...]]] = field(factory=dict)
    prices: set[tuple[str, str, str]] = field(factory=set)


@frozen
class Steps:
    """What a further migration does, in this order: tables, columns, indexes that end, indexes, defended prices."""

    tables: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    prices: tuple[tuple[str, str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tables or self.columns or self.dropped or self.indexes or self.prices)


def declared(view: Mapping[str, Any]) -> Tables:
    """Return the tables that a spec declares, from what its first migration would be made of."""
    found = Tables()
    for table in view["tables"]:
        _fill(found.tables.setdefault(table["name"], Table()), [_parsed(text) for text in table["columns"]])
        for index in table["indexes"]:
            found.indexes[index["name"]] = (table["name"], tuple(index["columns"]))
    found.prices = {tuple(price) for price in view["prices"]}
    return found


def migrated(source: bytes, path: str, before: Tables) -> str:
    """Apply a migration that a build wrote to `before`, and return its revision.

    Raises TablesChanged where it holds anything that no build writes.
    """
    revision = None
    try:
        for node in ast.parse(source).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "revision":
                revision = ast.literal_eval(node.value)
            elif isinstance(node, ast.FunctionDef) and node.name == "upgrade":
                for step in node.body:
                    _apply(step, before)
    except (SyntaxError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise _unread(path) from error
    if not isinstance(revision, str):
        raise _unread(path)
    return revision


def steps(before: Tables, after: Tables) -> Steps:
    """Return what leads from `before` to `after`; raises TablesChanged naming all that no migration is made for."""
    problems = list(_refused(before, after))
    if problems:
        raise TablesChanged(problems)
    new = [name for name in after.tables if name not in before.tables]
    columns = [
        (name, key)
        for name, table in after.tables.items()
        if name not in new
        for key in table.columns
        if key not in before.tables[name].columns
    ]
    moved = {name for name, what in after.indexes.items() if before.indexes.get(name, what) != what}
    return Steps(
        tuple(new),
        tuple(columns),
        tuple(sorted((before.indexes.keys() - after.indexes.keys()) | moved)),
        tuple(name for name in after.indexes if name not in before.indexes or name in moved),
        tuple(sorted(after.prices - before.prices)),
    )


def _refused(before: Tables, after: Tables) -> Iterator[str]:
    for name, old in before.tables.items():
        new = after.tables.get(name)
        if new is None:
            yield f"{name}: no entity has this table any more, and its rows would be left behind"
            continue
        yield from _refused_columns(name, old, new)
        yield from _refused_constraints(name, old, new)
    for table, entity, key in sorted(before.prices - after.prices):
        yield f"{table}.{key}: it would be no price of {entity} any more"
    for table, entity, key in sorted(after.prices - before.prices):
        if table in before.tables:
            yield f"{table}.{key}: it would become a price of {entity}, and the rows that are there have no versions of it"


def _refused_columns(name: str, old: Table, new: Table) -> Iterator[str]:
    for key, text in old.columns.items():
        if key not in new.columns:
            yield f"{name}.{key}: no field has this column any more, and what it holds would be left behind"
        elif new.columns[key] != text:
            yield f"{name}.{key}: {text} would become {new.columns[key]}"
    for key, text in new.columns.items():
        if key not in old.columns and not (_optional(text) or _boolean(text)):
            yield f"{name}.{key}: it is required, and the rows that are there have none; add it as an optional field"


def _refused_constraints(name: str, old: Table, new: Table) -> Iterator[str]:
    added = {key for key in new.columns if key not in old.columns}
    for key, text in old.constraints.items():
        if key not in new.constraints:
            yield f"{name}: {text} would no longer hold"
        elif new.constraints[key] != text:
            yield f"{name}: {text} would become {new.constraints[key]}"
    for key, text in new.constraints.items():
        if key not in old.constraints and column_of(name, key) not in added:
            yield f"{name}: {text} may not hold for the rows that are there"


def column_of(table: str, constraint: str) -> str:
    """Return the column that a constraint is about, by its name: `TABLE_COLUMN_once`, `…_known`, `…_bounds`."""
    return constraint.removeprefix(f"{table}_").rpartition("_")[0]


def is_unique(text: str) -> bool:
    """Say whether a constraint is one of values that may stand once."""
    return text.startswith("sa.UniqueConstraint(")


def _optional(text: str) -> bool:
    return _keyword(text, "nullable") is True


def _boolean(text: str) -> bool:
    return any(ast.unparse(item) == "sa.Boolean" for item in _call(text).args)


def _keyword(text: str, name: str) -> Any:
    return next((ast.literal_eval(item.value) for item in _call(text).keywords if item.arg == name), None)


def _call(text: str) -> ast.Call:
    node = ast.parse(text, mode="eval").body
    if not isinstance(node, ast.Call):
        raise ValueError(text)
    return node


def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _fill(table: Table, nodes: Sequence[ast.expr]) -> None:
    """Put columns and constraints into a table; raises ValueError for anything else."""
    for node in nodes:
        if not isinstance(node, ast.Call):
            raise ValueError("no call")
        what, text = ast.unparse(node.func), ast.unparse(node)
        if what == "sa.Column":
            table.columns[_text(node.args[0])] = text
        elif what in ("sa.UniqueConstraint", "sa.CheckConstraint"):
            name = next(item.value for item in node.keywords if item.arg == "name")
            table.constraints[_text(name)] = text
        else:
            raise ValueError(what)


def _apply(step: ast.stmt, found: Tables) -> None:
    """Apply one statement of `upgrade`; raises ValueError for what no build writes."""
    if isinstance(step, ast.Pass):
        return
    if not isinstance(step, ast.Expr) or not isinstance(step.value, ast.Call):
        raise ValueError("no step of a build")
    call = step.value
    match ast.unparse(call.func), call.args:
        case "op.create_table", [name, *parts]:
            _fill(found.tables.setdefault(_text(name), Table()), parts)
        case "add_column", [ast.Name(id="op"), name, *parts]:
            _fill(found.tables[_text(name)], parts)
        case "op.create_index", [name, table, columns] if _is_set(call, "unique"):
            names = ", ".join(repr(column) for column in ast.literal_eval(columns))
            text = f"sa.UniqueConstraint({names}, name={_text(name)!r})"
            _fill(found.tables[_text(table)], [_parsed(text)])
        case "op.create_index", [name, table, columns]:
            found.indexes[_text(name)] = (_text(table), tuple(ast.literal_eval(columns)))
        case "op.drop_index", [name, _]:
            del found.indexes[_text(name)]
        case "defend_price", [ast.Name(id="op"), table, entity, key]:
            found.prices.add((_text(table), _text(entity), _text(key)))
        case _:
            raise ValueError("no step of a build")


def _is_set(call: ast.Call, name: str) -> bool:
    return any(item.arg == name and ast.literal_eval(item.value) is True for item in call.keywords)


def _text(node: ast.expr) -> str:
    value = ast.literal_eval(node)
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def _unread(path: str) -> TablesChanged:
    return TablesChanged([f"{path} holds what no build wrote, so what it leaves is not known"])
