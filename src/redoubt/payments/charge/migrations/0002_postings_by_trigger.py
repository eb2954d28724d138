"""Postings are written by the trigger of their entry, with its owner's rights: the service itself need not be let."""

import sqlalchemy as sa
from alembic import op

revision = "charge_0002"
down_revision = "charge_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return  # on SQLite the service's connections let that trigger write, and nothing else
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.execute(
        "ALTER FUNCTION ledger_entries_post() SECURITY DEFINER"
        f" SET search_path = {schema}, pg_catalog, pg_temp"
    )
    op.execute("REVOKE ALL ON FUNCTION ledger_entries_post() FROM PUBLIC")


def downgrade() -> None:
    raise NotImplementedError("the ledger is not taken down by a migration")
