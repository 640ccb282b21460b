"""The time by the database's own clock, in statements for both kinds of database."""

from __future__ import annotations

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction


class NowMs(GenericFunction[int]):
    """The database's time, milliseconds since the epoch."""

    inherit_cache = True
    type = BigInteger()


@compiles(NowMs, "sqlite")
def _sqlite_now(*_: object, **__: object) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"  # https://www.sqlite.org/lang_datefunc.html


@compiles(NowMs, "postgresql")
def _postgres_now(*_: object, **__: object) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"
