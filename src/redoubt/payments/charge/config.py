"""Builds the charge service from an app's settings: its own database, keys, provider and certificates."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from redoubt.core.base import Core
from redoubt.core.clock import SystemClock
from redoubt.core.db import Database
from redoubt.core.egress import Egress, EgressPolicy
from redoubt.core.ids import SystemIds
from redoubt.core.keys import Keyring
from redoubt.core.redact import Redactor
from redoubt.core.secrets import SecretRef
from redoubt.core.settings import Settings

from .errors import ConfigInvalid
from .models import Cap, ChargeConfig
from .provider.stripe import StripeProvider
from .tls import TlsFiles

log = logging.getLogger("redoubt.charge")

# The app enrols approvers, so a stolen app could enrol its own; a day lets somebody read `charge.approver.enrolled`.
APPROVER_MATURES = timedelta(hours=24)


def open_core(settings: Settings) -> Core:
    """Open the charge service's own database, by its own role where it has one, and its keyring; not the app's."""
    folder = settings.state_dir / "charge"
    master = settings.charge.master or SecretRef(
        "file", str(Path(settings.app.state_dir) / "charge" / "master.key")
    )
    path = settings.base / settings.charge.keyring if settings.charge.keyring else folder / "keyring"
    keys = Keyring.open(path, settings.reveal(master))
    clock = SystemClock()
    return Core(
        settings=settings,
        db=Database(settings.charge_database_url("charge").reveal()),
        clock=clock,
        ids=SystemIds(clock),
        keys=keys,
        redactor=Redactor(keys.mac("redact")),
    )


def config_from(settings: Settings) -> ChargeConfig:
    """Return what the settings say about charging."""
    charge = settings.charge
    caps = [
        Cap(cap.kind, cap.by, timedelta(seconds=cap.per_seconds), cap.currency, cap.amount, cap.count)
        for cap in charge.caps
    ]
    if charge.refunds_per_day is not None:
        caps.append(Cap("refund", "tenant", timedelta(days=1), None, charge.refunds_per_day))
    parts = urlsplit(settings.app.base_url)
    origin = f"{parts.scheme}://{parts.netloc}"
    return ChargeConfig(
        rp_id=settings.app.rp_id or parts.hostname or "",
        origins=(origin,),
        allowed_identities=tuple(charge.clients),
        caps=tuple(caps),
        currencies=frozenset(charge.currencies),
        per_payment=charge.per_payment,
        approver_matures=timedelta(0) if settings.development else APPROVER_MATURES,
    )


def open_egress(settings: Settings) -> Egress:
    """Return a client that can call the provider and nobody else."""
    parts = urlsplit(settings.charge.provider_url)
    target = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    local = settings.development and target in settings.egress.private
    policy = EgressPolicy(
        allow=[] if local else [target], private=[target] if local else [], profile=settings.app.profile
    )
    return Egress(policy, max_bytes=4 * 1024 * 1024)


def open_provider(core: Core, egress: Egress) -> StripeProvider:
    """Return the provider's adapter; raises ConfigInvalid without a key, and SecretError when it cannot be read."""
    settings = core.settings
    if settings.charge.provider_key is None:
        raise ConfigInvalid(
            "the charge service has no provider key.", hint="Set [charge] provider_key to a reference."
        )
    http = httpx.AsyncClient(
        transport=egress.transport("payments.provider"), trust_env=False, follow_redirects=False, timeout=15.0
    )

    def secrets() -> Sequence[bytes]:
        return [settings.reveal(ref).reveal().encode() for ref in settings.charge.webhook_secrets]

    return StripeProvider(
        settings.reveal(settings.charge.provider_key).reveal(),
        http,
        base_url=settings.charge.provider_url,
        secrets=secrets,
        now=core.clock.now,
        honours_keys=settings.charge.honours_keys,
    )


def tls_files(settings: Settings) -> TlsFiles:
    """Return where the service's certificate, key and client CA lie."""
    folder = (
        settings.base / settings.charge.tls_dir if settings.charge.tls_dir else settings.state_dir / "tls"
    )
    return TlsFiles(folder / "ca.pem", folder / "charge.pem", folder / "charge.key")
