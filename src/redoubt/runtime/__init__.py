"""Binds the domains to an ASGI app: middleware, permissions, migrations, processes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import Redoubt
    from .plan import AppPlan, PaymentsPlan

__all__ = ["AppPlan", "PaymentsPlan", "Redoubt"]

_WHERE = {"AppPlan": "plan", "PaymentsPlan": "plan", "Redoubt": "app"}


def __getattr__(name: str) -> Any:
    """Import what an app is made of when it is asked for: what only starts processes never needs it."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)
