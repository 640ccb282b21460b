"""Users, the journal of ended sessions, the generations, the deployment's id."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("password_hash", sa.String(200), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("disabled_at", sa.BigInteger, nullable=True),
        sa.UniqueConstraint("email", name="uq_users_email"),
        sqlite_autoincrement=True,  # an id is never given to a second user
    )
    op.create_table(
        "session_ends",
        sa.Column("seq", _ID, primary_key=True, autoincrement=True),
        sa.Column("user_key", sa.String(256), nullable=False),
        sa.Column("handle", sa.String(64), nullable=True),
        sa.Column("generation", sa.BigInteger, nullable=True),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("ended_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_session_ends_expires_at", "session_ends", ["expires_at"])
    op.create_index("ix_session_ends_user_key_handle", "session_ends", ["user_key", "handle"])
    op.create_table(
        "session_generations",
        sa.Column("user_key", sa.String(256), primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
    )
    op.create_table("fleet", sa.Column("id", sa.String(64), primary_key=True))


def downgrade() -> None:
    for table in ("fleet", "session_generations", "session_ends", "users"):
        op.drop_table(table)
