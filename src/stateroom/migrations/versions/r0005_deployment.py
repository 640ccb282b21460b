"""One deployment, its epoch, ids that are never given twice, and rows that can be told apart after a restore.

`fleet` keeps one row: the column `singleton` is 1 there and unique. The release before this one reads its id as it did.
User ids have no default and no sequence any more: this release draws them at random. So the release before this one
cannot register users on this schema; everything else goes on working.
"""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("session_ends", sa.Column("nonce", sa.String(32), nullable=True))
    op.add_column("session_ends", sa.Column("epoch", sa.String(32), nullable=True))
    op.create_index("uq_session_ends_nonce", "session_ends", ["nonce"], unique=True)
    op.add_column("fleet", sa.Column("singleton", sa.Integer, nullable=True))
    op.add_column("fleet", sa.Column("name", sa.String(200), nullable=True))
    op.add_column("fleet", sa.Column("epoch", sa.String(32), nullable=False, server_default=sa.text("''")))
    op.add_column("fleet", sa.Column("restored", sa.String(32), nullable=True))
    op.create_index("uq_fleet_singleton", "fleet", ["singleton"], unique=True)
    _keep_one_deployment(op.get_bind())
    _take_the_sequence_off_user_ids()


def downgrade() -> None:
    op.drop_index("uq_fleet_singleton", "fleet")
    for column in ("restored", "epoch", "name", "singleton"):
        op.drop_column("fleet", column)
    op.drop_index("uq_session_ends_nonce", "session_ends")
    for column in ("epoch", "nonce"):
        op.drop_column("session_ends", column)
    # User ids stay as they are: nothing can give a sequence its place back that does not repeat one of them.


def _keep_one_deployment(connection: sa.Connection) -> None:
    """Hosts of the release before may have made several; the least id was everybody's. A new database gets one here."""
    if connection.execute(sa.text("SELECT min(id) FROM fleet")).scalar() is None:
        connection.execute(sa.text("INSERT INTO fleet (id, singleton) VALUES (:id, 1)"), {"id": secrets.token_hex(16)})
        return
    connection.execute(sa.text("UPDATE fleet SET singleton = 1 WHERE id = (SELECT min(id) FROM fleet)"))
    connection.execute(sa.text("DELETE FROM fleet WHERE singleton IS NULL"))


def _take_the_sequence_off_user_ids() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE users ALTER COLUMN id DROP DEFAULT")
        op.execute("DROP SEQUENCE IF EXISTS users_id_seq")
        return
    # In SQLite a column INTEGER PRIMARY KEY is the row's number, which SQLite fills in; a BIGINT is not.
    # https://www.sqlite.org/lang_createtable.html#rowid
    op.execute(
        "CREATE TABLE users_by_random_id ("
        "id BIGINT NOT NULL, email VARCHAR(254) NOT NULL, name VARCHAR(200) NOT NULL, password_hash VARCHAR(200) NOT NULL, "
        "created_at BIGINT NOT NULL, disabled_at BIGINT, "
        "CONSTRAINT pk_users PRIMARY KEY (id), CONSTRAINT uq_users_email UNIQUE (email))"
    )
    op.execute(
        "INSERT INTO users_by_random_id (id, email, name, password_hash, created_at, disabled_at) "
        "SELECT id, email, name, password_hash, created_at, disabled_at FROM users"
    )
    op.execute("DROP TABLE users")
    op.execute("ALTER TABLE users_by_random_id RENAME TO users")
