"""Where a probe works: people, browsers with addresses of their own, the app's description, and what lies around it."""

from __future__ import annotations

import random
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import httpx
from attrs import define, field

from redoubt.core.forkserver import ForkServer
from redoubt.core.secrets import SecretError, SecretRef

from .browser import AGENT, Browser
from .errors import Unshown, VerifyError
from .launch import Running, child_environment, command_line, fill
from .masking import Masker
from .openapi import Api
from .people import People, Person, refresh_csrf
from .probe import Attack, Trial
from .target import Target
from .transport import Transport
from .warm import run, warm

_COMMAND_SECONDS = 180.0


@define(eq=False)
class World:
    """What all probes share: the target, where it runs, its secrets, and the pool of connections by address."""

    target: Target
    base_url: str
    context: ssl.SSLContext
    masker: Masker
    people: People
    random: random.Random
    api: Api | None = None
    repo: Path | None = None
    running: Running | None = None
    variables: Mapping[str, str] = field(factory=dict)
    secrets: Mapping[str, str] = field(factory=dict)
    chromium: str | None = None
    notes: dict[str, Any] = field(factory=dict)
    _clients: dict[str, httpx.Client] = field(factory=dict)
    _lock: threading.Lock = field(factory=threading.Lock)
    _warm: ForkServer | None = None
    _closing: list[Callable[[], None]] = field(factory=list)

    def at_close(self, close: Callable[[], None]) -> None:
        """Have something that a probe started, for others too, ended with the run."""
        self._closing.append(close)

    def client(self, source: str) -> httpx.Client:
        """Return the connections that come from `source`."""
        with self._lock:
            if source not in self._clients:
                transport = Transport(source, self.context)
                self._clients[source] = httpx.Client(
                    transport=transport, follow_redirects=False, timeout=20.0, trust_env=False
                )
            return self._clients[source]

    def secret(self, reference: str) -> str:
        """Return the secret behind a reference; text that is no reference stands for itself (test accounts)."""
        name = reference.removeprefix("env:")
        if reference.startswith("env:") and name in self.secrets:
            found = self.secrets[name]
        elif reference.startswith(("env:", "file:")):
            try:
                found = SecretRef.parse(reference).resolve(Path(self.variables.get("dir", "."))).reveal()
            except SecretError as error:
                raise Unshown(str(error), add=f"export {name}=…") from None
        else:
            return reference
        self.masker.learn(found, "secret", name)
        return found

    def commands(self, environment: Mapping[str, str]) -> ForkServer:
        """Return the server of the product's own commands, started at its first use."""
        with self._lock:
            if self._warm is None:
                self._warm = warm(environment)
            return self._warm

    def unused(self, kind: str, make: Callable[[], int]) -> int:
        """Return a number from `make` that no probe of this run was given before for this `kind`."""
        with self._lock:
            used: set[int] = self.notes.setdefault(f"unused {kind}", set())
            while (number := make()) in used:
                continue
            used.add(number)
            return number

    def close(self) -> None:
        """Close every connection, and end the server of commands and what else was started."""
        while self._closing:
            self._closing.pop()()
        if self._warm is not None:
            self._warm.close()
        for client in self._clients.values():
            client.close()
        self._clients.clear()


