"""One deployment, its epoch, user ids that are never reused, and journal rows that are distinct after a restore.

The table `fleet` has one row, because its column `singleton` is unique and always 1. The previous release still reads its
id. User ids no longer have a default or a sequence, because this release chooses them at random. Therefore the previous
release cannot register users on this schema. Everything else in the previous release still works.
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
    # User ids keep no sequence: a new one could repeat an id that is in use.


def _keep_one_deployment(connection: sa.Connection) -> None:
    """Keep the row with the lowest id, which every host used. Hosts of the previous release may have made several rows.

    A new database gets its row here.
    """
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
    # In SQLite, a column INTEGER PRIMARY KEY is the row number, and SQLite fills it in. A BIGINT column is not.
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
