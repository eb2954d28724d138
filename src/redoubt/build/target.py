"""target.yaml of an app: what `redoubt verify` needs to know beyond what every built app has in common."""

from __future__ import annotations

from typing import Any

import yaml

from .spec.model import Spec
from .spec.names import OPERATOR, plural
from .spec.parts import Record
from .spec.prices import prices_of
from .view import magic_links, roles_with

_HEAD = (
    "# What `redoubt verify` needs to know of this app; any app, whoever wrote it, can have such a file.\n"
)
_CARD = {"card_number": "4242 4242 4242 4242", "expiry": "12 / 34", "cvc": "123"}

_TLS = "{ready:state_dir}/tls"
_CHARGE = {
    "url": "{ready:charge_url}",
    "ca": f"{_TLS}/ca.pem",
    "certificate": f"{_TLS}/client-app.pem",
    "key": f"{_TLS}/client-app.key",
    "ca_key": f"{_TLS}/ca.key",
}


def target_file(spec: Spec) -> str:
    """Return the file's text: who joins how, who may do what, what is public, webhooks and money."""
    document: dict[str, Any] = {
        "name": spec.app.name,
        "kind": "redoubt",
        "repo": ".",
        "openapi": "openapi.json",
        "roles": {name: "sign_up" if role.sign_up else "enrol" for name, role in spec.roles.items()},
        "public": ["GET /", *(f"GET /{name}" for name, page in spec.pages.own.items() if page.public)],
        "pages": [f"/{plural(name, spec.entities[name])}" for name in spec.pages.entities]
        + [f"/{plural(name, spec.entities[name])}/new" for name in spec.pages.entities]
        + [f"/{name}" for name in spec.pages.own],
        "access": [_access(rule) for rule in spec.permissions],
        "webhooks": [_webhook(spec, name) for name in spec.webhooks.incoming],
    }
    if not magic_links(spec):
        document["magic"] = "none"
    if spec.payments is not None:
        document |= _money(spec)
    document |= _prices(spec)
    return _HEAD + yaml.safe_dump(document, sort_keys=False, width=118, default_flow_style=None)


def _access(rule: Any) -> dict[str, Any]:
    line: dict[str, Any] = {"as": list(rule.roles), "do": list(rule.actions)}
    conditions = {
        "own": rule.owner,
        "states": list(rule.states),
        "step_up": rule.step_up,
        "risk_max": rule.risk_max,
        "amount_max": rule.amount_max,
    }
    return line | {name: value for name, value in conditions.items() if value not in (False, None, [])}


def _webhook(spec: Spec, name: str) -> dict[str, Any]:
    hook = spec.webhooks.incoming[name]
    line: dict[str, Any] = {
        "path": f"/webhooks/{name}",
        "scheme": hook.scheme,
        "secret": str(hook.secrets[0]),
        "tolerance": hook.tolerance,
        "dedupe_days": hook.dedupe_days,
    }
    if isinstance(hook.handler, Record):
        sample: dict[str, Any] = {"delivery": "{id}", "action": "published"}
        for path in hook.handler.fields.values():
            *parents, last = path.split(".")
            at = sample
            for parent in parents:
                at = at.setdefault(parent, {})
            at[last] = "{canary}"
        line["sample"] = sample
        readers = roles_with(spec, f"{hook.handler.entity}.list")
        if readers:
            entity = spec.entities[hook.handler.entity]
            line["effect"] = {"read": f"GET /api/{plural(hook.handler.entity, entity)}", "as": readers[0]}
    return line


def _prices(spec: Spec) -> dict[str, Any]:
    """Return how a price changes: the first that somebody may change."""
    for entity, names in prices_of(spec).items():
        askers = roles_with(spec, f"{entity}.update")
        if not askers:
            continue
        approvers = roles_with(spec, "Approval.decide") if spec.payments is not None else []
        line = {"resource": entity, "field": names[0], "reason": f"{names[0]}.reason", "as": askers[0]}
        more = {"approval_id": "waiting.0.approval_id", "shown": "GET /console/approvals/{id}"}
        return {"prices": {**line, "second": (approvers or [OPERATOR])[0], **more}}
    return {}


def _money(spec: Spec) -> dict[str, Any]:
    payments = spec.payments
    if payments is None:
        return {}
    entity = payments.charge.entity
    base = f"/api/{plural(entity, spec.entities[entity])}"
    payers, askers = roles_with(spec, f"{entity}.pay"), roles_with(spec, "Payment.refund")
    approvers = roles_with(spec, "Approval.decide")
    money: dict[str, Any] = {
        "resource": entity,
        "pay": f"POST {base}/{{id}}/pay",
        "amount": payments.charge.amount,
        "by": payers[0] if payers else "",
        "payment": "GET /api/payments/{id}",
        "refund": "POST /api/payments/{id}/refunds",
        "refund_by": next((role for role in askers if role not in approvers), "".join(askers[:1])),
        "refund_cap": payments.caps.refunds_per_day,
        "page_form": dict(_CARD),
    }
    if approvers:
        money["approvals"] = {
            "options": "POST /console/approvals/{id}/options",
            "approve": "POST /console/approvals/{id}/approve",
            "read": "GET /console/approvals/{id}",
            "as": approvers[0],
        }
    return {"money": money, "provider": {"url": "{ready:provider_url}"}, "charge": dict(_CHARGE)}
