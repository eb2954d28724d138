"""One-time links whose token is computed, not stored: nothing in the database, a job or a backup opens anything.

A token is the row's id and a keyed MAC over kind and id. Whoever holds the key (this app) can write the link again,
so mailing it is idempotent and needs no secret in the outbox; whoever holds the table cannot.
"""

from __future__ import annotations

import uuid
from typing import Literal

from redoubt.core.keys import MacKey

from .encoding import b64url, from_b64url
from .errors import LinkRefused

Kind = Literal["magic", "enrol"]
_ID = 16
_TAG = 32


def mint(mac: MacKey, kind: Kind, link_id: str) -> str:
    """Return the token of the link `link_id`."""
    return b64url(uuid.UUID(link_id).bytes + mac.digest(_message(kind, link_id)))


def read(mac: MacKey, kind: Kind, token: object) -> str:
    """Return the id of the link that `token` opens, or raise LinkRefused for a token that we did not make."""
    try:
        data = from_b64url(token, _ID + _TAG) if isinstance(token, str) else b""
    except ValueError:
        data = b""
    if len(data) != _ID + _TAG:
        raise LinkRefused("malformed")
    link_id = str(uuid.UUID(bytes=data[:_ID]))
    if not mac.verify(_message(kind, link_id), data[_ID:]):
        raise LinkRefused("forged")
    return link_id


def _message(kind: Kind, link_id: str) -> str:
    return f"redoubt-link-v1\0{kind}\0{link_id}"
