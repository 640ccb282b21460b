"""Finds misspelt names of settings. Without this check a misspelt setting would silently have no effect."""

from __future__ import annotations

import difflib
import functools
import warnings
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise

from ..errors import SettingsError
from .places import is_service_link

MOST_EDITS = 2
_FOREIGN_KEYS = frozenset({"COOKIE_HASH_KEY", "COOKIE_BLOCK_KEY"})
"""Names of the cookie keys in other session services. They are an error, because the keys would silently be unused."""

_NO_SLIPS = frozenset({"COOKIE_SECRET"})
"""Names that resemble ours and belong to other services (COOKIE_SECRET resembles COOKIE_SECURE)."""

_MAKE_A_KEY = "make a key with `stateroom keys` and use COOKIE_KEYS"
_FOR_TLS = "for TLS set REDIS_TLS=true, or begin REDIS_URL with rediss://"

_FIXES = {
    "REDIS_SSL": _FOR_TLS, "REDIS_USE_SSL": _FOR_TLS, "REDIS_USE_TLS": _FOR_TLS, "REDIS_TLS_ENABLED": _FOR_TLS,
    "REDIS_CA": "use REDIS_TLS_CA", "REDIS_SSL_CA": "use REDIS_TLS_CA", "REDIS_SSL_CERT": "use REDIS_TLS_CERT",
    "REDIS_SSL_KEY": "use REDIS_TLS_KEY", "REDIS_SSL_CA_CERTS": "use REDIS_TLS_CA",
    "REDIS_DSN": "use REDIS_URL", "REDIS_IP": "use REDIS_HOST", "REDIS_POOL": "use REDIS_POOL_SIZE",
    "REDIS_DATABASE": "use REDIS_DB", "REDIS_PREFIX": "use REDIS_KEY_PREFIX",
    "REDIS_USER": "use REDIS_USERNAME", "REDIS_PWD": "use REDIS_PASSWORD", "REDIS_AUTH": "use REDIS_PASSWORD",
    "REDIS_NODE": "use REDIS_HOST, or REDIS_CLUSTER_NODES for a Cluster",
    "REDIS_NODES": "use REDIS_CLUSTER_NODES for a Cluster, REDIS_SENTINELS for Sentinel",
    "REDIS_TIMEOUT": "use REDIS_DIAL_TIMEOUT, REDIS_READ_TIMEOUT and REDIS_WRITE_TIMEOUT",
    "REDIS_TTL": "use SESSION_MAX_AGE", "SESSION_TTL": "use SESSION_MAX_AGE", "SESSION_LIFETIME": "use SESSION_MAX_AGE",
    "SESSION_AGE": "use SESSION_MAX_AGE", "COOKIE_MAX_AGE": "use SESSION_MAX_AGE", "JWT_TTL": "use JWT_MAX_AGE",
    "COOKIE_NAME": "use SESSION_NAME", "SESSION_DOMAIN": "use COOKIE_DOMAIN", "SESSION_PATH": "use COOKIE_PATH",
    "SESSION_SECURE": "use COOKIE_SECURE", "SESSION_SAMESITE": "use COOKIE_SAMESITE",
    "COOKIE_SECRET": _MAKE_A_KEY, "SESSION_SECRET": _MAKE_A_KEY, "SESSION_KEYS": _MAKE_A_KEY, "SECRET_KEY": _MAKE_A_KEY,
    "COOKIE_HASH_KEY": _MAKE_A_KEY, "COOKIE_BLOCK_KEY": _MAKE_A_KEY,
}  # fmt: skip
"""Names that other libraries use, and our setting for each. The setting with the most similar name would be another one."""


class MisspeltSettingWarning(UserWarning):
    """A variable whose name resembles that of a setting. `stateroom serve` does not start with such a variable."""


def refuse_unknown(given: Iterable[str], known: Collection[str]) -> None:
    """Raise `SettingsError` for a keyword argument that is not a setting. All names are in lower case."""
    for name in given:
        if name not in known and not name.startswith("_"):
            near = difflib.get_close_matches(name, known, n=1)
            fix = (
                f"did you mean {near[0].upper()}?"
                if near
                else "correct its name or remove it (docs/settings.md lists all settings)"
            )
            fix = _FIXES.get(name.upper(), fix)
            raise SettingsError(f"{name.upper()} is not a setting of Stateroom; {fix}")


def look_at_names(place: Mapping[str, str | None], known: Collection[str]) -> None:
    """Warn of misspelt names in the environment or `.env`, which also hold variables of other programs.

    `place`: values by name. `known`: settings in lower case. Ignores variables that Kubernetes or Docker sets for a service
    (`REDIS_0_PORT=tcp://…`) and empty values. Raises `SettingsError` for the cookie keys of other session services.
    """
    forms = tuple(form for name in known for form in (name.upper(), f"{name.upper()}_FILE"))
    for key, value in place.items():
        name = key.upper()
        if not value or "_" not in name or name in forms or name in _NO_SLIPS or is_service_link(value):
            continue
        if name in _FOREIGN_KEYS:
            raise SettingsError(f"{name} is not a setting of Stateroom; {_FIXES[name]}")
        meant = nearest(name, forms)
        if meant is not None:
            fix = _FIXES.get(name, f"did you mean {meant}?")
            warnings.warn(f"{name} is not a setting of Stateroom; {fix}", MisspeltSettingWarning, stacklevel=2)


@functools.lru_cache(maxsize=256)
def nearest(name: str, forms: tuple[str, ...]) -> str | None:
    """The form with the fewest edits from this name; None if there is none within `MOST_EDITS`.

    Tests make many applications in one environment, and each looks at the same names twice.
    """
    near = [form for form in forms if any(part in name for part in _parts(form)) and is_within(name, form, MOST_EDITS)]
    return next((form for edits in range(1, MOST_EDITS + 1) for form in near if is_within(name, form, edits)), None)


@functools.cache
def _parts(form: str) -> tuple[str, ...]:
    """Parts of a form, one more than `MOST_EDITS`. A name within `MOST_EDITS` contains at least one, so most need no comparison."""
    ends = [len(form) * number // (MOST_EDITS + 1) for number in range(MOST_EDITS + 2)]
    return tuple(form[begin:end] for begin, end in pairwise(ends))


def is_within(one: str, other: str, edits: int) -> bool:
    """Whether at most this many insertions, deletions and substitutions of a letter turn one name into the other."""
    if abs(len(one) - len(other)) > edits:
        return False
    alike = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    one, other = one[alike:], other[alike:]
    if not one or not other or not edits:
        return len(one) + len(other) <= edits
    return is_within(one[1:], other[1:], edits - 1) or is_within(one[1:], other, edits - 1) or is_within(one, other[1:], edits - 1)
