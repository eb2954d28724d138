"""What an app declares to its guard, beyond its settings: the build emits it, an owner may write it by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import field, frozen

from redoubt.core.db import Domain, Tx, Use
from redoubt.core.jobs import Jobs
from redoubt.payments.grants import PAYMENTS, PRICED_BY_WORKER, PRICES
from redoubt.webhooks.grants import INCOMING, OUTGOING
from redoubt.webhooks.models import EndpointConfig, TargetConfig

from .entities import Entities, Writes
from .pages import Link

PaymentChanged = Callable[[Tx, str, str, str], None]
"""Told inside the transaction that learns it: (tx, tenant, order id, payment state)."""


@frozen
class PaymentsPlan:
    """What may be charged: currencies (ISO 4217), the entity that is paid for, who is told of a change,
    the incoming webhook whose deliveries go on to the charge service, and which roles approve refunds.

    `post_filter` lets the list of payments fetch rows and decide about each where a policy cannot be said in SQL;
    without it such a list is refused.
    """

    currencies: tuple[str, ...] = field(converter=tuple)
    entity: str
    on_change: PaymentChanged | None = None
    webhook: str = "stripe"
    approvers: frozenset[str] = field(default=frozenset({"finance"}), converter=frozenset)
    post_filter: bool = False


@frozen
class AppPlan:
    """What the app declares: who may join and how, its tables, pages, webhooks, payments and jobs.

    `grants` says by process what code of the app's own does in the database, beyond what the library and `entities` do.
    """

    title: str = ""
    sign_up: str | None = "customer"
    magic_links: bool = True
    passkey_roles: frozenset[str] = field(default=frozenset({"operator"}), converter=frozenset)
    roles: frozenset[str] = field(default=frozenset({"customer", "operator"}), converter=frozenset)
    templates: Path | None = None
    static: Path | None = None
    nav: tuple[Link, ...] = field(default=(), converter=tuple)
    entities: Entities | None = None
    domains: tuple[Domain, ...] = field(default=(), converter=tuple)
    webhooks: tuple[EndpointConfig, ...] = field(default=(), converter=tuple)
    targets: tuple[TargetConfig, ...] = field(default=(), converter=tuple)
    payments: PaymentsPlan | None = None
    jobs: tuple[Callable[[Jobs], None], ...] = field(default=(), converter=tuple)
    grants: Mapping[str, tuple[Use, ...]] = field(factory=dict)

    @property
    def features(self) -> frozenset[str]:
        """Return which of the features it has that bring database grants of their own."""
        priced = [kind for kind in (self.entities.types if self.entities else ()) if kind.prices]
        asked = {
            INCOMING: bool(self.webhooks) or self.payments is not None,
            OUTGOING: bool(self.targets),
            PAYMENTS: self.payments is not None,
            PRICES: bool(priced),
            PRICED_BY_WORKER: any(
                kind.writes is None or kind.writes.get("worker", Writes()).create for kind in priced
            ),
        }
        return frozenset(name for name, has in asked.items() if has)
