"""Hooks for schemathesis when signed in: each case has its own user, so that no other case has ended the session."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urljoin

import requests
import schemathesis


@schemathesis.auth(refresh_interval=None)
class SignedIn:
    """The cookie's value also works as a bearer token."""

    def get(self, case: Any, context: Any) -> str:
        user = {"email": f"{secrets.token_hex(8)}@example.com", "password": "correct horse battery", "name": "Case"}
        response = requests.post(urljoin(case.operation.schema.get_base_url(), "/api/auth/register"), json=user, timeout=30)
        response.raise_for_status()
        return str(response.cookies["session_id"])

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data}"}
