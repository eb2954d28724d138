"""Identity: how people log in, what a session is worth in other hands, and what stops a script."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

from ..authenticator import b64url
from ..browser import Answer, Browser, Cookie
from ..errors import LoginFailed, NoSubject, Unshown
from ..lab import Lab
from ..people import Person, deep, refresh_csrf, send_login
from ..probe import READING, Attack, probe

_PASSWORD = re.compile(r"(?i)^(pass(word|wd|phrase|code)?|pwd|pin|secret_?word)$")
_COMMON_PAGES = (
    "/",
    "/login",
    "/signin",
    "/auth/login",
    "/auth/register",
    "/register",
    "/signup",
    "/account",
    "/reset",
)
_COMMON_LOGINS = (
    "/login",
    "/auth/login",
    "/api/login",
    "/api/auth/login",
    "/token",
    "/auth/token",
    "/signin",
    "/session",
)

_COMMON_LINKS = (
    "/auth/magic",
    "/auth/magic-link",
    "/auth/link",
    "/api/auth/magic-link",
    "/login/link",
    "/login/magic",
    "/magic",
    "/magic-link",
    "/passwordless",
)


class _Forms(HTMLParser):
    """Collects the password inputs of a page, and whether it has forms at all."""

    def __init__(self) -> None:
        super().__init__()
        self.passwords: list[str] = []
        self.inputs = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input":
            self.inputs += 1
            name, kind = given.get("name") or "", (given.get("type") or "text").lower()
            if kind == "password" or _PASSWORD.match(name) or "password" in (given.get("autocomplete") or ""):
                self.passwords.append(name or "password")


def password_inputs(html: str) -> list[str]:
    """Return the names of a page's password inputs."""
    forms = _Forms()
    forms.feed(html)
    return forms.passwords


def passkeys_or_nothing(lab: Lab) -> None:
    """Raise Unshown unless the target names passkey ceremonies."""
    if lab.target.passkeys is None or lab.target.passkeys.login is None:
        raise Unshown("the target names no passkey ceremony", add="passkeys: {login: [/options, /verify]}")


@probe("IDN-1", phase=READING)
def no_password_anywhere(lab: Lab) -> None:
    """Look for a password in the API's description, on pages, and at the usual addresses."""
    browser = lab.anonymous()
    with lab.attack(
        "look for a password endpoint", "a request member, an input or an endpoint takes a password"
    ) as attack:
        read = 0
        for page in dict.fromkeys((*lab.target.pages, *_COMMON_PAGES)):
            answer = browser.get(page, headers={"Accept": "text/html"})
            if answer.status < 400:
                read += 1
                for name in password_inputs(answer.text):
                    attack.broke(f"{page} asks for {name}", answer, name)
        if lab.world.api is not None:
            read += len(lab.api.operations)
            for one in lab.api.operations:
                for name in lab.api.properties(one.body):
                    if _PASSWORD.match(name):
                        attack.broke(f"{one.key} takes {name}")
        attack.positive("pages or a description were read", read)
        for path in _COMMON_LOGINS:
            body = {"username": "nobody", "email": "nobody@people.example", "password": "Wrong-1234"}
            answer = browser.post(path, json=body, allow_429=True)
            told = deep(answer.json(), "detail")
            wants = isinstance(told, list) and "password" in str(told)
            if answer.ok or wants:
                attack.broke(f"POST {path} takes a password ({answer.status})", answer)


