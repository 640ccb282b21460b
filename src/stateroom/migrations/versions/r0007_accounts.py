"""Addresses as typed, verification, groups, tokens of mailed links, and mails that wait.

`users.email` stays the form in which addresses are compared. Accounts that exist already count as verified: nothing asks
them to verify. The previous release reads and writes the other columns by name, so it works on this schema.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("typed_email", sa.String(254), nullable=True))
    op.add_column("users", sa.Column("verified_at", sa.BigInteger, nullable=True))
    op.add_column("users", sa.Column("must_verify", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.create_table(
        "user_groups",
        sa.Column("user_id", sa.BigInteger, primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
    )
    op.create_table(
        "mail_tokens",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("mail_id", sa.String(32), nullable=False),
        sa.Column("user_id", sa.BigInteger, nullable=True),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.String(32), nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_mail_tokens_user_id", "mail_tokens", ["user_id"])
    op.create_index("ix_mail_tokens_email", "mail_tokens", ["email"])
    op.create_index("ix_mail_tokens_expires_at", "mail_tokens", ["expires_at"])
    op.create_table(
        "mails",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("user_id", sa.BigInteger, nullable=True),
        sa.Column("address", sa.String(254), nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("claimed_by", sa.String(32), nullable=True),
        sa.Column("claimed_until", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_mails_due_at", "mails", ["due_at"])
    op.create_index("ix_mails_user_id", "mails", ["user_id"])
    op.create_table(
        "mail_counts",
        sa.Column("mail_id", sa.String(32), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("recipient", sa.String(64), nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_mail_counts_recipient", "mail_counts", ["recipient"])
    op.create_index("ix_mail_counts_until", "mail_counts", ["until"])


def downgrade() -> None:
    for table in ("mail_counts", "mails", "mail_tokens", "user_groups"):
        op.drop_table(table)
    for column in ("must_verify", "verified_at", "typed_email"):
        op.drop_column("users", column)
