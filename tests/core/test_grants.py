"""What is declared for a process is what its connections may do: by a role on PostgreSQL, by an authorizer on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from redoubt.core.db import Database, MigrationError, NotGranted, access_of, roles, use
from redoubt.core.db.authorizer import restrict
from redoubt.core.db.grants import ALL, Access, Use, merged, rows_of
from redoubt.core.db.trial import attempt
from redoubt.core.db.used import read_used, used_file, write_used
from redoubt.core.jobs import jobs
from tests.conftest import all_domains

FEATURES = ("payments", "webhooks-in", "webhooks-out")
EVERYWHERE = (
    "CREATE TABLE extra (n INTEGER)",
    "CREATE TEMP TABLE extra (n INTEGER)",
    "CREATE INDEX extra ON jobs (kind)",
    "DROP TABLE jobs",
    "ALTER TABLE jobs ADD COLUMN extra INTEGER",
    "DELETE FROM audit_entries",
    "UPDATE audit_entries SET body = ''",
    "UPDATE audit_entries SET leaf_index = 1",
    "DELETE FROM role_members",
    "INSERT INTO role_members SELECT * FROM role_members",
    "UPDATE role_members SET role = 'operator'",
    "DELETE FROM role_steps",
    "UPDATE role_steps SET held = '[]'",
    "UPDATE policy_versions SET body = '{}'",
    "DELETE FROM policy_head",
    "INSERT INTO policy_verdicts SELECT * FROM policy_verdicts",
    "UPDATE authz_clock SET seq = seq + 1",
    "UPDATE approvals SET payload = ''",
    "DELETE FROM approvals",
    "SELECT payload FROM jobs",
    "SELECT * FROM jobs",
    "SELECT sealed FROM webhook_inbox",
    "SELECT sealed FROM audit_personal",
    "UPDATE identity_users SET email = 'a@b.c'",
    "UPDATE identity_enrolments SET role = 'operator'",
    "UPDATE identity_passkeys SET public_key = public_key",
    # What a part of the statement is called lends it no right of a trigger of that name.
    "WITH role_steps_apply AS (SELECT 1) DELETE FROM role_members WHERE 1 IN (SELECT * FROM role_steps_apply)",
    "WITH role_steps_apply AS (SELECT sealed FROM webhook_inbox) SELECT * FROM role_steps_apply",
)
ON_SQLITE = (
    "PRAGMA writable_schema = ON",
    "PRAGMA recursive_triggers = OFF",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA table_info(jobs)",
    "ATTACH DATABASE ':memory:' AS other",
    "DETACH DATABASE main",
    "SELECT load_extension('x')",
    "SELECT sql FROM sqlite_master",
    "DROP TRIGGER audit_entries_delete",
    "CREATE TEMP TRIGGER extra BEFORE DELETE ON jobs BEGIN SELECT 1; END",
    "CREATE VIEW extra AS SELECT 1",
    "REINDEX",
    "ANALYZE",
)
ON_POSTGRESQL = (
    "TRUNCATE audit_entries",
    "CREATE SCHEMA extra",
    "CREATE FUNCTION extra() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "DROP EXTENSION plpgsql",
    "CREATE ROLE extra",
    "SET ROLE redoubt",
    "SET SESSION AUTHORIZATION redoubt",
    "SET session_replication_role = replica",
    "ALTER TABLE audit_entries DISABLE TRIGGER ALL",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY jobs (id) FROM '/etc/hostname'",
    "SELECT pg_read_file('/etc/hostname')",
    "SELECT payload FROM jobs FOR UPDATE",
    "DROP FUNCTION authz_role_steps_apply() CASCADE",
)
OBEYED = (
    "SELECT id, key FROM jobs",
    "SELECT count(*) FROM jobs",
    "SELECT body FROM audit_entries",
    "SELECT role FROM role_members",
    "UPDATE identity_users SET epoch = epoch + 1",
    "UPDATE approvals SET reason = 'x' WHERE state = 'pending'",
    "DELETE FROM identity_passkeys",
    "INSERT INTO jobs (id, kind, payload, state, max_attempts, run_at, created_at)"
    " VALUES ('j', 'k', '{}', 'ready', 1, 0, 0)",
)


@pytest.fixture
def app(db: Database, database_url: str) -> Iterator[Database]:
    """The database as the app's process has it."""
    access = access_of(all_domains(), "app", FEATURES)
    if db.dialect == "sqlite":
        held = Database(database_url)
        held.restrict(access)
        yield held
        held.close()
        return
    url = sa.make_url(database_url)
    role = f"{url.database}_app"
    db.write_sync(lambda tx: tx.conn.exec_driver_sql(f'CREATE ROLE "{role}" LOGIN'))
    roles.grant(db, access, role)
    roles.grant(db, access, role)  # as often as you like
    held = Database(url.set(username=role).render_as_string(hide_password=False))
    yield held
    held.close()
    db.write_sync(lambda tx: tx.conn.exec_driver_sql(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"'))


def test_what_is_granted_is_obeyed_and_nothing_else(app: Database, db: Database) -> None:
    assert {sql: attempt(app, sql).answer for sql in OBEYED} == dict.fromkeys(OBEYED, "obeyed")
    own = ON_SQLITE if app.dialect == "sqlite" else ON_POSTGRESQL
    for sql in (*EVERYWHERE, *own):
        tried = attempt(app, sql)
        assert tried.answer == "refused", tried
    assert attempt(app, "SELECT nonsense").answer == "failed"
    assert attempt(db, "DROP TABLE jobs").answer == "obeyed"  # its owner may, and it was rolled back
    assert attempt(db, "SELECT * FROM jobs").answer == "obeyed"


def test_several_statements_are_no_statement(app: Database) -> None:
    assert attempt(app, "SELECT 1; COMMIT; SELECT 1").answer == "failed"


def test_a_refusal_is_an_error_of_its_own_and_says_what_was_refused(
    app: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(NotGranted):
        app.write_sync(lambda tx: tx.execute(sa.text("DELETE FROM role_members")))
    with pytest.raises(NotGranted):
        app.read_sync(lambda tx: tx.execute(sa.text("SELECT payload FROM jobs")))
    if app.dialect == "sqlite":
        assert "refused to app: SELECT of jobs, column payload" in caplog.text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_on_sqlite_a_row_is_not_replaced_where_it_may_not_be_deleted(app: Database, db: Database) -> None:
    db.write_sync(
        lambda tx: tx.execute(
            sa.text(
                "INSERT INTO identity_users (id, tenant, handle, email, epoch, created_at)"
                " VALUES ('u', 'main', x'00', 'a@b.c', 0, 0)"
            )
        )
    )
    for sql in (
        "REPLACE INTO identity_users (id, tenant, handle, email, epoch, created_at)"
        " VALUES ('u', 'main', x'01', 'eve@b.c', 0, 0)",
        "INSERT OR REPLACE INTO identity_users SELECT * FROM identity_users",
    ):
        assert attempt(app, sql).answer == "refused"
        assert attempt(db, sql).answer == "obeyed"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_on_sqlite_what_was_used_is_known_and_what_was_not_is_left(app: Database) -> None:
    app.read_sync(lambda tx: tx.execute(sa.text("SELECT id FROM jobs")))
    app.write_sync(lambda tx: tx.execute(sa.text("UPDATE identity_users SET epoch = 1")))
    assert {("select", "jobs", "id"), ("update", "identity_users", "epoch")} <= app.used
    access = app.access
    assert access is not None
    unused = access.unused(app.used)
    assert ("select", "jobs", "key") in unused
    assert not {("select", "jobs", "id"), ("update", "identity_users", "epoch")} & unused
    with pytest.raises(NotGranted):
        app.write_sync(lambda tx: tx.execute(sa.text("DELETE FROM jobs")))
    assert ("delete", "jobs", ALL) not in app.used


def test_on_sqlite_a_trigger_takes_json_apart_on_a_connection_that_never_did() -> None:
    """SQLite declares its JSON tables on their first use, and asks the authorizer about that as about DDL."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE notes (lines TEXT)")
    connection.execute(
        "CREATE TRIGGER notes_insert BEFORE INSERT ON notes BEGIN SELECT RAISE(ABORT, 'too few')"
        " WHERE (SELECT count(*) FROM json_each(NEW.lines)) < 2; END"
    )
    restrict(
        connection,
        Access("app", {"notes": Use("notes", frozenset({"lines"}), insert=True)}),
        set(),
        reading=False,
    )
    connection.execute("INSERT INTO notes VALUES ('[1, 2]')")
    with pytest.raises(sqlite3.IntegrityError, match="too few"):
        connection.execute("INSERT INTO notes VALUES ('[1]')")
    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        connection.execute("CREATE TABLE more (n INTEGER)")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_database_is_restricted_once(app: Database) -> None:
    with pytest.raises(Exception, match="restricted already"):
        app.restrict(Access("app", {}))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_on_postgresql_a_role_that_grants_do_not_bound_is_refused(
    app: Database, db: Database, database_url: str
) -> None:
    role = sa.make_url(database_url).database + "_more"  # type: ignore[operator]
    access = access_of(all_domains(), "worker", FEATURES)
    with pytest.raises(MigrationError, match="no database role"):
        roles.grant(db, access, role)
    db.write_sync(lambda tx: tx.conn.exec_driver_sql(f'CREATE ROLE "{role}" LOGIN CREATEROLE'))
    try:
        with pytest.raises(MigrationError, match="makes roles"):
            roles.grant(db, access, role)
        db.write_sync(lambda tx: tx.conn.exec_driver_sql(f'ALTER ROLE "{role}" NOCREATEROLE'))
        roles.grant(db, access, role)
        db.write_sync(lambda tx: tx.conn.exec_driver_sql(f'GRANT pg_read_all_data TO "{role}"'))
        with pytest.raises(MigrationError, match="member of another role"):
            roles.grant(db, access, role)
    finally:
        db.write_sync(lambda tx: tx.conn.exec_driver_sql(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"'))
    roles.demand_bounded(app, strictly=True)
    with pytest.raises(MigrationError, match="is a superuser"):
        roles.demand_bounded(db, strictly=True)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("process", ["app", "worker"])
@pytest.mark.parametrize(
    "features",
    [(), ("webhooks-in",), ("webhooks-out",), ("prices",), ("prices", "prices-by-worker"), FEATURES],
    ids=str,
)
def test_whatever_an_app_has_what_is_granted_is_enough(
    db: Database, database_url: str, process: str, features: tuple[str, ...]
) -> None:
    """A right that SQLite only gives together with another is granted with that other."""
    access = access_of(all_domains(), process, features)
    held = Database(database_url)
    held.restrict(access)
    columns = {
        name: table.c.keys() for domain in all_domains() for name, table in domain.metadata.tables.items()
    }
    try:
        for verb, table, column in sorted(access.parts()):
            for name in columns[table] if column == ALL else [column]:
                sql = {
                    "select": f'SELECT "{name}" FROM "{table}" WHERE 1 = 0',
                    "update": f'UPDATE "{table}" SET "{name}" = NULL WHERE 1 = 0',
                    "insert": f'INSERT INTO "{table}" DEFAULT VALUES',
                    "delete": f'DELETE FROM "{table}" WHERE 1 = 0',
                }[verb]
                assert attempt(held, sql).answer != "refused", sql
    finally:
        held.close()


def test_a_declaration_names_columns_that_exist() -> None:
    with pytest.raises(ValueError, match="jobs has no column nonsense"):
        use(jobs, select=("nonsense",))


def test_uses_of_one_table_count_together() -> None:
    both = merged("app", [Use("t", frozenset({"a"})), Use("t", frozenset({ALL}), insert=True)], {})
    assert both.uses["t"] == Use("t", frozenset({ALL}), insert=True)
    assert both.reading().uses["t"] == Use("t", frozenset({ALL}))


def test_rows_of_the_app_are_read_by_the_app_and_by_who_changes_them() -> None:
    read_only = rows_of("t", "app")
    assert read_only == Use("t", frozenset({ALL}))
    assert rows_of("t", "worker") is None
    assert rows_of("t", "worker", create=True) == Use("t", insert=True)
    changed = rows_of("t", "worker", change=("state",))
    assert changed == Use("t", frozenset({ALL}), update=frozenset({"state", "version", "updated_at"}))


def test_what_was_used_is_kept(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = used_file(tmp_path, "app")
    assert read_used(path) == set()
    write_used(path, {("select", "jobs", "id")})
    assert read_used(path) == {("select", "jobs", "id")}
    assert path.stat().st_mode & 0o777 == 0o600