@probe("IDN-1")
def passkeys_log_in(lab: Lab) -> None:
    """Log in with a passkey, then with what a thief or a forger would have."""
    passkeys_or_nothing(lab)
    person = lab.person(lab.a_role(), "paula")
    other = lab.person(lab.a_role(), "oscar")
    people = lab.world.people
    login = lab.target.passkeys.login if lab.target.passkeys else None
    if login is None or person.key is None or other.key is None:
        raise Unshown("no passkey was made")
    with lab.attack(
        "log in with a stolen, forged or foreign assertion", "no session lives in the attacker's browser"
    ) as attack:
        fresh = lab.browser("paula-elsewhere")
        attack.positive(
            "the owner's passkey logs in from a new browser", people.assert_passkey(person, fresh).ok
        )
        attack.positive("and her session lives", lab.alive(fresh))
        attacker = lab.browser("attacker")
        refresh_csrf(lab.target, attacker)
        options = attacker.post(login[0], json={})
        signed = person.key.get(options.json())
        first = attacker.post(login[1], json={"credential": signed})
        attack.positive("an assertion over a fresh challenge is taken once", first.ok)
        lies: dict[str, dict[str, Any]] = {
            "a signature by another key": {"key": other.key.key},
            "a challenge of the attacker's own": {"challenge": b64url(b"x" * 32)},
            "a registration's client data": {"type": "webauthn.create"},
            "no user verification": {"flags": 0x01},
            "no user presence": {"flags": 0x04},
        }
        again = _without_session(lab, attacker, first)
        answer = again.post(login[1], json={"credential": signed}, allow_429=True)
        attack.check(not (answer.ok and lab.alive(again)), "the same assertion logged in again", answer)
        for name, lie in lies.items():
            thief = lab.browser(f"attacker with {name}")
            answer = people.assert_passkey(person, thief, **lie)
            attack.check(not (answer.ok and lab.alive(thief)), f"{name} logged in", answer)


def _without_session(lab: Lab, browser: Browser, answer: Answer) -> Browser:
    """Return the same browser as it was before an answer logged it in."""
    set_by = {cookie.name for cookie in answer.cookies}
    again = lab.browser(f"{browser.actor}, again")
    again.cookies = {key: value for key, value in browser.cookies.items() if key not in set_by}
    refresh_csrf(lab.target, again)
    return again


@probe("IDN-1")
def magic_links_are_single_use_and_bound(lab: Lab) -> None:
    """Ask for a link; reuse it, forward it, change it."""
    if lab.target.magic == "none":
        _no_links(lab)
        return
    magic = lab.target.links
    if magic is None:
        raise Unshown(
            "the target names no magic links",
            add="magic: {ask: /magic, link: '/magic/{token}', confirm: /confirm}",
        )
    person = lab.person(lab.a_role(), "mag")
    asking, elsewhere = lab.anonymous(), lab.anonymous()
    with lab.attack(
        "reuse, forward and change a magic link", "no session lives in the attacker's browser"
    ) as attack:

        def ask(browser: Browser) -> str:
            before = len(lab.mails(person.email))
            attack.positive(
                "a link can be asked for", browser.post(magic.ask, json={"email": person.email}).status < 400
            )
            mails = lab.wait(lambda: len(lab.mails(person.email)) > before and lab.mails(person.email), 15)
            attack.positive("the link arrives by mail", mails)
            pattern = re.escape(magic.link).replace(re.escape("{token}"), r"([\w%.~-]{8,})")
            found = re.search(pattern, str(mails[0]["text"]) if mails else "")
            attack.positive("the mail holds the link", found)
            token = found[1] if found else ""
            lab.world.masker.learn(token, "magic", person.name)
            return token

        token = ask(asking)
        forwarded = elsewhere.post(magic.confirm, json={"token": token})
        attack.check(
            not (forwarded.ok and lab.alive(elsewhere)),
            "another browser logged in with a forwarded link",
            forwarded,
        )
        token = ask(asking)  # a link that was tried elsewhere may well be burnt
        taken = asking.post(magic.confirm, json={"token": token})
        attack.positive("the asking browser logs in with its own", taken.ok and lab.alive(asking))
        again = _without_session(lab, asking, taken)
        reused = again.post(magic.confirm, json={"token": token})
        attack.check(not (reused.ok and lab.alive(again)), "a used link logged in again", reused)
        third = lab.anonymous()
        changed = ask(third)
        changed = changed[:-2] + ("AA" if changed[-2:] != "AA" else "BB")
        answer = third.post(magic.confirm, json={"token": changed})
        attack.check(not (answer.ok and lab.alive(third)), "a changed link logged in", answer)


