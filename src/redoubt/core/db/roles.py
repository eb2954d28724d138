"""PostgreSQL roles: one that owns the schema and migrates, and one for each process with exactly what is declared for it.

`statements` is all of it, as text that can be read and run again; the emitted `deploy/grants.sql` holds the same. Nothing is
left to PUBLIC: no role but the owner makes anything in the schema, or temporary tables that could stand before ours.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import ProgrammingError

from .database import Database, Tx
from .errors import MigrationError
from .grants import ALL, Access, Use

_log = logging.getLogger("redoubt.db")
_quote = PGDialect_psycopg().identifier_preparer.quote  # type: ignore[no-untyped-call]


def closing(database: str, schema: str) -> list[str]:
    """Return the statements that take from everybody what only the owner needs; `database` and `schema` are SQL names."""
    return [
        f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC",
        f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC",
    ]


def statements(access: Access, role: str, schema: str) -> list[str]:
    """Return the statements after which `role` may do what `access` says and no more; both are SQL names, quoted as needed."""
    lines = [
        f"GRANT USAGE ON SCHEMA {schema} TO {role}",
        f"REVOKE CREATE ON SCHEMA {schema} FROM {role}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}",
        f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {role}",
    ]
    for name in sorted(access.uses):
        verbs = ", ".join(_verbs(access.uses[name]))
        if verbs:
            lines.append(f"GRANT {verbs} ON {schema}.{_quote(name)} TO {role}")
    return lines


def grant(db: Database, access: Access, role: str) -> None:
    """Give `role` what `access` says and take everything else, in one transaction; run it as the schema's owner.

    Raises MigrationError when there is no such role, or when it may do more: it owns tables, or is a superuser.
    """

    def run(tx: Tx) -> None:
        if not tx.execute(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).first():
            raise MigrationError(
                f"there is no database role {role!r}.", hint=f"CREATE ROLE {_quote(role)} LOGIN PASSWORD '…'"
            )
        row = tx.execute(sa.text("SELECT current_schema() AS schema, current_database() AS name")).one()
        schema, database = str(row.schema), str(row.name)
        for statement in closing(_quote(database), _quote(schema)):
            _attempt(tx, statement)
        for statement in statements(access, _quote(role), _quote(schema)):
            tx.conn.exec_driver_sql(statement)
        if reasons := powers(tx, role):
            raise MigrationError(
                f"the role {role!r} may do more than its process needs: {'; '.join(reasons)}.",
                hint="Give each process a role that owns nothing and is a member of nothing.",
            )

    db.write_sync(run)


def powers(tx: Tx, role: str) -> list[str]:
    """Return why grants do not bound `role`: attributes, memberships and ownerships that reach beyond them."""
    found = tx.execute(
        sa.text(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication FROM pg_roles WHERE rolname = :role"
        ),
        {"role": role},
    ).one()
    names = ("is a superuser", "makes roles", "makes databases", "passes row security", "replicates")
    reasons = [name for name, has in zip(names, found, strict=True) if has]
    queries = {
        "owns tables": "SELECT 1 FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname = :role LIMIT 1",
        "is a member of another role": (
            "SELECT 1 FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = :role LIMIT 1"
        ),
        "owns the schema": (
            "SELECT 1 FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE r.rolname = :role LIMIT 1"
        ),
        "owns the database": (
            "SELECT 1 FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba"
            " WHERE r.rolname = :role AND d.datname = current_database()"
        ),
    }
    return reasons + [
        name for name, query in queries.items() if tx.execute(sa.text(query), {"role": role}).first()
    ]


def demand_bounded(db: Database, *, strictly: bool) -> None:
    """Look whether grants bound the role that `db` connects as; on SQLite nothing is asked.

    Where they do not, raises MigrationError if `strictly`, else warns in the log.
    """
    if db.dialect != "postgresql":
        return
    reasons = db.read_sync(
        lambda tx: powers(tx, str(tx.execute(sa.text("SELECT current_user")).scalar_one()))
    )
    if not reasons:
        return
    said = f"this process's database role is not held by grants: it {', it '.join(reasons)}."
    if strictly:
        raise MigrationError(
            said, hint="Give the process a role of its own: docs/how-to/run-on-postgresql.md"
        )
    _log.warning("%s", said)


def ensure_role(db: Database, role: str, password: str) -> None:
    """Make `role` if it is not there, and give it `password`, of which the server sees only a SCRAM verifier.

    For development: elsewhere whoever runs the server makes roles. Raises NotGranted when this role may not make any.
    """

    def run(tx: Tx) -> None:
        driver = tx.conn.connection.driver_connection
        assert driver is not None
        verifier = driver.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        known = tx.execute(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).first()
        verb = "ALTER" if known else "CREATE"
        # A verifier is base64 and dollar signs, and has no quotes in it.
        tx.conn.exec_driver_sql(f"{verb} ROLE {_quote(role)} LOGIN PASSWORD '{verifier}'")

    db.write_sync(run)


def _attempt(tx: Tx, statement: str) -> None:
    """Run what only the database's owner may; where somebody else owns it, whoever that is has to."""
    try:
        with tx.conn.begin_nested():
            tx.conn.exec_driver_sql(statement)
    except ProgrammingError:
        _log.warning("this role may not run %s; the database's owner has to", statement)


def _verbs(one: Use) -> Iterable[str]:
    for verb, columns in (("SELECT", one.select), ("UPDATE", one.update)):
        if ALL in columns:
            yield verb
        elif columns:
            yield f"{verb} ({', '.join(_quote(name) for name in sorted(columns))})"
    if one.insert:
        yield "INSERT"
    if one.delete:
        yield "DELETE"
