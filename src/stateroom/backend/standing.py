"""How far one primary may be trusted right now.

A working connection proves little: an old primary that was cut off still replies to the clients on its side. How a primary
becomes trustworthy depends on how it was found. Readers of this only compare two numbers.
Times are of the monotonic clock, in seconds.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .near_cache import NearCache


class Standing:
    """The standing of one primary.

    `connection_epoch`: grows by one with each connection to the primary, so that facts learnt over one connection are
    not trusted over the next. It also grows if the primary gets or gives away slots of a Cluster, because facts about its
    sessions may be wrong for those of another slot. It never decreases; 0 before the first connection.
    `believed_until`: until this time no other server can be the primary. 0 while unconnected; infinite if the primary was
    not found through Sentinels.
    `is_connected`: whether there is a connection, believed or not.
    `near`: copies of the primary's replies, if copies are kept. Every copy came over the present connection.
    `glimpse`: this standing at its present connection epoch: `glimpse.standing is self`.
    """

    __slots__ = ("believed_until", "glimpse", "is_connected", "near")

    def __init__(self, near: NearCache | None = None) -> None:
        self.near = near
        self.believed_until = 0.0
        self.is_connected = False
        self.glimpse = Glimpse(self, 0, 0)

    @property
    def connection_epoch(self) -> int:
        """The number of the present or last connection. See the class."""
        return self.glimpse.connection_epoch

    @property
    def is_believed(self) -> bool:
        """Whether no other server can be the primary now."""
        return time.monotonic() < self.believed_until

    def connected(self, until: float = math.inf) -> None:
        """There is a new connection. `until`: the new `believed_until`."""
        self.glimpse = Glimpse(self, self.connection_epoch + 1, self.glimpse.slots)
        self.believed_until = until
        self.is_connected = True

    def holds(self, slots: int) -> None:
        """The primary has these slots of a Cluster now (a bit for each).

        Before the first connection nothing was learnt, so the connection epoch stays 0.
        """
        if slots == self.glimpse.slots:
            return
        self.glimpse = Glimpse(self, self.connection_epoch + bool(self.connection_epoch), slots)
        if self.near is not None:  # a slot may come back with sessions of an older time
            self.near.forget_all()

    def lost(self) -> None:
        """The connection is lost. The connection epoch stays until there is a new one."""
        self.believed_until = 0.0
        self.is_connected = False
        if self.near is not None:
            self.near.lost()


@dataclass(frozen=True, slots=True, eq=False)
class Glimpse:
    """A primary as it was seen over one connection, with the same slots. There is one object for each connection epoch.

    `slots`: the slots of a Cluster that the primary has: bit `n` is set for slot `n`. 0 without a Cluster.
    """

    standing: Standing
    connection_epoch: int
    slots: int

    def still_holds(self) -> bool:
        """Whether that connection is still the one in use."""
        return self.standing.glimpse is self


UNKNOWN = Standing()
"""The standing of an unknown primary. It is never connected."""
