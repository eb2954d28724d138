"""A PostgreSQL role for the charge service that cannot touch what is append-only, even if every trigger were gone."""

from __future__ import annotations

import sqlalchemy as sa

from redoubt.audit import DOMAIN as AUDIT
from redoubt.core.db import Tx
from redoubt.core.jobs import DOMAIN as CORE

from . import store
from .errors import ConfigInvalid

APPEND_ONLY = (
    "ledger_entries",
    "ledger_postings",
    "charge_consumed_approvals",
    "charge_provider_events",
    "charge_feed",
)


def restrict(tx: Tx, role: str) -> None:
    """Grant `role` exactly what the charge service uses; run it as the tables' owner, in their schema.

    The role must exist and own nothing: an owner could drop the triggers. It gets no DELETE and no TRUNCATE
    anywhere in the charge tables, and no UPDATE on what is append-only.
    """
    if tx.dialect != "postgresql":
        raise ConfigInvalid(
            "SQLite has no roles: whoever writes the file may change it, and the chain shows it."
        )
    quote = sa.sql.compiler.IdentifierPreparer(tx.conn.dialect).quote
    name = quote(role)
    schema = quote(str(tx.execute(sa.text("SELECT current_schema()")).scalar_one()))
    run = tx.conn.exec_driver_sql
    run(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
    for table in store.metadata.tables:
        run(f"REVOKE ALL ON {schema}.{quote(table)} FROM {name}")
        verbs = "SELECT, INSERT" if table in APPEND_ONLY else "SELECT, INSERT, UPDATE"
        run(f"GRANT {verbs} ON {schema}.{quote(table)} TO {name}")
    for domain in (AUDIT, CORE):
        for table in domain.metadata.tables:
            run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.{quote(table)} TO {name}")
