"""Deletes the rows of mails and their links whose time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from ...sessions.journal.database_time import NowMs

if TYPE_CHECKING:
    from sqlalchemy import Column, Delete, Table


def deletion_of_rows_over(table: Table, until: Column[int]) -> Delete:
    """The statement that deletes the rows of a table whose time, in its column `until`, is over by the database's clock.

    Rows that another transaction has locked are left to the next one, so that no mail waits for them.
    """
    [key] = table.primary_key
    return delete(table).where(key.in_(select(key).where(until <= NowMs()).with_for_update(skip_locked=True)))
