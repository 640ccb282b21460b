"""Every setting of a process.

`fields.py` lists them; `places.py`, `cookie_places.py`, `durations.py`, `keys.py` and `values.py` say what each kind of value looks
like. `settings.py` reads them, `implied.py` fills in what they imply, `checks.py` refuses what does not fit together.
"""

from .cookie_places import CookiePlace
from .fields import DEFAULT_LEASE_SECONDS, SHORTEST_LEASE_SECONDS, RedisMode
from .files import SettingsFiles
from .keys import COOKIE_KEY_BYTES, decode_cookie_key, decode_jwt_key
from .names import MisspeltSettingWarning
from .places import Address, parse_address
from .settings import Settings

__all__ = [
    "COOKIE_KEY_BYTES",
    "DEFAULT_LEASE_SECONDS",
    "SHORTEST_LEASE_SECONDS",
    "Address",
    "CookiePlace",
    "MisspeltSettingWarning",
    "RedisMode",
    "Settings",
    "SettingsFiles",
    "decode_cookie_key",
    "decode_jwt_key",
    "parse_address",
]
