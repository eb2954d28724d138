"""A built app that ran is built again: its rows stay, its database follows, and what cannot follow is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import evolve
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner

from redoubt.authz.changes import propose
from redoubt.authz.errors import UnguardedRoutes
from redoubt.authz.policyset import parse_folder
from redoubt.build.builder import build, check, plan
from redoubt.build.errors import EditedFiles, TablesChanged
from redoubt.build.tables import Tables, migrated
from redoubt.cli import app as command
from redoubt.core.db import migrate
from redoubt.core.db.alter import add_column
from redoubt.core.db.errors import StorageUnavailable
from tests.authz.gate.world import ANN, approvals_of, approve

from .world import World

SPEC = """\
redoubt: 1
app: {name: desk, title: Desk}
roles: {operator: {}, agent: {}, member: {sign_up: true}}
entities:
  Ticket:
    fields:
      title: {type: text, required: true, max: 100}
      fee: {type: money, currency: EUR, max: 500}
      status: {type: state, states: [open, closed]}
    actions:
      close: {from: [open], to: closed}
permissions:
  - {roles: [member], actions: [Ticket.create, Ticket.list]}
  - {roles: [member], actions: [Ticket.read], owner: true}
  - {roles: [agent], actions: [Ticket.list, Ticket.read, Ticket.close]}
pages: {entities: [Ticket]}
"""
OPEN_ONLY = SPEC.replace(
    "  - {roles: [agent], actions: [Ticket.list, Ticket.read, Ticket.close]}",
    "  - {roles: [agent], actions: [Ticket.list, Ticket.close]}\n"
    "  - {roles: [agent], actions: [Ticket.read], states: [open]}",
)
MORE = OPEN_ONLY.replace(
    "      title:",
    "      urgent: {type: boolean}\n"
    "      code: {type: text, max: 20, unique: true}\n"
    "      kind: {type: enum, values: [bug, idea]}\n"
    "      cost: {type: money, currency: EUR, max: 900}\n"
    "      about: {type: ref, to: Device}\n"
    "      title:",
).replace(
    "  Ticket:\n",
    "  Device: {owned: false, fields: {name: {type: text, required: true, max: 40}}}\n  Ticket:\n",
    1,
)  # fmt: skip
FIRST, SECOND, THIRD = (f"app/migrations/000{number}_app.py" for number in (1, 2, 3))
ADDED, DROPPED = "app_tickets_by_tenant_status_id", "app_tickets_by_tenant_id"


class Desk:
    """A spec, its app and its database."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder, self.url = folder, database_url
        self.spec, self.out = folder / "spec.yaml", folder / "desk"
        self.build(SPEC)

    def build(self, text: str) -> None:
        self.spec.write_text(text)
        build(self.spec, self.out)

    def started(self) -> World:
        """The app, initialised as each start does it."""
        return World(self.out, self.folder / "state", self.url)

    def bytes(self, path: str) -> bytes:
        return (self.out / path).read_bytes()


@pytest.fixture
def desk(tmp_path: Path, database_url: str) -> Desk:
    return Desk(tmp_path, database_url)


def approved(world: World, desk: Desk) -> None:
    """Propose the policies of the built folder to the app that still runs, and have a second person approve them."""
    core = evolve(world.core, db=world.owner)  # as `redoubt policy propose` does
    approvals, wanted = approvals_of(core), parse_folder(desk.out / "policies")
    asked = propose(core, approvals, wanted, author=ANN, ticket="T-1", budget_seconds=0.1).approval
    assert asked is not None
    approve(core, approvals, asked)


