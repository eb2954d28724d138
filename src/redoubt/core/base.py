"""What every service is built over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from .clock import Clock
from .db import Database
from .ids import Ids

if TYPE_CHECKING:
    from .keys import Keyring
    from .redact import Redactor
    from .settings import Settings


@frozen
class Core:
    """The ground floor of one process: settings, database, time, ids, keys and the redactor."""

    settings: Settings
    db: Database
    clock: Clock
    ids: Ids
    keys: Keyring
    redactor: Redactor
