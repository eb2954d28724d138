"""A small Stripe-compatible provider for development and tests: a real HTTP process with faults on demand."""

from .app import create_app
from .webhooks import Endpoint

__all__ = ["Endpoint", "create_app"]
