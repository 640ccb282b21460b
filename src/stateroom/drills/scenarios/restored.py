"""Scenarios in which the user database is restored from a backup. Users, sessions and ends made after the backup are missing.

Then the primary is killed with sign-outs that it had not replicated. Therefore only the journal has the sign-outs after the
restore. Their row numbers were given before, to rows that the restore deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ...plurals import counted
from ..client import Client
from ..journal import JournalKind
from ..stage import QUICK_HASHES, Scenario, Stage, scenario

SECOND_LOOK_SECONDS = 3.0
"""Between the two looks that find a user missing. In production the service waits a minute."""
NOTICE_SECONDS = 5.0
"""For this long after the restore any request may be refused, because workers read the journal again from the start."""
GONE_SECONDS = SECOND_LOOK_SECONDS + 20.0
"""After the restore a session without an account must have ended within this time."""
TAIL_SECONDS = 1.0
"""Every worker has read the journal's new rows within this time. It reads five times a second."""
AGAIN_SECONDS = 0.1
EARLY = LATE = NEW = 4
ONLY_READERS = {"readers": 24, "reads": 100, "writers": 0, "signers": 0, "probers": 0}
"""Clients that may sign in again while others send requests. A write without a session would begin an anonymous one."""
STEADY = {"readers": 24, "reads": 100, "writers": 2, "writes": 10}


async def _sign_out(clients: Sequence[Client]) -> None:
    await asyncio.gather(*(client.logout() for client in clients))


async def _join(clients: Sequence[Client]) -> None:
    """Register until it succeeds. One after the other: their ids follow each other if the database counts."""
    for client in clients:
        while not await client.register():  # noqa: ASYNC110 (each try is a request, and there is no event to wait for)
            await asyncio.sleep(AGAIN_SECONDS)


async def _since_the_backup(stage: Stage) -> tuple[list[Client], list[Client]]:
    """Back up, then let clients sign out and others register. Returns the clients that may still sign out, and the new ones."""
    journal = stage.journal
    assert journal is not None, "the scenario needs one"
    early, late, new = [await stage.load.invite(part, count) for part, count in (("early", EARLY), ("late", LATE), ("new", NEW))]
    await _join([*early, *late])
    await journal.back_up()
    stage.mark(f"backup of {journal.kind} made")
    await asyncio.gather(_sign_out(early), _join(new))
    await asyncio.gather(*(_two_reads(client) for client in new))
    await asyncio.sleep(TAIL_SECONDS)
    stage.mark(f"{counted(EARLY, 'client')} signed out and {NEW} registered after the backup")
    return late, new


async def _two_reads(client: Client) -> None:
    for _ in range(2):
        await client.read()


async def _restore(stage: Stage) -> None:
    assert stage.journal is not None, "the scenario needs one"
    stage.mark(f"{stage.journal.kind} is being restored from the backup", "fault")
    await stage.journal.restore()
    stage.mark("the restore is complete")


def restored(kind: JournalKind | None) -> Scenario:
    """The scenario `database-restored` on this product; if None, on PostgreSQL where it is installed."""

    @scenario(
        "database-restored",
        "The user database is restored from a backup under load. Then the primary is killed with sign-outs that only the journal "
        "has.",
        needs_journal=True, journal_kind=kind, is_for_peers=False, load=STEADY, environment=QUICK_HASHES,
        switches=["--second-look", str(SECOND_LOOK_SECONDS)], slowest=3.0, slowest_login=4.0, slowest_logout=4.0,
    )  # fmt: skip
    async def made(stage: Stage) -> None:
        late, new = await _since_the_backup(stage)
        for client in new:
            client.lose_account()
        with stage.refusing("users without an account", "read", "login", clients={client.email for client in new}):
            asking = asyncio.ensure_future(_ask_until_unknown(new))
            try:
                with stage.refusing("the user database is being restored", "read", "login", "logout"):
                    await _restore(stage)
                    others = await stage.load.invite("other", NEW)
                    await asyncio.gather(_join(others), asyncio.sleep(NOTICE_SECONDS))
                stage.mark(f"{counted(NEW, 'other client')} registered")
                await _sign_out_on_a_dying_primary(stage, late)
                await _gone(stage, asking, new)
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
        if all(client.session is None for client in new):
            await _join(new)
            stage.mark("the users without an account registered again")
        await stage.everybody_asks()

    return made


async def _ask_until_unknown(clients: Sequence[Client]) -> None:
    """Let each ask, and load the user's profile, until the service says that the user is unknown."""

    async def ask(client: Client) -> None:
        while client.session is not None:
            await client.read()
            await asyncio.sleep(AGAIN_SECONDS)

    await asyncio.gather(*(ask(client) for client in clients))


async def _gone(stage: Stage, asking: asyncio.Future[None], clients: Sequence[Client]) -> None:
    await asyncio.wait([asking], timeout=GONE_SECONDS)
    left = sum(client.session is not None for client in clients)
    stage.expect(f"{left} of {counted(len(clients), 'session')} without an account did not end as unknown-user", is_so=not left)
    if not left:
        stage.mark("the sessions without an account ended as unknown-user")


async def _sign_out_on_a_dying_primary(stage: Stage, clients: Sequence[Client]) -> None:
    primary = await stage.stack.primary()
    stage.mark("replication held back", "fault")
    stage.stack.hold_replication_back(primary)
    await _sign_out(clients)
    stage.mark(f"{counted(len(clients), 'client')} signed out")
    await stage.kill(primary)
    stage.stack.lose_replication(primary)
    await stage.promoted(primary)
    await stage.settled()
    await stage.start(primary)
    await stage.whole()


REMEDY = ("sessions", "revoke", "--all", "--yes")


def restored_while_stopped(remedy: Sequence[str] = REMEDY) -> Scenario:
    """The scenario `database-restored-while-stopped`. `remedy`: the arguments of `stateroom` that must end every session."""
    words = " ".join(["stateroom", *remedy])

    @scenario(
        "database-restored-while-stopped",
        "The user database is restored from a backup while no worker runs. Then the operator ends every session.",
        needs_journal=True, is_for_peers=False, load=ONLY_READERS, environment=QUICK_HASHES,
        switches=["--second-look", str(SECOND_LOOK_SECONDS)],
    )  # fmt: skip
    async def made(stage: Stage) -> None:
        _, new = await _since_the_backup(stage)
        workers = stage.stack.workers
        clients = [client for client in stage.load.clients if client.session is not None]
        with stage.refusing("no worker runs", "read", "login", "logout"):
            stage.mark("both workers stopped", "fault")
            await asyncio.gather(*(worker.stop() for worker in workers))
            await _restore(stage)
            for client in new:
                client.lose_account()
            for client in clients:
                client.expect_end()
            status, said = await workers[0].command(*remedy)
            stage.expect(f"`{words}` ended with status {status}: {said[-200:]}", is_so=status == 0)
            stage.mark(words, "fix")
            for client in clients:
                client.take_end()
            for worker in workers:
                await worker.start()
            stage.mark("both workers started", "fix")
            await stage.whole()
        others = await stage.load.invite("other", NEW)
        await _join([*others, *new])
        stage.mark(f"{counted(NEW, 'other client')} and the {NEW} without an account registered")
        await asyncio.gather(*(client.login() for client in clients if client.session is None))

    return made


database_restored = restored(None)
database_restored_while_stopped = restored_while_stopped()
