"""What can go wrong on the app's side of payments.

PaymentError
├── MoneyInvalid         the amount or currency is not one
├── PaymentNotFound      no such payment for this tenant
├── PaymentConflict      the payment or refund is not in a state that allows this
├── PriceConflict        this change of a price cannot be asked for
├── PriceStale           the price or its row is not what the change was about any more
├── CommandConflict      a command id was used again with another body
├── ChargeUnavailable    the charge service did not answer; the command stays in the outbox
└── ChargeRefused        the charge service refused the command for good
"""

from __future__ import annotations

from redoubt.core.errors import RedoubtError


class PaymentError(RedoubtError):
    """The root of this domain's errors."""

    code = "payment"


class MoneyInvalid(PaymentError):
    """An amount or currency is not money."""

    code = "money-invalid"


class PaymentNotFound(PaymentError):
    """There is no such payment for this tenant."""

    code = "payment-not-found"


class PaymentConflict(PaymentError):
    """The payment is not in a state that allows what was asked."""

    code = "payment-conflict"


class PriceConflict(PaymentError):
    """This change of a price cannot be asked for."""

    code = "price-conflict"


class PriceStale(PaymentError):
    """The price or its row is not what a change was about any more."""

    code = "price-stale"


class CommandConflict(PaymentError):
    """A command id was used again with another body."""

    code = "command-conflict"


class ChargeUnavailable(PaymentError):
    """The charge service did not answer; what was asked waits in the outbox and is delivered again."""

    code = "charge-unavailable"


class ChargeRefused(PaymentError):
    """The charge service refused a command for good; `reason` is its stable code."""

    code = "charge-refused"

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
