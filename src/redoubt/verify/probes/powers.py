"""Powers that nobody should get: default accounts, headers that claim, roles that are assigned by a body."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

from ..browser import Answer, Browser
from ..errors import Unshown
from ..lab import Lab
from ..openapi import Resource
from ..people import Person, deep, send_login
from ..probe import READING, Attack, probe
from ..things import Thing, Workshop

_POWERS = re.compile(
    r"(?i)^(role|roles|is_?admin|admin|is_?staff|is_?superuser|scopes?|permissions?|groups?|privileges?)$"
)
_FIXED = re.compile(r"(?i)^(owner(_?id)?|user_?id|status|state|price|balance|total|paid|verified|tenant)$")
_DEFAULTS = (
    ("admin", "admin"),
    ("admin", "password"),
    ("root", "root"),
    ("test", "test"),
    ("admin", "changeme"),
)
_TRICKS = (
    {"X-Admin": "true"}, {"X-Debug": "1"}, {"X-Forwarded-User": "admin"}, {"X-Remote-User": "admin"},
    {"X-Role": "admin"}, {"X-User-Id": "1"}, {"X-Original-URL": "/healthz"}, {"X-Forwarded-For": "127.0.0.1"},
    {"Authorization": "Basic YWRtaW46YWRtaW4="}, {"X-Internal": "true"}, {"X-HTTP-Method-Override": "GET"},
)  # fmt: skip


@probe("AUZ-6")
def nobody_becomes_an_administrator(lab: Lab) -> None:
    """Try default accounts, debug headers and mass-assigned powers."""
    _default_accounts(lab)
    _tricky_headers(lab)
    _mass_assignment(lab)


def _default_accounts(lab: Lab) -> None:
    how = lab.target.login
    with lab.attack("log in with default accounts", "a session lives") as attack:
        browser = lab.anonymous()
        if how is not None:
            for name, word in _DEFAULTS:
                tried = lab.browser("intruder")
                values = {"name": name, "email": f"{name}@localhost", "password": word}
                answer = send_login(how, tried, values, allow_429=True)
                attack.check(answer.status >= 400, f"{name}:{word} logs in", answer)
        else:
            for path in ("/login", "/auth/login", "/admin/login", "/api/login", "/token"):
                for name, word in _DEFAULTS[:2]:
                    answer = browser.post(path, json={"username": name, "password": word}, allow_429=True)
                    attack.check(not answer.ok, f"{name}:{word} logs in at {path}", answer)


def _tricky_headers(lab: Lab) -> None:
    closed = [
        one
        for one in lab.api.operations
        if one.method == "GET" and not one.open and one.key not in lab.target.public
    ]
    with lab.attack("claim power by a header", "what nobody may read is answered") as attack:
        browser = lab.anonymous()
        plain = [one for one in closed if not browser.get(one.at(id="1")).ok]
        attack.positive("there is something that nobody may read", plain)
        for one, header in product(plain[:6], _TRICKS):
            answer = browser.get(one.at(id="1"), headers=header)
            name, value = next(iter(header.items()))
            attack.check(not answer.ok, f"{one.key} answers nobody who sends {name}: {value}", answer)


def _mass_assignment(lab: Lab) -> None:
    person = lab.person(lab.a_role(), "max")
    powers: dict[str, Any] = {
        "role": "admin",
        "roles": ["admin", "operator"],
        "is_admin": True,
        "admin": True,
        "is_staff": True,
    }
    shop = Workshop(lab, [person])
    with lab.attack(
        "assign oneself a role through bodies", "the role shows in one's own re-read, or works"
    ) as attack:
        how = lab.target.register_
        if how is not None and "json" in how.contentType:
            _join_with_powers(lab, attack, powers)
        tried = 0
        own = [
            one for one in lab.api.operations if one.method in ("PATCH", "PUT") and not one.path_parameters
        ]
        for one in own:
            tried += 1
            answer = person.browser.send(one.method, one.path, json=dict(powers))
            _powerful(lab, attack, person.browser, answer, f"{one.key} assigns a role")
        for kind in lab.api.resources():
            thing = shop.make(kind, person)
            if thing is None or kind.update is None:
                continue
            tried += 1
            _write_protected(lab, attack, kind, thing, person)
        attack.positive("there was something to assign to", tried or how is not None or lab.target.passkeys)
        if lab.target.passkeys is not None and lab.target.passkeys.register_ is not None:
            _sign_up_with_powers(lab, attack, powers)


def _join_with_powers(lab: Lab, attack: Attack, powers: dict[str, Any]) -> None:
    how = lab.target.register_
    if how is None:
        return
    name, word = lab.canary(), "Pw-" + lab.canary()
    raw = (
        how.payloadRaw.replace("{name}", name)
        .replace("{email}", f"{name}@people.example")
        .replace("{password}", word)
    )
    lab.world.masker.learn(word, "password", name)
    browser = lab.browser("max, joining")
    answer = browser.post(how.endpoint, json={**json.loads(raw), **powers})
    if answer.status >= 400:
        return
    word = str(deep(answer.json(), how.credential)) if how.credential else word
    if lab.target.login is not None:
        send_login(
            lab.target.login, browser, {"name": name, "email": f"{name}@people.example", "password": word}
        )
    _powerful(lab, attack, browser, answer, f"POST {how.endpoint} assigns a role")


def _sign_up_with_powers(lab: Lab, attack: Attack, powers: dict[str, Any]) -> None:
    keys, people = lab.target.passkeys, lab.world.people
    if keys is None or keys.register_ is None:
        return
    browser = lab.anonymous()
    key = people.new_key(browser)
    options = browser.post(keys.register_[0], json={"email": f"{lab.canary()}@people.example", **powers})
    if not options.ok:
        return
    answer = browser.post(keys.register_[1], json={"credential": key.create(options.json()), **powers})
    _powerful(lab, attack, browser, answer, f"POST {keys.register_[1]} assigns a role")


def _powerful(lab: Lab, attack: Attack, browser: Browser, answer: Answer, words: str) -> None:
    ask = lab.target.whoami
    shown = browser.get(ask.endpoint) if ask is not None else answer
    roles = deep(shown.json(), ask.roles) if ask is not None and ask.roles else None
    body = shown.json() if isinstance(shown.json(), dict) else {}
    got = [
        key
        for key, value in body.items()
        if _POWERS.match(key) and value in (True, "admin", ["admin", "operator"])
    ]
    held = isinstance(roles, list) and bool({"admin", "operator"} & set(map(str, roles)))
    attack.check(
        not got and not held,
        f"{words}: {', '.join(got) or 'admin'} shows in one's own re-read",
        shown,
        "admin",
    )


def _write_protected(lab: Lab, attack: Attack, kind: Resource, thing: Thing, person: Person) -> None:
    if kind.update is None or kind.read is None:
        return
    readable = lab.api.properties(kind.read.result) or dict.fromkeys(thing.body)
    writable = set(lab.api.properties(kind.update.body))
    for name in readable:
        if name in writable or not (_POWERS.match(name) or _FIXED.match(name)):
            continue
        before = deep(thing.reread().json(), name)
        planted: Any = (
            before + 1 if isinstance(before, int) and not isinstance(before, bool) else lab.canary()
        )
        answer = person.browser.send(kind.update.method, thing.path, json={name: planted})
        after = deep(thing.reread().json(), name)
        attack.check(
            after == before, f"{kind.update.key} sets {name}, which no body may", answer, str(planted)
        )


@probe("AUZ-6", phase=READING)
def no_back_door_in_the_code(lab: Lab) -> None:
    """Search the repository for default accounts and debug by-passes."""
    repo = lab.world.repo
    if repo is None or not Path(repo).is_dir():
        raise Unshown("the app's repository was not given", add="repo: .")
    doors = re.compile(
        r"(?i)(password|passwd)\W{1,4}(admin|changeme|letmein|secret|root|password)\b|\bdebug\s*=\s*True\b|\bDEBUG\s*[:=]\s*[\"']?(true|1)\b"
        r"|x-debug-(user|auth)|bypass_?auth|skip_?auth|\bsuper_?(user|role)\s*[:=]\s*True"
    )
    with lab.attack("search for default accounts and by-passes", "each finding names its line") as attack:
        read = 0
        for path in sorted(Path(repo).rglob("*")):
            parts = path.relative_to(repo).parts
            if not path.is_file() or path.suffix not in (
                ".py",
                ".js",
                ".ts",
                ".toml",
                ".yaml",
                ".yml",
                ".env",
                ".ini",
            ):
                continue
            if any(part in (".venv", "node_modules", "tests", "test", ".git", "var") for part in parts):
                continue
            read += 1
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                if doors.search(line) and not line.lstrip().startswith("#"):
                    attack.broke(f"{'/'.join(parts)}:{number} looks like a back door")
        attack.positive("files were read", read)
