"""A guarded app with everything real but the sockets: the console's world, which payments and people are part of."""

from __future__ import annotations

from tests.console.conftest import core, world

__all__ = ["core", "world"]
