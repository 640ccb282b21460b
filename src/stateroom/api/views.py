"""The types of the API's responses. OpenAPI's schemas are made from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-01-31T12:00:00Z"])]
Handle = Annotated[str, Field(description="The session's public handle. It names the session, and it cannot be used to sign in.")]
BearerValue = Annotated[str, Field(description="Clients without cookies send this value as `Authorization: Bearer`.")]
Verification = Annotated[
    Literal["optional", "required"],
    Field(description="Present until the address is verified. `required`: the account can do nothing else before."),
]
Reason = Literal["expired", "logout", "revoked", "password", "limit", "disabled", "rotated", "everybody", "unknown-user"]


def _as(example: dict[str, Any]) -> ConfigDict:
    """The configuration of a type with an example. A response has no members besides the described ones."""
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [example]})


_USER = {"id": 2, "email": "ada@example.com", "name": "Ada"}
_HANDLE = "Z83_RlkghID_RB7ScOCRaQ"
_SESSION = {
    "id": _HANDLE,
    "created_at": "2026-01-31T12:00:00Z",
    "expires_at": "2026-01-31T13:00:00Z",
    "last_access": "2026-01-31T12:00:00Z",
    "degraded": False,
}


_PUBLIC_KEY = {
    "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "use": "sig", "alg": "EdDSA",
    "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
}  # fmt: skip


class User(TypedDict):
    __pydantic_config__ = _as(_USER)  # type: ignore[misc]
    id: int
    email: str
    name: str


class Session(TypedDict):
    __pydantic_config__ = _as(_SESSION)  # type: ignore[misc]
    id: Handle
    created_at: Moment
    expires_at: Moment
    last_access: Moment
    degraded: bool


class Outcome(TypedDict):
    """The result of a step that gives the session a new id. `warning` and `degraded` are present if Redis could not store it."""

    __pydantic_config__ = _as({"user": _USER, "message": "login successful"})  # type: ignore[misc]
    user: User
    message: str
    warning: NotRequired[str]
    degraded: NotRequired[bool]
    session_token: NotRequired[BearerValue]
    verification: NotRequired[Verification]


class RegistrationTold(TypedDict):
    """The response to a registration while nobody may learn who has an account. The mail says how to go on."""

    __pydantic_config__ = _as({"message": "check your mail", "verification": "required"})  # type: ignore[misc]
    message: str
    verification: Literal["required"]


class Confirmed(TypedDict):
    __pydantic_config__ = _as({"user": _USER, "message": "email verified"})  # type: ignore[misc]
    user: User
    message: str


class PasswordChanged(Outcome):
    __pydantic_config__ = _as({"user": _USER, "message": "password changed", "revoked": 1})  # type: ignore[misc]
    revoked: Annotated[int | None, Field(description="How many other sessions have ended; null if Redis is unavailable.")]


class Token(TypedDict):
    __pydantic_config__ = _as(  # type: ignore[misc]
        {"user": _USER, "access_token": "eyJhbGciOi…", "token_type": "Bearer", "expires_in": 300, "session_id": _HANDLE}
    )
    user: User
    access_token: str
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Field(description="Seconds.")]
    session_id: Handle


class PublicKey(TypedDict):
    """The public half of a key that signs access tokens (RFC 8037)."""

    __pydantic_config__ = _as(_PUBLIC_KEY)  # type: ignore[misc]
    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    use: Literal["sig"]
    alg: Literal["EdDSA"]
    kid: Annotated[str, Field(description="The key's thumbprint (RFC 7638).")]


class KeySet(TypedDict):
    __pydantic_config__ = _as({"keys": [_PUBLIC_KEY]})  # type: ignore[misc]
    keys: list[PublicKey]


class Message(TypedDict):
    __pydantic_config__ = _as({"message": "logout successful"})  # type: ignore[misc]
    message: str


class Check(TypedDict):
    """If nobody is signed in: `authenticated` is false, the numbers are 0, and `ended` says why a session has ended."""

    __pydantic_config__ = _as({"authenticated": True, "user_id": 2, "degraded": False, "expires_in": 3599})  # type: ignore[misc]
    authenticated: bool
    user_id: int
    degraded: Annotated[
        bool, Field(description="True if Redis is unavailable and the session is known only from its cookie or bearer.")
    ]
    expires_in: Annotated[int, Field(description="Seconds until the session ends if it gets no more requests.")]
    ended: NotRequired[Reason]


class Profile(TypedDict):
    __pydantic_config__ = _as({"user": _USER, "session": _SESSION})  # type: ignore[misc]
    user: User
    session: Session
    verification: NotRequired[Verification]


class Flashes(TypedDict):
    """Messages for the visitor. Each is shown once. Several messages of one kind are lines of one text."""

    __pydantic_config__ = _as({"flash_success": "Welcome back, Ada."})  # type: ignore[misc]
    flash_success: NotRequired[str]
    flash_error: NotRequired[str]
    flash_warning: NotRequired[str]
    flash_info: NotRequired[str]


class Dashboard(TypedDict):
    __pydantic_config__ = _as(  # type: ignore[misc]
        {"message": "Welcome to your dashboard", "user_id": 2, "session": _SESSION, "flashes": {}}
    )
    message: str
    user_id: int
    session: Session
    flashes: Flashes


class Device(TypedDict):
    """One of the user's sessions."""

    __pydantic_config__ = _as(  # type: ignore[misc]
        {
            "id": _HANDLE,
            "current": True,
            "created_at": "2026-01-31T12:00:00Z",
            "last_access": "2026-01-31T12:00:00Z",
            "expires_at": "2026-01-31T13:00:00Z",
            "ip_address": "203.0.113.9",
            "user_agent": "Firefox 145 on Linux",
            "device_type": "desktop",
            "location": "",
        }
    )
    id: Handle
    current: bool
    created_at: Moment
    last_access: Moment
    expires_at: Moment
    ip_address: str
    user_agent: str
    device_type: str
    location: str


