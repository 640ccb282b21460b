"""Every setting of a process: `settings.py` lists them, `values.py` says what each kind of value looks like."""

from .settings import RedisMode, Settings
from .values import COOKIE_KEY_BYTES, JWT_KEY_MIN_BYTES, Address, decode_cookie_key

__all__ = [
    "COOKIE_KEY_BYTES",
    "JWT_KEY_MIN_BYTES",
    "Address",
    "RedisMode",
    "Settings",
    "decode_cookie_key",
]
