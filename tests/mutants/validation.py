"""Mutants of what is validated on any target: cookie flags, replayed deliveries, failures that tell."""

from __future__ import annotations

from .authorization import READ_BY_ALL, unowned
from .model import Mutant, app, library
from .webhooks import FORGETFUL

_KEYSTORE = "webhooks/keystore.py"
_REFUNDS = "payments/refunds.py"

_SHOWN, _CANCELLED = (
    (
        app(
            "app/orders.py",
            "from redoubt.authz import permit\n",
            "from redoubt.authz import authenticated, permit\n",
        ),
        app(
            "app/orders.py",
            f'@pages.{verb}("{path}")\n@permit("Order.{action}", resource=rows.load)\nasync def {name}(request: Request, id: str)'
            f' -> Response:\n    """{words}"""\n',
            f'@pages.{verb}("{path}")\n@authenticated()\nasync def {name}(request: Request, id: str)'
            f' -> Response:\n    """{words}"""\n    await rows.load(request)\n',
        ),
    )
    for verb, path, action, name, words in (
        ("get", "/{id}", "read", "detail_page", "Show one."),
        ("post", "/{id}/cancel", "cancel", "cancel_page", "Move it to cancelled."),
    )
)
"""A page asks only that somebody is logged in; the API behind it still asks for the permission."""

MUTANTS = (
    Mutant(
        "VAL-3",
        "the-session-travels-in-the-clear",
        [library("identity/cookies.py", "secure=True, httponly=True", "httponly=True")],
    ),
    Mutant(
        "VAL-4",
        "the-suite-is-never-run",
        [
            app("tests/test_denies.py", "import yaml\n", "import yaml\n\npytestmark = pytest.mark.skip\n"),
            app("tests/test_decisions.py", "def test_the_policies_decide_as", "def check_the_policies_decide_as"),
        ],
    ),
    Mutant("VAL-5", "customers-read-all-orders", [READ_BY_ALL]),
    Mutant("VAL-5", "customers-cancel-each-others-orders", [unowned("cancel")]),
    Mutant("VAL-5", "the-page-of-an-order-asks-for-no-permission", _SHOWN, browser=True),
    Mutant("VAL-5", "the-form-that-cancels-asks-for-no-permission", _CANCELLED, browser=True),
    Mutant(
        "VAL-6",
        "a-declined-card-counts-as-paid",
        [
            library(
                "payments/charge/inbox.py",
                'paid = observed.state == "succeeded"',
                'paid = observed.state in ("succeeded", "refused")',
            )
        ],
    ),
    Mutant(
        "VAL-6",
        "after-an-outage-nobody-asks-again",
        [
            library("payments/charge/resolver.py", '            values["next_at"] = now + self._wait(after)\n',
                    '            values["next_at"] = None\n')
        ],
    ),
    Mutant("VAL-7", "anybody-pays-for-anybody", [unowned("pay")]),
    Mutant(
        "VAL-7",
        "refunds-of-any-amount-are-asked-for",  # the route, the service and its table
        [
            library("runtime/payment_routes.py", "not 0 < amount < _MOST:", "not amount < _MOST:"),
            library(_REFUNDS, "        money.check(amount, currency)\n", ""),
            library("payments/migrations/0001_payments.py",
                    '        sa.CheckConstraint("amount > 0", name="payment_refunds_amount"),\n', ""),
        ],
    ),
    Mutant("VAL-8", "every-delivery-is-new", [FORGETFUL]),
    Mutant(
        "VAL-8",
        "an-unsigned-header-names-the-delivery",  # and the catalogue's own check lets it
        [
            library(
                "webhooks/schemes/catalogue.py",
                "    identity=None,  # x-github-delivery is not signed",
                '    identity=Header("x-github-delivery"),  # x-github-delivery is not signed',
            ),
            library("webhooks/schemes/model.py", "        if not signed:\n", "        if False:\n"),
            library(
                "webhooks/schemes/model.py",
                "        return tuple(dict.fromkeys(names))\n",
                "        names += [self.identity.name] if isinstance(self.identity, Header) else []\n"
                "        return tuple(dict.fromkeys(names))\n",
            ),
        ],
    ),
    Mutant(
        "VAL-9",
        "the-old-secret-ends-at-once",
        [library(_KEYSTORE, "    until = now + overlap\n", "    until = now\n")],
    ),
    Mutant(
        "VAL-9",
        "the-old-secret-lives-on",
        [library("webhooks/schemes/keys.py", "        ended = self.not_after is not None and self.not_after <= at\n", "        ended = False\n")],
    ),
    Mutant(
        "VAL-10",
        "bad-input-is-a-server-error",
        [library("runtime/crud.py", "    except (ValueError, RecursionError) as error:\n        raise Problem(400, \"json\"",
                 "    except ZeroDivisionError as error:\n        raise Problem(400, \"json\"")],
    ),
    Mutant(
        "VAL-10",
        "the-wrong-status-for-nobody",
        [library("authz/enforce.py", 'return Problem(401, "unauthenticated", "Log in first."',
                 'return Problem(400, "unauthenticated", "Log in first."')],
    ),
    Mutant(
        "VAL-10",
        "refusals-tell-what-exists",
        [library("authz/enforce.py", "        if await self._hidden(permission, caller, resource):\n", "        if False:\n")],
    ),
)  # fmt: skip
