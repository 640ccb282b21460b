"""Two real proxies in a row, as in docs/proxy-chains.md: nginx or Caddy ends TLS, and behind it each proxy that asks us."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from stateroom.drills.node import until

from ..documents import page
from .shipped import COMMANDS, LOOPBACK, PROXY, SHIPPED, moved, nginx_command, started, with_host

PAGE = "proxy-chains.md"
HOST = "app.example.com"
_numbers = itertools.count(257)


class ToLoopback(AbstractResolver):
    """Every name is this machine."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=LOOPBACK, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


@dataclass
class Chain:
    """Both proxies. `url`: as users see it. `trust`: how a client knows the outer proxy."""

    url: str
    trust: ssl.SSLContext

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
        """A client with an address of its own, and a cookie jar."""
        number = next(_numbers)
        address = f"127.0.{number // 256}.{number % 256}"
        connector = aiohttp.TCPConnector(local_addr=(address, 0), resolver=ToLoopback(), ssl=self.trust)
        async with aiohttp.ClientSession(connector=connector) as http:
            yield http, address

    async def answers(self) -> bool:
        async with self.client() as (http, _):
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(f"{self.url}/.stateroom/api/auth/check") as answer:
                    return answer.status == 200
        return False


def blocks_of(heading: str) -> dict[str, str]:
    """The blocks below a heading of the page, by their language."""
    part = page(PAGE).partition(f"\n{heading}\n")[2].partition("\n##")[0]
    found = part.split("```")[1::2]
    return {language: block for language, _, block in (each.partition("\n") for each in found)}


def changed(text: str, diff: str) -> str:
    """The file with the changes of the page. Each line with `-` must be in it."""
    groups: list[tuple[str, list[str]]] = []
    for line in diff.splitlines():
        if line.startswith("-"):
            groups.append((line[1:], []))
        else:
            groups[-1][1].append(line[1:])
    for old, new in groups:
        lines = text.splitlines()
        assert old in lines, f"{old!r} is in no line"
        text = "\n".join(itertools.chain.from_iterable(new if each == old else [each] for each in lines)) + "\n"
    return text


def prepared(proxy: str, folder: Path, ports: dict[int, int], *, is_documented: bool) -> list[str]:
    """Copy the shipped files, with the changes of the page or without. Returns the command."""
    folder.mkdir()
    blocks = blocks_of(f"### {proxy}") if is_documented else {}
    for source in SHIPPED.iterdir():
        text = source.read_text(encoding="utf-8")
        is_main = source.name in {"nginx.conf", "Caddyfile", "traefik-routes.yml", "haproxy.cfg", "envoy.yaml"}
        if is_main and proxy.lower() in source.name.lower() + (" caddy" if source.name == "Caddyfile" else ""):
            if "diff" in blocks:
                text = changed(text, blocks["diff"])
            if "nginx" in blocks:
                text = blocks["nginx"] + text.replace("$scheme", "$client_scheme")
        text = moved(with_host(text, HOST), ports).replace("10.0.0.1", LOOPBACK).replace("/var/log/nginx", str(folder))
        (folder / source.name).write_text(text, encoding="utf-8")
    command = COMMANDS[proxy](folder, ports)
    if proxy == "Traefik" and is_documented:
        [option] = [word for word in page(PAGE).split("`") if word.startswith("--entryPoints.web")]
        command.append(option.replace("10.0.0.1", LOOPBACK))
    return command


@contextlib.asynccontextmanager
async def chained(
    proxy: str,
    folder: Path,
    ports: dict[int, int],
    authority: trustme.CA,
    outer: int,
    *,
    is_documented: bool,
    outer_proxy: str = "nginx",
) -> AsyncIterator[Chain]:
    """Run both proxies. `outer_proxy`: nginx or Caddy."""
    certificate = authority.issue_cert(HOST)
    (folder / "outer").mkdir(parents=True)
    certificate.cert_chain_pems[0].write_to_path(folder / "app.pem")
    certificate.private_key_pem.write_to_path(folder / "app.key")
    inner = prepared(proxy, folder / "inner", ports, is_documented=is_documented)
    ends_tls = _outer(outer_proxy, folder, outer, ports)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with started(inner, folder / "inner"), started(ends_tls, folder / "outer"):
        chain = Chain(f"https://{HOST}:{outer}", trust)
        await until(chain.answers, "both proxies answer", seconds=30)
        yield chain


def _outer(proxy: str, folder: Path, port: int, ports: dict[int, int]) -> list[str]:
    """Copy the outer proxy's block of the page. Returns the command."""
    text = blocks_of("## The outer proxy")[{"nginx": "nginx", "Caddy": "caddyfile"}[proxy]]
    listens = {"nginx": ("listen 443 ssl", f"listen {LOOPBACK}:{port} ssl"), "Caddy": (f"{HOST} {{", f"https://{HOST}:{port} {{")}
    for old, new in (listens[proxy], ("/etc/ssl/", f"{folder}/"), ("10.0.0.2:8000", f"{LOOPBACK}:{ports[PROXY]}")):
        assert old in text
        text = text.replace(old, new)
    if proxy == "nginx":
        return nginx_command(folder / "outer", text)
    options = f"{{\n\tadmin off\n\tauto_https disable_redirects\n\tdefault_bind {LOOPBACK}\n}}\n"
    (folder / "outer" / "Caddyfile").write_text(options + text, encoding="utf-8")
    return COMMANDS["Caddy"](folder / "outer", ports)