def _no_links(lab: Lab) -> None:
    """Hold an app to its word that nobody logs in by a link: no usual address takes the request for one."""
    person = lab.person(lab.a_role(), "mag")
    with lab.attack("ask for a magic link where there are none", "the request is taken") as attack:
        attack.positive("the person's session lives", lab.alive(person.browser))
        asking = lab.anonymous()
        for path in _COMMON_LINKS:
            answer = asking.post(path, json={"email": person.email}, allow_429=True)
            attack.check(not answer.ok, f"POST {path} takes the request for a link", answer)


@probe("IDN-2")
def phishing_page_gets_nothing(lab: Lab) -> None:
    """Assert with the right key, but on a look-alike page."""
    passkeys_or_nothing(lab)
    person = lab.person(lab.a_role(), "phil")
    parts = urlsplit(lab.world.base_url)
    host = parts.hostname or ""
    with lab.attack("assert on a look-alike origin", "no session lives in the attacker's browser") as attack:
        honest = lab.browser("phil-again")
        attack.positive("the right origin logs in", lab.world.people.assert_passkey(person, honest).ok)
        for origin, rp_id in (
            (f"https://{host}.evil.example", host),
            (
                f"http://{parts.netloc}"
                if parts.scheme == "https"
                else f"https://{parts.netloc}.evil.example",
                host,
            ),
            (f"{parts.scheme}://{parts.netloc}", f"{host}.evil.example"),
            ("null", host),
        ):
            thief = lab.browser("attacker")
            answer = lab.world.people.assert_passkey(person, thief, origin=origin, rp_id=rp_id)
            attack.check(
                not (answer.ok and lab.alive(thief)),
                f"an assertion made on {origin} for {rp_id} logged in",
                answer,
            )


@probe("IDN-2")
def stolen_cookie_on_another_device(lab: Lab) -> None:
    """Carry a session's cookies to another machine that claims the same browser."""
    person = lab.person(lab.a_role(), "vic")
    if not person.browser.cookies:
        raise NoSubject("sessions are not carried by cookies")
    with lab.attack(
        "replay a session's cookies from another device", "the thief's copy answers as a live session"
    ) as attack:
        attack.positive("the owner's session lives", lab.alive(person.browser))
        thief = person.browser.clone("thief", lab.browser("thief"))
        answer_alive = lab.alive(thief)
        attack.check(not answer_alive, "the copied cookies work on a device that has no key of the owner's")
        if answer_alive:
            at = len(attack.exchanges) - 1
            attack.tell = {
                "exchange": at,
                "status": attack.exchanges[at].status,
                "contains": "",
                "by": attack.exchanges[at].actor,
            }


@probe("IDN-2")
def risky_action_needs_a_fresh_passkey(lab: Lab) -> None:
    """Do what needs a fresh passkey with a login that gave none."""
    keys = lab.target.passkeys
    if keys is None or keys.step_up is None or keys.mint is None:
        raise Unshown(
            "the target names no action that needs a fresh passkey",
            add="passkeys: {step_up: [/options, /verify], mint: /path}",
        )
    with lab.attack(
        "do a risky action on an old login", "the action has its effect without a fresh assertion"
    ) as attack:
        operator = lab.person("operator", "ops")
        body = {"role": lab.a_role(), "email": f"{lab.canary()}@people.example"}
        before = operator.browser.post(keys.mint, json=body)
        attack.check(not before.ok, "an enrolment link was minted without a fresh passkey", before)
        if not before.ok:
            challenge = before.headers.get("www-authenticate", "")
            attack.check(
                before.status == 401 and "insufficient_user_authentication" in challenge,
                f"the refusal ({before.status}) does not ask for a step-up (RFC 9470)", before,
            )  # fmt: skip
        lab.world.people.step_up(operator)
        after = operator.browser.post(keys.mint, json=body)
        attack.positive("after a fresh passkey it works", after.ok)


