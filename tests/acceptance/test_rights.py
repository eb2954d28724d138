"""Each process's rights in the database are those that it uses: the shop's story uses all but a few, which are named here."""

from __future__ import annotations

import json
import random
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from redoubt.verify.authenticator import Authenticator
from tests.acceptance.test_chaos import Scene, scene
from tests.support.story import Client

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.timeout(900)]

_LINK = re.compile(r"/auth/magic/([\w-]+)")
Part = tuple[str, str, str]
"""A process, a verb, and a table, or one of its columns."""

_DECLARED = ("webhook_keys", "webhook_targets", "webhook_endpoints")

NOT_IN_THE_STORY: dict[str, set[Part]] = {
    "whichever process starts first stores what the settings declare; the other only finds it": {
        (process, verb, table)
        for process in ("app", "worker")
        for verb in ("insert", "update")
        for table in _DECLARED
    },
    "a change of policies, which is approved in the app": {
        ("app", "insert", "policy_versions"),
        ("app", "insert", "policy_head"),
        ("app", "select", "policy_verdicts"),
    },
    "policies with invariants: whoever loads them looks for their proof": {
        ("app", "select", "policy_proofs"),
        ("worker", "select", "policy_proofs"),
    },
    "an emergency role that ends": {("worker", "insert", "role_steps"), ("worker", "select", "approvals")},
    "a tile of the log: 256 entries": {
        (process, verb, "audit_tiles") for process in ("worker", "charge") for verb in ("insert", "select")
    },
    "an entry that names somebody": {
        ("worker", "insert", "audit_personal"),
        ("charge", "insert", "audit_personal"),
    },
    "what is remembered of a delivery is forgotten, weeks later": {("worker", "delete", "webhook_dedupe")},
    "the answer to a command already says what the provider did": {
        ("app", "update", "payments.provider_payment"),
        ("app", "update", "payments.refunded"),
        ("app", "update", "payment_refunds"),
        ("worker", "update", "payment_refunds"),
    },
    "the other process delivered the command": {
        (process, verb, table)
        for process in ("app", "worker")
        for verb, table in (
            ("insert", "payment_commands"),
            ("update", "payment_commands"),
            ("update", "payments"),
        )
    },
    "a job or a delivery that failed": {
        ("worker", "update", "jobs.last_error"),
        ("worker", "update", "jobs.run_at"),
        ("worker", "update", "webhook_inbox.last_error"),
    },
    "an approver's key is taken; an unknown outcome waits for a person": {
        ("charge", "update", "charge_approvers.revoked_at"),
        ("charge", "update", "charge_intents.paged_at"),
    },
}
"""What the story does not come to, by the reason why a process has these rights."""


def _unexplained(unused: Mapping[str, list[list[str]]]) -> list[Part]:
    known = set().union(*NOT_IN_THE_STORY.values())
    return [
        (process, verb, f"{table}.{column}")
        for process, rights in unused.items()
        for verb, table, column in rights
        if not {(process, verb, table), (process, verb, f"{table}.{column}")} & known
    ]


def test_a_right_that_nobody_gave_a_reason_for_is_found() -> None:
    reasoned = ["update", "jobs", "last_error"]
    assert _unexplained({"worker": [reasoned]}) == []
    assert _unexplained({"app": [reasoned], "worker": [["update", "jobs", "payload"]]}) == [
        ("app", "update", "jobs.last_error"),
        ("worker", "update", "jobs.payload"),
    ]


def test_what_a_process_may_do_is_what_it_does(built_shop: Path, tmp_path: Path) -> None:
    """A right too many is named here, and what was done without one stands in a process's log."""
    with scene(built_shop, tmp_path, "rights") as here:
        here.story.customer("c1", thorough=True)
        _orders(here)
        _deliveries(here)
        _catalogue(here)
        _account(here)
        _operators(here)
        here.settle()
    code, said = here.redoubt("db", "unused", str(built_shop), "--json")
    assert code in (0, 3), said
    unused: dict[str, list[list[str]]] = json.loads(said)
    assert set(unused) == {"app", "worker", "charge"}
    for process in unused:
        assert (here.state / "run" / f"used-{process}.json").stat().st_size > 1000
    extra = _unexplained(unused)
    assert extra == [], "granted, and neither used nor named here with a reason"
    refused = [
        line
        for log in sorted((here.state / "log").glob("*.log"))
        for line in log.read_text(errors="replace").splitlines()
        if "refused to " in line
    ]
    assert refused == [], "used, and not granted"


