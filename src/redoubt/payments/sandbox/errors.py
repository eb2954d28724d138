"""Errors in Stripe's own shapes.

ApiError (RedoubtError)
├── invalid(...)     400 invalid_request_error: a parameter; never saved under an idempotency key
├── refused(...)     400 invalid_request_error: the object's state does not allow it
├── missing(...)     404 resource_missing
└── declined(...)    402 card_error
"""

from __future__ import annotations

from typing import Any, ClassVar

from ...core.errors import RedoubtError


class ApiError(RedoubtError):
    """An answer in the shape of docs.stripe.com/api/errors; `saved` says whether an idempotency key keeps it."""

    code: ClassVar[str] = "sandbox"

    def __init__(self, status: int, kind: str, message: str, *, saved: bool = True, **members: Any) -> None:
        super().__init__(message)
        self.status = status
        self.saved = saved
        self.members = {"type": kind, "message": message} | {
            k: v for k, v in members.items() if v is not None
        }

    def body(self) -> dict[str, Any]:
        """Return the answer's JSON."""
        return {"error": self.members}


def invalid(param: str, message: str, code: str | None = None) -> ApiError:
    """Return the refusal of a parameter; validation comes before execution, so no key keeps it."""
    return ApiError(400, "invalid_request_error", message, saved=False, param=param, code=code)


def refused(code: str, message: str, **members: Any) -> ApiError:
    """Return the refusal of an operation that the object's state does not allow."""
    return ApiError(400, "invalid_request_error", message, code=code, **members)


def missing(kind: str, object_id: str, param: str = "id") -> ApiError:
    """Return the answer for an object that is not there."""
    message = f"No such {kind}: '{object_id[:64]}'"
    return ApiError(404, "invalid_request_error", message, saved=False, code="resource_missing", param=param)


def declined(code: str, decline_code: str, message: str, intent: dict[str, Any], charge: str) -> ApiError:
    """Return a card's decline; it carries the payment intent as it now stands."""
    return ApiError(
        402, "card_error", message, code=code, decline_code=decline_code, charge=charge, payment_intent=intent
    )