def cookie_faults(cookie: Cookie) -> list[str]:
    """Return what a session cookie lacks (RFC 6265bis, sections 4.1.2 and 5.7)."""
    lacks = [flag for flag in ("HttpOnly", "Secure") if flag.lower() not in cookie.attributes]
    if cookie.attributes.get("samesite", "").lower() not in ("lax", "strict"):
        lacks.append(f"SameSite Lax or Strict (it says {cookie.attributes.get('samesite') or 'nothing'})")
    if cookie.name.startswith("__Host-") and (
        "domain" in cookie.attributes or cookie.attributes.get("path") != "/"
    ):
        lacks.append("what __Host- promises: Path=/ and no Domain")
    if "domain" in cookie.attributes:
        lacks.append("a host of its own: it names a Domain")
    return lacks


def read_cookies(lab: Lab) -> None:
    """Log in as each role, walk the pages, and read every Set-Cookie."""
    with lab.attack(
        "crawl as each role and read every Set-Cookie", "each cookie has HttpOnly, Secure, SameSite"
    ) as attack:
        seen: list[tuple[str, Cookie]] = []
        bearer = True
        for role in lab.world.people.roles():
            person = lab.person(role)
            for page in (*lab.target.pages, "/"):
                person.browser.get(page, headers={"Accept": "text/html"})
            bearer = bearer and not person.browser.cookies
            with lab.quietly():
                again = lab.login(person)
                seen += [(role, cookie) for cookie in again.seen_cookies]
            with lab.quietly():
                lab.logout(person.browser)
            seen += [(role, cookie) for cookie in person.browser.seen_cookies]
        if bearer and not seen:
            raise NoSubject("the app sets no cookie")
        attack.positive("logging in sets a cookie", seen)
        for role, cookie in seen:
            if cookie.value and (lacks := cookie_faults(cookie)):
                attack.broke(f"{cookie.name} (as {role}) lacks {', '.join(lacks)}")


@probe("IDN-9")
def session_cookie_flags(lab: Lab) -> None:
    """Read every Set-Cookie."""
    read_cookies(lab)


@probe("IDN-10")
def session_moves_between_networks_and_agents(lab: Lab) -> None:
    """Carry a session to the same network, to another one, and to another agent."""
    person = lab.person(lab.a_role(), "mob", network=201, host=21)
    if not person.browser.cookies:
        raise NoSubject("sessions are not carried by cookies")
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Version/19.0 Mobile/15E148 Safari/604.1"
    with lab.attack("carry a session to another agent", "the session ends, or asks for more") as attack:
        near = person.browser.clone("mob next door", lab.browser("near", network=201, host=22))
        attack.positive("the same network passes", lab.alive(near))
        away = person.browser.clone("mob on the move", lab.browser("away", network=202, host=21))
        attack.positive("a hand-over to another network passes", lab.alive(away))
        other = person.browser.clone("thief's phone", lab.browser("phone", network=201, host=23, agent=phone))
        attack.check(not lab.alive(other), "another agent goes on with the session")
    with lab.attack("carry a session to another continent", "the session ends, or asks for more") as attack:
        raise Unshown("every address of this machine is in one place, so no continent can be changed")


_ROUNDS = 2
"""How often somebody logs in beside a burst at a login: on a slow machine one window may end before they do."""


def _burst(lab: Lab, path: str, bodies: list[dict[str, object]], attack: Attack) -> None:
    browser = lab.anonymous()
    limited: Answer | None = None
    for body in bodies:
        limited = browser.post(path, json=body, allow_429=True)
        if limited.status == 429:
            break
    if limited is not None and limited.status == 429:
        attack.check("retry-after" in limited.headers, f"{path} answers 429 without Retry-After", limited)
    else:
        attack.broke(f"{path} took {len(bodies)} attempts in a row from one address", limited)


