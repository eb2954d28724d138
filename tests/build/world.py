"""An emitted app inside the test's process: its own database, its people, requests through every guard it has."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import cbor2
import httpx
import sqlalchemy as sa

from redoubt.core.db import Database
from redoubt.core.jobs import Jobs
from redoubt.core.settings import Settings
from redoubt.identity.ceremony import NewCredential
from redoubt.identity.cookies import new_pre
from redoubt.runtime.initialise import initialise
from redoubt.runtime.loading import load_app
from redoubt.runtime.state import (
    development_secrets,
    ensure_charge_keyring,
    ensure_keyring,
    make_state_folder,
)
from tests.identity.authenticator import Passkey

AGENT = "Mozilla/5.0 (X11; Linux x86_64) test"
ADDRESS = "127.0.0.1"


class World:
    """A loaded app and its guard."""

    def __init__(
        self, directory: Path, state: Path, database_url: str | None = None, process: str = "app"
    ) -> None:
        self.directory, self._of = directory, (directory, state, database_url)
        environment = {
            "REDOUBT_PROCESS": process,
            "REDOUBT_APP__STATE_DIR": str(state),
            "REDOUBT_APP__BASE_URL": "https://shop.localhost",
        }
        if database_url is not None:
            environment |= {
                "REDOUBT_DATABASE__URL": "env:TEST_DATABASE_URL",
                "TEST_DATABASE_URL": database_url,
            } | own_roles(database_url)
        fresh = process == "app" and (database_url is not None or not (state / "app.db").exists())
        with loaded(directory, environment) as (self.app, self.guard):
            if fresh:
                initialise(self.guard, directory)
            self.guard.settings._env = dict(os.environ)  # references are resolved later, too
        self.core = self.guard.core
        self.owner = Database(self.guard.settings.database_url().reveal())

    async def __aenter__(self) -> World:
        await self.guard.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.guard.stop()
        self.core.db.close()
        self.owner.close()

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[World]:
        """The worker of this app, started beside it, with what a worker may do in the database."""
        async with World(*self._of, process="worker") as other:
            yield other

    async def work(self) -> None:
        """Do all jobs that are due, as the worker."""
        async with self.worker() as other:
            jobs = Jobs(other.core)
            other.guard.register_jobs(jobs)
            while await jobs.run_once():
                pass

    def person(self, role: str, *, step_up: bool = False) -> Person:
        """Someone with a session of that role, opened by the same code that a passkey login ends in."""
        identity, core = self.guard.services.identity, self.core
        pre = new_pre(core.ids, identity.pre_mac)
        browser = identity.browser(pre, ADDRESS, AGENT)

        def make(tx: Any) -> tuple[str, str]:
            email = f"{role}-{core.ids.token(6).lower()}@example.test"
            user = identity.users.create(tx, email, core.ids.random_bytes(32), role, "test", verified=True)
            signed = identity.sessions.open(tx, user, browser, ["hwk"])
            if step_up:
                until = core.clock.now() + identity.config.step_up
                signed = identity.sessions.rotate(
                    tx, signed.session.session_id, signed.token, step_up_until=until
                )
            return user, signed.token

        user, token = core.db.write_sync(make)
        return Person(self, user, {"__Host-session": token, "__Host-pre": pre})

    def nobody(self) -> Person:
        """Someone without a session."""
        return Person(self, None, {})

    def rows(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        """Read the database itself."""
        return self.owner.read_sync(
            lambda tx: [dict(row) for row in tx.execute(sa.text(statement), values).mappings()]
        )


class Person:
    """One browser with its cookies."""

    def __init__(self, world: World, user: str | None, cookies: Mapping[str, str]) -> None:
        self.world, self.user, self.cookies = world, user, dict(cookies)
        self.passkey: Any = None

    @property
    def csrf(self) -> str:
        from redoubt.identity import csrf

        return csrf.token(
            self.world.guard.services.identity.csrf_mac,
            self.cookies.get("__Host-session"),
            self.cookies.get("__Host-pre"),
        )

    async def call(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        csrf: bool = True,
        **more: Any,
    ) -> httpx.Response:
        """Send one request; a page's request where `headers` asks for text/html."""
        sent = {"user-agent": AGENT, "origin": "https://shop.localhost", **(headers or {})}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if csrf and self.cookies and method not in ("GET", "HEAD"):
            sent["x-csrf-token"] = self.csrf
        transport = httpx.ASGITransport(app=self.world.app, client=(ADDRESS, 5000))
        async with httpx.AsyncClient(transport=transport, base_url="https://shop.localhost") as http:
            return await http.request(method, path, headers=sent, **more)

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.call("GET", path, **more)

    async def post(self, path: str, json: Any = None, **more: Any) -> httpx.Response:
        return await self.call("POST", path, json=json, **more)

    def take_passkey(self) -> Person:
        """Give this person a passkey in software; returns them."""
        identity = self.world.guard.services.identity
        self.passkey = Passkey("https://shop.localhost", identity.config.rp.id)
        new = NewCredential(
            self.passkey.credential_id, cbor2.dumps(self.passkey.cose()), -7, 0, True, True, "", ("internal",)
        )
        self.world.core.db.write_sync(lambda tx: identity.passkeys.add(tx, self.user or "", new, "test"))
        row = self.world.rows("SELECT handle FROM identity_users WHERE id = :id", id=self.user)[0]
        self.passkey.handle = bytes(row["handle"])
        return self

    async def approve(self, approval_id: str, **lie: Any) -> httpx.Response:
        """Approve with the passkey, as the console's script does; `lie` goes to the authenticator."""
        path = f"/console/approvals/{approval_id}"
        options = await self.post(f"{path}/options", {})
        if options.status_code != 200:
            return options
        credential = self.passkey.answer(options.json(), **lie)
        return await self.post(
            f"{path}/approve", {"credential": credential}, headers={"accept": "application/json"}
        )

    async def page(self, path: str, form: Mapping[str, str] | None = None, **headers: str) -> httpx.Response:
        """Ask for a page, or send a form as a page does."""
        accept = {"accept": "text/html", **{name.replace("_", "-"): value for name, value in headers.items()}}
        if form is None:
            return await self.call("GET", path, headers=accept)
        return await self.call(
            "POST", path, headers=accept, csrf=False, data={"csrf_token": self.csrf, **form}
        )


