"""Abuse of payments: failures that count as paid, submits that count twice, refunds beyond what was charged or allowed."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

from ..errors import Unshown
from ..lab import Lab
from ..probe import SEARCHING, probe
from .payments import approve, paid_on_page, quiet_start
from .till import Sale, Till
from .trail import Trail

CAP_ALERT = r"(?i)velocity|(?<!s)cap(?!tur|tcha|tion|abil|acit|it)|anomal|alert"
"""What an event may be called that tells of a cap; a payment that was captured, or a captcha, is none."""
_LATE_SECONDS = 4.0
"""How long after the first refund one too many may come."""


@probe("VAL-6", phase=2, beside="steady", first=True)
def payment_failures(lab: Lab) -> None:
    """Decline cards and break the provider: nothing is paid that was not charged."""
    till = Till(lab)
    with lab.attack(
        "pay with a declined card", "the app calls paid what the provider did not charge"
    ) as attack:
        till.buy(attack)
        sales = []
        for number in ("4000 0000 0000 0002", "4000 0000 0000 9995", "4000 0000 0000 0119"):
            sale = till.order()
            attack.positive("a payment can be begun", till.start(sale).ok)
            url = till.page(sale)
            lab.tool("payer").send("POST", url, form={**till.money.page_form, "card_number": number})
            sales.append(sale)
        time.sleep(1.5)  # the provider tells of a decline when it likes; what it tells must not count as paid
        for sale in sales:
            attack.check(till.charges(sale) == 0, "the provider charged a declined card")
            attack.check(till.state(sale) != till.money.paid, "a declined card counts as paid")
            state = str(sale.thing.reread().member("status") or "")
            attack.check(state != "paid", "what was not paid for is called paid")
    with lab.attack(
        "break the provider while a payment is begun", "a stack trace, or a payment that is lost"
    ) as attack:
        lab.provider("POST", "/faults", json={"kind": "refuse", "operation": "*", "times": 2})
        sale = till.order()
        answer = till.start(sale)
        lab.provider("POST", "/faults/clear", json={})
        attack.check("Traceback" not in answer.text, "the answer holds a stack trace", answer)
        lab.wait(lambda: quiet_start(till, sale), 15, 0.5)
        # Some way to the provider's page must come back with the provider: else nobody can ever pay.
        lost = not paid_on_page(till, sale) or not till.is_paid(sale)
        attack.check(not lost and till.charges(sale) == 1, "the payment was lost with the outage")


@probe("VAL-7")
def double_submits_and_refund_abuse(lab: Lab) -> None:
    """Submit twice and at once; refund more than was charged, twice, and another's."""
    till = Till(lab)
    how = till.approvals()
    approver = till.person(how.role, "frank")
    asker = till.person(till.money.refund_by or how.role, "asker")
    with lab.attack("submit one payment many times", "more than one charge") as attack:
        sale = till.order()
        attack.positive("a payment can be begun", till.start(sale).ok)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: till.start(sale), range(8)))
        ids = {one.member(till.money.payment_id) for one in answers if one.ok}
        attack.check(len(ids) <= 1, f"{len(ids)} payments of one {till.money.resource} were begun")
        till.pay_page(sale)
        with lab.quietly():
            till.pay_page(sale)
        attack.positive("it is paid", till.is_paid(sale))
        attack.check(till.charges(sale) == 1, f"{till.charges(sale)} charges of one payment")
        late = till.start(sale)
        attack.check(not late.member(till.money.redirect), "what is paid can be paid again", late)
    with lab.attack("refund more than was charged", "the provider refunded more than it charged") as attack:
        asked = [
            till.ask_refund(sale, asker, amount) for amount in (sale.amount + 1, sale.amount, sale.amount, 1)
        ]
        for one in asked:
            if one.ok:
                approve(till, approver, str(one.member(till.money.approval_id)))
        for _ in range(4):
            if lab.wait(lambda: till.refunds(sale), 6, 0.2):
                break
            # A new person's key may not be known everywhere yet; what was asked for before it was stays refused.
            once_more = till.ask_refund(sale, asker, sale.amount)
            if once_more.ok:
                approve(till, approver, str(once_more.member(till.money.approval_id)))
        lab.wait(lambda: len(till.refunds(sale)) > 1, 1.5, 0.3)
        total = sum(int(one.get("amount", 0)) for one in till.refunds(sale))
        attack.positive("the whole amount can be refunded", total >= sale.amount, f"{total} of {sale.amount}")
        attack.check(total <= sale.amount, f"{total} was refunded of {sale.amount}")
        for amount in (-5, 0, "12", 1.5, 10**15):
            odd = till.ask_refund(sale, asker, amount)  # type: ignore[arg-type]
            attack.check(not odd.ok, f"a refund of {amount!r} was taken", odd)
    with lab.attack("pay for and read another's", "the stranger's call had its effect") as attack:
        other = till.person(till.money.by or lab.a_role(), "stranger")
        theirs = till.order()
        attack.positive("the owner begins her payment", till.start(theirs).ok)
        stolen = Sale(theirs.thing, other, theirs.amount)
        answer = till.start(stolen)
        attack.check(not answer.ok, "a stranger began another's payment", answer)
        if till.money.payment:
            path = re.sub(r"\{[^}]+\}", theirs.payment, till.money.payment.removeprefix("GET "))
            seen = other.browser.get(path)
            attack.check(not seen.ok, "a stranger reads another's payment", seen)


