"""Payments: cards that must not come near, refunds that nobody may grant alone, charges that happen once."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from ..browser import Answer
from ..errors import Unshown
from ..lab import Lab
from ..memory import held
from ..people import Person
from ..probe import READING, SEARCHING, Attack, probe
from .corpus import search_everything, search_outputs
from .durability import restart
from .stores import attack_ledger
from .till import Sale, Till, money_of

CARDS = {
    "Visa number": "4000056655665556",
    "Mastercard number": "5555 5555 5555 4444",
    "Amex number": "3782-822463-10005",
}
_CARD_FIELD = re.compile(
    r"(?i)\bcc-(number|csc|exp)|card[_-]?(number|no)|\bpan\b|\bcvv2?\b|\bcvc2?\b|kreditkarte"
)


class _Inputs(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.cards: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("input", "select", "textarea", "iframe"):
            given = " ".join(
                f"{value}"
                for key, value in attrs
                if key in ("name", "id", "autocomplete", "src", "placeholder")
            )
            if _CARD_FIELD.search(given):
                self.cards.append(given.strip())


def card_fields(html: str) -> list[str]:
    """Return the inputs of a page that ask for a card."""
    inputs = _Inputs()
    inputs.feed(html)
    return inputs.cards


@probe("PAY-1")
def no_page_of_ours_asks_for_a_card(lab: Lab) -> None:
    """Read every page's DOM for card fields, and see that the card is entered on another origin."""
    till = Till(lab)
    with lab.attack(
        "read every page for card fields", "a page of the app's origin asks for a card"
    ) as attack:
        sale = till.order()
        attack.positive("a payment can be begun", till.start(sale).ok)
        page = till.page(sale)
        shown = lab.tool("payer").get(page, headers={"Accept": "text/html"})
        attack.positive("the provider's page asks for a card, and is seen to", card_fields(shown.text))
        own, theirs = urlsplit(lab.world.base_url).netloc, urlsplit(page).netloc
        attack.check(own != theirs, f"the card is entered on {theirs}, the app's own origin")
        read = 0
        people = [lab.anonymous(), *(till.person(role).browser for role in lab.world.people.roles())]
        links = {"/", *lab.target.pages, sale.thing.resource.path.removeprefix("/api")}
        links |= {f"{sale.thing.path.removeprefix('/api')}{end}" for end in ("", "/pay", "/edit")}
        for browser in [*people, sale.customer.browser]:
            for path in sorted(links):
                answer = browser.get(path, headers={"Accept": "text/html"})
                if answer.ok and "html" in answer.headers.get("content-type", ""):
                    read += 1
                    for field in card_fields(answer.text):
                        attack.broke(f"{path} asks for a card: {field}", answer, field)
        attack.positive("pages were read", read, str(read))


@probe("PAY-1", phase=SEARCHING, beside="traces")
def card_numbers_are_refused_and_not_kept(lab: Lab) -> None:
    """Post card numbers in every field and header, then search stores and outputs."""
    money_of(lab)
    search_everything(lab, CARDS, "card numbers")


_SPELLINGS = {
    "spaced card": "4000 0025 0000 3155",
    "dashed card": "5200-8282-8282-8210",
    "dotted card": "6011.1111.1111.1117",
    "escaped card": "3566%30%30%32020360505",
    "glued card": "card2223003122003222end",
}


@probe("PAY-2", phase=SEARCHING, beside="traces")
def card_numbers_stay_out_of_logs(lab: Lab) -> None:
    """Send card numbers in many spellings everywhere, then search every log."""
    money_of(lab)
    search_outputs(lab, _SPELLINGS, "card numbers in many spellings")


@probe("PAY-5")
def refunds_take_two_people(lab: Lab) -> None:
    """Approve one's own refund, approve twice, approve another amount, approve with another's key."""
    till = Till(lab)
    how = till.approvals()
    with lab.attack(
        "get a refund past the second person", "the provider made a refund that no second person approved"
    ) as attack:
        # Approvers first: an app may take a moment until every part of it knows a new person's key.
        first, second = till.person(how.role, "fiona"), till.person(how.role, "frank")
        asker = till.person(till.money.refund_by or how.role, "asker")
        sale = till.buy(attack)
        # What must work comes first: an attack that has its effect can then spoil no positive control.
        refunded: list[dict[str, object]] = []
        for _ in range(
            4
        ):  # a new person's key may not be known everywhere yet; a later request finds it known
            asked = till.ask_refund(sale, asker, 300)
            attack.positive("a refund can be asked for", asked.ok, str(asked.status))
            good = str(asked.member(till.money.approval_id) or "")
            attack.check(not till.refunds(sale), "the refund was made before anybody approved it", asked)
            done = approve(till, second, good)
            attack.positive("a second person's approval is taken", done.ok, str(done.status))
            refunded = lab.wait(lambda: till.refunds(sale), 6, 0.2)
            if refunded:
                break
        attack.positive("and the provider refunds once", len(refunded) == 1, str(len(refunded)))
        _again(till, attack, good, first, second)
        small = str(till.ask_refund(sale, asker, 200).member(till.money.approval_id) or "")
        _self_approval(till, attack, sale, first)
        _othersapprove(till, attack, sale, small, asker)
        _wrong_proofs(till, attack, sale, small, asker, first, second)
        lab.wait(lambda: len(till.refunds(sale)) > 1, 2.5, 0.3)
        amounts = [int(one.get("amount", 0)) for one in till.refunds(sale)]
        attack.check(
            amounts.count(300) == 1, f"the provider made {amounts.count(300)} refunds of one approval"
        )
        others = [amount for amount in amounts if amount != 300]
        attack.check(
            not others, f"the provider made {len(others)} refunds that no second person approved: {others}"
        )


