"""What payment probes share: buying something, paying on the provider's page, and counting what the provider did."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urljoin

from attrs import define, field

from ..browser import Answer
from ..errors import NoSubject, Unshown
from ..lab import Lab
from ..people import Person, deep
from ..probe import Attack
from ..target import Money, call
from ..things import Thing, Workshop

_FORM = re.compile(r"<form[^>]*method=[\"']?post[^>]*>", re.I)
_ACTION = re.compile(r"action=[\"']([^\"']+)[\"']", re.I)


def money_of(lab: Lab) -> Money:
    """Return how the app charges; raises NoSubject where its description shows that it does not."""
    if lab.target.money is not None:
        return lab.target.money
    paths = [one.path for one in lab.world.api.operations] if lab.world.api is not None else []
    if paths and not any(
        re.search(r"(?i)/(pay|payments?|charges?|refunds?|checkout|orders?)\b", path) for path in paths
    ):
        raise NoSubject("the app charges no money")
    raise Unshown(
        "how the app charges is not said", add="money: {resource: Order, pay: POST /orders/{id}/pay}"
    )


@define
class Sale:
    """One thing being bought: its amount stands nowhere else, so that it can be counted at the provider."""

    thing: Thing
    customer: Person
    amount: int
    payment: str = ""
    redirect: str = ""
    answer: Answer | None = None
    charged: set[str] = field(factory=set)


class Till:
    """Buys, pays and refunds as people would."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.money = lab, money_of(lab)
        self._people: dict[str, Person] = {}
        self._staff: list[Person] = []

    def person(self, role: str, name: str | None = None) -> Person:
        """Return one person with this role, the same each time for the same name."""
        key = name or role
        if key not in self._people:
            self._people[key] = self.lab.person(role, key)
        return self._people[key]

    def order(self, customer: Person | None = None, *, price: int | None = None) -> Sale:
        """Return something to pay for, at an amount that stands nowhere else."""
        customer = customer or self.person(self.money.by or self.lab.a_role(), "buyer")
        price = price or self._fresh_price()
        shop = Workshop(self.lab, [customer, *self._staff], price=price)
        resource = shop.resource(self.money.resource)
        thing = shop.make(resource, customer) if resource is not None else None
        self._staff = [one for one in shop.cast if one is not customer]
        if thing is None:
            raise Unshown(f"a {customer.role} could not make a {self.money.resource}")
        amount = thing.body.get(self.money.amount)
        return Sale(thing, customer, amount if isinstance(amount, int) else price)

    def _fresh_price(self) -> int:
        return self.lab.world.unused("price", lambda: 2000 + self.lab.random.randrange(30_000))

    def start(self, sale: Sale) -> Answer:
        """Ask the app to begin the payment."""
        method, path = call(self.money.pay)
        answer = sale.customer.browser.send(method, re.sub(r"\{[^}]+\}", sale.thing.id, path), json={})
        sale.answer = answer
        if answer.ok:
            sale.payment = str(answer.member(self.money.payment_id) or sale.payment)
            sale.redirect = str(answer.member(self.money.redirect) or sale.redirect)
        return answer

    def page(self, sale: Sale, seconds: float = 60.0) -> str:
        """Return the address of the provider's page, waiting for it while the provider was out of reach."""

        def there() -> str:
            if not sale.redirect:
                body = self.payment(sale)
                sale.redirect = str(deep(body, self.money.redirect) or "")
            return sale.redirect

        found: str = self.lab.wait(there, seconds, 0.3)
        if not found:
            raise Unshown("the app never named the provider's page")
        return found

    def pay_page(self, sale: Sale) -> Answer:
        """Fill in the provider's page as the customer."""
        payer = self.lab.tool("payer")
        url = self.page(sale)
        shown = payer.get(url, headers={"Accept": "text/html"})
        form = _FORM.search(shown.text)
        if form is None:
            raise Unshown(f"the provider's page has no form ({shown.status})")
        action = _ACTION.search(form[0])
        return payer.send("POST", urljoin(url, action[1]) if action else url, form=self.money.page_form)

    def payment(self, sale: Sale) -> Any:
        """Return what the app says of the payment."""
        if self.money.payment is None or not sale.payment:
            raise Unshown("a payment cannot be read", add="money: {payment: GET /payments/{id}}")
        path = re.sub(r"\{[^}]+\}", sale.payment, call(self.money.payment)[1])
        return sale.customer.browser.get(path).json()

    def state(self, sale: Sale) -> str:
        """Return the payment's state in the app."""
        return str(deep(self.payment(sale), self.money.state) or "")

    def is_paid(self, sale: Sale, seconds: float = 25.0) -> bool:
        """Wait until the app calls the payment paid."""
        return bool(self.lab.wait(lambda: self.state(sale) == self.money.paid, seconds, 0.25))

    def buy(self, attack: Attack) -> Sale:
        """Buy and pay for something; each step is a positive control."""
        sale = self.order()
        answer = self.start(sale)
        attack.positive("a payment can be begun", answer.ok, str(answer.status))
        self.pay_page(sale)
        attack.positive("paying on the provider's page makes it paid", self.is_paid(sale), self.state(sale))
        attack.positive("the provider charged once", self.charges(sale) == 1, str(self.charges(sale)))
        return sale

    def charges(self, sale: Sale) -> int:
        """Return how many successful charges of this amount the provider made."""
        return len(self._objects("charge", amount=sale.amount, status="succeeded"))

    def payable(self, sale: Sale) -> int:
        """Return on how many pages of the provider this could be paid: each but one is a second charge in waiting."""
        made = self._objects("checkout.session")
        return len([one for one in made if one.get("amount_total") == sale.amount])

    def refunds(self, *sales: Sale) -> list[dict[str, Any]]:
        """Return the refunds that the provider made of the charges of these sales."""
        ids = set()
        for sale in sales:
            if not sale.charged:
                charges = self._objects("charge", amount=sale.amount, status="succeeded")
                sale.charged = {str(one.get(key)) for one in charges for key in ("id", "payment_intent")}
            ids |= sale.charged
        found = self._objects("refund")
        return [one for one in found if {str(one.get("charge")), str(one.get("payment_intent"))} & ids]

    def _objects(self, kind: str, **wanted: Any) -> list[dict[str, Any]]:
        amount = wanted.get("amount")
        query = f"/objects?type={kind}" + (f"&amount={amount}" if amount is not None else "")
        found = self.lab.provider("GET", query).get("objects", [])
        return [one for one in found if all(one.get(key) == value for key, value in wanted.items())]

    def ask_refund(self, sale: Sale, by: Person, amount: int, reason: str = "It did not fit.") -> Answer:
        """Ask for a refund as staff would."""
        if self.money.refund is None:
            raise Unshown("refunds are not said", add="money: {refund: POST /payments/{id}/refunds}")
        method, path = call(self.money.refund)
        body = {"amount": amount, "currency": self.currency(sale), "reason": reason}
        answer = by.browser.send(method, re.sub(r"\{[^}]+\}", sale.payment, path), json=body)
        if answer.status == 401 and "insufficient_user_authentication" in answer.headers.get(
            "www-authenticate", ""
        ):
            self.lab.world.people.step_up(by)
            answer = by.browser.send(method, re.sub(r"\{[^}]+\}", sale.payment, path), json=body)
        return answer

    def currency(self, sale: Sale) -> str:
        """Return the payment's currency."""
        return str(deep(self.payment(sale), "currency") or "EUR")

    def challenge(self, by: Person, approval: str) -> Answer:
        """Ask for the challenge of an approval."""
        how = self.approvals()
        method, path = call(how.options)
        return by.browser.send(method, re.sub(r"\{[^}]+\}", approval, path), json={})

    def approve(self, by: Person, approval: str, credential: dict[str, Any]) -> Answer:
        """Send an approval with a passkey's assertion."""
        how = self.approvals()
        method, path = call(how.approve)
        return by.browser.send(method, re.sub(r"\{[^}]+\}", approval, path), json={"credential": credential})

    def approvals(self) -> Any:
        """Return how a second person approves."""
        if self.money.approvals is None:
            raise Unshown(
                "who approves refunds is not said",
                add="money: {approvals: {options: …, approve: …, as: finance}}",
            )
        return self.money.approvals

    def dump(self, answer: Answer) -> str:
        """Return an answer for a detail."""
        return f"{answer.status} {json.dumps(answer.json())[:120]}"
