"""Mutants of payments: card numbers let in, one person refunding, a ledger that forgets, charges that double."""

from __future__ import annotations

from .model import Mutant, app, library
from .webhooks import LOGGED

_CHARGE = "payments/charge/migrations/0001_charge.py"
_OPERATIONS = "payments/charge/operations.py"
_RESOLVER = "payments/charge/resolver.py"

MUTANTS = (
    Mutant(
        "PAY-1",
        "card-numbers-come-in",
        [library("runtime/middleware.py", "        await self._refuse_cards(scope, request)\n", "")],
    ),
    Mutant(
        "PAY-1",
        "a-page-of-ours-asks-for-the-card",
        [
            app(
                "app/pages/about.html",
                "{% block content %}",
                '{% block content %}<input name="card_number" autocomplete="cc-number">',
            )
        ],
    ),
    Mutant(
        "PAY-2",
        "logs-do-not-know-cards",
        [LOGGED, library("core/redact.py", "        for span in reversed(find_pans(text)):\n", "        for span in reversed(find_pans(text)[:0]):\n")],
    ),
    Mutant(
        "PAY-2",
        "only-plainly-written-cards-are-known",
        [
            LOGGED,
            library("core/pan.py", '_SEPARATORS = " \\t-+"\n', '_SEPARATORS = "\\t"\n'),
        ],
    ),
    Mutant(
        "PAY-4",
        "any-name-of-our-authority",
        [library("payments/charge/tls.py",
                 "if any(hmac.compare_digest(identity.encode(), san.encode()) for san in peer.sans):", "if True:")],
    ),
    Mutant(
        "PAY-5",
        "who-asks-may-approve",  # all that says no: the service, two databases, the charge service
        [
            library("guard/approvals.py", "        if approver == approval.requester:\n", "        if False:\n"),
            library(
                "guard/migrations/0001_guard.py",
                '        sa.CheckConstraint("state <> \'approved\' OR decided_by <> requester", name="approvals_four_eyes"),\n',
                "",
            ),
            library(_OPERATIONS, "    if approver == wanted.requester:\n", "    if False:\n"),
            library(_CHARGE, '        sa.CheckConstraint("approver <> requester", name="charge_consumed_four_eyes"),\n', ""),
        ],
    ),
    Mutant(
        "PAY-5",
        "no-proof-is-needed",
        [
            library(
                "runtime/foureyes.py",
                "        used = self.identity.verify_assertion(tx, user_id, challenge, assertion)\n",
                "        return VerifiedAssertion(user_id=user_id, credential_id='any', user_verified=True)\n",
            )
        ],
    ),
    Mutant(
        "PAY-7",
        "the-ledger-can-be-changed",
        [library(_CHARGE, '_sqlite(f"{short}_no_{verb}", table, verb.upper(), "1", f"{table} is append-only")',
                 '_sqlite(f"{short}_no_{verb}", table, verb.upper(), "0", f"{table} is append-only")')],
        quick=True,
    ),
    Mutant(
        "PAY-7",
        "an-entry-need-not-balance",
        [library(_CHARGE, """        f" OR (SELECT SUM({_part(1)}) FROM json_each(NEW.lines) l) <> 0; END\"""",
                 """        f" OR 1 = 0; END\"""")],
    ),
    Mutant(
        "PAY-7",
        "the-verifier-is-blind",
        [library("payments/charge/ledger_verify.py", "return LedgerReport(count, heads, tuple(faults))",
                 "return LedgerReport(count, heads, ())")],
    ),
    Mutant(
        "PAY-9",
        "a-new-key-for-each-attempt",
        [
            library(_RESOLVER, 'step: Step = "look-up" if intent.maybe_sent else "create"', 'step: Step = "create"'),
            library("payments/charge/provider/stripe.py", '{"idempotency_key": intent.key}',
                    '{"idempotency_key": f"{intent.key}_{intent.calls}"}'),
        ],
    ),
    Mutant(
        "PAY-9",
        "unknown-is-taken-for-failed",
        [library(_RESOLVER, 'Observed("answer", "unknown", failure=came.code)', 'Observed("answer", "refused", failure=came.code)')],
    ),
)  # fmt: skip
