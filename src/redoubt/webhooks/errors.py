"""What can go wrong with webhooks.

WebhookError
├── ConfigError              an endpoint or a target is declared in a way that cannot be safe
├── DeliveryRefused          an incoming delivery is not accepted; `status` and `reason` are for us, not the sender
│   ├── Unproven             no signature, a malformed one, or none that a live key made (401)
│   ├── NotFresh             proven, but signed too long ago or in the future (403)
│   ├── Unidentified         proven, but it carries no identity where its scheme puts one (403)
│   ├── TooLarge             more bytes than the endpoint takes (413)
│   └── Reused               a known identity over other bytes (409)
├── UnknownEndpoint          no endpoint of that name
├── UnknownDelivery          no stored delivery of that id
├── PayloadGone              the raw bytes were purged when their retention ended
└── NotReplayable            the delivery's effect already happened
"""

from __future__ import annotations

from typing import ClassVar

from ..core.errors import RedoubtError


class WebhookError(RedoubtError):
    """Something about a webhook is wrong."""

    code = "webhook"


class ConfigError(WebhookError):
    """An endpoint or a target is declared in a way that cannot be safe; the app does not start."""

    code = "webhook-config"


class DeliveryRefused(WebhookError):
    """An incoming delivery is not accepted; the sender learns the status only."""

    code = "webhook-refused"
    status: ClassVar[int] = 401
    reason: ClassVar[str] = "refused"


class Unproven(DeliveryRefused):
    """Nothing shows that a holder of a live key signed these bytes."""

    status = 401
    reason = "unproven"


class NotFresh(DeliveryRefused):
    """The signed moment is outside the tolerance, in either direction."""

    status = 403
    reason = "not-fresh"


class Unidentified(DeliveryRefused):
    """The signed bytes carry no identity where the scheme puts one."""

    status = 403
    reason = "unidentified"


class TooLarge(DeliveryRefused):
    """The body is larger than the endpoint takes."""

    status = 413
    reason = "too-large"


class Reused(DeliveryRefused):
    """A known identity came back over other bytes."""

    status = 409
    reason = "reused"


class UnknownEndpoint(WebhookError):
    """No endpoint of that name is declared."""

    code = "webhook-endpoint-unknown"


class UnknownDelivery(WebhookError):
    """No delivery of that id is stored."""

    code = "webhook-delivery-unknown"


class PayloadGone(WebhookError):
    """The raw bytes were purged when their retention ended; digest and metadata remain."""

    code = "webhook-payload-gone"


class NotReplayable(WebhookError):
    """The delivery's effect already happened or is still to come."""

    code = "webhook-not-replayable"
