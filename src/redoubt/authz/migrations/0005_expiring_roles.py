"""Roles that expire by themselves, and roles of an emergency, which only an approval by somebody else gives."""

import sqlalchemy as sa
from alembic import op

revision = "authz_0005"
down_revision = "authz_0004"
branch_labels = None
depends_on = ("guard_0001",)

_MINUTE = 60_000_000


def upgrade() -> None:
    op.add_column("role_members", sa.Column("expires_at", sa.BigInteger, nullable=True))
    op.add_column("role_members", sa.Column("approval_id", sa.Text, nullable=True))
    op.create_index("role_members_approval", "role_members", ["approval_id"], unique=True)
    op.create_index("role_members_expires", "role_members", ["expires_at"])
    refused = (
        "(NEW.expires_at IS NOT NULL AND NEW.expires_at <= NEW.at)"
        f" OR (NEW.approval_id IS NOT NULL AND NOT EXISTS ({_approved()}))"
    )
    message = "an emergency role needs its approval, and an end"
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION authz_role_urgent() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN IF {refused} THEN RAISE EXCEPTION '{message}' USING ERRCODE = '23514'; END IF;"
            " RETURN NEW; END $$"
        )
        op.execute(
            "CREATE TRIGGER role_members_urgent BEFORE INSERT ON role_members"
            " FOR EACH ROW EXECUTE FUNCTION authz_role_urgent()"
        )
    else:
        op.execute(
            f"CREATE TRIGGER role_members_urgent BEFORE INSERT ON role_members WHEN {refused}"
            f" BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )


def downgrade() -> None:
    raise RuntimeError("without their ends roles would be given for good")


def _approved() -> str:
    """The approval of exactly this role, for this user and as many minutes, by neither who asked nor who gets it.

    The payload is canonical JSON, so its beginning and its end are fixed text: quotes in a value are escaped.
    """
    begins = f"""'{{"minutes":' || ((NEW.expires_at - NEW.at) / {_MINUTE}) || ',"nonce":"'"""
    ends = (
        """'","role":"' || NEW.role || '","tenant":"' || NEW.tenant || '","user":"' || NEW.user_id || '"}'"""
    )
    conditions = [
        "a.id = NEW.approval_id",
        "a.kind = 'authz.break-glass'",
        "a.state = 'approved'",
        "a.tenant = NEW.tenant",
        "a.decided_by <> a.requester",
        "a.decided_by <> NEW.user_id",
        "NEW.at >= a.decided_at",
        "NEW.at < a.expires_at",
        "NEW.expires_at IS NOT NULL",
        f"(NEW.expires_at - NEW.at) % {_MINUTE} = 0",
        f"NEW.expires_at - NEW.at <= {60 * _MINUTE}",
        f"substr(a.payload, 1, length({begins})) = {begins}",
        f"substr(a.payload, length(a.payload) - length({ends}) + 1) = {ends}",
    ]
    return "SELECT 1 FROM approvals a WHERE " + " AND ".join(conditions)  # noqa: S608
