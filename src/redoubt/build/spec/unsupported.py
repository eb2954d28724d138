"""What the language can say but this version does not enforce: refused by name, never ignored."""

from __future__ import annotations

from collections.abc import Iterator

from .model import Spec
from .yamlread import Path

Finding = tuple[Path, str, str]
SCHEMES = ("standard", "stripe", "github")
LOGIN = ("passkey", "magic_link")


def unsupported(spec: Spec) -> Iterator[Finding]:
    """Yield each declaration that nothing would enforce."""
    yield from _login(spec)
    yield from _webhooks(spec)
    yield from _payments(spec)
    yield from _deployment(spec)
    for entity, declared in spec.entities.items():
        for name, field in declared.fields.items():
            if field.pii in ("health", "government_id"):
                at: Path = ("entities", entity, "fields", name, "pii")
                yield (
                    at,
                    f"{field.pii}, which needs field encryption (not enforced in this version)",
                    "none, name, contact, address",
                )


def _login(spec: Spec) -> Iterator[Finding]:
    for index, method in enumerate(spec.login.methods):
        if method == "password":
            yield ("login", "methods", index), "password, which Redoubt never offers", ", ".join(LOGIN)
        elif method not in LOGIN:
            yield ("login", "methods", index), f"{method} (not enforced in this version)", ", ".join(LOGIN)
    if "passkey" not in spec.login.methods:
        yield (
            ("login", "methods"),
            "no passkey",
            "passkey, alone or with magic_link: step-up and approvals need it",
        )


def _webhooks(spec: Spec) -> Iterator[Finding]:
    for name, hook in spec.webhooks.incoming.items():
        if hook.scheme not in SCHEMES:
            at: Path = ("webhooks", "incoming", name, "scheme")
            yield at, f"{hook.scheme} (not enforced in this version)", ", ".join(SCHEMES)
    for name, out in spec.webhooks.outgoing.items():
        if out.pins:
            yield (
                ("webhooks", "outgoing", name, "pins"),
                "pins (TLS pinning is not enforced in this version)",
                "no such key; certificates are checked against the system's authorities",
            )


def _payments(spec: Spec) -> Iterator[Finding]:
    payments = spec.payments
    if payments is None:
        return
    if payments.provider != "stripe":
        yield ("payments", "provider"), f"{payments.provider} (not supported in this version)", "stripe"
    if payments.refunds.approval == "none":
        yield ("payments", "refunds", "approval"), "none: a refund without a second person", "two_person"


def _deployment(spec: Spec) -> Iterator[Finding]:
    deployment = spec.deployment
    if deployment.kind != "container":
        yield ("deployment", "kind"), f"{deployment.kind} (not emitted in this version)", "container"
    if deployment.terraform is not None:
        yield ("deployment", "terraform"), "terraform (not emitted in this version)", "no such key"
    if deployment.replicas != 1:
        yield (
            ("deployment", "replicas"),
            f"{deployment.replicas} (more than one is not supported in this version)",
            "1",
        )
