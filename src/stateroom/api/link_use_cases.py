"""The steps that a user takes with mailed links. The JSON API and the pages' forms both call them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from .. import SESSIONS, Unavailable, check_auth, client_address, get_session, kept_address, security_event, sign_out
from ..accounts import ACCOUNTS, PROOFS
from .use_cases import signed_in_user_id

if TYPE_CHECKING:
    from aiohttp import web

    from ..accounts import User


async def ask_to_verify(request: web.Request) -> None:
    """Mail the user the verification link again. Raises what `check_auth` and `Proofs.ask_to_verify` raise."""
    check_auth(request, access_token=False)
    await request.app[PROOFS].ask_to_verify(signed_in_user_id(request), client_address(request))


async def ask_to_change_email(request: web.Request, email: str, password: str) -> None:
    """Mail a link to a new address. Raises what `check_auth` and `Proofs.ask_to_change` raise."""
    check_auth(request, access_token=False)
    await request.app[PROOFS].ask_to_change(signed_in_user_id(request), email, password, client_address(request))


async def confirm_email(request: web.Request, token: str, password: str | None) -> User:
    """Confirm an address by its link, as the account's user or with its password.

    Raises what `Proofs.confirm` raises, and `NotByAccessToken`.
    """
    user_id = get_session(request).user_id
    if user_id is not None:
        check_auth(request, access_token=False)
    return await request.app[PROOFS].confirm(
        token, user_id=user_id if isinstance(user_id, int) else None, password=password, address=client_address(request)
    )


async def ask_for_reset(request: web.Request, email: str) -> None:
    """Ask for the mail with which the owner of an account sets a new password. Raises what `Proofs.forget` raises."""
    await request.app[PROOFS].forget(email, client_address(request))


async def reset_password(request: web.Request, token: str, new: str) -> User:
    """Set a new password by its link, and end every session of the user, this request's too. Nobody is signed in by it.

    Raises what `Proofs.reset` and `SessionManager.revoke_all` raise, and `TooManyAttempts`.
    """
    address = client_address(request)
    user, store = await request.app[PROOFS].reset(token, new, address)
    await request.app[ACCOUNTS].limits.take("password", user.id, address)
    count = await request.app[SESSIONS].revoke_all(user.id, reason="password", in_transaction=store)
    security_event("password_reset", user_id=user.id, count=count, address=kept_address(request))
    with contextlib.suppress(Unavailable):  # the password is changed, and the request's own session has ended in any case
        if get_session(request).user_id == user.id:
            await sign_out(request)
    return user
