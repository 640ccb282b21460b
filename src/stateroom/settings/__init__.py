"""Every setting of a process: `settings.py` lists them, `values.py` says what each kind of value looks like."""

from .settings import DEFAULT_LEASE_SECONDS, SHORTEST_LEASE_SECONDS, RedisMode, Settings
from .values import COOKIE_KEY_BYTES, JWT_KEY_MIN_BYTES, Address, Network, decode_cookie_key

__all__ = [
    "COOKIE_KEY_BYTES",
    "DEFAULT_LEASE_SECONDS",
    "JWT_KEY_MIN_BYTES",
    "SHORTEST_LEASE_SECONDS",
    "Address",
    "Network",
    "RedisMode",
    "Settings",
    "decode_cookie_key",
]
