"""The examples of docs/clients.md for the command line, run unchanged against the service. tests/browser runs the page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from stateroom import Settings
from stateroom.accounts.demo import DEMO_EMAIL, DEMO_PASSWORD

from .commands import Serving
from .conftest import require_tool
from .documents import examples, page

PAGE = "clients.md"
WALK = r"signed in as 1 for 35\d\d s\nhello Demo\nby bearer demo@example.com\nsigned out: logout\n"


def program(language: str, name: str) -> str:
    """The only block in this language that uses `name`."""
    [found] = [each for each in examples(PAGE, language) if name in each]
    return found


def run(words: list[str], folder: Path, base: str, **more: str) -> str:
    credentials = {"B": base, "EMAIL": "demo@example.com", "PASSWORD": "password123"} | more
    done = subprocess.run(words, cwd=folder, env=os.environ | credentials, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class _Busy(BaseHTTPRequestHandler):
    """A proxy of the service that answers 503 to the first request of each kind."""

    base = ""
    refused: set[str]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        kind = f"{self.command} {self.path}"
        if kind not in self.refused:
            self.refused.add(kind)
            self._send(503, [("Retry-After", "1"), ("Content-Type", "application/problem+json")], b'{"error": "busy"}')
            return
        passed = {name: self.headers[name] for name in ("Content-Type", "Cookie", "Authorization") if name in self.headers}
        request = Request(self.base + self.path, body or None, passed, method=self.command)
        try:
            response = urlopen(request, timeout=30)
        except HTTPError as refusal:  # It is an ordinary answer.
            response = refusal
        kept = [(name, value) for name, value in response.headers.items() if name in {"Content-Type", "Set-Cookie", "Retry-After"}]
        self._send(response.status, kept, response.read())

    do_GET = do_POST = _answer

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", str(len(body)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def busy(serving: Serving) -> Iterator[str]:
    """The address of a service that answers 503 at first."""
    handler = type("Busy", (_Busy,), {"base": f"http://127.0.0.1:{serving.port}", "refused": set()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("library", ["aiohttp", "httpx"])
def test_python_walks_also_where_it_has_to_wait(busy: str, tmp_path: Path, library: str) -> None:
    (tmp_path / "walk.py").write_text(program("python", f"import {library}"), encoding="utf-8")
    assert re.fullmatch(WALK, run([sys.executable, "walk.py"], tmp_path, busy))


def test_another_service_verifies_a_token(serving: Serving, tmp_path: Path) -> None:
    base = f"http://127.0.0.1:{serving.port}"
    [step] = re.findall(r"^   ```sh\n(.*?)^   ```$", page(PAGE), re.MULTILINE | re.DOTALL)
    token = run(["sh", "-ec", f'{step}echo "$TOKEN"'], tmp_path, base).strip()
    (tmp_path / "verify.py").write_text(program("python", "import jwt"), encoding="utf-8")
    words = [sys.executable, "verify.py"]
    assert re.fullmatch(r"user 1 in session [A-Za-z0-9_-]{22}\n", run(words, tmp_path, base, TOKEN=token))
    header, claims, signature = token.split(".")
    forged = f"{header}.{claims}.{signature[::-1]}"
    with pytest.raises(AssertionError, match=r"jwt\.exceptions"):
        run(words, tmp_path, base, TOKEN=forged)


def test_javascript_walks_also_where_it_has_to_wait(busy: str, tmp_path: Path) -> None:
    (tmp_path / "walk.mjs").write_text(program("js", "process.env"), encoding="utf-8")
    assert re.fullmatch(WALK, run([require_tool("node"), "walk.mjs"], tmp_path, busy))


def test_an_incorrect_password_is_not_a_session_that_ended(serving: Serving, tmp_path: Path) -> None:
    programs = {
        "by_aiohttp.py": program("python", "import aiohttp"),
        "by_httpx.py": program("python", "import httpx"),
        "by_node.mjs": program("js", "process.env"),
    }
    for name, content in programs.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        words = [sys.executable if name.endswith(".py") else require_tool("node"), name]
        with pytest.raises(AssertionError, match=r"Refused.*: invalid-credentials: invalid credentials; check"):
            run(words, tmp_path, f"http://127.0.0.1:{serving.port}", PASSWORD="not this one")


def test_the_environment_on_the_page_is_that_of_make_run(tmp_path: Path) -> None:
    exports = examples(PAGE, "sh")[0]
    told = subprocess.run(
        ["sh", "-ec", f'{exports}echo "$B $EMAIL $PASSWORD"'], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    assert told == f"http://127.0.0.1:{Settings.model_fields['port'].default} {DEMO_EMAIL} {DEMO_PASSWORD}\n"


def test_curl_walks_also_where_it_has_to_wait(serving: Serving, busy: str, tmp_path: Path) -> None:
    require_tool("curl")
    _, cookie, bearer, patient = examples(PAGE, "sh")
    base = f"http://127.0.0.1:{serving.port}"
    signed_in, check, profile = answers(run(["sh", "-ec", cookie], tmp_path, base))
    assert signed_in["message"] == "login successful"
    assert (check["authenticated"], profile["user"]["email"]) == (True, "demo@example.com")
    profile, out, problem = answers(run(["sh", "-ec", bearer], tmp_path, base))
    assert (profile["user"]["name"], out["message"], problem["reason"]) == ("Demo", "logout successful", "logout")
    check, out = answers(run(["sh", "-ec", patient], tmp_path, busy))
    assert (check["authenticated"], out["message"]) == (True, "logout successful")


def answers(text: str) -> list[dict[str, Any]]:
    """The JSON documents in a text, one after the other."""
    decoder, found = json.JSONDecoder(), []
    while text := text.strip():
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:]
    return found