def own_roles(url: str) -> dict[str, str]:
    """Return settings that give app and worker roles of their own on PostgreSQL; an app in development makes them."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "postgresql":
        return {}
    found = {}
    for process in ("app", "worker"):
        own = parsed.set(username=f"{parsed.database}_{process}", password="not-asked-for-here")
        found[f"REDOUBT_DATABASE__{process.upper()}"] = f"env:TEST_{process.upper()}_URL"
        found[f"TEST_{process.upper()}_URL"] = own.render_as_string(hide_password=False)
    return found


@contextmanager
def loaded(directory: Path, environment: Mapping[str, str]) -> Any:
    """Import the app of `directory` with its settings, and leave no trace of it among the modules."""
    before = dict(os.environ)
    os.environ.update(environment)
    path = list(sys.path)
    sys.dont_write_bytecode = True
    try:
        settings = Settings.load(directory)
        make_state_folder(settings)
        os.environ.update(development_secrets(settings, os.environ))
        settings = Settings.load(directory)
        ensure_keyring(settings)
        if settings.charge.provider_key is not None:
            ensure_charge_keyring(settings)
        yield load_app(directory)
    finally:
        os.environ.clear()
        os.environ.update(before)
        sys.path[:] = path
        for name in [name for name in sys.modules if name == "app" or name.startswith("app.")]:
            del sys.modules[name]


__all__ = ["Person", "World", "loaded"]
