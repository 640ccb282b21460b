"""An index of the raised generations. Each worker reads them at startup, and only a small part of the journal's rows raise one."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_RAISED = sa.text("handle IS NULL")


def upgrade() -> None:
    op.create_index("ix_session_ends_raised", "session_ends", ["seq"], postgresql_where=_RAISED, sqlite_where=_RAISED)


def downgrade() -> None:
    op.drop_index("ix_session_ends_raised", "session_ends")
