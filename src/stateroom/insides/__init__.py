"""The insides of other libraries: private names that they may change in any minor release.

Each library has one file here, and no other file uses its private names. The file says for which minor versions we have
tested them. With another version the callers use the library's documented way, which is slower or does less. If a library
documents no such way, `pyproject.toml` allows only the tested versions.
"""

from __future__ import annotations


def untested() -> list[str]:
    """Name the installed libraries whose insides we have not tested, for a warning at startup."""
    from .of_aiohttp import AIOHTTP
    from .of_prometheus import PROMETHEUS
    from .of_redis import REDIS

    return [str(library) for library in (AIOHTTP, PROMETHEUS, REDIS) if not library.is_known]