@define(eq=False)
class Lab:
    """One probe's view of the world: its own addresses, its own seed, its own trial."""

    world: World
    number: int
    trial: Trial
    random: random.Random
    deadline: float = float("inf")
    _next: int = 0

    @property
    def target(self) -> Target:
        """The target file."""
        return self.world.target

    @property
    def api(self) -> Api:
        """The app's description; raises Unshown when there is none."""
        if self.world.api is None:
            raise Unshown("the app's operations are not known", add="openapi: openapi.json")
        return self.world.api

    def attack(self, name: str, oracle: str) -> Any:
        """Begin an attack: a context that yields an `Attack`."""
        return self.trial.attack(name, oracle)

    def canary(self) -> str:
        """Return a text that stands nowhere else."""
        return "cny" + self.random.randbytes(7).hex()

    def browser(
        self, actor: str, *, network: int | None = None, host: int | None = None, agent: str = AGENT
    ) -> Browser:
        """Return a new browser at an address of this probe: each in a network of its own unless told otherwise."""
        self._next += 1
        third = self._next % 250 + 1 if network is None else network
        fourth = self.number % 200 + 10 if host is None else host
        source = f"127.{self.number % 240 + 10}.{third}.{fourth}"
        return self._browser(actor, source, agent)

    def _browser(self, actor: str, source: str, agent: str = AGENT) -> Browser:
        world = self.world
        return Browser(
            actor, source, world.base_url, world.client(source), world.masker, self.trial.record, agent=agent
        )

    def person(self, role: str, name: str | None = None, **where: Any) -> Person:
        """Return a new person with `role`, logged in from an address of this probe."""
        browser = self.browser(name or role, **where)
        minter = Browser(
            "minter", "127.9.1.1", self.world.base_url, self.world.client("127.9.1.1"), self.world.masker,
            self.trial.record,
        )  # fmt: skip
        return self.world.people.make(role, name or role, browser, minter)

    def a_role(self) -> str:
        """Return the role of whoever joins by themselves, else the first there is."""
        roles = self.world.people.roles()
        for role, way in roles.items():
            if way in ("sign_up", "register"):
                return role
        for role in roles:
            return role
        raise Unshown("nobody can log in", add="register: {endpoint: /register}\nlogin: {endpoint: /login}")

    def anonymous(self, **where: Any) -> Browser:
        """Return a browser of nobody, with the CSRF token that anybody gets."""
        browser = self.browser("nobody", **where)
        refresh_csrf(self.target, browser)
        return browser

    def login(self, person: Person, **where: Any) -> Browser:
        """Log a person in from another browser."""
        return self.world.people.login(person, self.browser(person.name, **where))

    def alive(self, browser: Browser) -> bool:
        """Say whether the session in a browser still lives, by asking who it is."""
        ask = self.target.whoami
        if ask is None:
            raise Unshown("there is no call that tells a live session", add="whoami: {endpoint: /me}")
        answer = browser.get(ask.endpoint)
        if not answer.ok:
            return False
        from .people import deep

        return bool(deep(answer.json(), ask.member)) if ask.member else True

    def logout(self, browser: Browser) -> None:
        """Log out."""
        from .target import call

        if self.target.logout is None:
            raise Unshown("the target does not say how to log out", add="logout: POST /logout")
        method, path = call(self.target.logout)
        browser.send(method, path, json={} if method == "POST" else None)

    def wait(self, until: Callable[[], Any], seconds: float = 10.0, every: float = 0.1) -> Any:
        """Ask again and again until the answer is true, at most `seconds`; return the last answer.

        What takes long is asked more and more rarely, so that asking does not keep the app from getting there.
        """
        end = time.monotonic() + seconds
        rarest = max(every, 0.5)
        while True:
            found = until()
            if found or time.monotonic() >= end:
                return found
            time.sleep(every)
            every = min(every * 1.25, rarest)

    def mails(self, address: str) -> list[dict[str, Any]]:
        """Return the mails to an address, newest first."""
        box = self.target.mailbox
        if box is None:
            raise Unshown("mails cannot be read", add='mailbox: "http://127.0.0.1:8025"')
        answer = self.tool("mailbox").get(f"{box}/messages?to={address}")
        found = answer.json()
        return found if isinstance(found, list) else []

    def tool(self, name: str) -> Browser:
        """Return a browser for what stands beside the app: mailbox, provider. Its exchanges are evidence, too."""
        return self._browser(name, "127.0.0.1")

    def provider(self, method: str, path: str, **more: Any) -> Any:
        """Call the control face of the payment provider's test double and return its JSON."""
        provider = self.target.provider
        if provider is None:
            raise Unshown("what happens at the provider cannot be seen", add="provider: {url: …}")
        answer = self.tool("provider").send(method, provider.url + provider.control + path, **more)
        if not answer.ok:
            raise Unshown(f"the provider's control face answered {answer.status} to {path}")
        return answer.json()

    def process(self, name: str) -> int:
        """Return the process id of one of the app's processes, as it is now."""
        ready = self.world.running.ready() if self.world.running else {}
        found = ready.get("processes", {}).get(name)
        if not isinstance(found, int):
            raise Unshown(f"the process id of {name} is not known", add='processes: "{ready}"')
        return found

    def command(self, name: str, /, **values: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the target file and return how it ended."""
        given = self.target.commands.get(name)
        if given is None:
            raise Unshown(f"there is no command for {name}", add=f"commands: {{{name}: [program, argument]}}")
        variables = {**self.world.variables, **values}
        environment = {key: fill(value, variables) for key, value in self.target.command_env.items()}
        if given[0] == "env":  # as the tool of that name does it
            own = list(takewhile(lambda part: "=" in part, given[1:]))
            environment |= {
                key: fill(value, variables) for key, _, value in (one.partition("=") for one in own)
            }
            given = given[1 + len(own) :]
        whole = child_environment(environment, [])
        try:
            if given[0] == "redoubt":
                arguments = [fill(part, variables) for part in given[1:]]
                folder = self.world.variables.get("dir", ".")
                return run(self.world.commands(whole), arguments, folder, whole, _COMMAND_SECONDS)
            return subprocess.run(
                command_line(given, variables),
                cwd=self.world.variables.get("dir"),
                env=whole,
                capture_output=True,
                text=True,
                timeout=_COMMAND_SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unshown(f"the command for {name} did not run: {type(error).__name__}") from None

    def store(self, name: str) -> Path:
        """Return the path of one of the app's stores."""
        given = self.target.stores.get(name)
        if given is None:
            raise Unshown(f"the {name} store cannot be reached", add=f"stores: {{{name}: path/to.db}}")
        path = Path(given)
        if not path.exists():
            raise Unshown(f"the {name} store is not where the target says")
        return path

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Do what only cleans up; its failure changes no verdict."""
        try:
            yield
        except (Unshown, VerifyError, OSError):
            return


__all__ = ["Attack", "Lab", "World"]
