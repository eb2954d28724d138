"""Events in the shape of the Open Cybersecurity Schema Framework, version 1.7.

OCSF has no class for money, so redoubt carries an extension of its own with one class, *Money Movement*: extension
uid 999 (the range OCSF leaves to private development), category 6 (Application Activity), class 99906001. Its
activities: 1 Authorize, 2 Capture, 3 Refund, 4 Post, 5 Reconcile, 6 Cap, 99 Other. What has no class at all is an
API Activity with activity 99 and its action as `activity_name`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from json.encoder import encode_basestring as quote
from typing import Any

from attrs import frozen

from .. import __version__
from .models import Actor, Event
from .plain import canonical_text

OCSF_VERSION = "1.7.0"
EXTENSION = {"name": "redoubt", "uid": "999", "version": "1.0.0"}

MONEY = 99906001
_CLASSES = {
    2004: (2, "Findings", "Detection Finding"),
    3001: (3, "Identity & Access Management", "Account Change"),
    3002: (3, "Identity & Access Management", "Authentication"),
    3003: (3, "Identity & Access Management", "Authorize Session"),
    3004: (3, "Identity & Access Management", "Entity Management"),
    3005: (3, "Identity & Access Management", "User Access Management"),
    6002: (6, "Application Activity", "Application Lifecycle"),
    6003: (6, "Application Activity", "API Activity"),
    6005: (6, "Application Activity", "Datastore Activity"),
    MONEY: (6, "Application Activity", "Money Movement"),
}
OTHER = 99
DATA = "unmapped"  # the member that holds an event's data; no other member's name sorts behind it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@frozen
class Kind:
    """Class, activity and severities of an action."""

    class_uid: int
    activity_id: int
    severity: int = 1
    failed: int = 2


INFO, LOW, MEDIUM, HIGH, CRITICAL = 1, 2, 3, 4, 5
_SEVERITY = {1: "Informational", 2: "Low", 3: "Medium", 4: "High", 5: "Critical"}

# The longest prefix of an action that stands here decides.
_KINDS: dict[str, Kind] = {
    "api": Kind(6003, OTHER),
    "app": Kind(6002, OTHER),
    "app.start": Kind(6002, 3),
    "app.stop": Kind(6002, 4),
    "approval": Kind(3004, OTHER, LOW, MEDIUM),
    "approval.create": Kind(3004, 1, LOW, MEDIUM),
    "approval.approve": Kind(3004, 10, LOW, HIGH),
    "approval.reject": Kind(3004, 11, LOW, MEDIUM),
    "audit": Kind(6005, OTHER, LOW, HIGH),
    "audit.erase": Kind(6005, 4, MEDIUM, MEDIUM),
    "authz.decide": Kind(6003, OTHER, INFO, LOW),
    "authz.grant": Kind(3005, 1, LOW, MEDIUM),
    "authz.revoke": Kind(3005, 2, LOW, MEDIUM),
    "authz.expire": Kind(3005, 2, LOW, MEDIUM),
    "authz.break-glass": Kind(3005, 1, HIGH, HIGH),
    "authz.role": Kind(3005, OTHER, LOW, MEDIUM),
    "authz.policy": Kind(3004, 3, MEDIUM, HIGH),
    "charge": Kind(MONEY, OTHER, INFO, MEDIUM),
    "charge.alert": Kind(2004, 1, HIGH, HIGH),
    "identity": Kind(3002, OTHER),
    "identity.enrol": Kind(3001, 1, LOW, MEDIUM),
    "identity.login": Kind(3002, 1, INFO, LOW),
    "identity.logout": Kind(3002, 2),
    "identity.magic": Kind(3002, 6, INFO, LOW),
    "identity.passkey": Kind(3001, OTHER, LOW, MEDIUM),
    "identity.passkey.add": Kind(3001, 10, LOW, MEDIUM),
    "identity.passkey.remove": Kind(3001, 11, LOW, MEDIUM),
    "identity.register": Kind(3001, 1, INFO, LOW),
    "identity.session": Kind(3003, OTHER, INFO, MEDIUM),
    "identity.stepup": Kind(3002, 3, INFO, MEDIUM),
    "ledger": Kind(MONEY, 4, INFO, HIGH),
    "limit": Kind(2004, 1, LOW, LOW),
    "payment": Kind(MONEY, OTHER, INFO, MEDIUM),
    "payments": Kind(MONEY, OTHER, INFO, MEDIUM),
    "payments.refund": Kind(MONEY, 3, LOW, MEDIUM),
    "payments.reconcile": Kind(MONEY, 5, INFO, HIGH),
    "secret": Kind(3004, 3, MEDIUM, HIGH),
    "switch": Kind(3004, 3, HIGH, HIGH),
    "switch.enable": Kind(3004, 8, HIGH, HIGH),
    "switch.kill": Kind(3004, 9, HIGH, HIGH),
    "threat": Kind(2004, 1, HIGH, HIGH),
    "webhook": Kind(6003, OTHER, INFO, MEDIUM),
    "webhooks": Kind(6003, OTHER, INFO, MEDIUM),
}
_DEFAULT = Kind(6003, OTHER)
_CRUD = {"create": 1, "read": 2, "list": 2, "update": 3, "delete": 4}
_ACTOR_TYPE = {"user": 1, "operator": 2, "service": 4, "anonymous": 0}  # User, Admin, Service, Unknown
_STATUS = {"success": (1, "Success"), "failure": (2, "Failure"), "denied": (2, "Failure")}


@lru_cache(1024)
def kind_of(action: str) -> Kind:
    """Return class, activity and severities of `action`, by its longest known prefix."""
    name = action
    while name:
        if found := _KINDS.get(name):
            return found
        name = name.rpartition(".")[0]
    return Kind(6003, _CRUD.get(action.rpartition(".")[2], OTHER))


def severity_of(event: Event) -> int:
    """Return the severity id of `event`, which its outcome may raise."""
    kind = kind_of(event.action)
    return kind.severity if event.outcome == "success" else kind.failed


def millis(at: datetime) -> int:
    """Return OCSF's `time`: whole milliseconds since 1970."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def body(event: Event, entry_id: str, at: datetime, actor_id: str, target_id: str | None) -> dict[str, Any]:
    """Return the OCSF object of `event` without its data; ids are given as they may be stored."""
    kind = kind_of(event.action)
    category, category_name, class_name = _CLASSES[kind.class_uid]
    severity = severity_of(event)
    status_id, status = _STATUS[event.outcome]
    metadata: dict[str, Any] = {
        "version": OCSF_VERSION,
        "product": {"name": "redoubt", "vendor_name": "Redoubt", "version": __version__},
        "log_name": "audit",
        "uid": entry_id,
        "tenant_uid": event.tenant,
        "event_code": event.action,
    }
    if event.request_id:
        metadata["correlation_uid"] = event.request_id
    if kind.class_uid == MONEY:
        metadata["extensions"] = [EXTENSION]
    user = {"uid": actor_id, "type_id": _ACTOR_TYPE[event.actor.kind], "type": event.actor.kind}
    actor: dict[str, Any] = {"user": user}
    if event.actor.session:
        actor["session"] = {"uid": event.actor.session}
    result: dict[str, Any] = {
        "category_uid": category,
        "category_name": category_name,
        "class_uid": kind.class_uid,
        "class_name": class_name,
        "activity_id": kind.activity_id,
        "activity_name": event.action,
        "type_uid": kind.class_uid * 100 + kind.activity_id,
        "severity_id": severity,
        "severity": _SEVERITY[severity],
        "status_id": status_id,
        "status": status,
        "status_code": event.outcome,
        "time": millis(at),
        "metadata": metadata,
        "actor": actor,
    }
    if event.outcome == "denied" or event.action == "authz.decide":
        metadata["profiles"] = ["security_control"]
        denied = event.outcome == "denied"
        result["action_id"], result["action"] = (2, "Denied") if denied else (1, "Allowed")
    if event.target is not None:
        result["resources"] = [{"type": event.target[0], "uid": target_id}]
    return result