@probe("IDN-11", phase=2, beside="steady", first=True)
def bursts_meet_a_limit(lab: Lab) -> None:
    """Burst at every login endpoint; then let the real user in."""
    keys, magic, how = lab.target.passkeys, lab.target.links, lab.target.login
    if keys is None and how is None and magic is None:
        raise Unshown("the target names no login endpoint", add="login: {endpoint: /login}")
    person = lab.person(lab.a_role(), "reg")
    if how is not None and person.key is None:
        with lab.attack(
            "guess one account's password from one address", "429 with Retry-After, and no lock-out"
        ) as attack:
            guesser = lab.anonymous()
            limited: Answer | None = None
            for number in range(60):
                values = {"name": person.name, "email": person.email, "password": f"Guess-{number:04}"}
                limited = send_login(how, guesser, values, allow_429=True)
                if limited.status == 429:
                    break
            stopped = limited is not None and limited.status == 429
            attack.check(stopped, "60 wrong guesses at one account in a row were answered", limited)
            if stopped and limited is not None:
                attack.check("retry-after" in limited.headers, "429 comes without Retry-After", limited)
                _real_user(lab, person, attack)
    if keys is not None and keys.login is not None:
        with lab.attack(
            "burst at each passkey endpoint from one address", "429 with Retry-After, and no lock-out"
        ) as attack:
            wrong = {"credential": {"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": {}}}
            bursts: list[tuple[str, dict[str, object]]] = [(keys.login[0], {}), (keys.login[1], dict(wrong))]
            if keys.enrol is not None:
                bursts += [(keys.enrol[0], {"token": "x" * 43, "email": "x@people.example"})]
            if keys.register_ is not None:
                bursts += [(keys.register_[0], {"email": "burst@people.example"})]
            for path, body in bursts:
                # While a window that the burst has filled lasts, a limit that counts everybody together stops others, too.
                for _ in range(_ROUNDS if path in keys.login else 1):
                    _burst(lab, path, [body] * 150, attack)
                    if path in keys.login:
                        _real_user(lab, person, attack)
            _real_user(lab, person, attack)
    if keys is not None and keys.login is not None and person.key is not None:
        with lab.attack("fail one account's logins from many addresses", "its owner still logs in") as attack:
            for _ in range(12):
                stranger = lab.browser("stranger")
                for _ in range(4):
                    try:
                        lab.world.people.assert_passkey(person, stranger, challenge=b64url(b"y" * 32))
                    except Unshown:
                        break
            _real_user(lab, person, attack)
    if magic is not None:
        with lab.attack("ask for links to one address from one browser", "the mails are bounded") as attack:
            _burst(lab, magic.ask, [{"email": person.email}] * 80, attack)
            time.sleep(1.0)
            with lab.quietly():
                mails = len(lab.mails(person.email))
                attack.check(mails <= 20, f"{mails} mails went to one address within a minute")


def _real_user(lab: Lab, person: Person, attack: Attack) -> None:
    browser = lab.browser(f"{person.role}, the real user")
    try:
        lab.world.people.login(person, browser)
        let_in = lab.alive(browser) if lab.target.whoami else True
    except (LoginFailed, Unshown):
        let_in = False
    attack.check(let_in, "the real user is locked out by somebody else's failures")


@probe("IDN-12", phase=2, beside="kills")
def a_script_meets_a_challenge(lab: Lab) -> None:
    """Join once as a person would, then many times as a script would."""
    role = lab.a_role()
    if lab.world.people.roles()[role] not in ("sign_up", "register"):
        raise Unshown(
            "nobody can join by themselves, so no script can be tried", add="register: {endpoint: /register}"
        )
    with lab.attack(
        "join many times by a script", "an anomaly meets a challenge; a person does not"
    ) as attack:
        lab.person(role, "person")
        attack.positive("a person joins without a challenge", True)
        agent = "python-requests/2.32.3"
        joined = 0
        for number in range(15):
            person = lab.person(role, f"bot{number}", network=99, host=9, agent=agent)
            joined += bool(person.name)
        attack.check(
            joined < 15,
            "a script that says so opened 15 accounts from one address without meeting a challenge",
        )
