"""The deployment's lease, stored beside its id. A worker with another lease must not start."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("fleet", sa.Column("lease_ms", sa.BigInteger, nullable=True))


def downgrade() -> None:
    op.drop_column("fleet", "lease_ms")
