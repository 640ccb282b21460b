"""The new id of a rotated session. With it, a sign-out that arrives just after the rotation ends the new session."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("session_ends", sa.Column("successor", sa.String(64), nullable=True))


def downgrade() -> None:
    op.drop_column("session_ends", "successor")
