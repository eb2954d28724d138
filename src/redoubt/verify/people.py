"""People: made only in ways that the app offers to anybody, or from accounts that the target file names."""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.parse import urlsplit

from attrs import define

from .authenticator import Authenticator
from .browser import Answer, Browser
from .errors import LoginFailed, Unshown
from .target import AuthEntry, LoginEndpoint, Passkeys, Target


@define(eq=False)
class Person:
    """Somebody with a role: their browser, and what they log in with."""

    name: str
    role: str
    email: str
    browser: Browser
    password: str = ""
    key: Authenticator | None = None
    account: AuthEntry | None = None
    id: str = ""


class People:
    """Makes people and logs them in, as the target file says."""

    def __init__(self, target: Target, random_bytes: Any, secret: Any) -> None:
        self._target = target
        self._random = random_bytes
        self._secret = secret
        self._links: list[str] = []
        self._minter: Person | None = None
        self._used: dict[str, int] = {}
        self._minting = threading.RLock()
        given = target.passkeys.links if target.passkeys else []
        self._links = [given] if isinstance(given, str) else list(given)

    def roles(self) -> dict[str, str]:
        """Return each role with the way that its people come: register, sign_up, enrol or account."""
        if self._target.roles:
            return dict(self._target.roles)
        found = {}
        if self._target.register_ is not None:
            found["user"] = "register"
        if self._target.passkeys is not None and self._target.passkeys.register_ is not None:
            found["user"] = "sign_up"
        for entry in self._target.auth:
            found.setdefault(entry.role or entry.name, "account")
        return found

    @property
    def separate(self) -> bool:
        """Whether no two probes ever share a session: people are made anew, or log in to the one account of a role."""
        names = [one.role or one.name for one in self._target.auth]
        logins = all(one.loginEndpointAuth is not None for one in self._target.auth)
        anew = set(self.roles().values()) <= {"register", "sign_up", "enrol"}
        return anew or (logins and len(set(names)) == len(names))

    def make(self, role: str, name: str, browser: Browser, minter: Browser) -> Person:
        """Return a new person with `role`, logged in; raises Unshown when the target file offers no way."""
        way = self.roles().get(role)
        if way is None:
            raise Unshown(f"nobody can get the role {role}", add=f"roles: {{{role}: register}}")
        suffix = self._random(4).hex()
        plain = name.replace(" ", "-")  # a name may be words, an address and a user name may not
        person = Person(f"{plain}{suffix}", role, f"{plain}.{suffix}@people.example", browser)
        if way == "register":
            self._register(person)
        elif way == "sign_up":
            self._sign_up(person)
        elif way == "enrol":
            self._enrol(person, minter)
        else:
            self._account(person, way)
        person.id = str(self.who(person) or "")
        return person

    def second_account(self, role: str) -> bool:
        """Say whether two people with this role can be had."""
        way = self.roles().get(role)
        if way in ("register", "sign_up", "enrol"):
            return True
        return len([one for one in self._target.auth if (one.role or one.name) == role]) > 1

    def login(self, person: Person, browser: Browser) -> Browser:
        """Log `person` in with another browser and return it; raises LoginFailed."""
        if person.key is not None:
            answer = self.assert_passkey(person, browser)
        else:
            answer = self._password_login(person, browser)
        if not answer.ok and answer.status not in (302, 303):
            raise LoginFailed(
                f"{person.role} could not log in ({answer.status}).", hint="Check login: in the target."
            )
        refresh_csrf(self._target, browser)
        return browser

    def who(self, person: Person) -> Any:
        """Return the id that the app knows a person by, where the target file says how to ask."""
        ask = self._target.whoami
        if ask is None or ask.id is None:
            return None
        return deep(person.browser.get(ask.endpoint).json(), ask.id)

    def step_up(self, person: Person) -> Answer:
        """Give a fresh passkey assertion."""
        ceremony = self._ceremony("step_up")
        if person.key is None:
            raise Unshown(f"{person.role} has no passkey")
        options = person.browser.post(ceremony[0], json={})
        answer = person.browser.post(ceremony[1], json={"credential": person.key.get(_need(options))})
        refresh_csrf(self._target, person.browser, answer)
        return answer

    def assert_passkey(self, person: Person, browser: Browser, **lie: Any) -> Answer:
        """Log in with the person's passkey; `lie` replaces what an honest authenticator would say."""
        ceremony = self._ceremony("login")
        if person.key is None:
            raise Unshown(f"{person.role} has no passkey")
        refresh_csrf(self._target, browser)
        options = browser.post(ceremony[0], json={})
        return browser.post(
            ceremony[1], json={"credential": person.key.get(_need(options), **lie)}, allow_429=True
        )

    def new_key(self, browser: Browser) -> Authenticator:
        """Return an authenticator for this app's origin."""
        parts = urlsplit(browser.base_url)
        return Authenticator(f"{parts.scheme}://{parts.netloc}", parts.hostname or "", self._random(32))

    def mint(self, role: str, email: str, browser: Browser) -> str:
        """Return an enrolment link for `role`: an unused operator link, or one that an operator mints."""
        with self._minting:  # one operator's browser mints for all, one at a time
            return self._mint(role, email, browser)

    def _mint(self, role: str, email: str, browser: Browser) -> str:
        keys = self._passkeys()
        if role == "operator" and self._links and self._minter is not None:
            return self._links.pop(0)
        minter = self._minter or self._first_operator(browser)
        if role == "operator" and self._links:
            return self._links.pop(0)
        if keys.mint is None:
            raise Unshown(f"nobody can mint a link for {role}", add="passkeys: {mint: /console/enrolments}")
        answer = minter.browser.post(keys.mint, json={"role": role, "email": email})
        if answer.status == 401:
            self.step_up(minter)
            answer = minter.browser.post(keys.mint, json={"role": role, "email": email})
        link = answer.member("url")
        if not answer.ok or not isinstance(link, str):
            raise Unshown(f"an operator could not mint a link for {role} ({answer.status})")
        return link

    def _first_operator(self, browser: Browser) -> Person:
        if not self._links:
            raise Unshown(
                "there is no operator link to begin with", add='passkeys: {links: "{ready:operator_links}"}'
            )
        person = Person("first-operator", "operator", "first.operator@people.example", browser)
        self._take_link(person, self._links.pop(0))
        self._minter = person
        return person

    def _enrol(self, person: Person, minter: Browser) -> None:
        self._take_link(person, self.mint(person.role, person.email, minter))

    def _take_link(self, person: Person, link: str) -> None:
        ceremony = self._ceremony("enrol")
        token = urlsplit(link).path.rsplit("/", 1)[-1]
        person.browser.masker.learn(token, "link", person.name)
        self._begin(person, ceremony, {"token": token, "email": person.email}, {"token": token})

    def _sign_up(self, person: Person) -> None:
        self._begin(person, self._ceremony("register_"), {"email": person.email}, {})

    def _begin(
        self, person: Person, ceremony: tuple[str, str], ask: dict[str, Any], more: dict[str, Any]
    ) -> None:
        browser = person.browser
        refresh_csrf(self._target, browser)
        person.key = self.new_key(browser)
        options = browser.post(ceremony[0], json=ask)
        if not options.ok:
            raise LoginFailed(f"{person.role} could not join: {ceremony[0]} answered {options.status}.")
        answer = browser.post(ceremony[1], json={"credential": person.key.create(options.json()), **more})
        if not answer.ok:
            raise LoginFailed(f"{person.role} could not join: {ceremony[1]} answered {answer.status}.")
        refresh_csrf(self._target, browser, answer)

    def _register(self, person: Person) -> None:
        how = self._target.register_
        if how is None:
            raise Unshown("nobody can register", add="register: {endpoint: /register}")
        person.password = "Pw-" + self._random(9).hex()
        person.browser.masker.learn(person.password, "password", person.name)
        refresh_csrf(self._target, person.browser)
        body = _filled(how.payloadRaw, person)
        answer = person.browser.send(
            "POST", how.endpoint, content=body.encode(), headers={"Content-Type": how.contentType}
        )
        if answer.status >= 400:
            raise LoginFailed(f"nobody can register: {how.endpoint} answered {answer.status}.")
        if how.credential is not None:
            person.password = str(deep(answer.json(), how.credential) or "")
            person.browser.masker.learn(person.password, "credential", person.name)
        self.login(person, person.browser)

    def _account(self, person: Person, way: str) -> None:
        entries = [
            one for one in self._target.auth if (one.role or one.name) == person.role or one.name == way
        ]
        if not entries:
            raise Unshown(
                f"the target names no account for {person.role}", add=f"auth: [{{name: {person.role}, …}}]"
            )
        at = self._used.get(person.role, 0)
        self._used[person.role] = at + 1
        person.account = entries[at % len(entries)]
        self.login(person, person.browser)

    def _password_login(self, person: Person, browser: Browser) -> Answer:
        entry = person.account
        if entry is not None and entry.fixedHeaders:
            for header in entry.fixedHeaders:
                value = self._secret(header["value"])
                browser.masker.learn(value, "header", person.name)
                browser.headers[header["name"]] = value
            return Answer(200, _no_headers(), b"", "", ())
        how = (entry.loginEndpointAuth if entry else None) or self._target.login
        if how is None:
            raise LoginFailed("the target does not say how to log in.", hint="Add login: {endpoint: /login}")
        return send_login(how, browser, self._credentials(how, person))

    def _credentials(self, how: LoginEndpoint, person: Person) -> dict[str, str]:
        pair = how.payloadUserPwd
        if person.account is not None and pair is not None:
            name, password = self._secret(pair.username), self._secret(pair.password)
            person.browser.masker.learn(password, "password", person.name)
            person.name, person.password = name, password
        return {"name": person.name, "email": person.email, "password": person.password}

    def _passkeys(self) -> Passkeys:
        if self._target.passkeys is None:
            raise Unshown(
                "the app has no passkeys that the target names", add="passkeys: {login: [/options, /verify]}"
            )
        return self._target.passkeys

    def _ceremony(self, name: str) -> tuple[str, str]:
        pair = getattr(self._passkeys(), name)
        if pair is None:
            raise Unshown(
                f"the target names no {name} ceremony", add=f"passkeys: {{{name}: [/options, /verify]}}"
            )
        return pair[0], pair[1]


