"""All errors that Stateroom raises, in one hierarchy. Each has its HTTP status and its texts.

    StateroomError
    ├── SettingsError              a setting is missing or invalid; stops startup
    ├── BadInput             400   the client's input is invalid; names the fields
    ├── TokenInvalid         400   the token of a mailed link is expired, used or foreign; never says which
    ├── Unauthenticated      401
    │   ├── NotSignedIn            nobody is signed in; an application of pages catches it to show its sign-in page
    │   │   ├── SignInRequired     no session of the request has ended
    │   │   └── SessionEnded       the session has ended; says why
    │   ├── ReauthenticationRequired   the last sign-in is too old for this step
    │   └── InvalidCredentials     unknown or disabled account, or incorrect password; never says which
    ├── ForeignOrigin        403   an unsafe request from another site
    ├── NotByAccessToken     403   an access token cannot give the session a new id
    ├── RegistrationClosed   403   REGISTRATION does not let this visitor make an account
    ├── VerificationRequired 403   the account's address is not verified yet
    ├── NotFound             404
    ├── Conflict             409
    ├── HeadersSent          500   the response's headers were sent; no new cookie can reach the client
    ├── SessionTooLarge      413   the session's data would exceed SESSION_MAX_BYTES
    ├── TooManyAttempts      429   throttled; says how long to wait
    └── Unavailable          503   cannot be known or done now; says when to try again
        ├── StoreUnavailable       Redis
        ├── DatabaseUnavailable    the user database and the journal
        └── Saturated              too many password hashes are waiting

The middleware turns each of them into an RFC 9457 problem document (`problems.py`).
"""

from __future__ import annotations

from dataclasses import dataclass


class StateroomError(Exception):
    """Base of all errors. `status`, `slug` and `title` are the fixed members of the problem document.

    `advice`: what the client can do about the error. A problem document shows it after the detail. If the detail has an advice of
    its own after a semicolon, the document shows that one.
    """

    status = 500
    slug = "internal-error"
    title = "Internal error"
    advice = ""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title


class SettingsError(StateroomError):
    """A setting is missing or invalid. The text names the setting, the fault and the fix."""


REQUIRED = "is required"
"""The message for a field that is missing or empty."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field of a request body, and why its value is invalid. The field's name and the message make a sentence."""

    field: str
    message: str


class BadInput(StateroomError):
    """The client's input is invalid. `errors`: the error of each field; empty if the error concerns the whole request."""

    status = 400
    slug = "bad-input"
    title = "The request is invalid"
    advice = "correct the request and send it again"

    def __init__(self, detail: str = "", errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail or "; ".join(f"{e.field}: {e.message}" for e in errors))
        self.errors = errors


class TokenInvalid(StateroomError):
    """The token of a mailed link does not work here: it is expired, used, or somebody else's. The error never says which."""

    status = 400
    slug = "token-invalid"
    title = "The link is not valid"
    advice = "ask for a new mail, and use the newest one"


class Unauthenticated(StateroomError):
    """The request requires a signed-in user, and nobody is signed in."""

    status = 401
    slug = "sign-in-required"
    title = "Sign-in required"
    advice = "sign in, then send the session cookie, or the session_token as bearer"


class NotSignedIn(Unauthenticated):
    """Nobody is signed in. Raised as `SignInRequired` or `SessionEnded`.

    An application of pages catches it to redirect to its sign-in page. `ReauthenticationRequired` is no subclass, because the
    user is signed in then, and a sign-in page that redirects signed-in users would send the user in a circle.
    """


class SignInRequired(NotSignedIn):
    """Nobody is signed in, and no session of the request has ended."""


class SessionEnded(NotSignedIn):
    """The session has ended. `reason`: expired, logout, revoked, password, limit, disabled, rotated, everybody or unknown-user."""

    slug = "session-ended"
    title = "The session has ended"

    def __init__(self, reason: str) -> None:
        super().__init__(f"session ended: {reason}")
        self.reason = reason
        self.advice = "sign in again"
        if reason == "rotated":
            self.advice = "the session has a new id; send the cookie or session_token of the latest response"


