"""Policies in the console: what runs and how it came to run, what it would decide, and why it decided."""

from __future__ import annotations

import asyncio
import re

import pytest

from redoubt.audit import Actor, Event, record
from redoubt.authz.changes import propose
from redoubt.authz.policyset import PolicySource, parse
from tests.console.world import World

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ASK = "/console/policies/playground?"
REFUND = ASK + "action=Payment.refund&user=u1&roles=support&resource=Payment:p1&owner=u2"


async def test_the_history_names_what_runs_and_leads_to_its_text(world: World) -> None:
    operator = await world.person("operator")
    data = (await operator.get("/console/policies")).json()
    assert data["problem"] is None
    assert [(step["version"], step["author"]) for step in data["items"]] == [(data["running"], "init")]
    version = (await operator.get(f"/console/policies/{data['running']}")).json()
    running = world.guard.services.head.policies()
    assert running is not None
    assert {one["id"]: one["text"] for one in version["policies"]} == dict(running.texts)
    page = await operator.page(f"/console/policies/{data['running']}")
    assert "Payment.refund" in page.text


@pytest.mark.parametrize("version", ["0" * 64, "0" * 12, "%25", "A" * 64])
async def test_a_version_that_is_not_stored_is_not_found(world: World, version: str) -> None:
    operator = await world.person("operator")
    assert (await operator.get(f"/console/policies/{version}")).status_code == 404


async def test_the_playground_says_which_policy_decided_or_what_failed(world: World) -> None:
    operator = await world.person("operator")
    allowed = (await operator.get(f"{REFUND}&amount=5000")).json()["found"]
    assert allowed["allowed"] is True
    assert len(allowed["determining"]) == 1
    denied = (await operator.get(f"{REFUND}&amount=5001")).json()["found"]
    assert denied["allowed"] is False
    assert "amount" in {item["failed"] for item in denied["candidates"]}
    text = (await operator.page(f"{REFUND}&amount=5001")).text
    assert "context.amount" in text
    assert "deny" in text


async def test_the_playground_asks_about_no_other_tenant_and_does_nothing(world: World) -> None:
    operator = await world.person("operator")
    before = len(world.events("authz.decide"))
    found = (await operator.get(f"{REFUND}&amount=1&tenant=other")).json()["found"]
    assert found["allowed"] is True
    assert len(world.events("authz.decide")) == before + 1  # the look itself, and no decision about a payment


@pytest.mark.parametrize(
    "query", ["risk=101", "risk=-1", "amount=x", "resource=Order", "user=" + "x" * 255, "roles=%00"]
)
async def test_what_cannot_be_asked_is_marked(world: World, query: str) -> None:
    operator = await world.person("operator")
    path = f"{ASK}action=Payment.read&{query}"
    assert list((await operator.get(path)).json()["errors"]) == [query.partition("=")[0]]
    page = await operator.page(path)
    assert page.status_code == 422
    assert 'aria-invalid="true"' in page.text


