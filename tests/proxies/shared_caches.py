"""Debian's shared caches, as reverse proxies in front of an application: squid, and apache2 with mod_cache."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ..conftest import require_tool

APACHE_MODULES = Path("/usr/lib/apache2/modules")
_SYSTEM = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"


def squid(folder: Path, port: int, origin: int) -> list[str]:
    (folder / "squid.conf").write_text(
        f"http_port 127.0.0.1:{port} accel defaultsite=localhost\n"
        f"cache_peer 127.0.0.1 parent {origin} 0 no-query no-digest originserver login=PASSTHRU\n"
        "http_access allow all\nvisible_hostname localhost\ncache_mem 8 MB\n"
        "access_log none\ncache_log /dev/null\npid_filename none\nnetdb_filename none\ncoredump_dir /tmp\n"
        "shutdown_lifetime 0 seconds\n",
        encoding="utf-8",
    )
    program = shutil.which("squid", path=_SYSTEM) or require_tool("squid")
    return [program, "-N", "-d", "1", "-f", str(folder / "squid.conf")]


def apache(folder: Path, port: int, origin: int) -> list[str]:
    program = shutil.which("apache2", path=_SYSTEM) or require_tool("apache2")
    names = ["mpm_event", "authz_core", "proxy", "proxy_http", "cache", "cache_socache", "socache_shmcb"]
    modules = "".join(f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so\n" for name in names)
    user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
    (folder / "apache.conf").write_text(
        f"ServerRoot {folder}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {folder}/pid\nDefaultRuntimeDir {folder}\n"
        f"ErrorLog {folder}/error.log\nMutex pthread default\n{modules}{user}"
        "ProxyPreserveHost On\n"
        f"ProxyPass / http://127.0.0.1:{origin}/\n"
        f"CacheSocache shmcb:{folder}/cache(8388608)\nCacheEnable socache /\nCacheHeader on\n",
        encoding="utf-8",
    )
    return [program, "-DFOREGROUND", "-f", str(folder / "apache.conf")]


CACHES: dict[str, Callable[[Path, int, int], list[str]]] = {"squid": squid, "apache2": apache}


async def curl(jar: Path, url: str, *words: str) -> tuple[str, list[str]]:
    """The body and the header lines of an answer. The jar is curl's, and is kept."""
    process = await asyncio.create_subprocess_exec(
        require_tool("curl"), "-sS", "--cookie", str(jar), "--cookie-jar", str(jar), "--dump-header", "-", *words, url,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, f"curl ended with {process.returncode}"
    head, _, body = output.decode().partition("\r\n\r\n")
    return body, head.split("\r\n")
