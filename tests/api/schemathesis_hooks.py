"""For the schemathesis of the signed-in run: each case is sent by a user of its own, whose session nobody has ended."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urljoin

import requests
import schemathesis


@schemathesis.auth(refresh_interval=None)
class SignedIn:
    """The cookie's value is as good as a bearer."""

    def get(self, case: Any, context: Any) -> str:
        user = {"email": f"{secrets.token_hex(8)}@example.com", "password": "correct horse battery", "name": "Case"}
        response = requests.post(urljoin(case.operation.schema.get_base_url(), "/api/auth/register"), json=user, timeout=30)
        response.raise_for_status()
        return str(response.cookies["session_id"])

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data}"}
