"""Security headers on every response, in one place."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from redoubt.core.settings import Settings

_STRIPE_API = "https://api.stripe.com"
_STRIPE_PAGE = "https://checkout.stripe.com"


def payment_page_origin(settings: Settings) -> str | None:
    """Return the origin of the provider's hosted payment page, which is never ours; None without payments."""
    if settings.charge.provider_key is None:
        return None
    if settings.charge.provider_url == _STRIPE_API:
        return _STRIPE_PAGE
    parts = urlsplit(settings.charge.provider_url)
    return f"{parts.scheme}://{parts.netloc}"


def content_security_policy(form_targets: Iterable[str] = ()) -> str:
    """Return the policy of every page: own files only, nothing inline, no framing, typed script sinks.

    `form_targets` are the origins that a form's answer may redirect to (Chromium checks redirects, too).
    """
    forms = " ".join(["'self'", *form_targets])
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        f"form-action {forms}; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; "
        "trusted-types default"
    )


def security_headers(settings: Settings) -> list[tuple[bytes, bytes]]:
    """Return the headers that each response carries unless its handler set the same name."""
    origin = payment_page_origin(settings)
    values = {
        "content-security-policy": content_security_policy([origin] if origin else []),
        "strict-transport-security": "max-age=63072000; includeSubDomains",
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), microphone=(), geolocation=()",
        "cache-control": "no-store",
    }
    return [(name.encode(), value.encode()) for name, value in values.items()]
