"""An index of tokens by the address in the form in which addresses are compared, in place of one that no query uses.

The previous release asks by `lower(email)` too, and names no index, so it works on this schema.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_mail_tokens_lower_email", "mail_tokens", [sa.text("lower(email)")])
    op.drop_index("ix_mail_tokens_email", "mail_tokens")


def downgrade() -> None:
    op.create_index("ix_mail_tokens_email", "mail_tokens", ["email"])
    op.drop_index("ix_mail_tokens_lower_email", "mail_tokens")
