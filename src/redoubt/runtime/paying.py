"""Paying for a row of an entity: the amount is the server's, the card is entered on the provider's page.

While a payment lives, its row is held: nobody changes, moves or removes what is being paid for. The row reaches its
paid state in the transaction that learns of the payment, and by nothing else.
"""

from __future__ import annotations

from attrs import define
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from redoubt.audit import Actor, Event, record
from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.core.problem import Problem
from redoubt.payments import store as payment_store
from redoubt.payments.errors import MoneyInvalid, PaymentConflict
from redoubt.payments.models import Payment

from . import entity_store as store
from .crud import Crud
from .entities import Row
from .fields import Money
from .plan import PaymentChanged
from .request import GuardedRequest

_WORKER = Actor(kind="service", id="payments")


@define(eq=False)
class Paying:
    """What an app's module of the paid-for entity calls."""

    crud: Crud
    amount: str
    payable_in: str
    paid: str

    def __attrs_post_init__(self) -> None:
        self.crud.hold = self.held

    async def start(self, request: Request) -> Response:
        """Answer the payment and the address of the provider's page."""
        payment = await self._start(request)
        return JSONResponse(
            {"payment_id": payment.id, "state": payment.state, "redirect_url": payment.redirect_url}
        )

    async def go(self, request: Request) -> Response:
        """Send the browser to the provider's page, or back to the row while the provider has not answered."""
        payment = await self._start(request)
        row = self.crud.row(request)
        return RedirectResponse(
            payment.redirect_url or f"/{self.crud.kind.plural}/{row['id']}", status_code=303
        )

    async def _start(self, request: Request) -> Payment:
        g, row, kind = GuardedRequest.of(request), self.crud.row(request), self.crud.kind
        state, money = kind.state_field or "", kind.fields[self.amount]
        if row[state] != self.payable_in:
            raise Problem(409, "state", "Its state does not allow this.", extra={"state": row[state]})
        if not isinstance(money, Money) or not row[self.amount]:
            raise Problem(409, "nothing-to-pay", "There is nothing to pay for.")
        payments = g.guard.services.payments
        if payments is None:
            raise Problem(503, "no-payments", "Payments are not set up.")
        back = f"{g.core.settings.app.base_url}/{kind.plural}/{row['id']}"

        def write(tx: Tx) -> Payment:
            if payment_store.live_payment(tx, g.tenant, row["id"]) is None:
                # Moves the row's version: a change that was judged before this loses.
                store.update(tx, g.core, self.crud.entities.table(kind.name), row, {})
            return payments.start(
                tx,
                order_id=row["id"],
                customer_id=row["owner_id"],
                amount=row[self.amount],
                currency=money.currency,
                title=f"{kind.name} {row['id'][-6:]}",
                success_url=back,
                cancel_url=back,
                tenant=g.tenant,
                request_id=g.request_id,
            )

        try:
            return await payments.send(await g.write(write))
        except (PaymentConflict, MoneyInvalid) as error:
            raise Problem(409, "payment", "This cannot be paid for now.") from error

    def held(self, tx: Tx, row: Row) -> None:
        """Raise Problem 409 while a payment of an unpaid row lives."""
        unpaid = row[self.crud.kind.state_field or ""] == self.payable_in
        if unpaid and payment_store.live_payment(tx, row["tenant"], row["id"]) is not None:
            raise Problem(409, "payment-running", "It is being paid for; wait for the payment to end.")

    def listener(self, core: Core) -> PaymentChanged:
        """Return what moves the row to its paid state when its payment has succeeded."""

        def changed(tx: Tx, tenant: str, row_id: str, state: str) -> None:
            if state != "succeeded":
                return
            kind = self.crud.kind
            row = store.find(tx, self.crud.entities.table(kind.name), row_id, tenant)
            target = (kind.name, row_id)
            if row is None or row[kind.state_field or ""] != self.payable_in:
                if row is None or row[kind.state_field or ""] != self.paid:
                    data = {"reason": "paid, and not where it could be paid for"}
                    record(tx, core, Event(f"{kind.word}.pay", "failure", _WORKER, tenant, target, data))
                return
            self.crud.set_state(
                tx, core, row, self.paid, Event(f"{kind.word}.pay", "success", _WORKER, tenant, target)
            )

        return changed
