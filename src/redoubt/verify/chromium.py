"""A real Chromium, where one is installed: found here, and started for the probes that drive pages with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# The first is Chromium without its windows: the same engine at a third of the cost.
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL = "apt-get install chromium; pip install playwright"
"""What lets pages be driven where nothing to do it with was found."""
_FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
)


def find_chromium() -> str | None:
    """Return the path of an installed Chromium that can be driven; None where it or its driver is missing."""
    if find_spec("playwright") is None:
        return None
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """Start the Chromium at `path`, without a window, and yield it; whoever started it uses it in the same thread."""
    from playwright.sync_api import Error, sync_playwright

    flags = [
        *_FLAGS,
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]  # the sandbox refuses to work for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags, timeout=30_000)
        try:
            yield browser
        finally:
            with suppress(Error):
                browser.close()
