"""What startup must know of the accounts that are stored: their passwords' pepper and cost, and the demo account."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import structlog

from ..errors import Conflict, DatabaseUnavailable, SettingsError
from .accounts import DEMO_EMAIL, DEMO_ID, DEMO_NAME, DEMO_PASSWORD

if TYPE_CHECKING:
    from ..sessions.manager import SessionManager
    from .accounts import Accounts
    from .users import User

log = structlog.get_logger(__name__)


async def look_at_stored(accounts: Accounts, sessions: SessionManager) -> None:
    """Check the settings against the stored accounts. If the database does not answer, the service starts all the same.

    Raises `SettingsError`.
    """
    with contextlib.suppress(DatabaseUnavailable):
        kinds = await accounts.users.password_kinds()
        accounts.passwords.know_stored(kinds)
        if any(each.is_peppered for each in kinds) and not accounts.passwords.has_pepper:
            raise SettingsError("PASSWORD_PEPPER is not set, but passwords were stored with it; set it again")
        await _look_at_demo_user(accounts, sessions)


async def _look_at_demo_user(accounts: Accounts, sessions: SessionManager) -> None:
    """Everybody knows its password, so it exists in embedded mode on a loopback address alone. Elsewhere it is disabled."""
    user = await accounts.users.by_email(DEMO_EMAIL)
    if not sessions.settings.has_demo_user:
        if user is not None and not user.is_disabled and await _is_demo(accounts, user):
            await sessions.revoke_all(
                user.id, reason="disabled", in_transaction=lambda connection: accounts.users.disable(user.id, within=connection)
            )
            log.warning(
                "demo_user_disabled", user_id=user.id,
                fix=f"its password is public; delete it with `stateroom users erase {DEMO_EMAIL}`, or give it another password",
            )  # fmt: skip
    elif user is None:
        with contextlib.suppress(Conflict):  # another worker was quicker, or somebody else has its id
            await accounts.users.create(DEMO_EMAIL, DEMO_NAME, await accounts.passwords.hash(DEMO_PASSWORD), user_id=DEMO_ID)


async def _is_demo(accounts: Accounts, user: User) -> bool:
    """Whether it still has the public password. Somebody may have made the account their own."""
    return await accounts.passwords.verify(DEMO_PASSWORD, user.password_hash)