_NAMES = ("session", "actor", "request", "entry", "target", "at")
_MARKS = {name: chr(0xE000 + number) for number, name in enumerate(_NAMES)}  # of the private use area
_MARKED = re.compile("|".join(f'"{mark}"' for mark in _MARKS.values()))


def head(event: Event, entry_id: str, at: datetime, actor_id: str, target_id: str | None) -> str:
    """Return `body` in canonical JSON.

    Entries of one kind differ in six places; the rest is written once.
    """
    actor, target = event.actor, event.target
    written = _frame(
        event.action,
        event.outcome,
        event.tenant,
        actor.kind,
        bool(actor.session),
        bool(event.request_id),
        None if target is None else target[0],
    )
    if written is None:
        return canonical_text(body(event, entry_id, at, actor_id, target_id))
    frame, names = written
    values = {
        "session": actor.session,
        "actor": actor_id,
        "request": event.request_id,
        "entry": entry_id,
        "target": target_id,
    }
    return frame % tuple([millis(at) if name == "at" else quote(values[name] or "") for name in names])


@lru_cache(1024)
def _frame(
    action: str,
    outcome: Any,
    tenant: str,
    actor_kind: Any,
    session: bool,
    request: bool,
    target: str | None,
) -> tuple[str, tuple[str, ...]] | None:
    """Return the canonical JSON of such entries with `%s` for what differs, and the names of that in its order.

    None where what they share holds a mark itself.
    """
    marks = _MARKS
    actor = Actor(actor_kind, marks["actor"], marks["session"] if session else None)
    event = Event(
        action,
        outcome,
        actor,
        tenant,
        None if target is None else (target, ""),
        request_id=marks["request"] if request else None,
    )
    whole = body(event, marks["entry"], _EPOCH, marks["actor"], marks["target"])
    whole["time"] = marks["at"]
    text = canonical_text(whole)
    by_mark = {f'"{mark}"': name for name, mark in marks.items()}
    names = tuple(by_mark[found] for found in _MARKED.findall(text))
    expected = ["actor", "entry", "at"]
    expected += ["session"] * session + ["request"] * request + ["target"] * (target is not None)
    if sorted(names) != sorted(expected):
        return None
    return _MARKED.sub("%s", text.replace("%", "%%")), names