class ReauthenticationRequired(Unauthenticated):
    """The user is signed in, but the sign-in is older than this step allows.

    `fresh_seconds`: the highest age that the step allows; None if it is not known here.
    """

    slug = "reauthentication-required"
    title = "Enter your password again"
    advice = "enter the password again, then repeat the request"

    def __init__(self, detail: str = "", *, fresh_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.fresh_seconds = fresh_seconds


class InvalidCredentials(Unauthenticated):
    """The account is unknown or disabled, or the password is incorrect. The error never says which."""

    slug = "invalid-credentials"
    title = "invalid credentials"
    advice = "check the email and the password; a disabled account cannot sign in"


class ForeignOrigin(StateroomError):
    """A request that could change something comes from another site."""

    status = 403
    slug = "foreign-origin"
    title = "The request comes from another site"
    advice = "send the request from a page of this service; the operator can allow other origins with CORS_ORIGINS"


class NotByAccessToken(StateroomError):
    """An access token cannot give its session a new id.

    Otherwise a token that is valid for a few minutes could become a session that lasts. A token can use its session and end it.
    """

    status = 403
    slug = "not-by-access-token"
    title = "An access token is not enough"

    def __init__(self) -> None:
        super().__init__("an access token cannot do this; send the session's cookie, or its session_token as the bearer")


class RegistrationClosed(StateroomError):
    """`REGISTRATION` does not let this visitor make an account."""

    status = 403
    slug = "registration-closed"
    title = "Registration is closed"
    advice = "ask the operator of this service for an account or an invitation"


class AccessDenied(StateroomError):
    """The access rules do not admit this user to the application (`ACCESS_RULES_FILE`). The text names no rule."""

    status = 403
    slug = "access-denied"
    title = "You have no access to this application"
    advice = "ask the operator for access, or sign in as somebody who has it"


class VerificationRequired(StateroomError):
    """The account can do nothing but verify until its address is verified (`EMAIL_VERIFICATION=required`)."""

    status = 403
    slug = "verification-required"
    title = "Confirm your email address first"
    advice = "open the link in the mail; POST /api/auth/email/verification sends it again"


class NotFound(StateroomError):
    """There is nothing at this path, or no object with this id."""

    status = 404
    slug = "not-found"
    title = "Not found"
    advice = "check the path, and an id in it"


class Conflict(StateroomError):
    """Another request has changed the object meanwhile, or the name is taken."""

    status = 409
    slug = "conflict"
    title = "Conflict"
    advice = "load the current values, then repeat the request if it is still needed"


class HeadersSent(StateroomError):
    """A step that gives the client a new cookie was called after the response's headers were sent. The step has done nothing.

    Call the step before `prepare`, or sign in with `transport="bearer"` and send the value in the stream.
    """

    slug = "headers-sent"
    title = "The response has already been sent"

    def __init__(self, step: str) -> None:
        super().__init__(
            f"{step} came after the response's headers, so no new cookie can reach the client; call it before prepare()"
        )


class SessionTooLarge(StateroomError):
    """The session's data would exceed `SESSION_MAX_BYTES`."""

    status = 413
    slug = "session-too-large"
    title = "The session's data is too large"
    advice = "store large values elsewhere, and keep their ids in the session"


class TooManyAttempts(StateroomError):
    """The client is throttled. `retry_after`: whole seconds, at least 1."""

    status = 429
    slug = "too-many-attempts"
    title = "Too many attempts"

    def __init__(self, retry_after: int, what: str = "attempts") -> None:
        super().__init__(f"too many {what}; try again in {retry_after} s")
        self.retry_after = retry_after


class Unavailable(StateroomError):
    """Something cannot be known or done now. `retry_after`: whole seconds, at least 1."""

    status = 503
    slug = "unavailable"
    title = "Temporarily unavailable"

    def __init__(self, detail: str = "", *, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class StoreUnavailable(Unavailable):
    """Redis cannot be reached, refuses the write, or did not reply in time.

    `kind` is the label of `stateroom_redis_errors_total`: connection, timeout, readonly, refused (NOREPLICAS, MISCONF,
    OOM), busy (a script runs for too long), credentials, breaker_open, overloaded, pool_exhausted or closed.
    """

    slug = "session-storage-degraded"
    title = "session storage degraded"
    advice = "keep the cookie or session_token, because the session has not ended"

    def __init__(self, detail: str = "", *, kind: str = "connection", retry_after: int = 1) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.kind = kind


class DatabaseUnavailable(Unavailable):
    """The user database, which also holds the journal, cannot be reached."""

    slug = "database-unavailable"
    title = "user database unavailable"


class Saturated(Unavailable):
    """Too many password hashes are waiting already."""

    slug = "saturated"
    title = "too many sign-ins at once"
