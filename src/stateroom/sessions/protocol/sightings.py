"""When one worker last saw each session in Redis.

While Redis is unavailable a session is trusted from its sealed value for `DEGRADED_MAX_AGE` after the store last had it.
A sealed value tells when it was sealed. That may be long ago: behind some proxies, and for bearers, a value is never
sealed again. So each worker remembers when it last saw the session itself. New cookie keys, or many other values, must
not make it forget. Therefore sightings are kept apart from the key ring's opened values.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from ..model.sighting import Sighting

if TYPE_CHECKING:
    from ..model.credential import Credential
    from ..model.identity import SessionRef
    from ..store.key_names import KeyNames

KEPT_AT_MOST = 100_000
"""This many take about 40 MB in one worker."""


class Sightings:
    """One worker's sightings. `0 <= len(self) <= KEPT_AT_MOST`, ordered by last use; the first is dropped first."""

    def __init__(self, key_names: KeyNames) -> None:
        self._key_names = key_names
        self._by_session: OrderedDict[SessionRef, Sighting] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_session)

    def clear(self) -> None:
        """Forget all sightings: their times are of a clock that was set back since."""
        self._by_session.clear()

    def of(self, credential: Credential) -> Sighting:
        """The sighting of the credential's session. The first call makes an empty one."""
        ref = credential.ref
        sighting = self._by_session.get(ref)
        if sighting is None:
            sighting = self._by_session[ref] = Sighting(self._key_names.session(ref))
            if len(self._by_session) > KEPT_AT_MOST:
                self._by_session.popitem(last=False)
        else:
            self._by_session.move_to_end(ref)
        if sighting.renewed_ms < credential.renewed_ms:  # noqa: PLR1730 (quicker, for every request)
            # The value was sealed after a renewal, perhaps by another worker.
            sighting.renewed_ms = credential.renewed_ms
        return sighting
