"""A policy set: parsed and checked text, its content address, and handles that the engine decides with.

The canonical body is `{schema, policies: [{id, text}] sorted by id}`, both rendered by the engine, so that comments,
layout and file names do not make a new version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from .text import uid

SCHEMA_SUFFIX = ".cedarschema"
POLICY_SUFFIX = ".cedar"
MAX_BYTES = 2 * 1024 * 1024


@frozen
class PolicySource:
    """Policies as their author wrote them: schema text and policy files by name."""

    schema: str
    policies: Mapping[str, str]
    schema_file: str = "schema.cedarschema"


@frozen
class PolicySet:
    """A checked, immutable policy set, ready to decide.

    `policies` holds each policy's JSON form by `@id`, `texts` its canonical text.
    """

    version: str
    schema_text: str
    texts: Mapping[str, str]
    policies: Mapping[str, Mapping[str, Any]] = field(repr=False)
    schema: Any = field(repr=False, eq=False)
    engine: Any = field(repr=False, eq=False)

    @property
    def body(self) -> dict[str, Any]:
        """Return the canonical body that `version` is the hash of."""
        return body_of(self.schema_text, self.texts)

    def tree(self) -> pst.PolicySet:
        """Return the typed tree of the policies, templates and links, each by its id.

        Raises UnreadablePolicy for a wrong number of arguments to an extension function, and beyond 100 levels.
        """
        return tree_of(self.engine)

    def knows_action(self, name: str) -> bool:
        """Say whether the schema declares the action `name` for some principal and resource."""
        probe = f"permit (principal, action == {uid('Action', name)}, resource);"
        return bool(cedarpy.validate_policies(probe, self.schema).validation_passed)


def body_of(schema_text: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the canonical body of a schema and policies by id."""
    return {
        "schema": schema_text,
        "policies": [{"id": key, "text": text} for key, text in sorted(texts.items())],
    }


def version_of(body: Mapping[str, Any]) -> str:
    """Return the content address of a canonical body: its SHA-256 in hexadecimal."""
    return sha256_hex(canonical_json(dict(body)))


def read_folder(folder: Path) -> PolicySource:
    """Read `*.cedar` and the one `*.cedarschema` of `folder`; raises PolicyRejected when that is not what is there."""
    schemas = sorted(folder.glob(f"*{SCHEMA_SUFFIX}"))
    if len(schemas) != 1:
        raise PolicyRejected(
            [PolicyProblem(str(folder), None, f"needs one *{SCHEMA_SUFFIX} file, has {len(schemas)}")]
        )
    files = {path.name: _read(path) for path in sorted(folder.glob(f"*{POLICY_SUFFIX}"))}
    return PolicySource(_read(schemas[0]), files, schemas[0].name)


def parse(source: PolicySource) -> PolicySet:
    """Parse and check `source` against its own schema.

    Raises PolicyRejected with every problem: syntax, types, an `@id` that is missing, empty or used twice, templates
    (nothing links them yet), what the reader that decides cannot compile, a forbid that may come to an error. Each
    names the policy's first line.
    """
    return _parsed(source, forbids=True)


def _parsed(source: PolicySource, *, forbids: bool) -> PolicySet:
    try:
        schema = cedarpy.Schema.from_str(source.schema, release_gil=True)
    except ValueError as error:
        raise PolicyRejected([PolicyProblem(source.schema_file, None, f"schema: {error}")]) from error
    problems: list[PolicyProblem] = []
    policies: dict[str, Mapping[str, Any]] = {}
    origin: dict[str, str] = {}
    for name, text in sorted(source.policies.items()):
        for identity, policy, line in _parse_file(name, text, problems):
            if identity in origin:
                problems.append(
                    PolicyProblem(name, identity, f"this @id stands in {origin[identity]} already", line)
                )
                continue
            origin[identity] = f"{name}:{line}"
            policies[identity] = policy
            wrong = _type_errors(policy, schema) + _unreadable(identity, policy)
            if "invariant" in policy.get("annotations", {}) and policy["effect"] != "forbid":
                wrong.append("an @invariant is a forbid: it says what no permit may reach")
            if forbids and not wrong:
                wrong = _errs(identity, policy, source.schema)
            problems += [PolicyProblem(name, identity, message, line) for message in wrong]
    if problems:
        raise PolicyRejected(problems)
    return _build(str(schema), policies, {key: render(policy) for key, policy in policies.items()}, schema)


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
    try:
        files = {item["id"]: item["text"] for item in body["policies"]}
        # What is stored under its hash was checked for forbids that may err when it was taken in.
        restored = _parsed(PolicySource(body["schema"], files, "schema"), forbids=False)
    except (PolicyRejected, KeyError, TypeError) as error:
        raise CorruptPolicies(f"stored policies do not parse: {error}") from error
    if restored.version != expected or set(restored.texts) != set(files):
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


def _build(
    schema_text: str, policies: Mapping[str, Mapping[str, Any]], texts: Mapping[str, str], schema: Any
) -> PolicySet:
    version = version_of(body_of(schema_text, texts))
    return PolicySet(version, schema_text, texts, policies, schema, engine_of(policies))


def _parse_file(
    name: str, text: str, problems: list[PolicyProblem]
) -> list[tuple[str, Mapping[str, Any], int | None]]:
    try:
        est = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        problems.append(PolicyProblem(name, None, f"syntax: {error}"))
        return []
    lines = first_lines(text)
    if len(lines) != len(est["staticPolicies"]) + len(est["templates"]):
        lines = []

    def line_of(key: str) -> int | None:
        place = int(key.removeprefix("policy"))
        return lines[place] if place < len(lines) else None

    problems += [
        PolicyProblem(
            name, template.get("annotations", {}).get("id"), "templates are not supported yet", line_of(key)
        )
        for key, template in est["templates"].items()
    ]
    found = []
    for number, (key, policy) in enumerate(est["staticPolicies"].items(), start=1):
        identity = policy.get("annotations", {}).get("id")
        if not identity:
            problems.append(
                PolicyProblem(name, None, f'policy number {number} has no @id("…")', line_of(key))
            )
        else:
            found.append((identity, policy, line_of(key)))
    return found


def _type_errors(policy: Mapping[str, Any], schema: Any) -> list[str]:
    try:
        result = cedarpy.validate_policies(render(policy), schema, release_gil=True)
    except ValueError as error:
        return [str(error)]
    return [str(error.error).removeprefix("for policy `policy0`, ") for error in result.errors]


def _unreadable(identity: str, policy: Mapping[str, Any]) -> list[str]:
    """Return why the reader that decides cannot compile a policy: it must not be stored then."""
    try:
        compile_policies(tree_of(engine_of({identity: policy})))
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
