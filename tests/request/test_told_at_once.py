"""Wrong arguments of the library's calls are told with the fix, before anything is stored."""

from __future__ import annotations

import datetime as dt

import pytest
from aiohttp import web

import stateroom
from stateroom import SESSIONS

from .conftest import OpenSite


@pytest.mark.parametrize("max_age", ["15m", dt.timedelta(minutes=15), True])
async def test_a_lifetime_that_is_no_number_is_refused_and_nobody_is_signed_in(open_site: OpenSite, max_age: object) -> None:
    told = []

    async def enter(request: web.Request) -> web.Response:
        try:
            await stateroom.sign_in(request, "ada", max_age=max_age)  # type: ignore[arg-type]
        except TypeError as error:
            told.append(str(error))
        return web.json_response({})

    site = await open_site(enter)
    browser = site.browser()
    await browser.post("/enter")
    assert "seconds" in told[0]
    assert await site.stored() == 0
    assert (await browser.who())["user"] is None


async def test_the_next_page_of_a_list_begins_where_a_link_says(open_site: OpenSite) -> None:
    site = await open_site()
    manager = site.app[SESSIONS]
    for _ in range(5):
        await manager.create("ada", max_age=600)
    first = await manager.list("ada", limit=2)
    link = (first[-1].id, dt.datetime.fromisoformat(first[-1].created_at.isoformat()))
    rest = await manager.list("ada", before=link)
    assert len({each.id for each in (*first, *rest)}) == 5
    assert rest == await manager.list("ada", before=first[-1])


def test_require_auth_takes_its_options_by_name() -> None:
    with pytest.raises(TypeError, match="fresh=300"):
        stateroom.require_auth(300)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="number of seconds"):
        stateroom.require_auth(fresh="5m")  # type: ignore[call-overload]


def test_carry_over_before_setup_says_so() -> None:
    with pytest.raises(RuntimeError, match=r"call stateroom\.setup\(app\) first"):
        stateroom.carry_over(web.Application(), redis_url="redis://localhost", user_key="user")
