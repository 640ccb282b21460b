"""The old primary is cut off, with a Sentinel and a worker on its side."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from stateroom.database import Database
from stateroom.drills.load import Load
from stateroom.drills.node import until
from stateroom.drills.ports import LOOPBACK, free_port
from stateroom.drills.postgres import Postgres
from stateroom.drills.relay import Relay
from stateroom.drills.stack import stack
from stateroom.settings import Address, Settings


@pytest.mark.timeout(240)
@pytest.mark.long_drill
async def test_without_journal_and_majority_the_cut_off_worker_answers_503(tmp_path: Path, own_postgres: Postgres) -> None:
    own_postgres.start()
    relay = Relay(Address(LOOPBACK, free_port()), Address(LOOPBACK, own_postgres.port))
    url = own_postgres.make_database()
    database = Database(Settings(_env_file=None, database_url=url))
    await database.upgrade()
    await database.aclose()
    cut_url = url.replace(f":{own_postgres.port}/", f":{relay.at.port}/")
    async with relay, stack(tmp_path, database_urls=[cut_url, url]) as made:
        urls = [worker.url for worker in made.workers]
        async with Load(urls, readers=2, writers=0, signers=0) as load:
            old = await made.primary()
            made.partition([old, made.sentinels[0]], [made.workers[0]])
            relay.cut([LOOPBACK])
            others = [node for node in made.nodes if node is not old]
            await made.first_write(others)
            await made.settled([made.workers[1]])

            async def is_refused() -> bool:
                answer = await load.readers[0].read()
                return answer.status == 503

            await until(is_refused, "the cut-off worker refuses")
            # It was signed out on the other side. This side cannot know that, so it must not accept the session.
            session = load.readers[0].session
            assert session is not None
            async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
                headers = {"Cookie": f"session_id={session.cookie}"}
                async with http.post(f"{urls[1]}/api/auth/logout", headers=headers) as response:
                    assert response.status == 200
                for _ in range(20):
                    async with http.get(f"{urls[0]}/api/auth/check", headers=headers) as response:
                        assert response.status == 503
                        assert "Set-Cookie" not in response.headers
            made.heal()
            relay.heal()
            await made.all_well()
            assert (await load.ask(0, session))["authenticated"] is False
