"""Payments over HTTP: who may read one sees how it stands; who may refund asks for it, and another person approves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from redoubt.authz import Entity, collection_entity, permit
from redoubt.authz.models import app_entity
from redoubt.core.db import Tx
from redoubt.core.problem import Problem
from redoubt.guard import Approvals
from redoubt.guard.errors import ApprovalError, Killed
from redoubt.payments import Payment
from redoubt.payments import store as payment_store
from redoubt.payments.errors import PaymentError
from redoubt.payments.money import EXPONENTS, decimal_text

from . import payment_list
from .charging import Charging
from .crud import json_body
from .fields import FieldError, parse_id
from .pages import read_form
from .payment_list import entity
from .request import GuardedRequest

_MOST = 10**12
_ASKED = "redoubt.refund"


def routes(charging: Charging, approvals: Approvals) -> Sequence[Route]:
    """Return the JSON API at /api/payments and the pages at /payments."""
    refunds = charging.payments.refunds

    async def load(request: Request) -> Entity | None:
        g = GuardedRequest.of(request)
        try:
            wanted = parse_id(request.path_params["id"])
        except FieldError:
            return None
        payment = await g.read(lambda tx: payment_store.payment(tx, g.tenant, wanted))
        if payment is None:
            return None
        g.resource = payment
        return entity(payment)

    async def amount(request: Request) -> dict[str, Any]:
        """Read what is asked for; the decision is about its amount.

        Who may not know of the payment learns nothing from a malformed body either: the decision comes first.
        """
        g = GuardedRequest.of(request)
        page = not g.path.startswith("/api/")
        try:
            asked = await _form(request, g.resource) if page else _json(json_body(request))
        except Problem as problem:
            if g.allows("Payment.read", entity(g.resource)):
                raise
            request.scope[_ASKED] = problem
            return {}
        request.scope[_ASKED] = asked
        return {"amount": asked["amount"]}

    @permit("Payment.read", resource=load)
    async def read(request: Request) -> Response:
        payment: Payment = GuardedRequest.of(request).resource
        return JSONResponse(payment.public())

    async def every(request: Request) -> Entity:
        return collection_entity("Payment", GuardedRequest.of(request).tenant)

    @permit("Payment.list", resource=every)
    async def index(request: Request) -> Response:
        found, after = await payment_list.page(request, charging.plan.post_filter)
        return JSONResponse({"items": [one.public() for one in found], "next": after})

    @permit("Payment.refund", resource=load, context=amount)
    async def refund(request: Request) -> Response:
        approval_id = await ask(request)
        return JSONResponse({"approval_id": approval_id, "url": f"/console/approvals/{approval_id}"}, 202)

    @permit("Payment.list", resource=every)
    async def index_page(request: Request) -> Response:
        g = GuardedRequest.of(request)
        found, after = await payment_list.page(request, charging.plan.post_filter)
        order = request.query_params.get("order")
        shown = [(one, money(one.amount, one)) for one in found]
        return g.render("redoubt/payments.html", items=shown, after=after, order=order)

    @permit("Payment.read", resource=load)
    async def page(request: Request) -> Response:
        g = GuardedRequest.of(request)
        payment: Payment = g.resource
        asked = await g.read(lambda tx: payment_store.refunds_of(tx, g.tenant, payment.id))
        taken = sum(one.amount for one in asked if one.state not in ("requested", "refused"))
        left = payment.amount - taken if payment.state == "succeeded" else 0
        least = {"amount": 1}
        may_ask = left > 0 and _would(g, "Payment.refund", entity(payment), least)
        context: dict[str, Any] = {
            "payment": payment,
            "money": lambda value: money(value, payment),
            "refunds": asked,
            "left": left,
            "left_text": decimal_text(left, payment.currency),
            "may_ask": may_ask,
            "step_up": may_ask and not g.allows("Payment.refund", entity(payment), least),
            "sees_approvals": g.allows("Approval.read", app_entity(g.tenant)),
            "staff": may_ask or payment.customer_id != g.user_id,
        }
        return g.render("redoubt/payment.html", **context)

    @permit("Payment.refund", resource=load, context=amount)
    async def refund_page(request: Request) -> Response:
        await ask(request)
        return RedirectResponse(f"/payments/{GuardedRequest.of(request).resource.id}", 303)

    async def ask(request: Request) -> str:
        """Ask for the refund that was decided about; raises Problem 422 or 503."""
        g, asked = GuardedRequest.of(request), request.scope[_ASKED]
        if isinstance(asked, Problem):
            raise asked

        def write(tx: Tx) -> str:
            return refunds.request(
                tx, approvals, g.resource.id, **asked, requester=g.user_id or "", tenant=g.tenant,
                request_id=g.request_id,
            ).id  # fmt: skip

        try:
            return await g.write(write)
        except Killed as error:
            raise Problem(
                503, "switched-off", "Refunds are switched off for now.", headers={"Retry-After": "60"}
            ) from error
        except (PaymentError, ApprovalError) as error:
            raise Problem(
                422, error.code, "This refund cannot be asked for.", detail=error.message
            ) from error

    return [
        Route("/api/payments", index, methods=["GET"]),
        Route("/api/payments/{id}", read, methods=["GET"]),
        Route("/api/payments/{id}/refunds", refund, methods=["POST"]),
        Route("/payments", index_page, methods=["GET"]),
        Route("/payments/{id}", page, methods=["GET"]),
        Route("/payments/{id}/refunds", refund_page, methods=["POST"]),
    ]


def money(amount: int, payment: Payment) -> str:
    """Return an amount of a payment's currency as people read it."""
    return f"{decimal_text(amount, payment.currency)} {payment.currency}"


def minor_units(text: str, currency: str) -> int:
    """Return what was typed, such as `12.50`, in minor units of `currency`; raises ValueError for anything else."""
    whole, point, part = text.strip().replace(",", ".").partition(".")
    exponent = EXPONENTS[currency]
    digits = whole + part.ljust(exponent, "0")
    if not whole or (point and not part) or len(part) > exponent or len(digits) > 13:
        raise ValueError("not an amount")
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError("not an amount")
    return int(digits)


def _would(g: GuardedRequest, action: str, resource: Entity, context: dict[str, Any]) -> bool:
    """Say whether the caller may, if need be after a fresh passkey: for showing and hiding only."""
    return g.guard.services.allows(evolve(g.authz, step_up=True), action, resource, context)


def _json(body: Any) -> dict[str, Any]:
    """Return the checked body of a refund request; raises Problem 422."""
    problem = Problem(
        422, "invalid", "A refund has an amount in minor units, a currency and a reason, nothing else."
    )
    if not isinstance(body, dict) or set(body) != {"amount", "currency", "reason"}:
        raise problem
    amount = body["amount"]
    if isinstance(amount, bool) or not isinstance(amount, int) or not 0 < amount < _MOST:
        raise problem
    if not isinstance(body["currency"], str) or not isinstance(body["reason"], str):
        raise problem
    return body


async def _form(request: Request, payment: Payment) -> dict[str, Any]:
    """Return a refund request from its form, in the payment's own currency; raises Problem 422."""
    form = await read_form(request)
    try:
        amount = minor_units(form.get("amount", ""), payment.currency)
    except ValueError:
        amount = 0
    if amount == 0 or set(form) - {"amount", "reason", "csrf_token"}:
        detail = f"Type an amount like {decimal_text(1250, payment.currency)}, and why."
        raise Problem(422, "invalid", "This refund cannot be asked for.", detail=detail)
    return {"amount": amount, "currency": payment.currency, "reason": form.get("reason", "")}
