"""A real Chromium as a second observer, where one is installed; nothing depends on it."""

from __future__ import annotations

import shutil
from importlib.util import find_spec

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """Return the path of an installed Chromium that can be driven; None where it or its driver is missing."""
    if find_spec("playwright") is None:
        return None
    return next((path for name in _NAMES if (path := shutil.which(name))), None)
