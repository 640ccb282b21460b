"""Session management for aiohttp that stays up when Redis doesn't.

    app = web.Application()
    stateroom.setup(app)

gives every handler `stateroom.get_session(request)`. README.md is the manual.
"""

__version__ = "0.1.0"

from .errors import (
    DatabaseUnavailable,
    SessionEnded,
    SessionTooLarge,
    SettingsError,
    SignInRequired,
    StateroomError,
    StoreUnavailable,
    Unavailable,
)
from .sessions.carry_over import carry_over
from .sessions.flash import FLASH_KINDS, flash, take_flashes
from .sessions.guards import background, check_auth, require_auth
from .sessions.lifecycle import (
    AccessToken,
    access_token,
    browser_origin,
    client_address,
    forwarded,
    is_bearer,
    kept_address,
    reauthenticate,
    revoke_others,
    session_token,
    sign_in,
    sign_out,
)
from .sessions.listing import SessionInfo
from .sessions.manager import SessionManager
from .sessions.proxies import is_forwarded
from .sessions.session import Session
from .sessions.visit import SESSIONS, get_session
from .settings import Settings
from .setup import METRICS, setup
from .telemetry.logging import security_event

__all__ = [
    "FLASH_KINDS",
    "METRICS",
    "SESSIONS",
    "AccessToken",
    "DatabaseUnavailable",
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
    "browser_origin",
    "carry_over",
    "check_auth",
    "client_address",
    "flash",
    "forwarded",
    "get_session",
    "is_bearer",
    "is_forwarded",
    "kept_address",
    "reauthenticate",
    "require_auth",
    "revoke_others",
    "security_event",
    "session_token",
    "setup",
    "sign_in",
    "sign_out",
    "take_flashes",
]
