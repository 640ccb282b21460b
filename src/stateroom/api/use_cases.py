"""The steps that a user takes with an account. The JSON API and the pages' forms both call them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from .. import (
    SESSIONS,
    Session,
    SessionEnded,
    StoreUnavailable,
    check_auth,
    client_address,
    flash,
    get_session,
    kept_address,
    reauthenticate,
    revoke_others,
    security_event,
    sign_in,
    sign_out,
    take_flashes,
)
from ..accounts import ACCOUNTS, REGISTRATION
from ..errors import NotFound, SignInRequired
from ..plurals import counted

if TYPE_CHECKING:
    from aiohttp import web

    from ..accounts import User


async def register(request: web.Request, email: str, password: str, name: str, *, invitation: str | None = None) -> User | None:
    """Create an account and sign in. `invitation`: the token of an invitation's link.

    None if nobody may learn whether the address had an account already. Then nobody is signed in.
    Raises what `Registration.register` and `sign_in` raise.
    """
    address = client_address(request)
    await request.app[ACCOUNTS].limits.take("password", None, address)  # before the account is made
    registered = await request.app[REGISTRATION].register(email, password, name, address, invitation=invitation)
    user = registered.user
    if user is not None:
        _leave_message(request, f"Welcome, {user.name}.")
        await sign_in_as(request, user, is_counted=True)
    return user


async def log_in(request: web.Request, email: str, password: str, *, remember: bool, bearer: bool = False) -> User:
    """Check the password and sign in. Raises what `Accounts.authenticate` and `sign_in` raise."""
    accounts = request.app[ACCOUNTS]
    user = await accounts.authenticate(email, password, client_address(request))
    _leave_message(request, f"Welcome back, {user.name}.")
    session = await sign_in_as(request, user, remember=remember, transport="bearer" if bearer else "cookie")
    accounts.count_login(degraded=session.degraded)
    if session.evicted:
        limit = request.app[SESSIONS].settings.session_max_per_user
        devices = counted(limit, "device")
        _leave_message(
            request,
            f"You can be signed in on {devices} at the same time, so we signed you out where you had signed in first.",
            "info",
        )
    return user


async def sign_in_as(
    request: web.Request,
    user: User,
    *,
    remember: bool = False,
    transport: Literal["cookie", "bearer"] = "cookie",
    degraded: bool = True,
    is_counted: bool = False,
) -> Session:
    """Sign in a user whose password was correct. `is_counted`: the limits of changes have counted this sign-in already.

    Raises `InvalidCredentials` if the password has changed or the user was disabled since then, `TooManyAttempts` if there were
    too many sign-ins, and what `sign_in` raises.
    """
    if not is_counted:
        await request.app[ACCOUNTS].limits.take("password", user.id, client_address(request))
    try:
        return await sign_in(
            request, user.id, remember=remember, transport=transport, generation=user.generation, epoch=user.epoch,
            degraded=degraded,
        )  # fmt: skip
    except SessionEnded:
        raise request.app[ACCOUNTS].attempts.refusal(user.id, client_address(request)) from None


async def confirm_password(request: web.Request, password: str) -> User:
    """Check the user's password again and give the session a new id.

    Raises what `check_auth`, `Accounts.verify_password` and `reauthenticate` raise.
    """
    check_auth(request, access_token=False)
    accounts, address = request.app[ACCOUNTS], client_address(request)
    user = await accounts.verify_password(signed_in_user_id(request), password, address)
    await accounts.limits.take("password", user.id, address)
    await reauthenticate(request)
    return user


async def change_password(request: web.Request, current: str, new: str) -> tuple[User, int | None]:
    """Change the password and end all other sessions of the user.

    Returns the user and how many other sessions have ended; None if Redis is unavailable and they cannot be counted.
    Raises what `check_auth`, `Accounts.change_password` and `revoke_others` raise.
    """
    check_auth(request, access_token=False)
    accounts, address = request.app[ACCOUNTS], client_address(request)
    user, store = await accounts.change_password(signed_in_user_id(request), current, new, address)
    await accounts.limits.take("password", user.id, address)
    revoked = await revoke_others(request, reason="password", in_transaction=store)
    _leave_message(request, "Password changed.")
    return user, revoked


async def revoke(request: web.Request, handle: str) -> bool:
    """End one of the user's sessions. False if Redis is unavailable, and it is unknown whether the user had this session.

    Raises `ReauthenticationRequired`, `NotFound`, `TooManyAttempts`, `StoreUnavailable`, `DatabaseUnavailable`.
    """
    check_fresh(request)
    if handle == get_session(request).id:
        await sign_out(request)
        return True
    user_id = signed_in_user_id(request)
    await request.app[ACCOUNTS].limits.take("session", user_id, client_address(request))
    found = await request.app[SESSIONS].revoke(user_id, handle)
    if found is False:
        raise NotFound("no session of yours has this id")
    security_event("revoke", session=handle, user_id=user_id, address=kept_address(request))
    return found is not None


async def revoke_all_others(request: web.Request) -> int | None:
    """End all other sessions of the user, and return how many; None if they cannot be counted.

    A request that has nothing to end counts too, because it also writes a row: if Redis has lost a session, the session's cookie
    may still be valid, so it cannot be known that there is nothing to end.
    Raises `ReauthenticationRequired`, `TooManyAttempts`, and what `revoke_others` raises.
    """
    check_fresh(request)
    await request.app[ACCOUNTS].limits.take("session", signed_in_user_id(request), client_address(request))
    return await revoke_others(request)


def check_fresh(request: web.Request) -> None:
    """Raise `ReauthenticationRequired` if the sign-in is older than FRESH_MAX_AGE. Raises what `check_auth` raises."""
    check_auth(request, fresh=request.app[SESSIONS].settings.fresh_max_age)


async def take_messages(request: web.Request) -> dict[str, str]:
    """Take the messages that were left for the visitor. Each is returned once, and none to a HEAD request.

    Raises what `take_flashes` raises.
    """
    return {} if request.method == "HEAD" else await take_flashes(get_session(request))


async def take_messages_if_possible(request: web.Request) -> dict[str, str]:
    """Take the messages as `take_messages`. If Redis is unavailable, return none; they are shown later."""
    try:
        return await take_messages(request)
    except StoreUnavailable:
        return {}


def signed_in_user_id(request: web.Request) -> int:
    """The id of the signed-in user. Raises `SignInRequired`."""
    user_id = get_session(request).user_id
    if not isinstance(user_id, int):
        raise SignInRequired
    return user_id


def _leave_message(request: web.Request, text: str, kind: Literal["success", "info"] = "success") -> None:
    """Leave a message for the next page. If Redis is unavailable, it cannot be stored, and the user does not see it."""
    session = get_session(request)
    if session.is_writable:
        flash(session, kind, text)