def tree(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def shape(world: World, table: str) -> dict[str, Any]:
    """What the database says of a table: columns, indexes and unique rules, references."""

    def read(tx: Any) -> dict[str, Any]:
        seen = sa.inspect(tx.conn)
        return {
            "columns": {one["name"]: (str(one["type"]), one["nullable"]) for one in seen.get_columns(table)},
            "indexes": {one["name"]: one["column_names"] for one in seen.get_indexes(table) if not one["unique"]},
            "once": {one["name"]: one["column_names"] for one in seen.get_unique_constraints(table)}
            | {one["name"]: one["column_names"] for one in seen.get_indexes(table) if one["unique"]},
            "to": {(one["referred_table"], *one["constrained_columns"]) for one in seen.get_foreign_keys(table)},
        }  # fmt: skip

    return world.owner.read_sync(read)


async def test_an_index_that_other_policies_want_comes_by_a_further_migration(desk: Desk) -> None:
    async with desk.started() as world:
        member = world.person("member")
        made = await member.post("/api/tickets", {"title": "it is broken"})
        assert made.status_code == 201, made.text
        assert DROPPED in shape(world, "app_tickets")["indexes"]
    first = desk.bytes(FIRST)
    desk.spec.write_text(OPEN_ONLY)
    told = "\n".join(plan(desk.spec, desk.out))
    assert f"+ {SECOND}" in told
    assert f'+    op.create_index("{ADDED}"' in told
    assert any(SECOND in line for line in check(desk.spec, desk.out))
    assert not (desk.out / SECOND).exists()
    desk.build(OPEN_ONLY)
    assert desk.bytes(FIRST) == first
    assert check(desk.spec, desk.out) == []
    before = tree(desk.out)
    assert build(desk.spec, desk.out).nothing
    assert tree(desk.out) == before
    async with desk.started() as world:
        indexes = shape(world, "app_tickets")["indexes"]
        assert indexes[ADDED] == ["tenant", "status", "id"]
        assert DROPPED not in indexes
        member.world = world
        listed = (await member.get("/api/tickets")).json()["items"]
        assert [one["title"] for one in listed] == ["it is broken"]
    desk.build(SPEC)  # and back, which is a third step and no change of the second
    assert (desk.bytes(FIRST), desk.bytes(SECOND)) == (first, before[SECOND])
    async with desk.started() as world:
        assert set(shape(world, "app_tickets")["indexes"]) == {DROPPED, "app_tickets_owner"}
        assert len(world.rows("SELECT id FROM app_tickets")) == 1


async def test_new_fields_and_entities_come_to_the_rows_that_are_there(desk: Desk, tmp_path: Path) -> None:
    async with desk.started() as world:
        member = world.person("member")
        for title in ("one", "two"):
            assert (await member.post("/api/tickets", {"title": title})).status_code == 201
        desk.build(MORE)
        with pytest.raises(UnguardedRoutes, match=r"Device\.list"):  # nobody said yet who may do that
            async with desk.started():
                pass
        approved(world, desk)
    async with desk.started() as world:
        member.world = world
        rows = (await member.get("/api/tickets")).json()["items"]
        assert [(row["title"], row["urgent"], row["code"], row["about"]) for row in rows] == [
            ("two", False, None, None),
            ("one", False, None, None),
        ]
        full = {"title": "three", "urgent": True, "code": "A-1", "kind": "idea", "cost": 900}
        assert (await member.post("/api/tickets", full)).status_code == 201
        assert (await member.post("/api/tickets", full)).status_code == 409
        for column, value in (("kind", "'other'"), ("cost", "901"), ("about", "'nothing'")):
            with pytest.raises(DBAPIError):
                world.owner.write_sync(
                    lambda tx, c=column, v=value: tx.execute(sa.text(f"UPDATE app_tickets SET {c} = {v}"))  # type: ignore[misc]  # noqa: S608
                )
        migrated_shape = {name: shape(world, name) for name in ("app_tickets", "app_devices")}
    fresh = tmp_path / "fresh"
    build(desk.spec, fresh)
    assert not (fresh / SECOND).exists()
    for path, data in tree(fresh).items():
        if "migrations/" not in path and not path.endswith("manifest.json") and "decisions.json" not in path:
            assert (desk.out / path).read_bytes() == data, path
    async with World(fresh, tmp_path / "other", f"sqlite:///{tmp_path / 'fresh.db'}") as world:
        if desk.url.startswith("sqlite"):
            assert {name: shape(world, name) for name in migrated_shape} == migrated_shape
    # Another field later finds the unique rule, which is an index now, as it was declared.
    desk.build(MORE.replace("      urgent:", "      mood: {type: text, max: 9}\n      urgent:"))
    assert "drop_index" not in desk.bytes(THIRD).decode().partition("def downgrade")[0]


REFUSED = {
    "a field that is gone": (
        SPEC.replace("      fee: {type: money, currency: EUR, max: 500}\n", ""),
        "app_tickets.fee: no field has this column any more",
    ),
    "an entity that is gone": (
        SPEC.replace("  Ticket:", "  Issue:").replace("Ticket.", "Issue.").replace("[Ticket]", "[Issue]"),
        "app_tickets: no entity has this table any more",
    ),
    "a field that is required": (
        SPEC.replace("      title:", "      due: {type: date, required: true}\n      title:"),
        "app_tickets.due: it is required, and the rows that are there have none",
    ),
    "another type": (
        SPEC.replace("fee: {type: money, currency: EUR, max: 500}", "fee: {type: text, max: 5}"),
        "app_tickets.fee: sa.Column('fee', sa.BigInteger, nullable=True) would become sa.Column('fee', sa.Text",
    ),
    "required from now on": (
        SPEC.replace("currency: EUR, max: 500", "currency: EUR, max: 500, required: true"),
        "app_tickets.fee: sa.Column('fee', sa.BigInteger, nullable=True) would become",
    ),
    "another state": (SPEC.replace("[open, closed]", "[open, closed, lost]"), "app_tickets_status_known"),
    "another bound": (SPEC.replace("max: 500", "max: 400"), "app_tickets_fee_bounds"),
    "unique from now on": (SPEC.replace("max: 100}", "max: 100, unique: true}"), "may not hold for the rows"),
    "nobody's from now on": (
        SPEC.replace("  Ticket:\n", "  Ticket:\n    owned: false\n").replace(", owner: true", ""),
        "app_tickets.owner_id: no field has this column any more",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_migration_is_made_for_is_refused_by_its_name(what: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path, "")
    text, named = REFUSED[what]
    before = tree(desk.out)
    desk.spec.write_text(text)
    with pytest.raises(TablesChanged) as refused:
        build(desk.spec, desk.out)
    assert any(named in problem for problem in refused.value.problems), refused.value.problems
    with pytest.raises(TablesChanged):
        list(plan(desk.spec, desk.out))
    assert any(named in line for line in check(desk.spec, desk.out))
    assert tree(desk.out) == before


def test_tables_begin_anew_where_that_is_asked_for_by_name(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "")
    desk.build(OPEN_ONLY)
    gone, named = REFUSED["a field that is gone"]
    desk.spec.write_text(gone)
    said = CliRunner().invoke(command, ["build", str(desk.spec), str(desk.out)])
    assert said.exit_code != 0
    assert named in str(said.exception or said.output)
    told = CliRunner().invoke(command, ["plan", "--new-tables", str(desk.spec), str(desk.out)])
    assert "The tables begin anew" in told.output
    done = CliRunner().invoke(command, ["build", "--new-tables", str(desk.spec), str(desk.out)])
    assert done.exit_code == 0, done.output
    fresh = tmp_path / "fresh"
    build(desk.spec, fresh)
    assert desk.bytes(FIRST) == (fresh / FIRST).read_bytes()
    assert not (desk.out / SECOND).exists()


def test_the_same_spec_over_the_same_app_gives_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        desk = Desk(tmp_path / name, "")
        desk.build(OPEN_ONLY)
        desk.build(MORE)
        made.append(tree(desk.out))
    assert made[0] == made[1]
    assert {FIRST, SECOND, THIRD} <= made[0].keys()


def test_a_migration_that_was_edited_or_lost_is_not_guessed(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "")
    text = desk.bytes(FIRST)
    (desk.out / FIRST).write_bytes(text.replace(b"app_tickets_owner", b"app_tickets_mine"))
    desk.spec.write_text(OPEN_ONLY)
    with pytest.raises(EditedFiles, match="0001_app"):
        build(desk.spec, desk.out)
    (desk.out / ".redoubt/base" / FIRST).write_bytes(text + b"#")
    with pytest.raises(EditedFiles, match="0001_app"):
        build(desk.spec, desk.out)
    (desk.out / FIRST).write_bytes(text)
    build(desk.spec, desk.out)
    assert desk.bytes(FIRST) == text


@pytest.mark.parametrize(
    "line",
    [
        "op.execute('DROP TABLE app_x')",
        "op.drop_table('app_x')",
        "x = 1",
        "op.create_index(NAME, 'a', ['b'])",
    ],
)
def test_a_migration_that_no_build_wrote_is_not_read(line: str) -> None:
    source = f"revision = 'app_0001_x'\ndef upgrade():\n    {line}\n"
    with pytest.raises(TablesChanged, match="no build wrote"):
        migrated(source.encode(), "x.py", Tables())


async def test_an_index_that_somebody_made_by_hand_before_is_no_hindrance(desk: Desk) -> None:
    async with desk.started() as world:
        world.owner.write_sync(
            lambda tx: tx.execute(sa.text(f"CREATE INDEX {ADDED} ON app_tickets (tenant, status, id)"))
        )
    desk.build(OPEN_ONLY)
    async with desk.started() as world:
        assert ADDED in shape(world, "app_tickets")["indexes"]


async def test_a_migration_that_fails_leaves_the_database_as_it_was(desk: Desk) -> None:
    world = desk.started()
    before, old = shape(world, "app_tickets"), list(world.guard.domains)
    desk.build(MORE)
    text = desk.bytes(SECOND).decode()
    (desk.out / SECOND).write_text(
        text.replace("\n\n\ndef downgrade", "\n    op.execute('NO SUCH')\n\n\ndef downgrade")
    )
    with pytest.raises((DBAPIError, StorageUnavailable)):
        desk.started()
    (desk.out / SECOND).unlink()
    migrate(world.owner, old)
    assert shape(world, "app_tickets") == before
    (desk.out / SECOND).write_text(text)
    world = desk.started()  # which migrates
    assert "urgent" in shape(world, "app_tickets")["columns"]
    world.core.db.close()
    world.owner.close()


def test_a_column_that_is_always_there_has_no_value_in_rows_that_are_there() -> None:
    class Op:
        def get_bind(self) -> Any:
            return sa.create_engine("sqlite://")

        def execute(self, _text: Any) -> None:
            raise AssertionError

    with pytest.raises(ValueError, match="has no value"):
        add_column(Op(), "t", sa.Column("x", sa.Text, nullable=False))
