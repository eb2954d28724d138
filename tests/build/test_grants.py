"""The grants of the built shop: what its file says is what its processes are held to, and its work needs all of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from redoubt.core.db import Database, NotGranted
from redoubt.core.db.roles import statements
from redoubt.core.db.trial import attempt
from redoubt.payments.charge.process import service_access

from .test_shop_api import order, product
from .world import World


def said(file: Path, process: str) -> list[str]:
    """Return the statements of a grants file that are about one process."""
    lines = [line.rstrip(";") for line in file.read_text().splitlines()]
    return [line for line in lines if line.endswith(f'"{process}"') and not line.startswith("\\")]


async def test_the_file_says_what_the_processes_are_held_to(world: World, shop: Path) -> None:
    for process in ("app", "worker"):
        held = statements(world.guard.access(process), f':"{process}"', "public")
        assert said(shop / "deploy" / "grants.sql", process) == held
    charge = statements(service_access(), ':"charge"', "public")
    assert said(shop / "deploy" / "charge-grants.sql", "charge") == charge
    assert world.core.db.access == world.guard.access("app")


async def test_rights_follow_the_spec(world: World, relay: Path, tmp_path: Path) -> None:
    app, worker = (world.guard.access(process).uses for process in ("app", "worker"))
    assert not app["app_release_notes"].insert  # nobody may make one: a webhook does
    assert worker["app_release_notes"].insert
    assert not app["app_orders"].delete
    assert app["app_customers"].delete
    assert worker["app_orders"].update == {"status", "version", "updated_at"}
    assert "sku" not in app["app_products"].update  # immutable
    async with World(relay, tmp_path / "relay") as other:
        assert not [name for name in other.guard.access("app").uses if name.startswith("payment")]


async def test_the_worker_has_its_own_rights(any_world: World) -> None:
    async with any_world.worker() as worker:
        for sql, by_app, by_worker in (
            ("SELECT payload FROM jobs", "refused", "obeyed"),
            ("UPDATE approvals SET reason = 'x' WHERE state = 'pending'", "obeyed", "refused"),
            ("UPDATE audit_entries SET leaf_index = 1 WHERE id = ''", "refused", "obeyed"),
            ("SELECT token_mac FROM identity_sessions", "obeyed", "refused"),
            ("DELETE FROM role_members", "refused", "refused"),
            ("DROP TABLE jobs", "refused", "refused"),
        ):
            assert attempt(any_world.core.db, sql).answer == by_app, sql
            assert attempt(worker.core.db, sql).answer == by_worker, sql


async def test_injected_sql_writes_no_role_and_no_audit_entry(any_world: World) -> None:
    customer = any_world.person("customer")
    for sql in (
        f"UPDATE role_members SET role = 'operator' WHERE user_id = '{customer.user}'",
        "UPDATE audit_entries SET body = '{}'",
        "DELETE FROM role_steps",
    ):
        with pytest.raises(NotGranted):
            any_world.core.db.write_sync(lambda tx, sql=sql: tx.execute(sa.text(sql)))
    session = (await customer.get("/auth/session")).json()
    assert session["user"]["roles"] == ["customer"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_on_postgresql_the_file_grants_what_the_library_grants(
    any_world: World, shop: Path, database_url: str
) -> None:
    """The file's own statements, run by hand for another role: the server then knows the same rights of both."""
    name = sa.make_url(database_url).database
    role = f"{name}_byhand"
    owner = Database(database_url)
    rights = sa.text(
        "SELECT table_name, column_name, privilege_type FROM information_schema.column_privileges WHERE grantee = :role"
        " UNION SELECT table_name, '', privilege_type FROM information_schema.table_privileges WHERE grantee = :role"
    )
    try:
        owner.write_sync(lambda tx: tx.conn.exec_driver_sql(f'CREATE ROLE "{role}" LOGIN'))
        for statement in said(shop / "deploy" / "grants.sql", "app"):
            text = re.sub(r':"app"', f'"{role}"', statement)
            owner.write_sync(lambda tx, text=text: tx.conn.exec_driver_sql(text))
        by_hand, by_library = (
            owner.read_sync(lambda tx, who=who: set(tx.execute(rights, {"role": who})))
            for who in (role, f"{name}_app")
        )
        assert by_hand == by_library
        assert by_hand
    finally:
        owner.write_sync(lambda tx: tx.conn.exec_driver_sql(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"'))
        owner.close()


async def test_an_order_needs_no_right_that_is_not_granted(any_world: World) -> None:
    operator, customer = any_world.person("operator"), any_world.person("customer")
    made = await order(customer, await product(operator))
    assert (await customer.call("PATCH", f"/api/orders/{made['id']}", json={"note": "x"})).status_code == 200
    assert (await customer.post(f"/api/orders/{made['id']}/cancel")).status_code == 200
    await any_world.work()
    assert any_world.rows("SELECT event_type FROM webhook_outbox") == [{"event_type": "order.cancelled"}]
