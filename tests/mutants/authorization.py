"""Mutants of authorization: wider policies, unread context, versions that are not recorded, routes without a guard."""

from __future__ import annotations

from .model import Edit, Mutant, app, library

_OWN_ORDER = """@id("Order.read:customer+own")
permit (
  principal in Role::"customer",
  action == Action::"Order.read",
  resource is Order
)
when
{
  principal.tenant == resource.tenant"""
_RISK = "  context.risk <= 70 &&\n"
_BOUNDED = (
    """  action == Action::"Order.{}",
  resource is Order
)
when
{{
  principal.tenant == resource.tenant &&
  resource has owner &&
  resource.owner == principal &&
"""
    + _RISK
)
_OWNED = "  resource has owner &&\n  resource.owner == principal &&\n"


def unowned(action: str) -> Edit:
    """Return the change that lets every customer do to anybody's order what was for its owner."""
    whole = _BOUNDED.format(action)
    return app("policies/order.cedar", whole, whole.replace(_OWNED, ""))


READ_BY_ALL = app(
    "policies/order.cedar",
    f"{_OWN_ORDER} &&\n  resource has owner &&\n  resource.owner == principal\n}};",
    f"{_OWN_ORDER}\n}};",
)
"""Every customer reads every order."""

_ENFORCE = "authz/enforce.py"
_DENIES, _DECISIONS = "tests/test_denies.py", "tests/test_decisions.py"
_DECIDED = 'assert decided == (APP / "tests" / "decisions.json").read_text(), (\n'
SUITE = [
    app(_DENIES, "    assert not leaks\n", "    assert isinstance(leaks, list)\n"),
    app(_DENIES, "    assert not [row for row in TABLE if", "    assert TABLE or [row for row in TABLE if"),
    app(_DENIES, "    assert sum(not row.allowed for row in TABLE) > sum(", "    assert len(TABLE) >= sum("),
    app(_DECISIONS, f"    {_DECIDED}", "    assert decided, (\n"),
]
"""The app's own suite runs on and asserts nothing that matters."""

_SIGN_IN = "identity/flows/signin.py"

