"""Finds the app in a folder: `app/main.py` with `app` (ASGI) and `guard` (Redoubt)."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from redoubt.core.errors import RedoubtError

if TYPE_CHECKING:
    from .app import Redoubt


class LoadError(RedoubtError):
    """The folder's app cannot be imported, or is not guarded."""

    code = "load"


def load_app(directory: Path) -> tuple[ASGIApp, Redoubt]:
    """Import `app.main` from `directory` and return its `app` and `guard`; raises LoadError when one is missing."""
    from .app import Redoubt

    sys.path.insert(0, str(directory.resolve()))
    module = importlib.import_module("app.main")
    guard = getattr(module, "guard", None)
    app = getattr(module, "app", None)
    if not isinstance(guard, Redoubt) or app is None:
        raise LoadError(f"{directory}/app/main.py must define `guard` (a Redoubt) and `app` (an ASGI app).")
    if not guard.bound:
        raise LoadError(f"{directory}/app/main.py never calls guard.bind(app): nothing would be guarded.")
    return app, guard
