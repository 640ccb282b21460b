"""What the headers of an answer let caches do."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from stateroom.request.caching import carries_no_renewal, keep_out_of_caches, make_private, vary_by_session

PUBLIC = [
    [("Cache-Control", "public, max-age=3600")],
    [("cache-control", "PUBLIC"), ("CACHE-CONTROL", "s-maxage=600"), ("Cache-Control", "immutable")],
    [("Cache-Control", "no-store, must-understand, max-age=60")],
    [("Cache-Control", 'private="Set-Cookie", max-age=60')],
    [("Cache-Control", "no-cache"), ("CDN-Cache-Control", "max-age=60")],
    [("cdn-cache-control", "max-age=60"), ("Cdn-Cache-Control", "public")],
    [("Cloudflare-CDN-Cache-Control", "max-age=60")],
    [("Vercel-CDN-Cache-Control", "max-age=60")],
    [("Netlify-CDN-Cache-Control", "public, durable, max-age=60")],
    [("X-LiteSpeed-Cache-Control", "public,max-age=60")],
    [("Surrogate-Control", "max-age=60")],
    [("X-Accel-Expires", "60")],
    [("Edge-Control", "!no-store, max-age=60")],
    [("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"), ("Pragma", "public")],
    [],
]


@pytest.mark.parametrize("said", PUBLIC, ids=str)
def test_no_cache_stores_an_answer_with_our_cookie_whatever_its_handler_said(said: list[tuple[str, str]]) -> None:
    headers = CIMultiDict([("Set-Cookie", "session_id=x"), *said, ("ETag", '"1"'), ("Last-Modified", "yesterday")])
    keep_out_of_caches(headers)
    assert sorted((name.title(), value) for name, value in headers.items()) == [
        ("Cache-Control", "no-store"), ("Etag", '"1"'), ("Last-Modified", "yesterday"), ("Set-Cookie", "session_id=x"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        ([], "private"),
        (["public, max-age=3600"], "private, max-age=3600"),
        (["Public", "S-MaxAge=600, max-age=3600, immutable"], "private, max-age=3600, immutable"),
        (["private"], "private"),
        (["private, max-age=60"], "private, max-age=60"),
        (['private="X-Name, Set-Cookie", max-age=60'], "private, max-age=60"),
        (['no-cache="Set-Cookie, public", max-age=60'], 'private, no-cache="Set-Cookie, public", max-age=60'),
        (["no-store"], "no-store"),
        (["No-Store, must-understand, public"], "no-store"),
        (["must-revalidate, max-age = 60"], "private, must-revalidate, max-age=60"),
        ([" , ,"], "private"),
    ],
)
def test_an_answer_to_a_bearer_is_private(said: list[str], becomes: str) -> None:
    headers = CIMultiDict([("Cache-Control", line) for line in said])
    headers.extend({"CDN-Cache-Control": "max-age=60", "Surrogate-Control": "max-age=60", "X-Accel-Expires": "60"})
    make_private(headers)
    assert list(headers.items()) == [("Cache-Control", becomes)]


@pytest.mark.parametrize(
    ("cache_control", "vary", "becomes"),
    [
        ([], [], ["Cookie"]),
        (["public, max-age=60"], ["Accept-Encoding"], ["Accept-Encoding, Cookie"]),
        (["private"], ["Accept-Encoding", "Origin"], ["Accept-Encoding, Origin, Cookie"]),
        ([], ["Origin, COOKIE"], ["Origin, COOKIE"]),
        ([], ["*"], ["*"]),
        ([], ["Origin, *"], ["Origin, *"]),
        ([], [""], ["Cookie"]),
        ([], ["X-Cookie"], ["X-Cookie, Cookie"]),
        (["no-store"], [], []),
        (["private, No-Store"], [], []),
        (["private", "no-store"], ["Origin"], ["Origin"]),
        (["no-store, must-understand"], [], ["Cookie"]),
        (['no-cache="x, no-store"'], [], ["Cookie"]),
    ],
)
def test_an_answer_that_depends_on_the_session_says_so_unless_it_is_not_stored(
    cache_control: list[str], vary: list[str], becomes: list[str]
) -> None:
    headers = CIMultiDict([*(("Cache-Control", line) for line in cache_control), *(("Vary", line) for line in vary)])
    vary_by_session(headers)
    assert headers.getall("Vary", []) == becomes


@pytest.mark.parametrize(("status", "is_bare"), [(200, False), (206, True), (303, False), (304, True), (404, False)])
def test_a_cache_takes_the_headers_of_some_answers_into_what_it_has_stored(status: int, is_bare: bool) -> None:
    assert carries_no_renewal(status) is is_bare
