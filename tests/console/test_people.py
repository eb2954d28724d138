"""A role more waits for somebody else who does not gain; a role less holds at once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from redoubt.authz import store as authz_store
from redoubt.authz.breakglass import break_glass
from redoubt.authz.consistency import HEADER, Position, position_of, token_of
from redoubt.authz.errors import RolesRefused, UnknownRole
from redoubt.authz.membership import KIND, request_role, take_role
from redoubt.core.db import Tx
from redoubt.guard.models import Approval
from tests.console.world import World


def ask(world: World, user: str, role: str, requester: str) -> Approval:
    services = world.guard.services
    return world.guard.core.db.write_sync(
        lambda tx: request_role(
            tx,
            services.approvals,
            services.roles,
            user,
            role,
            requester=requester,
            ticket="T-1",
            tenant="main",
        )
    )


def roles(world: World, user: str) -> frozenset[str]:
    services = world.guard.services
    return world.guard.core.db.read_sync(lambda tx: services.roles.roles(tx, "main", user))


async def test_a_role_is_given_by_a_second_person_who_does_not_gain(world: World) -> None:
    first, second = await world.person("operator"), await world.person("operator")
    customer = await world.person("customer")
    approval = ask(world, customer.id, "operator", first.id)
    assert (approval.kind, approval.dry_run) == (
        KIND, {"roles_before": ["customer"], "roles_after": ["customer", "operator"]},
    )  # fmt: skip
    assert roles(world, customer.id) == {"customer"}
    await first.step_up()
    assert (await first.approve(approval.id)).status_code == 403
    await second.step_up()
    page = (await second.page(f"/console/approvals/{approval.id}")).text
    assert customer.id in page
    assert (await second.approve(approval.id)).status_code == 200
    assert roles(world, customer.id) == {"customer", "operator"}
    (event,) = world.events("authz.grant")[-1:]
    assert event.target_id == customer.id


async def test_who_gains_is_no_second_person(world: World) -> None:
    first, second = await world.person("operator"), await world.person("operator")
    approval = ask(world, second.id, "customer", first.id)
    await second.step_up()
    answer = await second.approve(approval.id)
    assert (answer.status_code, roles(world, second.id)) == (403, {"operator"})


async def test_a_request_is_stale_once_the_persons_roles_changed(world: World) -> None:
    first, second = await world.person("operator"), await world.person("operator")
    customer = await world.person("customer")
    approval = ask(world, customer.id, "operator", first.id)
    services = world.guard.services
    world.guard.core.db.write_sync(
        lambda tx: take_role(tx, services.roles, customer.id, "customer", by=first.id, tenant="main")
    )
    await second.step_up()
    assert (await second.approve(approval.id)).status_code == 409
    assert roles(world, customer.id) == frozenset()


async def test_a_role_that_is_held_or_unknown_is_not_asked_for(world: World) -> None:
    operator, customer = await world.person("operator"), await world.person("customer")
    with pytest.raises(RolesRefused):
        ask(world, customer.id, "customer", operator.id)
    with pytest.raises(UnknownRole):
        ask(world, customer.id, "emperor", operator.id)


async def test_a_role_is_taken_from_a_live_session_and_the_last_two_operators_stay(world: World) -> None:
    people = [await world.person("operator") for _ in range(3)]
    services, db = world.guard.services, world.guard.core.db

    def take(user: str) -> None:
        db.write_sync(
            lambda tx: take_role(
                tx, services.roles, user, "operator", by="cli:test", tenant="main", keep={"operator": 2}
            )
        )

    assert (await people[0].get("/console/switches")).status_code == 200
    take(people[0].id)
    await world.pass_time(timedelta(milliseconds=250))
    assert (await people[0].get("/console/switches")).status_code in (403, 404)
    with pytest.raises(RolesRefused, match="at least 2"):
        take(people[1].id)
    with pytest.raises(RolesRefused, match="is not"):
        take(people[0].id)
    assert roles(world, people[1].id) == {"operator"}


async def test_another_process_sees_a_change_at_once_for_who_brings_its_token(world: World) -> None:
    people = [await world.person("operator") for _ in range(3)]
    taken, services = people[0], world.guard.services
    for _ in range(2):  # what this process knows of the session is kept for 200 ms
        assert (await taken.get("/console/switches")).status_code == 200

    def take(tx: Tx) -> str:
        take_role(
            tx, services.roles, taken.id, "operator", by="cli:test", tenant="main", keep={"operator": 2}
        )
        return token_of(tx, world.core, "main")

    token = world.core.db.write_sync(take)  # as another process would: this one knows nothing of it yet
    assert (await taken.get("/console/switches")).status_code == 200
    assert (await taken.get("/console/switches", **{HEADER: token})).status_code in (403, 404)
    await world.pass_time(timedelta(milliseconds=250))
    assert (await taken.get("/console/switches")).status_code in (403, 404)


async def test_a_token_that_is_no_token_or_from_the_future_is_refused(world: World) -> None:
    operator = await world.person("operator")
    for forged in ("x", "1.999.main." + "0" * 64):
        answer = await operator.get("/console/switches", **{HEADER: forged})
        assert (answer.status_code, answer.json()["code"]) == (400, "consistency-token")
    position = f"1.{10**6}.main"
    signed = f"{position}.{world.core.keys.mac('authz.consistency').hexdigest(position)}"
    behind = await operator.get("/console/switches", **{HEADER: signed})
    assert (behind.status_code, behind.json()["code"], behind.headers["retry-after"]) == (503, "behind", "1")


async def test_who_approves_a_role_is_given_the_token_of_it(world: World) -> None:
    first, second = await world.person("operator"), await world.person("operator")
    customer = await world.person("customer")
    approval = ask(world, customer.id, "operator", first.id)
    await second.step_up()
    answer = await second.approve(approval.id)
    position = position_of(world.core, answer.headers[HEADER])
    assert position == world.core.db.read_sync(lambda tx: Position("main", authz_store.clock(tx, "main")))
    assert (await customer.get("/console/switches", **{HEADER: answer.headers[HEADER]})).status_code == 200


async def test_an_emergency_operator_is_not_one_of_the_two_who_stay(world: World) -> None:
    first, second = await world.person("operator"), await world.person("operator")
    customer = await world.person("customer")
    services, db = world.guard.services, world.guard.core.db
    asked = db.write_sync(
        lambda tx: break_glass(
            tx,
            services.approvals,
            user=customer.id,
            role="operator",
            minutes=30,
            reason="night",
            by=first.id,
            ticket="T-2",
        )
    )
    await second.step_up()
    assert (await second.approve(asked.id)).status_code == 200
    assert len(db.read_sync(lambda tx: services.roles.holders(tx, "main", "operator"))) == 3

    def take(user: str) -> None:
        db.write_sync(
            lambda tx: take_role(
                tx, services.roles, user, "operator", by="cli:test", tenant="main", keep={"operator": 2}
            )
        )

    with pytest.raises(RolesRefused, match="at least 2"):
        take(first.id)
    take(customer.id)
    assert roles(world, customer.id) == {"customer"}
