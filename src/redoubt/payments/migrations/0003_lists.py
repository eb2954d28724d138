"""Indexes of the lists of payments: of a tenant, of a customer and of an order, each in the order in which pages go."""

from alembic import op

revision = "payments_0003"
down_revision = "payments_0002"
branch_labels = None
depends_on = None

_INDEXES = {
    "payments_by_tenant_id": ["tenant", "id"],
    "payments_by_tenant_customer_id_id": ["tenant", "customer_id", "id"],
    "payments_by_tenant_order_id_id": ["tenant", "order_id", "id"],
}


def upgrade() -> None:
    for name, columns in _INDEXES.items():
        op.create_index(name, "payments", columns)
    op.drop_index("payments_customer", "payments")  # what it found, the second finds


def downgrade() -> None:
    op.create_index("payments_customer", "payments", ["tenant", "customer_id"])
    for name in _INDEXES:
        op.drop_index(name, "payments")
