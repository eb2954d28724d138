"""Indexes are proposed from the policies, and what no index serves is said; the app's lists use those that it has."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from redoubt.authz.filter import Filters, Known, Way, index_name, proposed, served, ways
from redoubt.authz.models import Entity
from redoubt.authz.policyset import PolicySource, parse
from redoubt.build.builder import build
from redoubt.cli import app
from redoubt.runtime.entities import Entities, EntityType
from redoubt.runtime.entity_store import page_query
from redoubt.runtime.fields import Money, State

EXAMPLES = Path(__file__).parents[3] / "examples"
SCHEMA = """
entity Role;
entity User in [Role] { tenant: String };
entity Anonymous { tenant: String };
entity Order { tenant: String, owner?: User, state: String };
action "Order.read" appliesTo {
  principal: [User, Anonymous], resource: [Order], context: { risk: Long, step_up: Bool, amount?: Long }
};
"""
ORDER = EntityType(
    "Order", "orders", {"status": State(states=("placed", "paid")), "total": Money(currency="EUR")}
)
HERE = Entities((ORDER,), Path("migrations"))
TABLE = HERE.table("Order")
SCOPE = 'action == Action::"Order.read", resource is Order'
IN_TENANT = "principal.tenant == resource.tenant"


def found(*texts: str) -> list[Way]:
    """Return the ways of a list of orders under these policies."""
    named = "\n".join(f'@id("p{number}") {text}' for number, text in enumerate(texts))
    filters = HERE.filters(parse(PolicySource(SCHEMA, {"p.cedar": named})))
    return ways(filters, "Order", "Order.read", ORDER.row_context(TABLE))


def test_what_must_be_equal_stands_before_the_id() -> None:
    text = f'permit (principal in Role::"customer", {SCOPE}) when {{ {IN_TENANT} && resource.state == "paid" && resource has owner && resource.owner == principal }};'
    assert found(text) == [Way("Order", "customer", ("tenant", "owner_id", "status", "id"))]


def test_each_permit_is_a_way_of_its_own_and_each_index_is_proposed_once() -> None:
    seen = found(
        f'permit (principal in Role::"customer", {SCOPE}) when {{ resource has owner && resource.owner == principal }};',
        f'permit (principal in Role::"staff", {SCOPE}) when {{ {IN_TENANT} }};',
        f'permit (principal, {SCOPE}) when {{ resource.state == "paid" }};',
    )
    assert proposed(seen) == {
        "Order": [("tenant", "id"), ("tenant", "owner_id", "id"), ("tenant", "status", "id")]
    }
    assert {way.caller for way in seen if way.index == ("tenant", "status", "id")} == {
        "customer", "staff", "authenticated", "anonymous",
    }  # fmt: skip


def test_what_no_index_serves_is_said() -> None:
    (bounded,) = found(
        f'permit (principal in Role::"staff", {SCOPE}) when {{ context has amount && context.amount < 500 }};'
    )
    assert bounded.unindexed == ("total",)
    (several,) = found(
        f'permit (principal in Role::"staff", {SCOPE}) when {{ ["paid", "placed"].contains(resource.state) }};'
    )
    assert (several.index, several.sorted) == (("tenant", "status", "id"), True)
    (negated,) = found(
        f'permit (principal in Role::"staff", {SCOPE});',
        f'forbid (principal, {SCOPE}) when {{ resource.state == "paid" }};',
    )
    assert negated.unindexed == ("status",)


def test_an_index_serves_when_it_begins_with_all_that_is_equal_and_goes_on_with_the_id() -> None:
    wanted = ("tenant", "owner_id", "id")
    assert served(wanted, [("owner_id", "tenant", "id")])
    assert not served(wanted, [("tenant", "id"), ("tenant", "owner_id"), ("owner_id", "id")])
    assert not served(wanted, [("tenant", "owner_id", "status", "id")])
    assert served(("tenant", "id"), [("tenant", "id", "status")])


def test_a_name_fits_into_what_postgresql_keeps() -> None:
    long = [index_name("app_" + "x" * 50, ["tenant", name, "id"]) for name in ("status", "state")]
    assert len(set(long)) == 2
    assert all(len(name) <= 63 for name in long)


def test_a_page_is_found_by_its_index_without_a_scan_or_a_sort() -> None:
    kind = EntityType(ORDER.name, ORDER.plural, ORDER.fields, indexes=(("tenant", "status", "id"),))
    entities = Entities((kind,), Path("migrations"))
    table = entities.table("Order")
    text = (
        f'@id("own") permit (principal, {SCOPE}) when {{ resource has owner && resource.owner == principal }};'
        f'@id("paid") permit (principal, {SCOPE}) when {{ resource.state == "paid" }};'
    )
    filters: Filters = entities.filters(parse(PolicySource(SCHEMA, {"p.cedar": text})))
    known = Known.of(Entity("User", "me", {"tenant": "main"}), "Order.read", {"risk": 0, "step_up": False})
    shown = filters.of("Order", known, row_context=kind.row_context(table))
    engine = sa.create_engine("sqlite://")
    with engine.connect() as conn:
        entities.metadata.create_all(conn)
        query = page_query(table, "main", "9", 51, shown).compile(
            engine, compile_kwargs={"literal_binds": True}
        )
        plan = " ".join(row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}"))
    assert "app_orders_owner (tenant=? AND owner_id=? AND id<?)" in plan
    assert "app_orders_by_tenant_status_id (tenant=? AND status=? AND id<?)" in plan
    assert "SCAN app_orders" not in plan


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built shop, to be changed."""
    out = tmp_path_factory.mktemp("indexes") / "shop"
    build(EXAMPLES / "shop" / "spec.yaml", out)
    return out


def test_a_built_app_has_the_indexes_that_its_policies_want(shop: Path) -> None:
    done = CliRunner().invoke(app, ["policy", "indexes", str(shop)])
    assert done.exit_code == 0, done.output
    assert "there    Order: tenant, owner_id, id  (lists of: customer)" in done.output
    assert "MISSING" not in done.output
    migration = (shop / "app" / "migrations" / "0001_app.py").read_text()
    assert '"app_products_by_tenant_status_id", "app_products", ["tenant", "status", "id"]' in migration


def test_an_edit_of_the_policies_asks_for_another_index(shop: Path, tmp_path: Path) -> None:
    edited = tmp_path / "policies"
    shutil.copytree(shop / "policies", edited)
    (edited / "order.cedar").write_text(
        f'@id("x") permit (principal in Role::"support", {SCOPE}) '
        'when { resource.state == "paid" && context has amount && context.amount < 5 };'
    )
    done = CliRunner().invoke(app, ["policy", "indexes", str(shop), "--policies", str(edited)])
    assert done.exit_code == 1
    assert "MISSING  Order: tenant, status, id  (lists of: support)" in done.output
    assert "CREATE INDEX app_orders_by_tenant_status_id ON app_orders (tenant, status, id)" in done.output
    assert "unindexed for support: total" in done.output
