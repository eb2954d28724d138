"""Changes of a table that holds rows, said so that both databases take them, with the triggers that defend it left alone."""

from __future__ import annotations

from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection


class Operations(Protocol):
    """Alembic's operations, as a migration has them."""

    def get_bind(self) -> Connection:
        """Return the connection."""
        ...

    def execute(self, sqltext: sa.TextClause) -> None:
        """Run a statement."""
        ...


def add_column(op: Operations, table: str, column: sa.Column[Any], *checks: sa.CheckConstraint) -> None:
    """Add a column with its reference and its checks to a table that may hold rows.

    One statement with the constraints of the column inside it: SQLite adds none later, and rebuilding the table instead
    would drop its triggers. In rows that are there it is NULL; a boolean that is always there is false. Raises ValueError
    for another column that is always there.
    """
    dialect = op.get_bind().dialect
    preparer = dialect.identifier_preparer
    kind = dialect.type_compiler_instance.process(column.type)
    parts = [f"ALTER TABLE {preparer.quote(table)} ADD COLUMN {preparer.quote(column.name)} {kind}"]
    if not column.nullable:
        if not isinstance(column.type, sa.Boolean):
            raise ValueError(f"{table}.{column.name} has no value in the rows that are there")
        parts.append(f"DEFAULT {'0' if dialect.name == 'sqlite' else 'false'} NOT NULL")
    for key in column.foreign_keys:
        target, _, of = key.target_fullname.rpartition(".")
        named = f"CONSTRAINT {preparer.quote(str(key.name))} " if key.name else ""
        parts.append(f"{named}REFERENCES {preparer.quote(target)} ({preparer.quote(of)})")
    for check in checks:
        parts.append(f"CONSTRAINT {preparer.quote(str(check.name))} CHECK ({check.sqltext})")
    op.execute(sa.text(" ".join(parts).replace(":", "\\:")))
