"""A policy set: parsed and checked text, its content address, and handles that the engine decides with.

The canonical body is `{schema, policies: [{id, text}] sorted by id}`, both rendered by the engine, so that comments,
layout and file names do not make a new version. Where there are templates, it holds `templates: [{id, json}]`, which the
engine does not render, and `links: [{id, template, values}]`, both sorted by id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cedarpy
from attrs import field, frozen
from cedarpy import pst

from redoubt.core.canonical import canonical_json, sha256_hex

from .compiled import compile_policies
from .erring import forbid_that_errs
from .errors import CorruptPolicies, PolicyProblem, PolicyRejected, UnreadablePolicy
from .lines import first_lines
from .links import LINKS_FILE, BadLink, Link, instantiate, read_links, slots
from .models import EntityUid
from .text import uid

SCHEMA_SUFFIX = ".cedarschema"
POLICY_SUFFIX = ".cedar"
MAX_BYTES = 2 * 1024 * 1024


@frozen
class PolicySource:
    """Policies as their author wrote them: schema text, policy files by name, and the text of `links.json`."""

    schema: str
    policies: Mapping[str, str]
    schema_file: str = "schema.cedarschema"
    links: str = "[]"


@frozen
class PolicySet:
    """A checked, immutable policy set, ready to decide.

    `policies` holds each policy's JSON form by `@id`, `texts` its canonical text: a link stands among them as the policy
    that it is. `templates` holds the JSON form of each template as canonical text, by its `@id`.
    """

    version: str
    schema_text: str
    texts: Mapping[str, str]
    policies: Mapping[str, Mapping[str, Any]] = field(repr=False)
    schema: Any = field(repr=False, eq=False)
    engine: Any = field(repr=False, eq=False)
    templates: Mapping[str, str] = field(factory=dict)
    links: tuple[Link, ...] = ()

    @property
    def body(self) -> dict[str, Any]:
        """Return the canonical body that `version` is the hash of."""
        return body_of(self.schema_text, self.texts, self.templates, self.links)

    def tree(self) -> pst.PolicySet:
        """Return the typed tree of the policies by their ids; links are policies there.

        Raises UnreadablePolicy for a wrong number of arguments to an extension function, and beyond 100 levels.
        """
        return tree_of(self.engine)

    def knows_action(self, name: str) -> bool:
        """Say whether the schema declares the action `name` for some principal and resource."""
        probe = f"permit (principal, action == {uid('Action', name)}, resource);"
        return bool(cedarpy.validate_policies(probe, self.schema).validation_passed)


def body_of(
    schema_text: str, texts: Mapping[str, str], templates: Mapping[str, str], links: Sequence[Link]
) -> dict[str, Any]:
    """Return the canonical body of a schema, policies and templates by id, and links, whose texts are not repeated."""
    linked = {link.id for link in links}
    own = {key: text for key, text in texts.items() if key not in linked}
    body: dict[str, Any] = {
        "schema": schema_text,
        "policies": [{"id": key, "text": text} for key, text in sorted(own.items())],
    }
    if templates:
        body["templates"] = [{"id": key, "json": text} for key, text in sorted(templates.items())]
    if links:
        body["links"] = [link.to_json() for link in links]
    return body


def version_of(body: Mapping[str, Any]) -> str:
    """Return the content address of a canonical body: its SHA-256 in hexadecimal."""
    return sha256_hex(canonical_json(dict(body)))


def read_folder(folder: Path) -> PolicySource:
    """Read `*.cedar`, the one `*.cedarschema` and `links.json`, if there is one, of `folder`.

    Raises PolicyRejected when that is not what is there.
    """
    schemas = sorted(folder.glob(f"*{SCHEMA_SUFFIX}"))
    if len(schemas) != 1:
        raise PolicyRejected(
            [PolicyProblem(str(folder), None, f"needs one *{SCHEMA_SUFFIX} file, has {len(schemas)}")]
        )
    files = {path.name: _read(path) for path in sorted(folder.glob(f"*{POLICY_SUFFIX}"))}
    links = folder / LINKS_FILE
    return PolicySource(_read(schemas[0]), files, schemas[0].name, _read(links) if links.is_file() else "[]")


def parse(source: PolicySource) -> PolicySet:
    """Parse and check `source` against its own schema.

    Raises PolicyRejected with every problem: syntax, types, an `@id` that is missing, empty or used twice, links that do
    not fit their templates, what the reader that decides cannot compile, a forbid that may come to an error. Each
    names the policy's first line, or the link.
    """
    return _parsed(source)


def _parsed(source: PolicySource) -> PolicySet:
    schema = _schema(source.schema, source.schema_file)
    problems: list[PolicyProblem] = []
    items = [
        one for name, text in sorted(source.policies.items()) for one in _parse_file(name, text, problems)
    ]
    links, bad = read_links(source.links)
    problems += [PolicyProblem(LINKS_FILE, error.link_id, str(error)) for error in bad]
    return _assembled(schema, source.schema, items, links, problems)


def _schema(text: str, file: str) -> Any:
    try:
        return cedarpy.Schema.from_str(text, release_gil=True)
    except ValueError as error:
        raise PolicyRejected([PolicyProblem(file, None, f"schema: {error}")]) from error


def _assembled(
    schema: Any,
    forbids_under: str | None,
    items: Sequence[_Parsed],
    links: Sequence[Link],
    problems: list[PolicyProblem],
) -> PolicySet:
    """Check policies and links and build the set; forbids that may err are looked for under a schema, where one is given.

    Raises PolicyRejected with `problems` and every other.
    """
    policies: dict[str, Mapping[str, Any]] = {}
    templates: dict[str, Mapping[str, Any]] = {}
    origin: dict[str, str] = {}
    for one in items:
        if one.id in origin:
            message = f"this @id stands in {origin[one.id]} already"
            problems.append(PolicyProblem(one.file, one.id, message, one.line))
            continue
        origin[one.id] = f"{one.file}:{one.line}"
        if "invariant" in one.policy.get("annotations", {}) and one.policy["effect"] != "forbid":
            message = "an @invariant is a forbid: it says what no permit may reach"
            problems.append(PolicyProblem(one.file, one.id, message, one.line))
        if one.is_template:
            templates[one.id] = one.policy
            if forbids_under is not None:  # what is stored was checked when it came in
                wrong = _template_errors(one.policy, schema)
                problems += [PolicyProblem(one.file, one.id, message, one.line) for message in wrong]
            continue
        policies[one.id] = one.policy
        wrong = _type_errors(one.policy, schema)
        wrong += _unreadable(one.id, one.policy, at_once=forbids_under is not None)
        if forbids_under is not None and not wrong:
            wrong = _errs(one.id, one.policy, forbids_under)
        problems += [PolicyProblem(one.file, one.id, message, one.line) for message in wrong]
    fitting = _fitting(links, templates, origin, problems)
    if problems:
        raise PolicyRejected(problems)
    linked = {link.id: instantiate(templates[link.template], link) for link in fitting}
    policies |= linked
    texts = {key: render(policy) for key, policy in policies.items()}
    if linked:
        problems += _wrong_links(linked, texts, schema, forbids_under)
    if problems:
        raise PolicyRejected(problems)
    bodies = {key: json.dumps(template, sort_keys=True) for key, template in templates.items()}
    return _build(str(schema), policies, texts, schema, bodies, fitting)


def _fitting(
    links: Sequence[Link],
    templates: Mapping[str, Mapping[str, Any]],
    origin: dict[str, str],
    problems: list[PolicyProblem],
) -> tuple[Link, ...]:
    """Return the links that fit their templates; what is wrong with others is added to `problems`."""
    found = []
    for link in links:
        try:
            if link.id in origin:
                raise BadLink(f"this id stands in {origin[link.id]} already", link.id)
            origin[link.id] = LINKS_FILE
            if link.template not in templates:
                raise BadLink(f"there is no template {link.template!r}", link.id)
            instantiate(templates[link.template], link)
        except BadLink as error:
            problems.append(PolicyProblem(LINKS_FILE, error.link_id, str(error)))
        else:
            found.append(link)
    return tuple(sorted(found, key=lambda link: link.id))


def _wrong_links(
    linked: Mapping[str, Mapping[str, Any]], texts: Mapping[str, str], schema: Any, schema_text: str | None
) -> list[PolicyProblem]:
    """Return what is wrong with the policies of links; all are checked at once, and one by one only if that fails."""
    whole = cedarpy.validate_policies("\n".join(texts[key] for key in linked), schema, release_gil=True)
    try:
        compile_policies(tree_of(engine_of(linked)))
        readable = True
    except (UnreadablePolicy, ValueError):
        readable = False
    problems = []
    for key, policy in linked.items():
        wrong = [] if whole.validation_passed else _type_errors(policy, schema)
        wrong += [] if readable else _unreadable(key, policy)
        if schema_text is not None and not wrong:
            wrong = _errs(key, policy, schema_text)
        problems += [PolicyProblem(LINKS_FILE, key, message) for message in wrong]
    return problems


def parse_folder(folder: Path) -> PolicySet:
    """Read, parse and check the policies of `folder`."""
    return parse(read_folder(folder))


def from_body(body: Mapping[str, Any], expected: str) -> PolicySet:
    """Rebuild a stored set; raises CorruptPolicies unless its hash is `expected` and it parses and checks again.

    The hash is checked each time. What has it is the same set each time, so it is parsed once and kept for a while.
    """
    text = canonical_json(dict(body))
    if sha256_hex(text) != expected:
        raise CorruptPolicies(
            "stored policies do not have the hash they are stored under.",
            hint="Restore the table policy_versions from a backup.",
        )
    return _restored(expected, text)


@lru_cache(maxsize=16)
def _restored(expected: str, text: bytes) -> PolicySet:
    body = json.loads(text)
    problems: list[PolicyProblem] = []
    try:
        items = [one for item in body["policies"] for one in _parse_file(item["id"], item["text"], problems)]
        items += [
            _Parsed("templates", item["id"], json.loads(item["json"]), is_template=True, line=None)
            for item in body.get("templates", [])
        ]
        links = [Link.from_json(item) for item in body.get("links", [])]
        # What is stored under its hash was checked for forbids that may err when it was taken in.
        restored = _assembled(_schema(body["schema"], "schema"), None, items, links, problems)
    except (PolicyRejected, KeyError, TypeError, ValueError) as error:
        raise CorruptPolicies(f"stored policies do not parse: {error}") from error
    if restored.version != expected or canonical_json(restored.body) != text:
        raise CorruptPolicies(
            "stored policies read back differently.",
            hint="They were written by another version of the engine: import them again.",
        )
    return restored


def unchecked(policies: Mapping[str, Mapping[str, Any]], schema_text: str | None) -> PolicySet:
    """Build a set from policies in JSON form by id, without checks: for conformance runs and explanations."""
    schema = None if schema_text is None else cedarpy.Schema.from_str(schema_text)
    return _build(schema_text or "", policies, {}, schema)


def engine_of(policies: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return the engine's handle over `policies`; reasons come back as their ids."""
    est = {"staticPolicies": dict(policies), "templates": {}, "templateLinks": []}
    return cedarpy.PolicySet.from_json_str(json.dumps(est))


