"""Every setting of a process.

`fields.py` lists them. `places.py`, `cookie_places.py`, `durations.py`, `lists.py`, `keys.py` and `values.py` each check one
kind of value. `settings.py` reads the settings, `implied.py` sets the defaults that depend on others, and `checks.py`
refuses settings that exclude each other. docs/settings.md is the manual.
"""

from .cookie_places import CookiePlace
from .fields import DEFAULT_LEASE_SECONDS, LONGEST_LEASE_SECONDS, SHORTEST_LEASE_SECONDS, RedisMode
from .files import SettingsFiles
from .keys import COOKIE_KEY_BYTES, decode_cookie_key, decode_jwt_key
from .names import MisspeltSettingWarning
from .places import ENCODE_IT, RAW, Address, has_raw_character, parse_address
from .settings import Settings

__all__ = [
    "COOKIE_KEY_BYTES",
    "DEFAULT_LEASE_SECONDS",
    "ENCODE_IT",
    "LONGEST_LEASE_SECONDS",
    "RAW",
    "SHORTEST_LEASE_SECONDS",
    "Address",
    "CookiePlace",
    "MisspeltSettingWarning",
    "RedisMode",
    "Settings",
    "SettingsFiles",
    "decode_cookie_key",
    "decode_jwt_key",
    "has_raw_character",
    "parse_address",
]