@probe("PAY-6", phase=SEARCHING)
def refunds_race_a_cap(lab: Lab) -> None:
    """Approve more refunds at once than a day may have; count what the provider refunded."""
    till = Till(lab)
    cap = till.money.refund_cap
    if cap is None:
        raise Unshown("no cap on refunds is declared", add="money: {refund_cap: 200000}")
    how = till.approvals()
    trail: Trail | None = None
    told: list[str] | None = None
    with lab.quietly():  # where the log cannot be read, only whether somebody was told stays open
        trail = Trail(lab)
    with lab.attack(
        "approve refunds beyond the cap at once", "the provider refunded more than the cap"
    ) as attack:
        approvers = [till.person(how.role, name) for name in ("fiona", "frank")]
        asker = till.person(till.money.refund_by or how.role, "asker")
        share = cap // 5
        sales = [till.order(price=share + number) for number in range(7)]
        for sale in sales:
            attack.positive("a payment can be begun", till.start(sale).ok)
            till.pay_page(sale)
        attack.positive("each is paid", all(till.is_paid(sale) for sale in sales))
        asked = [till.ask_refund(sale, asker, share) for sale in sales]
        ids = [str(one.member(till.money.approval_id)) for one in asked if one.ok]
        attack.positive("more than the cap is asked for", len(ids) * share > cap, f"{len(ids)} times {share}")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda pair: approve(till, approvers[pair[0] % 2], pair[1]), enumerate(ids)))

        def refunded() -> int:
            return sum(int(one.get("amount", 0)) for one in till.refunds(*sales))

        lab.wait(lambda: refunded() >= share, 25, 0.5)
        until = time.monotonic() + _LATE_SECONDS
        with lab.quietly():  # looked for while what is too much would come
            told = alerts(lab, trail, CAP_ALERT) if trail is not None else None
        lab.wait(lambda: refunded() > cap, max(0.5, until - time.monotonic()), 0.5)
        total = refunded()
        attack.positive("refunds within the cap are made", total >= share, str(total))
        attack.check(total <= cap, f"{total} was refunded, the cap is {cap}")
    with lab.attack("look for an alert about it", "the log holds no alert") as attack:
        if trail is None:
            raise Unshown("the audit log could not be read when this began")
        seen = told if told is not None else alerts(lab, trail, CAP_ALERT)
        attack.check(seen, "nobody was told that a cap was met")


def alerts(lab: Lab, trail: Trail, pattern: str, seconds: float = 3.0) -> list[str]:
    """Return the actions of audit entries since `trail` began that match, waiting for the first."""

    def found() -> list[str]:
        names = [str(one.get("action")) for one in trail.since()]
        return [name for name in names if re.search(pattern, name)]

    listed: list[str] = lab.wait(found, seconds, 1.0)
    return listed
