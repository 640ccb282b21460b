"""The rows of the table in docs/forward-auth.md, while everything is well."""

from __future__ import annotations

from . import cases_of_access as access
from . import cases_of_identity as identity
from . import cases_of_requests as requests
from .cases import VISIT, Case, Door

WELL: dict[str, Case] = {
    "signed in": access.signed_in,
    "signed out, a page is visited": access.visits_a_page,
    "signed out, a page is visited over HTTP/2": requests.visits_over_http_2,
    "signed out, a form is sent": access.sends_a_form,
    "signed out, anything else": access.asks_by_script,
    "after a sign-out, the old cookie is sent again": access.signed_out,
    "revoked from another device": access.revoked,
    "the session cookie is sent twice": access.two_cookies,
    "a rule admits the user's group": access.is_in_a_group,
    "no rule admits the user, a page is visited": access.visits_what_is_closed,
    "no rule admits the user, anything else": access.asks_for_what_is_closed,
    "a rule admits anyone, signed out": access.visits_what_is_open,
    "a rule admits anyone, signed in": access.visits_what_is_open_signed_in,
    "a rule needs a sign-in younger than this one, a page is visited": access.visits_long_after_the_sign_in,
    "a rule needs a sign-in younger than this one, anything else": access.asks_long_after_the_sign_in,
    "a rule admits the preflight request of a browser": access.sends_a_preflight,
    "the client sends the six `Remote-…` headers itself": identity.forges,
    "the client sends them in other spellings": identity.forges_in_other_spellings,
    "the client names another method or path in a header": requests.names_another_method_or_path,
    "the client sends `X-Forwarded-…`, `X-Original-…` and `Forwarded`": requests.claims_another_request,
    "the session cookie, seen by the application": identity.looks_for_our_cookie,
    "a session token of Stateroom, seen by the application": identity.shows_our_bearer,
    "an access token of Stateroom, seen by the application": identity.shows_our_access_token,
    "the session cookie's value as a bearer, seen by the application": identity.shows_our_cookie_as_a_bearer,
    "the application's own `Authorization`": identity.shows_its_own_authorization,
    "a renewed cookie": identity.is_renewed,
    "a renewed cookie with an answer that caches may store": identity.asks_for_what_caches_store,
    "POST with a body": requests.sends_a_body,
    "WebSocket": requests.opens_a_websocket,
    "paths of the application such as `/login`, `/accounts`, `/docs`": requests.asks_for_paths_of_the_application,
    "`/.stateroom/docs`": requests.reads_the_docs,
    "headers of 20,000 bytes": requests.sends_large_headers,
    "another host, signed in": requests.names_another_host,
    "HTTP/1.0 without `Host`": requests.asks_with_http_1_0,
}


async def with_a_cookie(door: Door) -> str:
    return door.outcome(await door.ask(headers=VISIT | {"Cookie": door.cookie}))
