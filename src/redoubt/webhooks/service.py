"""The webhooks of one app: checked and stored at start, then deliveries in, handlers run, deliveries out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from ..core.base import Core
from ..core.db import Tx
from ..core.jobs import Jobs
from .errors import ConfigError, DeliveryRefused, Reused, TooLarge, UnknownEndpoint
from .inbox import Accept, kept_headers, seal
from .keystore import LiveKeys, declare, resolve
from .models import Arrival, EndpointConfig, Handler, Received, TargetConfig
from .outbox import Outbox, Sender, Switches
from .refusals import Refusals
from .retention import Retention, schedule
from .schemes import SCHEMES, RawHeaders, verify
from .store import endpoints, insert_new, targets
from .worker import InboxWorker, load_handler


class Webhooks:
    """Everything that an app's processes need of webhooks; call `start` before anything else."""

    def __init__(
        self,
        core: Core,
        incoming: Sequence[EndpointConfig] = (),
        outgoing: Sequence[TargetConfig] = (),
        *,
        sender: Sender | None = None,
        switches: Switches | None = None,
    ) -> None:
        """Declare endpoints and targets; raises ConfigError for doubled names and handlers that cannot be loaded."""
        names = [c.name for c in incoming] + [t.name for t in outgoing]
        if len(set(names)) != len(names):
            raise ConfigError("two webhooks have one name.", hint="Incoming and outgoing share their names.")
        self._core = core
        self._incoming = {config.name: config for config in incoming}
        self._outgoing = {config.name: config for config in outgoing}
        self._handlers: Mapping[str, Handler] = {c.name: load_handler(c.handler) for c in incoming}
        self._sender = sender
        self._switches = switches
        self._accept = Accept(core)
        self._refusals = Refusals(core)
        self.keys = LiveKeys(core)

    async def start(self) -> None:
        """Resolve every secret, store what is declared, and plan the pruning; nothing is stored when one fails."""
        await self.reload()
        await self._core.db.write(lambda tx: schedule(tx, self._core))

    async def reload(self) -> None:
        """Take up changed secrets and endpoints without a restart; a key that is declared no more ends now."""
        core = self._core
        inward = {c.name: resolve(core, c.name, c.secrets, c.scheme.secret) for c in self._incoming.values()}
        outward = {c.name: resolve(core, c.name, c.secrets, "whsec") for c in self._outgoing.values()}

        def write(tx: Tx) -> None:
            for config in self._incoming.values():
                _store_endpoint(tx, core, config)
                declare(tx, core, f"in:{config.name}", config.tenant, inward[config.name])
            _store_targets(tx, core, self._outgoing)
            for target in self._outgoing.values():
                declare(tx, core, f"out:{target.name}", target.tenant, outward[target.name])

        await core.db.write(write)
        await self.keys.refresh()

    def register(self, jobs: Jobs) -> None:
        """Take on the work of this domain in a worker process."""
        InboxWorker(self._core, self._handlers).register(jobs)
        Retention(self._core).register(jobs)
        if self._sender is not None:
            Outbox(self._core, self._sender, self.keys, self._switches).register(jobs)
        elif self._outgoing:
            raise ConfigError("outgoing webhooks need the egress client.", hint="Pass sender=Egress(...).")

    @property
    def declared(self) -> tuple[EndpointConfig, ...]:
        """The incoming endpoints of this app."""
        return tuple(self._incoming.values())

    def endpoint(self, name: str) -> EndpointConfig:
        """Return a declared endpoint; raises UnknownEndpoint."""
        if name not in self._incoming:
            raise UnknownEndpoint("there is no such webhook.")
        return self._incoming[name]

    async def receive(
        self, name: str, headers: RawHeaders, body: bytes, *, request_id: str | None = None
    ) -> Received:
        """Prove a delivery and commit it; what this returns is durable.

        Raises UnknownEndpoint, DeliveryRefused (every refusal is audited) or StorageUnavailable.
        """
        config, raw = self.endpoint(name), list(headers)
        core, now = self._core, self._core.clock.now()
        try:
            if len(body) > config.max_body:
                raise TooLarge("the body is larger than this endpoint takes.")
            keys = await self.keys.of(f"in:{name}")
            verified = verify(config.scheme, keys, raw, body, now=now, tolerance=config.tolerance)
        except DeliveryRefused as refused:
            await self.refused(config, refused, request_id)
            raise
        inbox_id = core.ids.uuid7()
        received = await core.db.group.submit(
            self._accept,
            Arrival(
                id=inbox_id,
                endpoint=name,
                tenant=config.tenant,
                scheme=config.scheme.name,
                received_at=now,
                verified=verified,
                tolerance=config.tolerance,
                size=len(body),
                expires_at=now + config.dedupe_window,
                retain_until=now + config.retention,
                max_attempts=config.max_attempts,
                request_id=request_id,
                sealed=seal(core, name, inbox_id, now, kept_headers(config.scheme, raw), body),
            ),
        )
        if received.answer == "reused":
            raise Reused("a known identity came back over other bytes.")
        return received

    async def refused(self, config: EndpointConfig, why: DeliveryRefused, request_id: str | None) -> None:
        """Tell the audit log about a refusal that happened before `receive`, such as an oversized body."""
        await self._refusals.note(config.name, why.reason, config.tenant, request_id)


def _store_endpoint(tx: Tx, core: Core, config: EndpointConfig) -> None:
    if SCHEMES.get(config.scheme.name) is not config.scheme:
        raise ConfigError(f"webhook {config.name}: its scheme is not in the catalogue.")
    values = {
        "tenant": config.tenant, "scheme": config.scheme.name, "updated_at": core.clock.now(),
        "tolerance_s": int(config.tolerance.total_seconds()),
        "dedupe_window_s": int(config.dedupe_window.total_seconds()),
    }  # fmt: skip
    tx.execute(insert_new(tx, endpoints), {"name": config.name, **values})
    tx.execute(sa.update(endpoints).where(endpoints.c.name == config.name).values(values))


def _store_targets(tx: Tx, core: Core, configs: Mapping[str, TargetConfig]) -> None:
    now = core.clock.now()
    before = {row["name"]: row for row in tx.execute(sa.select(targets)).mappings()}
    for config in configs.values():
        values = {
            "tenant": config.tenant, "url": config.url, "events": list(config.events), "updated_at": now,
            "timeout_ms": int(config.timeout.total_seconds() * 1000), "max_attempts": config.max_attempts,
            "disable_after_s": int(config.disable_after.total_seconds()),
        }  # fmt: skip
        known = before.get(config.name)
        if known is None or known["state"] == "removed":
            values |= {"state": "enabled", "failing_since": None, "reason": None}
        if known is None:
            tx.execute(insert_new(tx, targets), {"name": config.name, **values})
        else:
            tx.execute(sa.update(targets).where(targets.c.name == config.name).values(values))
    gone = [name for name in before if name not in configs]
    if gone:
        tx.execute(sa.update(targets).where(targets.c.name.in_(gone)).values(state="removed", updated_at=now))