def tree_of(engine: Any) -> pst.PolicySet:
    """Return the typed tree of an engine's handle; raises UnreadablePolicy where it has none."""
    try:
        tree: pst.PolicySet = engine.to_pst()
    except ValueError as error:
        raise UnreadablePolicy(f"the policies have no typed tree: {error}") from error
    return tree


def render(policy: Mapping[str, Any]) -> str:
    """Return the canonical text of one policy in JSON form."""
    est = {"staticPolicies": {"policy0": dict(policy)}, "templates": {}, "templateLinks": []}
    return str(cedarpy.policies_from_json_str(json.dumps(est))).strip()


def render_template(template: Mapping[str, Any]) -> str:
    """Return the text of a template in JSON form: the engine's own of it as a policy, its slots put back."""
    whole, number = json.dumps(template, ensure_ascii=False), 0
    while f"Slot{number}" in whole:
        number += 1
    values = {slot: EntityUid(f"Slot{number}", slot.removeprefix("?")) for slot in slots(template)}
    text = render({**instantiate(template, Link("", "", values)), "annotations": template["annotations"]})
    for slot, value in values.items():
        text = text.replace(f'{value.type}::"{value.id}"', slot)
    return text


def _build(
    schema_text: str,
    policies: Mapping[str, Mapping[str, Any]],
    texts: Mapping[str, str],
    schema: Any,
    templates: Mapping[str, str] | None = None,
    links: tuple[Link, ...] = (),
) -> PolicySet:
    bodies = templates or {}
    version = version_of(body_of(schema_text, texts, bodies, links))
    return PolicySet(version, schema_text, texts, policies, schema, engine_of(policies), bodies, links)


