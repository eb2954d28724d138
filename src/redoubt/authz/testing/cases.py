"""Policy test files: YAML with `given` entities and `tests`, each a `when` and the answer `then`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml
from attrs import frozen

from ..errors import AuthzError
from ..models import AuthzRequest, Entity, EntityUid, action_uid, uid_from_json, value_from_json

MAX_BYTES = 1024 * 1024
_ENTITY = frozenset({"uid", "attrs", "parents", "tags"})
_WHEN = frozenset({"principal", "action", "resource", "context"})


class BadTests(AuthzError):
    """A test file cannot be read; the message names the file and the test."""

    code = "policy-tests"


@frozen
class Case:
    """One expectation: `by` is the determining policy, where the author names one."""

    file: str
    name: str
    request: AuthzRequest
    allow: bool
    by: str | None = None


def read_cases(path: Path) -> list[Case]:
    """Return the cases of one file; raises BadTests for what is not exactly in the format.

    A misspelt member would otherwise be a test that tests something else.
    """
    if path.stat().st_size > MAX_BYTES:
        raise BadTests(f"{path.name}: larger than {MAX_BYTES} bytes")
    try:
        text = path.read_text("utf-8")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.SafeLoader)):
            raise BadTests(f"{path.name}: aliases are not taken")
        document = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise BadTests(f"{path.name}: no YAML: {str(error)[:300]}") from error
    try:
        return _cases(path.name, document)
    except (KeyError, TypeError, AttributeError) as error:
        raise BadTests(f"{path.name}: an entity, request or value is not in Cedar's JSON form") from error


def _cases(file: str, document: Any) -> list[Case]:
    _members(file, document, {"given", "tests"}, {"tests"})
    given = [_entity(file, item) for item in document.get("given", [])]
    uids = [entity.uid for entity in given]
    if len(set(uids)) != len(uids):
        _bad(file, "an entity is given twice")
    found: list[Case] = []
    for number, test in enumerate(document["tests"], start=1):
        where = f"{file}, test {number}"
        _members(where, test, {"name", "when", "then", "by"}, {"name", "when", "then"})
        when = test["when"]
        _members(where, when, _WHEN, _WHEN - {"context"})
        if test["then"] not in ("allow", "deny"):
            _bad(where, "then is allow or deny")
        request = AuthzRequest(
            _uid(where, when["principal"]),
            action_uid(when["action"])
            if isinstance(when["action"], str)
            else _bad(where, "action is a name"),
            _uid(where, when["resource"]),
            value_from_json(when.get("context", {})),
            tuple(given),
        )
        found.append(Case(file, str(test["name"]), request, test["then"] == "allow", test.get("by")))
    if not found:
        _bad(file, "there is no test in it")
    return found


def _entity(file: str, item: Any) -> Entity:
    _members(file, item, _ENTITY, {"uid"})
    whole = {"attrs": {}, "parents": [], **item}
    parents = [_uid(file, parent).to_json() for parent in whole["parents"]]
    return Entity.from_json({**whole, "uid": _uid(file, item["uid"]).to_json(), "parents": parents})


def _uid(where: str, written: Any) -> EntityUid:
    """Read `Type::id`, or Cedar's JSON form for an id that this cannot hold."""
    if isinstance(written, str):
        kind, separator, identity = written.rpartition("::")
        if separator and kind:
            return EntityUid(kind, identity)
        _bad(where, f"{written!r} is not Type::id")
    return uid_from_json(written)


def _members(
    where: str, found: Any, known: set[str] | frozenset[str], needed: set[str] | frozenset[str]
) -> None:
    if not isinstance(found, Mapping):
        _bad(where, f"needs the members {', '.join(sorted(needed))}")
    odd = sorted(str(key) for key in found if key not in known)
    missing = sorted(needed - found.keys())
    if odd or missing:
        _bad(where, f"unknown: {', '.join(odd) or 'none'}; missing: {', '.join(missing) or 'none'}")


def _bad(where: str, why: str) -> NoReturn:
    raise BadTests(f"{where}: {why}")