def approve(till: Till, by: Person, approval: str) -> Answer:
    """Approve as a person does: ask for the challenge, answer with their passkey."""
    options = till.challenge(by, approval)
    if by.key is None or not options.ok:
        return options
    return till.approve(by, approval, by.key.get(options.json()))


def _self_approval(till: Till, attack: Attack, sale: Sale, person: Person) -> None:
    own = till.ask_refund(sale, person, 410)
    if not own.ok:
        attack.details.append(f"an approver may not ask at all ({own.status})")
        return
    approval = str(own.member(till.money.approval_id) or "")
    answer = approve(till, person, approval)
    attack.check(not answer.ok, "an approver approved their own refund")


def _othersapprove(till: Till, attack: Attack, sale: Sale, approval: str, asker: Person) -> None:
    for person in (asker, sale.customer):
        answer = approve(till, person, approval)
        attack.check(not answer.ok, f"a {person.role} approved the refund")


def _wrong_proofs(
    till: Till, attack: Attack, sale: Sale, small: str, asker: Person, first: Person, second: Person
) -> None:
    if first.key is None or second.key is None:
        raise Unshown("the approvers have no passkey")
    bigger = till.ask_refund(sale, asker, 900)
    large = str(bigger.member(till.money.approval_id) or "")
    options = till.challenge(second, small)
    attack.positive("an approver gets a challenge", options.ok, str(options.status))
    proofs = {
        "a proof over another amount's payload": (large, second.key.get(options.json())),
        "another person's key": (small, first.key.get(options.json())),
        "a forged signature": (small, second.key.get(options.json(), key=first.key.key)),
        "no user verification": (small, second.key.get(options.json(), flags=0x01)),
        "a look-alike origin": (small, second.key.get(options.json(), origin="https://evil.example")),
        "no proof at all": (small, {}),
    }
    for words, (approval, credential) in proofs.items():
        answer = till.approve(second, approval, credential)
        attack.check(not answer.ok, f"{words} was taken", answer)


def _again(till: Till, attack: Attack, approval: str, first: Person, second: Person) -> None:
    for person in (second, first):
        answer = approve(till, person, approval)
        attack.check(not answer.ok, "an approval was taken twice")


def paid_on_page(till: Till, sale: Sale) -> bool:
    """Pay on the provider's page; False where the app never names it."""
    try:
        till.pay_page(sale)
    except Unshown:
        return False
    return True


@probe(
    "PAY-9", phase=READING
)  # before everything else: what the crash left open takes a while to be resolved
def a_crash_while_a_payment_is_begun(lab: Lab) -> None:
    """Kill the charge service in the middle of a call; what became of it is judged later, when its lease has run out."""
    lab.world.notes["crashed"] = _crash(lab, Till(lab))


def begun_and_crashed(lab: Lab, till: Till) -> Sale:
    """Return the sale that a crash caught, now watched by this probe."""
    known = lab.world.notes.pop("crashed", None)
    sale = known if isinstance(known, Sale) else _crash(lab, till)
    sale.customer.browser.record = lab.trial.record
    return sale


@probe("PAY-9", phase=SEARCHING, beside="traces", first=True)
def outages_charge_once(lab: Lab) -> None:
    """Fault the provider at every step of a payment; count the charges there."""
    outages(lab)


