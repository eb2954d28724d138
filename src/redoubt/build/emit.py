"""The pristine tree of an app: every file as bytes, the same for the same spec and version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2 import filters as jinja_filters
from markupsafe import escape

from redoubt import __version__
from redoubt.authz.rules import AccessModel, compile_policies, compile_schema
from redoubt.authz.snapshot import decision_table, render
from redoubt.supply import Component, make_sbom

from .access import access_model
from .grants import grant_files
from .indexes import list_indexes
from .lock import app_lock, components, development_lock
from .migrations import FIRST, History, further
from .openapi import openapi
from .policy_tests import policy_tests
from .spec.model import Spec
from .spec.names import plural
from .spec.prices import prices_of
from .target import target_file
from .view import (
    custom_functions,
    entity_view,
    magic_links,
    migration_view,
    ordered,
    payment_webhook,
    py,
    py_set,
    roles_with,
    staff_roles,
    webhook_views,
)
from .wheel import Wheel, redoubt_wheel

TEMPLATES = Path(__file__).parent / "templates"
HTMX = Component(
    "htmx.org", "2.0.11", ("d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",), "0BSD", "npm"
)
"""The one script of others that pages load; it lies in the wheel, unchanged from its npm package."""


def emit(spec: Spec, source: bytes, earlier: History | None = None) -> dict[str, bytes]:
    """Return every file of the app that `spec` declares; `source` is the spec as written, kept beside it.

    With `earlier`, the migrations of the app as it was built before, these stay, and what changed becomes one more. Raises
    TablesChanged for what no migration is made for.
    """
    model = access_model(spec)
    wheel = redoubt_wheel()
    tree: dict[str, bytes] = {"spec.yaml": source, f"vendor/{wheel.file}": wheel.data}
    text = _texts(spec, model, wheel, earlier)
    text["requirements.txt"] = app_lock(wheel)
    text["requirements-dev.txt"] = development_lock()
    text["sbom.cdx.json"] = make_sbom(spec.app.name, "0", [*components(wheel), HTMX])
    text |= grant_files(spec)
    text["openapi.json"] = json.dumps(openapi(spec), indent=2, ensure_ascii=False, sort_keys=False) + "\n"
    text["target.yaml"] = target_file(spec)
    text["policies/schema.cedarschema"] = compile_schema(model) + "\n"
    text |= {f"policies/{name}": body for name, body in compile_policies(model).items()}
    text |= {f"policies/tests/{name}": body for name, body in policy_tests(model).items()}
    text["tests/decisions.json"] = render(decision_table(model))
    tree |= {name: body.encode() for name, body in text.items()}
    if earlier is not None:
        tree |= earlier.files
    return tree


def _texts(spec: Spec, model: AccessModel, wheel: Wheel, earlier: History | None) -> dict[str, str]:
    env = _environment()
    indexes = list_indexes(spec, model)
    views = [entity_view(spec, model, name, indexes.get(name, ())) for name in ordered(spec)]
    hooks = webhook_views(spec)
    prices = [f"{name}.{field}" for name, fields in prices_of(spec).items() for field in fields]
    common: dict[str, Any] = {
        "spec": spec,
        "priced": prices,
        "entities": views,
        "version": __version__,
        "wheel": wheel.file,
        "secrets": secret_references(spec),
        "payment_webhook": payment_webhook(spec),
        "charge_hook": spec.webhooks.incoming[payment_webhook(spec) or ""] if spec.payments else None,
        "egress": sorted(
            {
                host if ":" in host else f"{host}:443"
                for out in spec.webhooks.outgoing.values()
                for host in out.hosts
            }
        ),
        **hooks,
    }
    made: dict[str, str] = {}

    def put(path: str, template: str, **more: Any) -> None:
        made[path] = env.get_template(template + ".j2").render(common | more)

    put("app/__init__.py", "app/__init__.py")
    put("app/main.py", "app/main.py", **_main(spec, views))
    put("app/webhooks.py", "app/webhooks.py")
    put("app/handlers.py", "app/handlers.py", custom=custom_functions(spec))
    put("app/extra.py", "app/extra.py")
    put(
        "app/entities.py",
        "app/entities.py",
        any_moves=any(view["moves"] for view in views),
        any_writes=any(view["writes"] for view in views),
        field_classes=_classes(views),
    )
    own = [
        {"name": name, "title": page.title, "public": page.public} for name, page in spec.pages.own.items()
    ]
    home = f"/{plural(spec.pages.home, spec.entities[spec.pages.home])}" if spec.pages.home else None
    used = (["see"] if home else []) + (["show"] if own or not home else [])
    put(
        "app/site.py",
        "app/site.py",
        own=own,
        site_imports=used,
        own_guarded=any(not page["public"] for page in own),
        home=home,
    )
    if home is None:
        put("app/templates/home.html", "app/templates/home.html")
    for page in own:
        put(f"app/pages/{page['name']}.html", "app/templates/own.html", page=page)
    for view in views:
        put(f"app/{view['plural']}.py", "app/entity.py", entity=view)
        if view["pages"]:
            for name in ("list", "form", "detail"):
                put(f"app/templates/{view['plural']}/{name}.html", f"app/templates/{name}.html", entity=view)
    tables = migration_view(spec, indexes)
    if earlier is None:
        put(FIRST, "app/migration.py", **tables)
    elif (changed := further(earlier, tables)) is not None:
        put(earlier.next_path, "app/migration_next.py", **changed)
    for path, template in _AROUND.items():
        put(path, template)
    if prices:
        put("tests/test_prices.py", "tests/test_prices.py")
    return made


_AROUND = {
    "redoubt.toml": "redoubt.toml",
    "README.md": "README.md",
    "Dockerfile": "Dockerfile",
    ".dockerignore": "dockerignore",
    ".gitignore": "gitignore",
    ".github/workflows/ci.yml": "github/ci.yml",
    "tests/test_decisions.py": "tests/test_decisions.py",
    "tests/test_denies.py": "tests/test_denies.py",
    "pyproject.toml": "pyproject.toml",
}


def _environment() -> Environment:
    """Templates write code, so nothing is escaped but what says so; text reaches code through `py` only."""
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - these templates write Python and settings; HTML parts use `e`
    )
    env.filters |= {
        "py": py,
        "py_set": py_set,
        "py_tuple": lambda values: py(tuple(values)),
        "py_list": lambda values: py(list(values)),
        "toml": lambda value: json.dumps(value, ensure_ascii=False),
        "e": lambda value: str(escape(value)),
        "title": jinja_filters.do_title,
    }
    return env


def _classes(views: list[dict[str, Any]]) -> list[str]:
    return sorted({field["class"] for view in views for field in view["fields"]})


def _main(spec: Spec, views: list[dict[str, Any]]) -> Mapping[str, Any]:
    modules = sorted([view["plural"] for view in views] + ["extra", "site", "webhooks"])
    routers = ["site.router", "extra.router"]
    for view in views:
        routers += [f"{view['plural']}.api"] + ([f"{view['plural']}.pages"] if view["pages"] else [])
    nav = [
        {"title": view["title"], "href": f"/{view['plural']}", "action": f"{name}.list", "entity": name}
        for name in spec.pages.entities
        for view in views
        if view["name"] == name
    ]
    paid = next((view["plural"] for view in views if view["pay"] is not None), None)
    return {
        "modules": modules,
        "routers": routers,
        "nav": nav,
        "sign_up": next((name for name, role in spec.roles.items() if role.sign_up), None),
        "magic_links": magic_links(spec),
        "roles": list(spec.roles),
        "passkey_roles": staff_roles(spec),
        "pay_module": paid,
        "approvers": roles_with(spec, "Approval.decide"),
    }


def secret_references(spec: Spec) -> list[tuple[str, str]]:
    """Return (reference, what for) of every secret that the app needs, in the order of the spec."""
    found: dict[str, str] = {}
    for name, hook in spec.webhooks.incoming.items():
        for reference in hook.secrets:
            found.setdefault(reference, f"verifies deliveries to /webhooks/{name}")
    for name, out in spec.webhooks.outgoing.items():
        for reference in out.secrets:
            found.setdefault(reference, f"signs events to {name}")
    if spec.payments is not None:
        found.setdefault(
            spec.payments.key, f"the {spec.payments.provider} key; only the charge service reads it"
        )
    return list(found.items())
