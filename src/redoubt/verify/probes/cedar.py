"""Edits of Cedar policies as text: verify shares no policy engine with what it judges, it writes and asks.

An edit is a statement that gives or takes something, or another way to write what stands there. What the edits mean is
known from how they are made; what a gate says of them is what is judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

_SUFFIXES = (".cedar", ".cedarschema")
_STATEMENT = re.compile(r"(?m)^(?=@id\()")
_WHEN = re.compile(r"\bwhen\s*\{(?P<body>[^{}]*)\}\s*;\s*\Z")
_GRANTED = re.compile(r'@grant\("by ([^"]*)"\)\s*entity \w+ in \[[^\]]*\bRole\b')
ADDED = "verify-added.cedar"


def read_policies(folder: Path) -> dict[str, str]:
    """Return the texts of a folder of policies, its schema included, by file name."""
    return {one.name: one.read_text() for one in sorted(folder.iterdir()) if one.suffix in _SUFFIXES}


def write_policies(folder: Path, texts: Mapping[str, str]) -> Path:
    """Write texts into a new folder and return it."""
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def statements(text: str) -> list[str]:
    """Return the statements of a file, each beginning with its @id."""
    return [one for one in _STATEMENT.split(text) if one.startswith("@id(")]


def granting(texts: Mapping[str, str], action: str, role: str) -> str | None:
    """Return the statement that permits `action` to `role`; None where no one statement does."""
    for text in texts.values():
        for one in statements(text):
            permits = re.search(r"\)\s*permit\b", one.replace("\n", " "))
            if permits and f'Action::"{action}"' in one and f'Role::"{role}"' in one and _WHEN.search(one):
                return one
    return None


def granted_to(statement: str, role: str, identity: str) -> str:
    """Return the same permission for another role, on one object alone."""
    kind = re.search(r"\bresource is ([\w:]+)", statement)
    about = f'resource == {kind[1]}::"{identity}" &&' if kind else ""
    given = re.sub(r'Role::"[^"]*"', f'Role::"{role}"', statement)
    return _named(_WHEN.sub(lambda m: f"when {{ {about} {m['body'].strip()} }};", given), "granted")


def forbidden(statement: str, identity: str) -> str:
    """Return a statement that takes the same action on one object from everybody."""
    kind, action = re.search(r"\bresource is ([\w:]+)", statement), re.search(r'Action::"[^"]+"', statement)
    if kind is None or action is None:
        return ""
    return f'@id("verify-forbidden")\nforbid (principal, action == {action[0]}, resource == {kind[1]}::"{identity}");\n'


def _named(statement: str, name: str) -> str:
    return re.sub(r'@id\("[^"]*"\)', f'@id("verify-{name}")', statement, count=1)


def _each(texts: Mapping[str, str], change: Callable[[str], str]) -> dict[str, str]:
    return {
        name: "\n".join(change(one) for one in statements(text)) if name.endswith(".cedar") else text
        for name, text in texts.items()
    }


def _first(texts: Mapping[str, str], old: str, new: str) -> dict[str, str]:
    """Replace the first occurrence of a text in the policies; nothing where there is none."""
    changed = dict(texts)
    for name, text in texts.items():
        if name.endswith(".cedar") and old in text:
            changed[name] = text.replace(old, new, 1)
            return changed
    return {}


def equal_edits(texts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return other spellings of the same: conditions twice negated, turned to `unless`, statements in another order."""

    def negated(one: str) -> str:
        return _WHEN.sub(lambda m: f"unless {{ !({m['body'].strip()}) }};", one)

    def twice(one: str) -> str:
        return _WHEN.sub(lambda m: f"when {{ !(!({m['body'].strip()})) }};", one)

    turned = {
        name: "\n// in another order\n".join(reversed(statements(text))) if name.endswith(".cedar") else text
        for name, text in _each(texts, negated).items()
    }
    return {"unless for when, in another order": turned, "twice negated": _each(texts, twice)}


def narrower_edits(texts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return edits that take something away and give nothing."""
    name = next(one for one in texts if one.endswith(".cedar") and len(statements(texts[one])) > 1)
    return {"a statement less": {**texts, name: "\n".join(statements(texts[name])[1:])}}


def wider_edits(texts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return edits that give more, written so that a reader may overlook it."""
    owner = "resource.owner == principal"
    made = {
        "an owner compared with itself": _first(texts, owner, "resource.owner == resource.owner"),
        "a condition with its own opposite": _first(texts, owner, f"({owner} || !({owner}))"),
        "the tenant asked only where there is none": _first(
            texts, "principal.tenant == resource.tenant",
            "(principal.tenant == resource.tenant || principal.tenant != resource.tenant)",
        ),
    }  # fmt: skip
    return {words: edited for words, edited in made.items() if edited}


def elevating_edits(texts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return an edit of the schema that lets an action write the roles of whoever may do it, where @grant says who writes.

    The action is one of a role that lacks what another role has, so who may do it gains something by the write.
    """
    edited = dict(texts)
    for name, text in texts.items():
        found = _GRANTED.search(text) if name.endswith(".cedarschema") else None
        action = _lacking(texts) if found else None
        if found and action:
            edited[name] = f"{text[: found.end(1)]}, {action}{text[found.end(1) :]}"
            return {"a granted write by which its doer gives themselves a role": edited}
    return {}


def _lacking(texts: Mapping[str, str]) -> str | None:
    """Return an action of a role that lacks an action which another role has."""
    has: dict[str, list[str]] = {}
    for name, text in texts.items():
        for one in statements(text) if name.endswith(".cedar") else ():
            role, action = re.search(r'Role::"([^"]+)"', one), re.search(r'Action::"([^"]+)"', one)
            if role and action and "Enrolment" not in action[1]:
                has.setdefault(role[1], []).append(action[1])
    everything = {action for actions in has.values() for action in actions}
    return next((actions[0] for _, actions in sorted(has.items()) if everything - set(actions)), None)