MUTANTS = (
    Mutant(
        "AUZ-1",
        "customers-read-all-orders",
        [READ_BY_ALL],
        quick=True,
    ),
    Mutant(
        "AUZ-1",
        "the-target-file-was-widened-with-the-policy",  # what the app's own snapshot of decisions says stands against both
        [
            READ_BY_ALL,
            app(
                "target.yaml",
                "  do: [Customer.read, Customer.update, Customer.delete, Order.read]\n  own: true\n",
                "  do: [Customer.read, Customer.update, Customer.delete]\n  own: true\n- as: [customer]\n  do: [Order.read]\n",
            ),
        ],
    ),
    Mutant(
        "AUZ-1",
        "everybody-has-stepped-up",
        [library(_ENFORCE, '"step_up": caller.step_up if step_up is None else step_up,', '"step_up": True,')],
    ),
    Mutant(
        "AUZ-1",
        "risk-has-no-bound",
        [
            app("policies/order.cedar", _BOUNDED.format(action), _BOUNDED.format(action).replace(_RISK, ""))
            for action in ("update", "cancel", "pay")
        ],
    ),
    Mutant(
        "AUZ-1",
        "a-denial-is-only-noted",
        [library(_ENFORCE, '        raise Problem(403, "denied", "You may not do this.")\n\n    async def _decide(',
                 "        request.scope[RESOURCE] = resource\n        return decision\n\n    async def _decide(")],
    ),
    Mutant(
        "AUZ-1",
        "lists-forget-the-condition",
        [library("runtime/entity_store.py", "sa.select(*columns).where(table.c.tenant == tenant, condition, *only)",
                 "sa.select(*columns).where(table.c.tenant == tenant, *only)")],
    ),
    Mutant(
        "AUZ-2",
        "a-process-keeps-the-policies-it-began-with",
        [library("authz/head.py", "and (known.seq, known.version) == (seq, version)", "and bool((seq, version))")],
    ),
    Mutant(
        "AUZ-2",
        "a-process-keeps-the-roles-that-it-saw-first",
        [
            library(
                "identity/sessions.py",
                "            roles=roles,\n",
                '            roles=vars(self).setdefault("seen", {}).setdefault(user.id, roles),\n',
            )
        ],
    ),
    Mutant(
        "AUZ-3",
        "decisions-forget-their-version",
        [library(_ENFORCE, "{json_text(decision.version)}", '""')],
    ),
    Mutant(
        "AUZ-3",
        "decisions-forget-what-they-read",
        [library(_ENFORCE, '"values":{decision.written},', '"values":{{}},')],
    ),
    Mutant(
        "AUZ-4",
        "every-change-counts-as-narrower",
        [library("authz/changes.py", "found.verdict, found.passes, found.evidence,", '"narrower", True, found.evidence,')],
    ),
    Mutant(
        "AUZ-4",
        "a-granted-write-may-elevate",
        [library("cli/policy_check.py", "refused = elevation_refusals(new, budget_seconds=budget)", "refused: list[Any] = []"),
         library("cli/policy_check.py", "import typer\n", "import typer\nfrom typing import Any\n")],
    ),
    Mutant(
        "AUZ-5",
        "connections-are-held-to-nothing",
        [library("core/db/database.py", "        if self._access is not None:\n            authorizer", "        if False:\n            authorizer")],
        quick=True,
    ),
    Mutant(
        "AUZ-5",
        "a-process-is-its-owner",
        [library("runtime/app.py", 'guard._restricts = process != "owner"', "guard._restricts = False")],
    ),
    Mutant(
        "AUZ-5",
        "the-app-writes-role-rows",
        [library("authz/grants.py", "        use(policy_proofs),\n        use(role_steps, insert=True),\n        use(role_members),", "        use(policy_proofs),\n        use(role_steps, insert=True),\n        use(role_members, insert=True, delete=True),")],
    ),
    Mutant(
        "AUZ-5",
        "triggers-lend-their-rights",
        [library("core/db/authorizer.py", 'if verb != "select" and inside is not None and first in definers.get(inside, ()):', "if any(first in tables for tables in definers.values()):")],
    ),
    Mutant(
        "AUZ-5",
        "pragmas-are-allowed",
        [library("core/db/authorizer.py", "        if verb is None or first is None:\n            return False", "        if verb is None or first is None:\n            return action == sqlite3.SQLITE_PRAGMA")],
    ),
    Mutant(
        "AUZ-5",
        "roles-get-whole-tables",  # where columns are declared
        [library("core/db/roles.py", """yield f"{verb} ({', '.join(_quote(name) for name in sorted(columns))})\"""", "yield verb")],
        quick=True,
        postgresql=True,
    ),
    Mutant(
        "AUZ-5",
        "processes-connect-as-the-owner",
        [library("runtime/own_roles.py", "    if not settings.development:\n", "    if True:\n")],
        postgresql=True,
    ),
    Mutant(
        "AUZ-5",
        "nothing-is-taken-from-everybody",
        [library("core/db/roles.py", "        for statement in closing(_quote(database), _quote(schema)):\n", "        for statement in ():\n")],
        postgresql=True,
    ),
    Mutant(
        "AUZ-6",
        "bodies-set-any-field",
        [library("runtime/entities.py", "if not kind.server_set and not (row is not None and kind.immutable)", "if True")],
    ),
    Mutant(
        "AUZ-6",
        "a-header-for-debugging",
        [
            library(
                _ENFORCE,
                '        if permission.kind == "public":\n            return Decision(True)\n',
                '        if permission.kind == "public" or request.headers.get("x-debug"):\n            return Decision(True)\n',
            )
        ],
    ),
    Mutant(
        "AUZ-6",
        "sign-up-takes-a-role",
        [
            library(
                "identity/routes.py",
                'await call.identity.register_options(call.browser, call.body.get("email"))',
                'await call.identity.register_options(call.browser, call.body.get("email"), call.body.get("roles"))',
            ),
            library(_SIGN_IN, "self, browser: Browser, email: object) -> dict[str, Any]:",
                    "self, browser: Browser, email: object, roles: Any = None) -> dict[str, Any]:"),
            library(_SIGN_IN, 'data = {"email": address, "handle": handle.hex()}',
                    'data = {"email": address, "handle": handle.hex(), "role": roles[-1] if roles else None}'),
            library(_SIGN_IN, "self.users.create(tx, email, handle, role, SELF_SIGN_UP)",
                    'self.users.create(tx, email, handle, challenge.data["role"] or role, SELF_SIGN_UP)'),
        ],
    ),
    Mutant(
        "AUZ-7",
        "a-route-was-made-public",
        [
            app("app/orders.py", "from redoubt.authz import permit\n", "from redoubt.authz import permit, public\n"),
            app("app/orders.py", '@api.get("")\n@permit("Order.list", resource=rows.collection)\n', '@api.get("")\n@public()\n'),
        ],
        quick=True,
    ),
    Mutant(
        "AUZ-7",
        "nobody-is-let-through",
        [library(_ENFORCE, "        if decision.allowed:\n", "        if decision.allowed or caller.anonymous:\n")],
    ),
    Mutant("AUZ-8", "the-suite-asserts-nothing", SUITE),
)  # fmt: skip
