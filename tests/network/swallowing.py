"""An address that swallows packets, without a firewall."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def swallowing(host: str, port: int) -> Iterator[None]:
    """An address that swallows packets: nobody accepts there, and the queue is full."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener, contextlib.ExitStack() as stack:
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(10):
            client = stack.enter_context(socket.socket(family))
            client.settimeout(0.2)
            try:
                client.connect((host, port))
            except TimeoutError:
                break
        else:
            raise AssertionError("the queue is never full")
        yield