def outages(lab: Lab) -> None:
    """Fault the provider at every step of a payment: exactly one charge, and the app learns of it."""
    till = Till(lab)
    crashed = begun_and_crashed(lab, till)
    with lab.attack(
        "fault the provider while a payment is begun", "not exactly one charge, or the app never learns of it"
    ) as attack:
        till.buy(attack)
        sales: list[tuple[str, Sale]] = []
        slow: list[Thread] = []
        for kind in (
            "refuse",
            "error_before",
            "error_after",
            "drop_after",
            "timeout_after",
            "rate_limit",
            "slow",
        ):
            lab.provider("POST", "/faults/clear", json={})
            lab.provider(
                "POST",
                "/faults",
                json={
                    "kind": kind,
                    "operation": "checkout.sessions.create",
                    "times": 1,
                    "seconds": 2,
                    # A failure that the provider keeps under its key stays: then nobody can pay, and nothing is charged.
                    "saved": kind != "error_before",
                },
            )
            sale = till.order()
            sales.append((kind, sale))
            if kind == "slow":  # the last: the others are looked after while it goes on
                slow.append(Thread(target=twice_started, args=(till, sale)))
                slow[0].start()
            else:
                twice_started(till, sale)
        for kind, sale in sales:
            if kind == "slow":
                slow[0].join(60)
            if not sale.payment:
                again = till.start(sale)
                attack.check(again.ok, f"after {kind} the payment can never be begun ({again.status})", again)
            shown = paid_on_page(till, sale)
            attack.positive(f"after {kind} the payer gets a page", shown, till.state(sale))
        lab.provider("POST", "/faults/clear", json={})
        for kind, sale in sales:
            paid = till.is_paid(sale)
            count = till.charges(sale)
            attack.check(count == 1, f"{kind} led to {count} charges")
            pages = till.payable(sale)
            attack.check(pages <= 1, f"{kind} led to {pages} pages on which it can be paid")
            attack.check(paid, f"after {kind} the app never learnt that it was paid: {till.state(sale)}")
    with lab.attack(
        "fault the provider's page and its events", "not exactly one charge, or the app never learns of it"
    ) as attack:
        for kind, operation in (
            ("webhook_duplicate", "*"), ("webhook_drop", "*"), ("webhook_reorder", "*"), ("drop_after", "checkout.pay"),
        ):  # fmt: skip
            lab.provider("POST", "/faults", json={"kind": kind, "operation": operation, "times": 2})
            sale = till.order()
            attack.positive("a payment can be begun", till.start(sale).ok)
            with lab.quietly():
                till.pay_page(sale)
            paid = till.is_paid(sale, 40)
            lab.provider("POST", "/faults/clear", json={})
            count = till.charges(sale)
            attack.check(count == 1, f"{kind} led to {count} charges")
            pages = till.payable(sale)
            attack.check(pages <= 1, f"{kind} led to {pages} pages on which it can be paid")
            attack.check(paid, f"after {kind} the app never learnt that it was paid: {till.state(sale)}")
    with lab.attack(
        "kill the charge service while a payment is under way", "not exactly one charge"
    ) as attack:
        till.pay_page(crashed)
        attack.check(
            till.is_paid(crashed),
            f"after a crash the app never learnt that it was paid: {till.state(crashed)}",
        )
        count = till.charges(crashed)
        attack.check(count == 1, f"a crash led to {count} charges")


def _crash(lab: Lab, till: Till) -> Sale:
    """Kill the charge service while it calls the provider; its lease on the payment then has to run out."""
    sale = till.order()
    lab.provider(
        "POST", "/faults", json={"kind": "slow", "operation": "checkout.sessions.create", "seconds": 1.5}
    )
    asking = Thread(target=quiet_start, args=(till, sale))
    asking.start()
    asking.join(0.6)
    restart(lab, "charge")
    asking.join(30)
    lab.provider("POST", "/faults/clear", json={})
    if not sale.payment:
        lab.wait(lambda: quiet_start(till, sale), 20, 0.5)
    return sale


def twice_started(till: Till, sale: Sale) -> None:
    """Begin a payment, and ask again; an app that does not answer is asked later."""
    for _ in range(2):
        quiet_start(till, sale)


def quiet_start(till: Till, sale: Sale) -> bool:
    """Begin a payment; False where the app does not answer."""
    try:
        return till.start(sale).ok
    except Unshown:
        return False


@probe("PAY-3")
def the_app_cannot_reach_the_charge_service(lab: Lab) -> None:
    """As the app's process: read the provider's key, the charge service's files and memory."""
    money_of(lab)
    with lab.attack(
        "read the provider's key as the app's process",
        "the app's user can read what only the charge service may",
    ) as attack:
        app, charge = lab.process("app"), lab.process("charge")
        attack.positive("both processes run", app and charge)
        keys = {name: value for name, value in lab.world.secrets.items() if value.startswith(("sk_", "rk_"))}
        attack.positive("the provider's key is known to this run", keys)
        for name in sorted(held(app, keys)):
            attack.broke(f"the app's process holds {name}")
        same = Path(f"/proc/{app}").stat().st_uid == Path(f"/proc/{charge}").stat().st_uid
        attack.check(
            not same,
            "app and charge service run as one OS user, so the app can read the other's files and memory",
        )


@probe("PAY-7")
def the_ledger_only_grows(lab: Lab) -> None:
    """Change, delete, replace and unbalance the ledger on a copy; tamper behind its back."""
    money_of(lab)
    till = Till(lab)
    attack_ledger(lab, till)