@frozen
class _Parsed:
    """A policy or template of a file."""

    file: str
    id: str
    policy: Mapping[str, Any]
    is_template: bool
    line: int | None


def _parse_file(name: str, text: str, problems: list[PolicyProblem]) -> list[_Parsed]:
    try:
        est = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        problems.append(PolicyProblem(name, None, f"syntax: {error}"))
        return []
    lines = first_lines(text)
    if len(lines) != len(est["staticPolicies"]) + len(est["templates"]):
        lines = []
    found = []
    for kind in ("staticPolicies", "templates"):
        for key, policy in est[kind].items():
            place = int(key.removeprefix("policy"))
            line = lines[place] if place < len(lines) else None
            identity = policy.get("annotations", {}).get("id")
            if identity:
                found.append(_Parsed(name, identity, policy, kind == "templates", line))
            else:
                problems.append(PolicyProblem(name, None, f'policy number {place + 1} has no @id("…")', line))
    return found


def _template_errors(template: Mapping[str, Any], schema: Any) -> list[str]:
    """Return what Cedar's validator says of a template, whether linked or not: over every type its slots may stand for."""
    return _errors_of(lambda: render_template(template), schema)


def _type_errors(policy: Mapping[str, Any], schema: Any) -> list[str]:
    return _errors_of(lambda: render(policy), schema)


