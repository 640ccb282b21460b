"""Explains why a connection to Redis or to a Sentinel could not be made, and says how to fix it.

The service logs it, and `stateroom doctor` prints it, so both name the same cause.

Redis refuses a client in three ways: with an error reply (https://valkey.io/topics/protocol/), with a TLS alert, or by
closing the connection. In the last case `unprompted.explain` listens for the reason.
"""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from .dial import IsReplica
from .handshake import NoSuchDatabase

if TYPE_CHECKING:
    from ..settings import Address
    from .dial import Dialer
    from .slow_links import Link

_OUR_AUTHORITY = frozenset(
    {
        "TLSV1_ALERT_UNKNOWN_CA",
        "TLSV1_ALERT_DECRYPT_ERROR",
        "TLSV1_ALERT_ACCESS_DENIED",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    }
)
_OUR_TIME = frozenset({"SSLV3_ALERT_CERTIFICATE_EXPIRED", "SSLV3_ALERT_CERTIFICATE_REVOKED"})
_NO_CERTIFICATE = frozenset({"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE"})
_NO_COMMON_VERSION = frozenset({"TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE"})
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})

# `verify_code` is OpenSSL's X509_V_ERR_… number (https://docs.python.org/3/library/ssl.html).
_EXPIRED, _NOT_YET = 10, 9
_OTHER_NAME = frozenset({62, 64})
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})

TOO_MANY_FIX = "raise `maxclients` of Redis, or lower REDIS_POOL_SIZE; CLIENT LIST shows which clients have the connections"
"""What to do if a server has as many clients as it allows."""
_TOO_MANY_AT_SENTINEL = "raise `maxclients` of the Sentinel; CLIENT LIST shows which clients have the connections"