def send_login(
    how: LoginEndpoint, browser: Browser, values: dict[str, str], *, allow_429: bool = False
) -> Answer:
    """Send a WFC login call, and keep the token that it answers with."""
    if how.payloadRaw is not None:
        body = how.payloadRaw
        for name, value in values.items():
            body = body.replace("{" + name + "}", value)
        content = body.encode()
    else:
        pair = how.payloadUserPwd
        user, word = (pair.usernameField, pair.passwordField) if pair else ("username", "password")
        fields = {user: values["name"], word: values["password"]}
        content = (
            json.dumps(fields).encode()
            if "json" in how.contentType
            else "&".join(f"{key}={value}" for key, value in fields.items()).encode()
        )
    headers = {"Content-Type": how.contentType} | {one["name"]: one["value"] for one in how.headers}
    answer = browser.send(how.verb, how.endpoint, content=content, headers=headers, allow_429=allow_429)
    if how.token is not None and answer.ok:
        if how.token.extractFrom == "header":
            found: Any = answer.headers.get(how.token.extractSelector)
        else:
            found = deep(answer.json(), how.token.extractSelector.strip("/").replace("/", "."))
        if isinstance(found, str):
            browser.masker.learn(found, "token", browser.actor)
            sent = how.token.sendTemplate.replace("{token}", found)
            if how.token.sendIn == "cookie":
                browser.cookies[how.token.sendName] = sent
            else:
                browser.headers[how.token.sendName] = sent
    return answer


def refresh_csrf(target: Target, browser: Browser, answer: Answer | None = None) -> None:
    """Take the CSRF token from an answer that holds one, else ask for it, where the target file says how."""
    how = target.csrf
    if how is None:
        return
    found = deep(answer.json(), how.member) if answer is not None else None
    if not isinstance(found, str):
        found = deep(browser.get(how.endpoint).json(), how.member)
    if isinstance(found, str):
        browser.masker.learn(found, "csrf", browser.actor)
        browser.csrf, browser.csrf_header = found, how.header


def deep(value: Any, path: str) -> Any:
    """Return the member at a dotted path; None where there is none."""
    for step in path.split("."):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _need(options: Answer) -> dict[str, Any]:
    found = options.json()
    if not options.ok or not isinstance(found, dict):
        raise Unshown(f"no WebAuthn options came back ({options.status})")
    return found


def _filled(text: str, person: Person) -> str:
    for name in ("name", "email", "password"):
        text = text.replace("{" + name + "}", getattr(person, name))
    return text


def _no_headers() -> Any:
    import httpx

    return httpx.Headers()
