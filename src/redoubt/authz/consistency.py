"""Consistency tokens: who changed a policy or a role asks, with the next request, for at least that change.

A token names a tenant and how often its policies and roles had changed. It is signed, since each one costs the process
that is asked a look at the database; whoever has none gets what is at most a quarter of a second old.
"""

from __future__ import annotations

import hmac

from attrs import frozen

from redoubt.core.base import Core
from redoubt.core.db import Tx

from . import store
from .errors import ConsistencyRefused

HEADER = "redoubt-consistency"
_PURPOSE = "authz.consistency"
_MAX = 300


@frozen
class Position:
    """How often the policies and roles of `tenant` had changed at least."""

    tenant: str
    seq: int


def token_of(tx: Tx, core: Core, tenant: str) -> str:
    """Return the token for what `tx` sees, its own changes included."""
    position = f"1.{store.clock(tx, tenant)}.{tenant}"
    return f"{position}.{core.keys.mac(_PURPOSE).hexdigest(position)}"


def position_of(core: Core, token: str) -> Position:
    """Return what a token asks for; raises ConsistencyRefused for one that we did not make."""
    refused = ConsistencyRefused("this is no consistency token of this app.")
    if len(token) > _MAX or not token.isascii():
        raise refused
    position, _, tag = token.rpartition(".")
    digests = core.keys.mac(_PURPOSE).digests(position)
    if not sum(hmac.compare_digest(tag, digest.hex()) for digest in digests):
        raise refused
    version, seq, tenant = position.split(".", 2)
    if version != "1":
        raise refused
    return Position(tenant, int(seq))