_COMMAND_NAME = re.compile(r"'([\w|]+)'")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why there is no connection. `what`: what happened. `fix`: what to do.

    `cause`: tls, other-name (the certificate is for another name), credentials, rights, loading, name (it does not resolve),
    silent (a time-out), slow (it answers, but too late for the time-outs), refused, closed (the server closes the connection),
    database (it has no database with this number), or odd (anything else).
    """

    cause: str
    what: str
    fix: str


def diagnose(error: BaseException, dialer: Dialer, address: Address | None = None) -> Diagnosis:
    """Explain an error of `dialer.dial(address)`."""
    causes = _causes(error)
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return _of_tls(cause, dialer)
    if any(isinstance(cause, (TimeoutError, RedisTimeoutError)) for cause in causes):
        waits = f"{dialer.dial_timeout:g} s to connect, {dialer.read_timeout:g} s to answer"
        fix = "check that it runs and does not hang, and that no firewall drops the packets"
        if dialer.tls is not None:  # A server without TLS waits for the rest of what it takes for a command.
            fix += f"; {_without_tls(dialer)} if the {dialer.noun} does not use TLS"
        return Diagnosis("silent", f"it does not answer in time ({waits})", fix)
    by_reply = (found for cause in causes if (found := _of_reply(cause, dialer)) is not None)
    return next(by_reply, None) or _of_system(causes[-1], dialer, address)


def stops_startup(error: BaseException, dialer: Dialer) -> str | None:
    """The line with which startup stops after this error of the first connection. None if the service starts without Redis.

    Startup stops if the server refuses the user or the password, or does not have the database with the configured number.
    The settings can never work then.
    """
    if isinstance(error, NoSuchDatabase):
        return str(error)
    if not isinstance(error, AuthenticationError):
        return None
    found = diagnose(error, dialer)
    return f"{dialer.prefix}_PASSWORD: Redis cannot be used, because {found.what}; {found.fix}"


def _of_tls(error: ssl.SSLError, dialer: Dialer) -> Diagnosis:
    prefix, noun = dialer.prefix, dialer.noun
    if isinstance(error, ssl.SSLCertVerificationError):
        return _of_its_certificate(error, prefix)
    reason = error.reason or ""
    words = reason.replace("_", " ").lower() or str(error)
    has_certificate = dialer.tls is not None and dialer.tls.has_certificate
    cert, key = f"{prefix}_TLS_CERT", f"{prefix}_TLS_KEY"
    what, fix = f"TLS fails: {words}", f"check the TLS settings of the {noun} and {prefix}_TLS_*"
    if reason in _NO_CERTIFICATE and not has_certificate:
        what = f"it requires a client certificate, and {cert} is not set ({words})"
        fix = f"set {cert} and {key} to a certificate from an authority in its tls-ca-cert-file"
    elif reason in _OUR_TIME:
        what = f"it refuses the client certificate in {cert}, because it has expired or was revoked ({words})"
        fix = f"renew the certificate in {cert}; if it is valid, correct the clock of the {noun}"
    elif reason in _OUR_AUTHORITY | _NO_CERTIFICATE and has_certificate:
        what = f"it refuses the client certificate in {cert}, for example because of its authority ({words})"
        fix = f"set {cert} and {key} to a certificate from an authority in its tls-ca-cert-file, or add the authority to that file"
    elif reason in _NO_COMMON_VERSION:
        fix = f"let the {noun} use TLS 1.2 or TLS 1.3 (tls-protocols)"
    elif reason in _NO_TLS:
        what = f"it does not use TLS on this port ({words})"
        fix = f"{_without_tls(dialer)}, or use its tls-port"
    return Diagnosis("tls", what, fix)


def _of_its_certificate(error: ssl.SSLCertVerificationError, prefix: str) -> Diagnosis:
    what = f"TLS fails: {error.verify_message.rstrip('.')}"
    if error.verify_code in _OTHER_NAME:
        return Diagnosis("other-name", what, f"set {prefix}_TLS_SERVER_NAME to a name in its certificate")
    if error.verify_code in _UNKNOWN_AUTHORITY:
        fix = f"set {prefix}_TLS_CA to the PEM file of the authority that signed its certificate"
    elif error.verify_code in {_EXPIRED, _NOT_YET}:
        fix = "renew its certificate; if the certificate is valid, correct this host's clock"
    else:
        fix = f"check its certificate and {prefix}_TLS_CA"
    return Diagnosis("tls", what, fix)


def _of_reply(error: BaseException, dialer: Dialer) -> Diagnosis | None:
    text, noun = str(error), dialer.noun
    if isinstance(error, BusyLoadingError):
        return Diagnosis(
            "loading",
            "it is loading its data from disk and does not answer commands yet",
            "wait until it has loaded; the service connects by itself",
        )
    if isinstance(error, NoPermissionError) or text.startswith("NOPERM"):
        return _of_right(text, dialer)
    if isinstance(error, (AuthenticationError, AuthorizationError)) or text.startswith(("WRONGPASS", "NOAUTH")):
        return _of_password(text, dialer)
    if "max number of clients" in text:
        fix = TOO_MANY_FIX if dialer.prefix == "REDIS" else _TOO_MANY_AT_SENTINEL
        return Diagnosis("odd", "it has as many clients as maxclients allows, and refuses this one", fix)
    if text.startswith("DENIED"):
        return Diagnosis(
            "odd",
            "protected mode refuses this host, because the server has no password and is bound to no address",
            "give it users with passwords (deploy/users.acl), or bind it to an address of your network",
        )
    if isinstance(error, IsReplica):
        fix = "name its primary in REDIS_URL or REDIS_HOST, or set REDIS_SENTINELS"
        return Diagnosis("odd", "it is a replica, and a replica accepts no writes", fix)
    if isinstance(error, NoSuchDatabase):
        what, _, fix = text.partition("; ")
        return Diagnosis("database", what, fix)
    if isinstance(error, ResponseError):
        if "unknown command" in text and (named := _COMMAND_NAME.search(text)):
            return Diagnosis(
                "rights",
                f"it does not know {named[1]}, which the service needs",
                f"remove `rename-command` of {named[1]} from its configuration, or use another {noun} or proxy",
            )
        return Diagnosis("odd", f"it replies {text!r}", f"check that a {noun} of Redis 7 or Valkey listens there")
    return None


def _of_right(text: str, dialer: Dialer) -> Diagnosis:
    named = _COMMAND_NAME.search(text)
    command = "a command that the service needs" if named is None else named[1].upper()
    grant = "the rights of its line in deploy/users.acl" if named is None else f"+{named[1].lower()}"
    return Diagnosis(
        "rights",
        f"user {dialer.user} may not run {command}",
        f"give it {grant} in users.acl on every {dialer.noun} (deploy/users.acl has the whole line), then run ACL LOAD",
    )


def _of_password(text: str, dialer: Dialer) -> Diagnosis:
    noun, prefix = dialer.noun, dialer.prefix
    users = f"set {prefix}_USERNAME and {prefix}_PASSWORD to a user in its ACL; every {noun} must have that user"
    if "without any password configured" in text:
        return Diagnosis(
            "credentials",
            f"{prefix}_PASSWORD is set, but its default user has no password",
            f"unset {prefix}_PASSWORD, or give every {noun} users with passwords (deploy/users.acl)",
        )
    given = f"user {dialer.user} with the configured password" if dialer.password is not None else "a client without a password"
    return Diagnosis("credentials", f"it refuses {given}", users)


def _of_system(root: BaseException, dialer: Dialer, address: Address | None) -> Diagnosis:
    if isinstance(root, socket.gaierror):
        host = address.host if address is not None else "its name"
        if root.errno == socket.EAI_AGAIN:
            return Diagnosis(
                "name",
                f"DNS does not answer for the name {host}",
                "check the name servers of this host (/etc/resolv.conf), and that no firewall drops what they reply",
            )
        return Diagnosis(
            "name", f"the name {host} does not resolve here", "correct the name, or correct DNS or /etc/hosts on this host"
        )
    # asyncio says the second if a name has several addresses.
    if isinstance(root, ConnectionRefusedError) or "Connect call failed" in str(root):
        return Diagnosis("refused", "nothing listens there (connection refused)", "start it, or correct its address")
    if isinstance(root, OSError) and root.strerror and not isinstance(root, ConnectionError):
        return Diagnosis("refused", f"it cannot be reached: {root.strerror}", "start it, or correct its address")
    return closed(dialer)


def too_slow(link: Link, dialer: Dialer) -> Diagnosis:
    """The server answers, but later than the dialer waits. The time-outs for servers are those for Sentinels too."""
    what = (
        f"it answers too late: a connection takes {link.dial:.2f} s and a reply {link.reply:.2f} s, but the time-outs are "
        f"{dialer.dial_timeout:g} s to connect and {dialer.read_timeout:g} s to answer"
    )
    fix = (
        f"set REDIS_DIAL_TIMEOUT={max(link.dial_timeout, dialer.dial_timeout):g} and "
        f"REDIS_READ_TIMEOUT={max(link.read_timeout, dialer.read_timeout):g} for every worker and every command, also for "
        "`stateroom doctor`; or run the service nearer to it"
    )
    return Diagnosis("slow", what, fix)


def closed(dialer: Dialer, *, has_tls: bool | None = None) -> Diagnosis:
    """The server closes the connection and says nothing. `has_tls`: whether a TLS handshake with it succeeds; None if unknown."""
    noun, prefix = dialer.noun, dialer.prefix
    proxy = f"check that a {noun} runs there, not only a proxy in front of one"
    if dialer.tls is None:
        fix = f"if the {noun} uses TLS, {_with_tls(prefix)}; if not, {proxy}"
    elif has_tls:
        fix = f"{proxy}, and read the log of the {noun}"
    else:
        fix = f"if the {noun} does not use TLS, {_without_tls(dialer)}; if it does, "
        if not dialer.tls.has_certificate:
            fix += f"set {prefix}_TLS_CERT and {prefix}_TLS_KEY if it requires a client certificate (tls-auth-clients), and "
        fix += proxy
    return Diagnosis("closed", "it closes the connection at once", fix)


def _with_tls(prefix: str) -> str:
    """How to ask for TLS. Only the servers have a URL."""
    return f"set {prefix}_TLS=true" + (" (or begin REDIS_URL with rediss://)" if prefix == "REDIS" else "")


def _without_tls(dialer: Dialer) -> str:
    """How to ask for no TLS: change the settings that ask for it.

    The Sentinels take REDIS_TLS if they have no setting of their own, and the servers may need it.
    """
    assert dialer.tls is not None, "nothing asks for TLS"
    if dialer.prefix == "REDIS_SENTINEL" and dialer.tls.asked_by == ("REDIS_TLS",):
        return "set REDIS_SENTINEL_TLS=false (REDIS_TLS applies to the Sentinels too)"
    by_url = "begin REDIS_URL with redis:// instead of rediss://"
    asked_by = dialer.tls.asked_by or (f"{dialer.prefix}_TLS",)
    return " and ".join(by_url if name == "REDIS_URL" else f"unset {name}" for name in asked_by)


def _causes(error: BaseException) -> list[BaseException]:
    """The error, then the errors that caused it, the first cause last. An error that several tasks raise may cause itself."""
    causes = [error]
    while (inner := causes[-1].__cause__ or causes[-1].__context__) is not None and inner not in causes:
        causes.append(inner)
    return causes
