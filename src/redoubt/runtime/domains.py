"""The domains whose tables the app's database holds; the charge service has a database of its own."""

from __future__ import annotations

from redoubt.audit import DOMAIN as AUDIT
from redoubt.authz import DOMAIN as AUTHZ
from redoubt.core.db import Domain
from redoubt.core.jobs import DOMAIN as CORE
from redoubt.guard import DOMAIN as GUARD
from redoubt.identity import DOMAIN as IDENTITY
from redoubt.payments import DOMAIN as PAYMENTS
from redoubt.webhooks import DOMAIN as WEBHOOKS

APP_DOMAINS: tuple[Domain, ...] = (CORE, AUDIT, GUARD, IDENTITY, AUTHZ, WEBHOOKS, PAYMENTS)
