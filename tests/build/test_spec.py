"""The spec: read as plain data, checked whole, every problem with its place, nothing ignored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from redoubt.build.access import access_model
from redoubt.build.errors import SpecInvalid, SpecProblem
from redoubt.build.spec import load_spec, parse_spec, spec_schema
from redoubt.cli.spec import schema_text

ROOT = Path(__file__).parents[2]
SHOP = (ROOT / "examples/shop/spec.yaml").read_text()
SMALL = """\
redoubt: 1
app: {name: small, title: Small}
roles:
  operator: {}
  member: {sign_up: true}
entities:
  Note:
    fields:
      text: {type: text, required: true, max: 100}
      status: {type: state, states: [open, closed]}
    actions:
      close: {from: [open], to: closed}
permissions:
  - {roles: [member], actions: [Note.create, Note.list]}
  - {roles: [member], actions: [Note.read, Note.close], owner: true}
"""


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(SpecInvalid) as caught:
        parse_spec(text if isinstance(text, bytes) else text.encode(), "spec.yaml")
    return [str(problem) for problem in caught.value.problems]


def one(text: str | bytes, *parts: str) -> None:
    found = problems(text)
    assert any(all(part in line for part in parts) for line in found), found


def test_examples_are_specs_and_match_the_published_schema():
    for name in ("shop", "relay"):
        path = ROOT / "examples" / name / "spec.yaml"
        load_spec(path)
        jsonschema.validate(yaml.safe_load(path.read_text()), spec_schema())


def test_the_published_schema_is_current():
    assert (ROOT / "docs/reference/spec.schema.json").read_text() == schema_text()
    jsonschema.Draft202012Validator.check_schema(spec_schema())


def test_every_problem_is_told_at_once_each_with_its_place():
    text = SHOP.replace("type: money, currency: EUR, required: true", "type: monny")  # shape
    text = text.replace("sign_up: true", "sign_up: maybe")  # type
    text = text.replace(
        "actions: [Order.list, Order.read, Payment.read]", "actions: [Order.list, Order.raed]"
    )  # meaning
    text = text.replace("approval: two_person", "approval: none")  # not enforced
    found = problems(text)
    for where, what in (
        ("entities.Product.fields.price.type", "money"),
        ("roles.customer.sign_up", "true or false"),
        ("actions[1]", "did you mean read?"),
        ("payments.refunds.approval", "two_person"),
    ):
        assert any(where in line and what in line for line in found), (where, found)
    lines = text.splitlines()
    for line in found:
        number = int(line.split(":")[1])
        assert 1 <= number <= len(lines)
    price = next(line for line in found if "Product.fields.price.type" in line)
    assert "monny" in lines[int(price.split(":")[1]) - 1]


@pytest.mark.parametrize(
    ("old", "new", "path", "allowed"),
    [
        ("redoubt: 1", "redoubt: 2", "redoubt", "1"),
        ("redoubt: 1\n", "", "redoubt", "1"),
        ("name: small", "name: Small App", "app.name", "lower-case"),
        ("max: 100", "max: 10001", "fields.text.max", "10000"),
        ("max: 100", "max: '100'", "fields.text.max", "whole number"),
        ("max: 100", "maxx: 100", "fields.text.maxx", "did you mean max"),
        ("required: true", "required: yes", "fields.text.required", "true or false"),
        ("type: text", "type: password", "fields.text.type", "email"),
        ("text: {type", "tenant: {type", "fields.tenant", "anything but"),
        ("text: {type", "class: {type", "fields.class", "keywords"),
        ("states: [open, closed]", "states: [open, open]", "status.states", "each state once"),
        ("to: closed", "to: gone", "actions.close.to", "open, closed"),
        ("from: [open]", "from: [opne]", "actions.close.from[0]", "open, closed"),
        ("close: {from", "delete: {from", "actions.delete", "anything but"),
        (
            "roles: [member], actions: [Note.create",
            "roles: [membr], actions: [Note.create",
            "permissions[0].roles[0]",
            "member",
        ),
        ("Note.close]", "Note.erase]", "permissions[1].actions[1]", "Note.close"),
        ("Note.close]", "Nota.close]", "permissions[1].actions[1]", "Note"),
        ("Note.create, Note.list]", "Note.create], owner: true", "permissions[0].owner", "create"),
        ("owner: true}", "owner: true, states: [paid]}", "permissions[1].states[0]", "open, closed"),
        ("owner: true}", "amount_max: 5}", "permissions[1].amount_max", "money"),
        ("operator: {}", "boss: {}", "roles", "operator"),
        ("operator: {}", "operator: {sign_up: true}", "sign_up", "at most one"),
        ("  Note:\n", "  Note:\n    plural: console\n", "plural", "anything but"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(old: str, new: str, path: str, allowed: str):
    assert old in SMALL
    one(SMALL.replace(old, new, 1), path, allowed)


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ("login: {methods: [passkey, sms]}", "sms"),
        ("login: {methods: [passkey, password]}", "password"),
        ("login: {methods: [passkey, totp]}", "totp"),
        ("login: {methods: [magic_link]}", "no passkey"),
        ("deployment: {kind: kubernetes}", "kubernetes"),
        ("deployment: {replicas: 3}", "3"),
        ("deployment: {terraform: {cloud: aws}}", "terraform"),
        ("limits: {logins: {amount: 1, per_seconds: 1}}", "no rule of that name"),
        ("retention: {audit_days: 30}", "30"),
        (
            "webhooks: {outgoing: {p: {url: 'https://x.example/a', secrets: ['env:A'], hosts: [x.example], events: [note.closed],"
            " pins: ['sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=']}}}",
            "pinning is not enforced",
        ),
        (
            "webhooks: {incoming: {s: {scheme: slack, secrets: ['env:A'], handler: {kind: custom, function: f}}}}",
            "slack (not enforced",
        ),
    ],
)
def test_what_is_not_enforced_is_refused_by_name(section: str, named: str):
    one(SMALL + section + "\n", named)


def test_pii_that_needs_encryption_is_refused():
    one(SMALL.replace("max: 100", "max: 100, pii: health"), "health", "name, contact, address")


def test_a_literal_secret_is_refused_and_not_repeated():
    literal = "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"
    found = "\n".join(problems(SHOP.replace("key: env:STRIPE_API_KEY", f"key: {literal}")))
    assert "payments.key" in found
    assert literal not in found
    hook = "\n".join(problems(SHOP.replace('["env:GITHUB_WEBHOOK_SECRET"]', '["hunter2-hunter2"]')))
    assert "github.secrets[0]" in hook
    assert "hunter2" not in hook


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a: &x [1]\nb: *x\n", "anchor"),
        ("a: !!python/object/apply:os.system [id]\n", "tag"),
        ("a: 1\na: 2\n", "again"),
        ("a: {<<: {b: 1}}\n", "merge"),
        ("a: 1\n---\nb: 2\n", "second document"),
        ("[1, 2]\n", "a mapping"),
        ("", "empty"),
        ("a: [1\n", "broken YAML"),
        ("? [a, b]\n: 1\n", "collection"),
        ("a: " + "[" * 60 + "]" * 60, "levels"),
        ('a: "\\u202e"\n', "control character"),
        ('a: "\\ud800"\n', ""),
        (b"\xff\xfe", "UTF-8"),
        (b"a: " + b"x" * 300_000, "bytes"),
    ],
)
def test_tricks_of_yaml_are_refused(text: str | bytes, named: str):
    assert any(named in line for line in problems(text))


def test_a_billion_laughs_expands_nothing():
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(20)
    )
    assert all("anchor" in line or "alias" in line for line in problems(bomb))


def test_words_that_yaml_turns_into_truths_stay_words():
    spec = parse_spec(SMALL.replace("states: [open, closed]", "states: [open, closed, no, off]").encode())
    assert spec.entities["Note"].fields["status"].states == ["open", "closed", "no", "off"]


def test_money_reaches_paid_only_by_paying():
    one(
        SHOP.replace("ship: {from: [paid], to: shipped}", "ship: {from: [placed], to: paid}"),
        "only a settled payment",
    )
    one(SHOP.replace("states: [placed, paid,", "states: [paid, placed,"), "unpaid rows would count as paid")
    one(
        SHOP.replace(
            "total: {type: money, currency: EUR, total_of: items}", "total: {type: money, currency: EUR}"
        ),
        "set itself",
    )
    one(SHOP.replace("Approval.read, Approval.decide", "Approval.read"), "nobody who may approve")
    one(
        SHOP.replace("handler: {kind: payments}", "handler: {kind: custom, function: f}"),
        "exactly one incoming",
    )


def test_a_role_with_a_mistake_inside_is_not_called_unknown_besides():
    found = problems(SMALL.replace("member: {sign_up: true}", "member: {sign_up: 7}"))
    assert len(found) == 1
    assert "roles.member.sign_up" in found[0]


def test_the_operator_keeps_the_console_and_the_tenant_is_always_held():
    model = access_model(parse_spec(SMALL.encode()))
    console = next(action for action in model.actions if action.name == "Console.view")
    assert [allow.role for allow in console.allow] == ["operator"]
    assert all(allow.tenant for action in model.actions for allow in action.allow)


_TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


_SECTIONS = ["app", "roles", "entities", "permissions", "webhooks", "payments", "pages", "limits"]


@pytest.mark.parametrize("value", [None, True, 7, "x", [], [1], {}, {"x": True}], ids=repr)
@pytest.mark.parametrize("section", _SECTIONS)
def test_a_section_of_another_kind_is_a_problem_or_nothing(section: str, value: Any):
    _told(section, value)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(_SECTIONS), _TREES)
def test_any_value_in_any_section_is_a_list_of_problems_or_a_spec(section: str, value: Any):
    _told(section, value)


def _told(section: str, value: Any) -> None:
    data = yaml.safe_load(SHOP)
    data[section] = value
    found: tuple[SpecProblem, ...] = ()
    try:
        parse_spec(json.dumps(data).encode())
    except SpecInvalid as error:
        found = error.problems or (SpecProblem("", 0, "", "", ""),)
    assert all(problem.line >= 1 and problem.found and problem.allowed for problem in found)
