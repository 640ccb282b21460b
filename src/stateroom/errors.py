"""Every error Stateroom raises, in one hierarchy; each knows its HTTP status and its words.

    StateroomError
    ├── SettingsError              a setting is missing or wrong; stops the start
    ├── BadInput             400   what the client sent does not fit; names the fields
    ├── Unauthenticated      401
    │   ├── SignInRequired         nobody is signed in
    │   ├── SessionEnded           somebody was: says why it ended
    │   ├── ReauthenticationRequired   signed in, but too long ago for this
    │   └── InvalidCredentials     unknown account or wrong password; never says which
    ├── ForeignOrigin        403   an unsafe request from another site
    ├── NotByAccessToken     403   a step that gives the session a new id
    ├── NotFound             404
    ├── Conflict             409
    ├── SessionTooLarge      413   the session's data would pass SESSION_MAX_BYTES
    ├── TooManyAttempts      429   throttled; says how long to wait
    └── Unavailable          503   what we cannot know or do now; says when to try again
        ├── StoreUnavailable       Redis
        ├── DatabaseUnavailable    the user database and the journal
        └── Saturated              password hashing is full

The middleware turns any of them into an RFC 9457 problem document (`problems.py`).
"""

from __future__ import annotations

from dataclasses import dataclass


class StateroomError(Exception):
    """Base of all. `status`, `slug` and `title` are the problem document's fixed words."""

    status = 500
    slug = "internal-error"
    title = "Internal error"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title


class SettingsError(StateroomError):
    """A setting is missing or wrong. The text names it, what is wrong and the mend."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field of a request body and what is wrong with it."""

    field: str
    message: str


class BadInput(StateroomError):
    status = 400
    slug = "bad-input"
    title = "The request does not fit"

    def __init__(self, detail: str = "", errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail or "; ".join(f"{e.field}: {e.message}" for e in errors))
        self.errors = errors


class Unauthenticated(StateroomError):
    status = 401
    slug = "sign-in-required"
    title = "Sign-in required"


class SignInRequired(Unauthenticated):
    """Nobody is signed in."""


class SessionEnded(Unauthenticated):
    """The session was ended. `reason`: expired, logout, revoked, password, limit, disabled or rotated."""

    slug = "session-ended"
    title = "The session has ended"

    def __init__(self, reason: str) -> None:
        super().__init__(f"session ended: {reason}")
        self.reason = reason


class ReauthenticationRequired(Unauthenticated):
    """Signed in, but longer ago than this step allows."""

    slug = "reauthentication-required"
    title = "Enter your password again"


class InvalidCredentials(Unauthenticated):
    slug = "invalid-credentials"
    title = "invalid credentials"


class ForeignOrigin(StateroomError):
    status = 403
    slug = "foreign-origin"
    title = "The request comes from another site"


class NotByAccessToken(StateroomError):
    """An access token opens its session, and can end it; a new id would make a session of those few minutes."""

    status = 403
    slug = "not-by-access-token"
    title = "Not by an access token"

    def __init__(self) -> None:
        super().__init__("an access token does not do for this: send the session's cookie, or its session_token as the bearer")


class NotFound(StateroomError):
    status = 404
    slug = "not-found"
    title = "Not found"


class Conflict(StateroomError):
    status = 409
    slug = "conflict"
    title = "Conflict"


class SessionTooLarge(StateroomError):
    status = 413
    slug = "session-too-large"
    title = "The session's data is too large"


class TooManyAttempts(StateroomError):
    """Throttled. `retry_after` is in whole seconds, at least 1."""

    status = 429
    slug = "too-many-attempts"
    title = "Too many attempts"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many attempts, try again in {retry_after} s")
        self.retry_after = retry_after


class Unavailable(StateroomError):
    """Cannot be known or done now. `retry_after` is in whole seconds, at least 1."""

    status = 503
    slug = "unavailable"
    title = "Temporarily unavailable"

    def __init__(self, detail: str = "", *, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class StoreUnavailable(Unavailable):
    """Redis cannot be reached, refuses the write, or did not answer in time.

    `kind` is the label of `stateroom_redis_errors_total`: connection, timeout, readonly, refused (NOREPLICAS, MISCONF,
    OOM), busy (somebody's script runs on), credentials, breaker_open, overloaded, pool_exhausted or closed.
    """

    slug = "session-storage-degraded"
    title = "session storage degraded"

    def __init__(self, detail: str = "", *, kind: str = "connection", retry_after: int = 1) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.kind = kind


class DatabaseUnavailable(Unavailable):
    """The user database, which also holds the journal, cannot be reached."""

    slug = "database-unavailable"
    title = "user database unavailable"


class Saturated(Unavailable):
    """More password hashes are waiting than can be done in good time."""

    slug = "saturated"
    title = "too many sign-ins at once"
