"""schemathesis compares the running service with its OpenAPI document, by all its checks, signed in and signed out.

SCHEMATHESIS_EXAMPLES: how many cases an operation gets in each phase.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stateroom.sessions.sealing.token_keys import new_token_key

from ..commands import Serving

EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "45")
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("signed_in", [False, True], ids=["anonymous", "signed in"])
def test_the_service_is_what_its_document_says(tmp_path: Path, *, signed_in: bool) -> None:
    many = dict.fromkeys(("LOGIN_ATTEMPTS_PER_ADDRESS", "MAIL_REQUESTS", "MAIL_REQUESTS_PER_ADDRESS"), 1_000_000)
    settings = {
        "LOG_LEVEL": "warning",
        "JWT_KEYS": new_token_key(),
        "ACCESS_DEFAULT": "signed-in",
        "TRUSTED_PROXIES": "127.0.0.1",
        **many,
    }
    with Serving(tmp_path, **settings) as service:
        command = [
            str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIGURATION), "run",
            f"http://127.0.0.1:{service.port}/api/openapi.json", "--checks", "all", "--max-examples", EXAMPLES, "--seed", "1",
            "--continue-on-failure",
        ]  # fmt: skip
        hooks = {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(CONFIGURATION.parent)} if signed_in else {}
        done = subprocess.run(command, cwd=tmp_path, env=os.environ | hooks, capture_output=True, text=True, check=False)
        log = service.output
    print(done.stdout[-8000:])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    generated = re.search(r"Test cases:\s+([\d,]+) generated", done.stdout)
    assert generated, done.stdout[-2000:]
    assert int(generated[1].replace(",", "")) > 1000  # Each of the two.
    assert ("returned only 401/403" in done.stdout) is not signed_in  # Otherwise half of the document was never tested.
    assert "request_failed" not in log  # The log line of a bug.
