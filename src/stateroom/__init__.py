"""Session management for aiohttp that stays up when Redis doesn't.

    app = web.Application()
    stateroom.setup(app)

gives every handler `stateroom.get_session(request)`. docs/library.md describes every name.
"""

__version__ = "0.1.0"

from .errors import (
    DatabaseUnavailable,
    ForeignOrigin,
    HeadersSent,
    NotByAccessToken,
    NotFound,
    NotSignedIn,
    ReauthenticationRequired,
    SessionEnded,
    SessionTooLarge,
    SettingsError,
    SignInRequired,
    StateroomError,
    StoreUnavailable,
    Unavailable,
)
from .logs import security_event
from .request import cookie_fate
from .request.actions import (
    AccessToken,
    access_token,
    bearer_value,
    is_bearer,
    reauthenticate,
    revoke_others,
    sign_in,
    sign_out,
)
from .request.carry_over import carry_over
from .request.client import browser_origin, client_address, forwarded, kept_address
from .request.flash import FLASH_KINDS, flash, take_flashes
from .request.guards import background, check_auth, keep_cookie, renew_cookie, require_auth
from .request.proxies import is_forwarded
from .request.request_session import SESSIONS, get_session
from .sessions.manager import SessionManager
from .sessions.model.listing import SessionInfo
from .sessions.model.session import Session
from .settings import Settings
from .setup import METRICS, setup

__all__ = [
    "FLASH_KINDS",
    "METRICS",
    "SESSIONS",
    "AccessToken",
    "DatabaseUnavailable",
    "ForeignOrigin",
    "HeadersSent",
    "NotByAccessToken",
    "NotFound",
    "NotSignedIn",
    "ReauthenticationRequired",
    "Session",
    "SessionEnded",
    "SessionInfo",
    "SessionManager",
    "SessionTooLarge",
    "Settings",
    "SettingsError",
    "SignInRequired",
    "StateroomError",
    "StoreUnavailable",
    "Unavailable",
    "access_token",
    "background",
    "bearer_value",
    "browser_origin",
    "carry_over",
    "check_auth",
    "client_address",
    "cookie_fate",
    "flash",
    "forwarded",
    "get_session",
    "is_bearer",
    "is_forwarded",
    "keep_cookie",
    "kept_address",
    "reauthenticate",
    "renew_cookie",
    "require_auth",
    "revoke_others",
    "security_event",
    "setup",
    "sign_in",
    "sign_out",
    "take_flashes",
]
