"""The config epoch of the Sentinels and the primary that the deployment's workers have agreed on.

The previous release reads and writes the other columns by name, so it works on this schema.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("fleet", sa.Column("sentinel_base", sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.add_column("fleet", sa.Column("sentinel_epoch", sa.BigInteger, nullable=False, server_default=sa.text("-1")))
    op.add_column("fleet", sa.Column("sentinel_primary", sa.String(300), nullable=True))


def downgrade() -> None:
    for column in ("sentinel_primary", "sentinel_epoch", "sentinel_base"):
        op.drop_column("fleet", column)