async def test_what_is_typed_comes_back_as_text(world: World) -> None:
    operator = await world.person("operator")
    page = await operator.page(f"{ASK}action=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert page.status_code == 200
    assert "<script>alert" not in page.text


async def test_a_recorded_decision_is_decided_again_with_its_reasons(world: World) -> None:
    operator = await world.person("operator")
    await operator.get("/console/policies")
    entry = next(one for one in world.events("authz.decide")[::-1] if one.actor_id == operator.id)
    found = (await operator.get(f"/console/policies/decisions/{entry.id}")).json()
    assert (found["allowed"], found["agrees"]) == (True, True)
    assert found["found"]["determining"]
    assert (
        f"/console/policies/decisions/{entry.id}" in (await operator.page(f"/console/audit/{entry.id}")).text
    )
    assert (await operator.page(f"/console/policies/decisions/{entry.id}")).status_code == 200
    assert world.events("audit.read")[-1].actor_id == operator.id


async def test_another_tenants_decision_and_what_is_no_decision_are_not_shown(world: World) -> None:
    operator = await world.person("operator")
    actor = Actor("user", "somebody")
    foreign, other = world.core.db.write_sync(
        lambda tx: (
            record(tx, world.core, Event("authz.decide", "success", actor, tenant="other")),
            record(tx, world.core, Event("thing.made", "success", actor)),
        )
    )
    assert (await operator.get(f"/console/policies/decisions/{foreign}")).status_code == 404
    assert (await operator.get(f"/console/policies/decisions/{other}")).status_code == 409


async def test_an_approver_sees_the_verdict_its_witness_who_gains_and_the_dry_run(world: World) -> None:
    author, approver = await world.person("operator"), await world.person("operator")
    support = await world.person("support", "sue")
    await support.get("/console/policies")  # a decision that is recorded, and that the change would turn
    running = world.guard.services.head.policies()
    assert running is not None
    texts = {
        **running.texts,
        "open": '@id("open") permit (principal in Role::"support", action, resource is App);',
    }
    wider = parse(PolicySource(running.schema_text, texts))
    proposed = await asyncio.to_thread(
        propose, world.core, world.guard.services.approvals, wider, author=author.id, ticket="T-1"
    )
    assert proposed.approval is not None
    path = f"/console/approvals/{proposed.approval.id}"
    page = (await approver.page(path)).text
    assert "allows a request that was denied" in page
    assert "A request that shows it" in page
    assert support.email in page
    assert "deny → allow" in page
    data = (await approver.get(path)).json()
    gains = data["dry_run"]["evidence"]["gains"]
    assert {one for item in gains for one in item["ids"]} == {support.id}
    assert (await author.approve(proposed.approval.id)).status_code == 403
    assert (await approver.approve(proposed.approval.id)).status_code == 200
    await world.guard.services.head.refresh()
    assert (await support.get("/console/policies")).status_code == 200


async def test_an_approver_sees_what_is_new_as_a_table_by_role_with_names(world: World) -> None:
    author, approver = await world.person("operator"), await world.person("operator")
    support = await world.person("support", "sue")
    running = world.guard.services.head.policies()
    assert running is not None
    schema = running.schema_text + (
        'action "Report.read" appliesTo { principal: [User, Anonymous], resource: [App], context: {} };'
    )
    text = (
        '@id("report") permit (principal in Role::"support", action == Action::"Report.read", resource is App)'
        " when { principal.tenant == resource.tenant };"
    )
    new = parse(PolicySource(schema, {**running.texts, "report": text}))
    proposed = await asyncio.to_thread(
        propose, world.core, world.guard.services.approvals, new, author=author.id, ticket="T-1"
    )
    assert proposed.approval is not None
    path = f"/console/approvals/{proposed.approval.id}"
    page = (await approver.page(path)).text
    assert "This access existed in no version" in page
    found = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    rows = [" ".join(re.sub("<[^>]+>", " ", row).split()) for row in found]
    assert f"support – may never {support.email}" in rows
    assert "nobody (not logged in) – never never" in rows
    data = (await approver.get(path)).json()["dry_run"]
    assert (data["verdict"], data["evidence"]["tables"][0]["where"]) == ("new", "Report.read · App")


async def test_where_the_schema_grants_roles_to_no_page_none_are_given(world: World) -> None:
    operator, other = await world.person("operator"), await world.person("operator")
    await operator.step_up()
    assert (await operator.post("/console/enrolments", {"role": "support"})).status_code == 201
    running = world.guard.services.head.policies()
    assert running is not None
    schema = running.schema_text.replace("Enrolment.create, sign-up", "sign-up")
    proposed = await asyncio.to_thread(
        propose, world.core, world.guard.services.approvals, parse(PolicySource(schema, dict(running.texts))),
        author=operator.id, ticket="T-1",
    )  # fmt: skip
    assert proposed.approval is not None  # who may write what policies read is changed by two
    assert (await other.approve(proposed.approval.id)).status_code == 200
    await world.guard.services.head.refresh()
    refused = await operator.post("/console/enrolments", {"role": "support"})
    assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (409, "grant-gated")
