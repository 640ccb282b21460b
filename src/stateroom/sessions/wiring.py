"""Puts the parts of an application's sessions together, once. Nothing is connected yet: `setup.py` starts the parts."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..intervals import patience
from ..logs import get_logger
from .journal.interface import NoJournal
from .journal.lookup import Lookup
from .journal.tail import Tail
from .model.deployment import Deployment
from .model.lifetimes import Lifetimes
from .protocol.ends import Ends
from .protocol.epochs import Epochs
from .protocol.lease import Lease
from .protocol.load import Loader
from .protocol.membership import Membership
from .protocol.replay import Replay
from .protocol.restore import Restore
from .protocol.rotations import Rotations
from .protocol.save import Saver
from .protocol.sentinel_row import SentinelKeeper
from .protocol.sightings import Sightings
from .protocol.sign_ins import SignIns
from .protocol.sweep import Sweeper
from .protocol.trust import Trust
from .protocol.unknown_users import KnownUsers, UnknownUsers
from .sealing.access_tokens import AccessTokens
from .sealing.key_ring import KeyRing, load_keys
from .sealing.token_keys import load_token_keys
from .store.key_names import KeyNames
from .store.redis_clock import RedisClock
from .store.scripts import Durability
from .store.session_store import SessionStore

if TYPE_CHECKING:
    from ..backend.client import RedisClient
    from ..settings import Settings
    from ..telemetry.metrics import Metrics
    from .journal.interface import EndsJournal

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts: the two stores, sealing, and each step of a session's life. `access_tokens`: None if they are off."""

    settings: Settings
    metrics: Metrics
    deployment: Deployment
    client: RedisClient
    clock: RedisClock
    key_names: KeyNames
    key_ring: KeyRing
    access_tokens: AccessTokens | None
    lease: Lease
    store: SessionStore
    journal: EndsJournal
    tail: Tail
    lookup: Lookup
    membership: Membership
    sentinel_keeper: SentinelKeeper
    epochs: Epochs
    replay: Replay
    trust: Trust
    ends: Ends
    restore: Restore
    loader: Loader
    sign_ins: SignIns
    rotations: Rotations
    saver: Saver
    sweeper: Sweeper
    unknown_users: UnknownUsers


def wire(
    settings: Settings, metrics: Metrics, client: RedisClient, journal: EndsJournal, known_users: KnownUsers | None = None
) -> Parts:
    """Make all parts, over these two stores. `known_users`: asks the application's table of users. Raises `SettingsError`."""

    def count_shortfall(script: str, reached: int) -> None:
        metrics.redis_wait_shortfalls.inc()
        log.warning("redis_wait_shortfall", step=script, replicas=reached, wanted=settings.redis_write_replicas)

    deployment = Deployment(settings.deployment, has_database=settings.has_database)
    journal.belong_to(deployment)
    clock = RedisClock()
    key_names = KeyNames(settings.redis_key_prefix)
    lease = Lease(settings.journal_lease)
    store = SessionStore(
        client,
        key_names,
        clock,
        max_bytes=settings.session_max_bytes,
        timeout=settings.redis_read_timeout,
        durability=Durability(settings.redis_write_replicas, settings.redis_write_replicas_timeout, count_shortfall),
        has_journal=journal.has_journal,
    )
    if isinstance(journal, NoJournal):
        journal.share(store.entomb, store.end_of)
    tail = Tail(journal, clock, deployment, lease_ms=lease.milliseconds)
    lookup = Lookup(journal, deployment, lambda: tail.is_away, patience=patience(lease.seconds))
    membership = Membership(client=client, journal=journal, deployment=deployment, key_names=key_names, lease=lease)
    sentinel_keeper = SentinelKeeper(
        client=client, journal=journal, tail=tail, membership=membership, deployment=deployment, key_names=key_names
    )
    epochs = Epochs(
        client=client,
        journal=journal,
        tail=tail,
        deployment=deployment,
        membership=membership,
        key_names=key_names,
        clock=clock,
        lease=lease,
    )
    replay = Replay(
        client=client,
        store=store,
        journal=journal,
        tail=tail,
        key_names=key_names,
        membership=membership,
        epochs=epochs,
        metrics=metrics,
    )
    trust = Trust(
        tail=tail,
        lookup=lookup,
        replay=replay,
        membership=membership,
        epochs=epochs,
        deployment=deployment,
        clock=clock,
        lease=lease,
        has_journal=journal.has_journal,
        is_journal_required=settings.journal_required,
        degraded_ms=settings.degraded_max_age * 1000,
        seals_former=settings.cookie_format == 1,
    )
    ends = Ends(
        settings=settings,
        metrics=metrics,
        client=client,
        store=store,
        journal=journal,
        tail=tail,
        trust=trust,
        clock=clock,
        lease=lease,
        epochs=epochs,
    )
    unknown_users = UnknownUsers(
        journal=journal,
        tail=tail,
        store=store,
        ends=ends,
        known_users=known_users,
        least_seconds=settings.degraded_max_age,
    )
    lookup.unknown, lookup.tail = unknown_users.check, tail
    restore = Restore(store=store, trust=trust, metrics=metrics)
    sightings = Sightings(key_names)
    clock.on_step_back(sightings.clear)
    loader = Loader(
        settings=settings,
        metrics=metrics,
        client=client,
        store=store,
        trust=trust,
        replay=replay,
        restore=restore,
        sightings=sightings,
        clock=clock,
    )
    sign_ins = SignIns(
        settings=settings,
        metrics=metrics,
        store=store,
        journal=journal,
        deployment=deployment,
        trust=trust,
        ends=ends,
        clock=clock,
    )
    rotations = Rotations(
        settings=settings,
        metrics=metrics,
        store=store,
        journal=journal,
        trust=trust,
        ends=ends,
        loader=loader,
        clock=clock,
        lease=lease,
    )
    saver = Saver(
        store=store,
        loader=loader,
        sign_ins=sign_ins,
        trust=trust,
        metrics=metrics,
        clock=clock,
        renew_ms=int(settings.session_renew_interval * 1000),
        timeout=settings.redis_read_timeout,
    )
    return Parts(
        settings=settings,
        metrics=metrics,
        deployment=deployment,
        client=client,
        clock=clock,
        key_names=key_names,
        key_ring=KeyRing(
            load_keys(settings),
            settings.session_name,
            deployment,
            Lifetimes.of(settings),
            seals_former=settings.cookie_format == 1,
        ),
        access_tokens=_access_tokens(settings, clock, deployment),
        lease=lease,
        store=store,
        journal=journal,
        tail=tail,
        lookup=lookup,
        membership=membership,
        sentinel_keeper=sentinel_keeper,
        epochs=epochs,
        replay=replay,
        trust=trust,
        ends=ends,
        restore=restore,
        loader=loader,
        sign_ins=sign_ins,
        rotations=rotations,
        saver=saver,
        sweeper=Sweeper(store=store, ends=ends),
        unknown_users=unknown_users,
    )


def _access_tokens(settings: Settings, clock: RedisClock, deployment: Deployment) -> AccessTokens | None:
    """None if tokens are off: there are no keys, or, in embedded mode, which makes its own key, PyJWT is not installed."""
    if not settings.jwt_keys and not find_spec("jwt"):
        return None
    keys = load_token_keys(settings)
    return AccessTokens(keys, settings, clock, deployment, Lifetimes.of(settings)) if keys else None