def _orders(here: Scene) -> None:
    """Buy, change one's mind, cancel; buy again, and do not get the money back."""
    story, chance = here.story, random.Random("orders")
    client = story.client("c2")
    client.register("c2@example.org")
    story.facts.people["c2@example.org"] = "c2"
    first = story._order(client, chance, "rights:1")
    address = {"name": "C. Two", "email": "c2@example.org", "phone": "1", "address": "Somewhere 1"}
    made = client.safely("POST", "/api/customers", address, ok=(201,))
    path = f"/api/customers/{made['id']}"
    client.safely(
        "PATCH",
        path,
        {name: f"{value}2" if name != "email" else "d@example.org" for name, value in address.items()},
    )
    more = [{"product": story.products[0]["id"], "quantity": 7}]
    client.safely(
        "PATCH", f"/api/orders/{first.id}", {"items": more, "note": "rights:1", "customer": made["id"]}
    )
    story._cancel(client, first)
    other = client.safely("POST", "/api/customers", address, ok=(201,))
    client.safely("DELETE", f"/api/customers/{other['id']}", ok=(200, 204))
    second = story._order(client, chance, "rights:2")
    story._pay(client, second)
    story._wait_paid(client, second)
    story._refund(second, chance, "reject")


def _deliveries(here: Scene) -> None:
    """A release comes twice, and is read."""
    seed = here.story.seed
    twice = next(n for n in range(1, 100) if _second(random.Random(f"{seed}:github:{n}")))
    here.story.github(twice)
    (release,) = here.story.support.pages("/api/release_notes")
    here.story.support.safely("GET", f"/api/release_notes/{release['id']}")


def _second(chance: random.Random) -> bool:
    chance.getrandbits(128)
    return chance.random() < 0.17


def _catalogue(here: Scene) -> None:
    """A product is described, gets another price from a second person, and goes."""
    operator = here.story.operator
    body = {"name": "Late", "sku": "late-1", "price": 100}
    made = operator.safely("POST", "/api/products", body, ok=(201,))
    path = f"/api/products/{made['id']}"
    operator.safely("PATCH", path, {"name": "Later", "description": "Glazed."})
    asked = operator.safely("PATCH", path, {"price": 150, "price.reason": "T-1: dearer clay"}, ok=(202,))
    _approve(here.story.second_operator, asked["waiting"][0]["approval_id"])
    operator.step_up()
    operator.safely("DELETE", path, ok=(200, 204))


def _approve(person: Client, approval: str) -> None:
    options = person.safely("POST", f"/console/approvals/{approval}/options", {})
    person.safely("POST", f"/console/approvals/{approval}/approve", {"credential": person.key.get(options)})


def _account(here: Scene) -> None:
    """Come in by a link; add a passkey and remove it; log out everywhere."""
    story, address = here.story, "c3@example.org"
    client = story.client("c3")
    client.register(address)
    client.safely("POST", "/auth/magic", {"email": address}, ok=(202,))
    for _ in story.clock.until("both links come: that of the registration, and the one asked for"):
        links = [found[1] for text in here.mails(address) if (found := _LINK.search(text))]
        if len(set(links)) == 2:
            break
    client.safely("POST", "/auth/logout", {})
    client.safely("POST", "/auth/magic/confirm", {"token": links[0]})
    assert client.login()
    client.step_up()
    host = urlsplit(client.base_url).hostname or ""
    second = Authenticator(client.base_url, host, secrets.token_bytes(32))
    options = client.safely("POST", "/account/passkeys/options", {})
    client.safely("POST", "/account/passkeys/verify", {"credential": second.create(options)}, ok=(201,))
    keys = client.safely("GET", "/account/passkeys")["passkeys"]
    client.step_up()
    client.safely("POST", f"/account/passkeys/{keys[-1]['id']}/remove", {})
    client.safely("POST", "/account/sessions/revoke-all", {})


def _operators(here: Scene) -> None:
    """Operators switch payments off, and together on again; they look up an entry of the log."""
    operator = here.story.operator
    operator.step_up()
    operator.safely("POST", "/console/switches/kill", {"capability": "payments", "reason": "a drill"})
    wanted = {"capability": "payments", "ticket": "T-2"}
    asked = operator.safely("POST", "/console/switches/enable", wanted, ok=(202,))
    _approve(here.story.second_operator, asked["approval_id"])
    for _ in here.story.clock.until("the switch is known to the charge service"):
        if here.rows("charge.db", "SELECT 1 FROM charge_switches WHERE revision > 1"):
            break
    entry = operator.safely("GET", "/console/audit")["items"][-1]
    operator.safely("GET", f"/console/audit/{entry['id']}")