def _errors_of(text: Callable[[], str], schema: Any) -> list[str]:
    """Return the validator's errors, or the engine's own where it cannot even write the policy, as of one too deep."""
    try:
        result = cedarpy.validate_policies(text(), schema, release_gil=True)
    except ValueError as error:
        return [str(error)]
    return [str(error.error).removeprefix("for policy `policy0`, ") for error in result.errors]


def _unreadable(identity: str, policy: Mapping[str, Any], *, at_once: bool = False) -> list[str]:
    """Return why the reader that decides cannot compile a policy: it must not be stored then.

    With `at_once` it is compiled to the end, which else waits for its first question.
    """
    try:
        compiled = compile_policies(tree_of(engine_of({identity: policy})))
        if at_once:
            compiled.compile_all()
    except UnreadablePolicy as error:
        return [str(error)]
    except ValueError:
        return ["nests too deeply for the engine's JSON form"]
    return []


def _errs(identity: str, policy: Mapping[str, Any], schema_text: str) -> list[str]:
    (tree,) = tree_of(engine_of({identity: policy})).static_policies.values()
    found = forbid_that_errs(identity, policy, tree, schema_text)
    return [] if found is None else [found]


def _read(path: Path) -> str:
    if path.stat().st_size > MAX_BYTES:
        raise PolicyRejected([PolicyProblem(path.name, None, f"larger than {MAX_BYTES} bytes")])
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise PolicyRejected([PolicyProblem(path.name, None, "not UTF-8")]) from error
