"""Names that are nearly those of settings: a misspelt setting would have no effect, and nobody would notice."""

from __future__ import annotations

import difflib
import functools
import warnings
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise

from ..errors import SettingsError
from .places import is_service_link

MOST_EDITS = 2
_FOREIGN_KEYS = frozenset({"COOKIE_HASH_KEY", "COOKIE_BLOCK_KEY"})
"""Other session services call their cookie keys so. Ignored in silence, they would be missed only in production."""

_NO_SLIPS = frozenset({"COOKIE_SECRET"})
"""Names near ours that other services on a host really have (this one is near COOKIE_SECURE)."""


class MisspeltSettingWarning(UserWarning):
    """A variable whose name is nearly that of a setting. `stateroom serve` does not start with one."""


def refuse_unknown(given: Iterable[str], known: Collection[str]) -> None:
    """Code means every name for us. Raises `SettingsError` for one that is none of ours. All names are in lower case."""
    for name in given:
        if name not in known and not name.startswith("_"):
            near = difflib.get_close_matches(name, known, n=1)
            fix = f"did you mean {near[0].upper()}?" if near else "the README lists the settings"
            raise SettingsError(f"{name.upper()} is not a setting of Stateroom; {fix}")


def look_at_names(place: Mapping[str, str | None], known: Collection[str]) -> None:
    """Warn of misspelt names in the environment or `.env`; names there are for others too.

    `place` has values by names, `known` is in lower case. Raises `SettingsError` for cookie keys as other services
    name them. A variable that Kubernetes or Docker makes for a service (`REDIS_0_PORT=tcp://…`) is nobody's slip, and
    an empty value has no effect under any name.
    """
    forms = dict.fromkeys(form for name in known for form in (name.upper(), f"{name.upper()}_FILE"))
    for key, value in place.items():
        name = key.upper()
        if not value or "_" not in name or name in forms or name in _NO_SLIPS or is_service_link(value):
            continue
        if name in _FOREIGN_KEYS:
            raise SettingsError(f"{name} is not a setting of Stateroom; make a key with `stateroom keys` and use COOKIE_KEYS")
        meant = nearest(name, forms)
        if meant is not None:
            warnings.warn(f"{name} is not a setting of Stateroom; did you mean {meant}?", MisspeltSettingWarning, stacklevel=2)


def nearest(name: str, forms: Iterable[str]) -> str | None:
    """The form that the fewest edits make of this name, of those within `MOST_EDITS`."""
    near = [form for form in forms if any(part in name for part in _parts(form)) and is_within(name, form, MOST_EDITS)]
    return next((form for edits in range(1, MOST_EDITS + 1) for form in near if is_within(name, form, edits)), None)


@functools.cache
def _parts(form: str) -> tuple[str, ...]:
    """One part more than there may be edits: a name within so many has at least one of them. This spares most comparisons."""
    ends = [len(form) * number // (MOST_EDITS + 1) for number in range(MOST_EDITS + 2)]
    return tuple(form[begin:end] for begin, end in pairwise(ends))


def is_within(one: str, other: str, edits: int) -> bool:
    """Whether so many insertions, deletions and substitutions of a letter make one name of the other."""
    if abs(len(one) - len(other)) > edits:
        return False
    alike = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    one, other = one[alike:], other[alike:]
    if not one or not other or not edits:
        return len(one) + len(other) <= edits
    return is_within(one[1:], other[1:], edits - 1) or is_within(one[1:], other, edits - 1) or is_within(one, other[1:], edits - 1)