class Devices(TypedDict):
    sessions: list[Device]


class Revoked(TypedDict):
    """`revoked`: how many sessions have ended; null if Redis is unavailable."""

    __pydantic_config__ = _as({"message": "session revoked", "revoked": 1})  # type: ignore[misc]
    message: str
    revoked: int | None


class OthersRevoked(Revoked):
    """All other sessions of the user have ended, and this session has a new id."""

    __pydantic_config__ = _as({"message": "other sessions revoked", "revoked": 2})  # type: ignore[misc]
    session_token: NotRequired[BearerValue]


class Health(TypedDict):
    __pydantic_config__ = _as({"status": "healthy", "redis": "connected"})  # type: ignore[misc]
    status: Literal["healthy", "unhealthy"]
    redis: Literal["connected", "disconnected"]


class Index(TypedDict):
    __pydantic_config__ = _as({"name": "stateroom", "health": "/api/health"})  # type: ignore[misc]
    name: str
    health: NotRequired[str]


class FieldProblem(TypedDict):
    __pydantic_config__ = _as({"field": "email", "message": "is required"})  # type: ignore[misc]
    field: str
    message: str


class Problem(TypedDict):
    """A problem document (RFC 9457). `error` is a short string, for clients that read only that member."""

    __pydantic_config__ = _as(  # type: ignore[misc]
        {
            "type": "urn:stateroom:problem:sign-in-required",
            "title": "Sign-in required",
            "status": 401,
            "detail": "Sign-in required; sign in, and send the session's cookie or bearer with the request",
            "error": "Sign-in required",
            "request_id": "8fdb18cf618d81cc7a58a2f3a6ea5ebf",
        }
    )
    type: str
    title: str
    status: int
    detail: str
    error: str
    request_id: str
    errors: NotRequired[list[FieldProblem]]
    reason: NotRequired[Reason]
