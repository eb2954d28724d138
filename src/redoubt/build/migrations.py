"""The migrations of an app that is built again: those that were emitted stay as they are, and one more follows.

A database remembers by name which of them ran, so their text is never changed. What differs between the tables that they
leave and those of the spec becomes a further migration; what no migration is made for is refused by its name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from .errors import EditedFiles
from .manifest import BASE, content, digest, read_manifest
from .tables import Tables, column_of, declared, is_unique, migrated, steps

FOLDER = "app/migrations"
FIRST = f"{FOLDER}/0001_app.py"
_NAME = re.compile(rf"{FOLDER}/([0-9]{{4}})_app\.py")


@frozen
class History:
    """The migrations that were emitted, by path, the newest revision, and the tables that they leave."""

    files: Mapping[str, bytes] = field(repr=False)
    revision: str
    tables: Tables

    @property
    def next_path(self) -> str:
        """Return where the next one goes."""
        return f"{FOLDER}/{len(self.files) + 1:04}_app.py"


def history(out: Path) -> History | None:
    """Return the migrations of the app in `out`; None where none was built there.

    Raises EditedFiles where one of them is neither there nor in `.redoubt/base` as it was emitted, and TablesChanged for
    one that no build wrote.
    """
    manifest = read_manifest(out)
    if manifest is None:
        return None
    files: dict[str, bytes] = {}
    tables, revision = Tables(), ""
    for path in sorted(path for path in manifest.files if _NAME.fullmatch(path)):
        kept = (content(out / path), content(out / BASE / path))
        data = next((one for one in kept if one is not None and digest(one) == manifest.files[path]), None)
        if data is None:
            raise EditedFiles([path], "Databases may have run it: restore the file as it was built.")
        files[path] = data
        revision = migrated(data, path, tables)
    return History(files, revision, tables) if files else None


def further(earlier: History, view: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what the next migration is made of, from what the first one would be; None where nothing changed.

    Raises TablesChanged naming every change that no migration is made for.
    """
    after = declared(view)
    found = steps(earlier.tables, after)
    if not found:
        return None
    by_name = {table["name"]: table for table in view["tables"]}
    indexes = [_index(name, after) for name in found.indexes]
    uniques, columns = [], []
    for table, key in found.columns:
        rules = [
            (name, text)
            for name, text in after.tables[table].constraints.items()
            if column_of(table, name) == key
        ]
        uniques += [
            {"name": name, "table": table, "columns": ["tenant", key]}
            for name, text in rules
            if is_unique(text)
        ]
        texts = [after.tables[table].columns[key], *(text for _, text in rules if not is_unique(text))]
        columns.append({"table": table, "key": key, "parts": texts})
    seal = hashlib.sha256(repr((earlier.revision, found, columns, uniques)).encode()).hexdigest()[:8]
    return {
        "tables": [by_name[name] for name in found.tables],
        "added": columns,
        "uniques": uniques,
        "dropped": [{**_index(name, earlier.tables)} for name in found.dropped],
        "indexes": [one for one in indexes if one["table"] not in found.tables],
        "prices": list(found.prices),
        "down_revision": earlier.revision,
        "revision": f"app_{len(earlier.files) + 1:04}_{seal}",
    }


def _index(name: str, tables: Tables) -> dict[str, Any]:
    table, columns = tables.indexes[name]
    return {"name": name, "table": table, "columns": list(columns)}
