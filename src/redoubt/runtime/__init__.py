"""Binds the domains to an ASGI app: middleware, permissions, migrations, processes."""

from .app import Redoubt
from .plan import AppPlan, PaymentsPlan

__all__ = ["AppPlan", "PaymentsPlan", "Redoubt"]
