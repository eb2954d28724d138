"""A core for tests: settings, keys and redactor as in production, over a given database and clock."""

from __future__ import annotations

from pathlib import Path

from redoubt.core.base import Core
from redoubt.core.clock import Clock
from redoubt.core.db import Database
from redoubt.core.ids import SystemIds


def make_core(db: Database, clock: Clock, home: Path, settings_text: str = "") -> Core:
    """Return a core whose state lies in `home`; `settings_text` is the app's redoubt.toml."""
    from redoubt.core.keys import Keyring
    from redoubt.core.redact import Redactor
    from redoubt.core.secrets import Secret
    from redoubt.core.settings import Settings

    home.mkdir(parents=True, exist_ok=True)
    default = '[app]\nname = "test"\nprofile = "development"\nbase_url = "https://test.localhost:8443"\n'
    (home / "redoubt.toml").write_text(settings_text or default)
    settings = Settings.load(home, {})
    keys = Keyring.create(home / "keyring", Secret(b"k" * 32))
    return Core(
        settings=settings,
        db=db,
        clock=clock,
        ids=SystemIds(clock),
        keys=keys,
        redactor=Redactor(keys.mac("redact")),
    )
