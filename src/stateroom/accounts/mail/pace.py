"""How often the sender looks for mails, how long an attempt may take, and when a mail is tried again."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ...database import LONGEST_CONNECT_TIMEOUT_SECONDS, STATEMENT_TIMEOUT_SECONDS

COMMAND_SECONDS = 30.0
"""How long the mail server may take for one reply."""
MAIL_SECONDS = 120.0
"""How long sending one mail may take in total, with the connection. A server may check a mail for long before it accepts it.

If we stopped waiting too early, the mail would arrive twice (https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.2.6).
"""


@dataclass(frozen=True, slots=True)
class Pace:
    """All times in seconds. Tests use shorter ones.

    `poll`: from one look at the table to the next one, unless the sender is woken. `first_delay`, `longest_delay`: before a mail
    is tried again. `longest_pause`: before the server is tried again after it was unavailable. `claim`: for how long a worker has a
    mail for itself. `keep`: how long a mail is tried at all. `figures`: from one count of the waiting mails to the next one.
    `batch`: how many mails go over one connection.
    """

    poll: float = 2.0
    first_delay: float = 5.0
    longest_delay: float = 900.0
    longest_pause: float = 60.0
    claim: float = 180.0
    keep: float = 3 * 86400.0
    figures: float = 10.0
    batch: int = 20

    def delay(self, attempts: int) -> float:
        """How long a mail waits after so many attempts: twice as long each time, and up to a quarter less by chance."""
        return self._backed_off(attempts, self.longest_delay)

    def pause(self, failures: int) -> float:
        """How long this worker leaves the server alone after so many failures in a row."""
        return self._backed_off(failures, self.longest_pause)

    def next_poll(self) -> float:
        """Workers that started together do not look at the table together."""
        return self.poll * random.uniform(0.75, 1.25)  # noqa: S311

    def _backed_off(self, count: int, longest: float) -> float:
        seconds: float = min(longest, self.first_delay * 2 ** min(count - 1, 30)) * random.uniform(0.75, 1)  # noqa: S311
        return seconds


PACE = Pace()

assert PACE.claim > MAIL_SECONDS + 2 * (LONGEST_CONNECT_TIMEOUT_SECONDS + STATEMENT_TIMEOUT_SECONDS), (
    "another worker would send a mail that is being sent"
)
