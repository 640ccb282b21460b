"""The lease: how old a worker's knowledge may be before the worker must ask again.

An end is acknowledged one lease after its commit. By then every worker has seen the journal's row in a tail that is
younger than a lease, or asks the journal. So all workers of a deployment must have one lease: a worker with a longer one
would still trust its tail when another worker, with a shorter one, has acknowledged the end already. The journal keeps
the lease beside the deployment's id, and a worker with another value does not start (membership.py).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lease:
    """The deployment's lease, in seconds (`JOURNAL_LEASE`)."""

    seconds: float

    @property
    def milliseconds(self) -> int:
        """The lease as the journal keeps it."""
        return round(self.seconds * 1000)

    async def passed_since(self, moment: float) -> None:
        """Return one lease after this moment of the monotonic clock. By then the other workers know of it."""
        await asyncio.sleep(max(0.0, moment + self.seconds - time.monotonic()))
