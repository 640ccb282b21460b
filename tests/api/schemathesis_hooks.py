"""Hooks for schemathesis when signed in: each case has its own user, so that no other case has ended the session.

Each case also tells what a proxy tells, for the calls of forward auth.
"""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urljoin

import requests
import schemathesis

TOLD_BY_PROXIES = {
    "X-Original-Method": "GET", "X-Original-URL": "https://app.example.com/",
    "X-Forwarded-Method": "GET", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "app.example.com", "X-Forwarded-Uri": "/",
}  # fmt: skip


@schemathesis.auth(refresh_interval=None)
class SignedIn:
    """Registers a user, who signs in for a bearer token."""

    def get(self, case: Any, context: Any) -> str:
        address = case.operation.schema.get_base_url()
        who = {"email": f"{secrets.token_hex(8)}@example.com", "password": "correct horse battery"}
        requests.post(urljoin(address, "/api/auth/register"), json=who | {"name": "Case"}, timeout=30).raise_for_status()
        response = requests.post(urljoin(address, "/api/auth/login"), json=who | {"transport": "bearer"}, timeout=30)
        response.raise_for_status()
        return str(response.json()["session_token"])

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers = {**(case.headers or {}), **TOLD_BY_PROXIES, "Authorization": f"Bearer {data}"}
