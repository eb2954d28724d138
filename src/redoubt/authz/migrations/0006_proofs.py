"""What was proven of a policy set by itself, under the app's seal: a process that loads the set needs no solver."""

import sqlalchemy as sa
from alembic import op

revision = "authz_0006"
down_revision = "authz_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "policy_proofs",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("rule", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("seal", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("policy_proofs")
