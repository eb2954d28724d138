"""Users, passkeys, challenges, links, sessions, devices and enrolments."""

import sqlalchemy as sa
from alembic import op

revision = "identity_0001"
down_revision = None
branch_labels = ("identity",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identity_users",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False, server_default="main"),
        sa.Column("handle", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_verified_at", sa.BigInteger, nullable=True),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("disabled_at", sa.BigInteger, nullable=True),
    )
    op.create_index("identity_users_email", "identity_users", ["tenant", "email"])
    op.create_index(
        "identity_users_verified_email",
        "identity_users",
        ["tenant", "email"],
        unique=True,
        sqlite_where=sa.text("email_verified_at IS NOT NULL"),
        postgresql_where=sa.text("email_verified_at IS NOT NULL"),
    )
    op.create_table(
        "identity_passkeys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False, server_default="main"),
        sa.Column("user_id", sa.Text, sa.ForeignKey("identity_users.id"), nullable=False),
        sa.Column("credential_id", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("algorithm", sa.Integer, nullable=False),
        sa.Column("sign_count", sa.BigInteger, nullable=False),
        sa.Column("backup_eligible", sa.Boolean, nullable=False),
        sa.Column("backed_up", sa.Boolean, nullable=False),
        sa.Column("aaguid", sa.Text, nullable=False),
        sa.Column("transports", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_used_at", sa.BigInteger, nullable=True),
    )
    op.create_index("ix_identity_passkeys_user_id", "identity_passkeys", ["user_id"])
    op.create_table(
        "identity_challenges",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False, server_default="main"),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("challenge", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("browser_mac", sa.LargeBinary, nullable=False),
        sa.Column("user_id", sa.Text, nullable=True),
        sa.Column("session_id", sa.Text, nullable=True),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger, nullable=True),
    )
    op.create_index("ix_identity_challenges_expires_at", "identity_challenges", ["expires_at"])
    op.create_table(
        "identity_magic_links",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False, server_default="main"),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=True),
        sa.Column("browser_mac", sa.LargeBinary, nullable=False),
        sa.Column("next", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger, nullable=True),
        sa.Column("mailed_at", sa.BigInteger, nullable=True),
    )
    op.create_index("ix_identity_magic_links_expires_at", "identity_magic_links", ["expires_at"])
    op.create_table(
        "identity_sessions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False, server_default="main"),
        sa.Column("user_id", sa.Text, sa.ForeignKey("identity_users.id"), nullable=False),
        sa.Column("token_mac", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("amr", sa.Text, nullable=False),
        sa.Column("auth_time", sa.BigInteger, nullable=False),
        sa.Column("step_up_until", sa.BigInteger, nullable=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("new_device", sa.Boolean, nullable=False),
        sa.Column("network", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("revoked_at", sa.BigInteger, nullable=True),
    )
    op.create_index("ix_identity_sessions_user_id", "identity_sessions", ["user_id"])
    op.create_index("ix_identity_sessions_expires_at", "identity_sessions", ["expires_at"])
    op.create_table(
        "identity_devices",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False, server_default="main"),
        sa.Column("user_id", sa.Text, sa.ForeignKey("identity_users.id"), nullable=False),
        sa.Column("browser_mac", sa.LargeBinary, nullable=False),
        sa.Column("first_seen_at", sa.BigInteger, nullable=False),
        sa.Column("last_seen_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("user_id", "browser_mac", name="identity_devices_of_user"),
    )
    op.create_index("identity_devices_browser", "identity_devices", ["browser_mac"])
    op.create_table(
        "identity_enrolments",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False, server_default="main"),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=True),
        sa.Column("genesis", sa.Integer, nullable=True, unique=True),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger, nullable=True),
        sa.Column("used_by", sa.Text, nullable=True),
    )


def downgrade() -> None:
    for table in (
        "identity_enrolments",
        "identity_devices",
        "identity_sessions",
        "identity_magic_links",
        "identity_challenges",
        "identity_passkeys",
        "identity_users",
    ):
        op.drop_table(table)
