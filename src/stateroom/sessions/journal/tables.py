"""The journal's tables."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, text

from ...database import metadata

ROW_NUMBER = BigInteger().with_variant(Integer, "sqlite")

session_ends = Table(
    "session_ends",
    metadata,
    Column("seq", ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("user_key", String(256), nullable=False),
    Column("handle", String(64), nullable=True),
    Column("generation", BigInteger, nullable=True),
    Column("reason", String(16), nullable=False),
    Column("ended_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("successor", String(64), nullable=True),
    Column("nonce", String(32), nullable=True),
    Column("epoch", String(32), nullable=True),
    Index("uq_session_ends_nonce", "nonce", unique=True),
    Index("ix_session_ends_expires_at", "expires_at"),
    Index("ix_session_ends_user_key_handle", "user_key", "handle"),
    Index("ix_session_ends_raised", "seq", postgresql_where=text("handle IS NULL"), sqlite_where=text("handle IS NULL")),
    sqlite_autoincrement=True,  # a sequence number is never given twice
)
session_generations = Table(
    "session_generations",
    metadata,
    Column("user_key", String(256), primary_key=True),
    Column("generation", BigInteger, nullable=False),
)
fleet = Table(
    "fleet",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("lease_ms", BigInteger, nullable=True),
    Column("singleton", Integer, nullable=True),
    Column("name", String(200), nullable=True),
    Column("epoch", String(32), nullable=False, server_default=text("''")),
    Column("restored", String(32), nullable=True),
    Column("sentinel_base", BigInteger, nullable=False, server_default=text("0")),
    Column("sentinel_epoch", BigInteger, nullable=False, server_default=text("-1")),
    Column("sentinel_primary", String(300), nullable=True),
    Index("uq_fleet_singleton", "singleton", unique=True),
)
"""The deployment: one row, in which `singleton` is 1. `stateroom db upgrade` makes it, and nothing at run time."""
