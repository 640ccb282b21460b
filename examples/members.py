"""Pages with a sign-in, from docs/quickstart.md. Run `python examples/members.py`, then open http://127.0.0.1:8082/."""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator
from html import escape
from typing import Any
from urllib.parse import urlencode

import aiosqlite
import bcrypt
from aiohttp import web
from aiohttp.typedefs import Handler
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

import stateroom

routes = web.RouteTableDef()
account = web.RouteTableDef()


DATABASE = web.AppKey("database", str)
MEMBERS = web.AppKey("members", aiosqlite.Connection)
TABLE = """CREATE TABLE IF NOT EXISTS members
    (id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL UNIQUE, password TEXT NOT NULL)"""


async def open_members(app: web.Application) -> AsyncIterator[None]:
    """Open the table of users at startup and close it at shutdown."""
    async with aiosqlite.connect(app[DATABASE], isolation_level=None) as connection:
        await connection.execute(TABLE)
        app[MEMBERS] = connection
        yield


async def find(request: web.Request, query: str, *values: Any) -> Any:
    """The first row that the query finds, or None."""
    async with request.config_dict[MEMBERS].execute(query, values) as cursor:
        return await cursor.fetchone()


def digest(password: str) -> bytes:
    """44 bytes for a password of any length, because bcrypt reads at most 72."""
    return base64.b64encode(hashlib.sha256(password.encode()).digest())


async def hash_of(password: str) -> str:
    """Hash a password in a thread, so that other requests do not wait for bcrypt."""
    return (await asyncio.to_thread(bcrypt.hashpw, digest(password), bcrypt.gensalt())).decode()


async def matches(password: str, stored: str) -> bool:
    """Compare a password with a stored hash, also in a thread."""
    return await asyncio.to_thread(bcrypt.checkpw, digest(password), stored.encode())


NO_HASH = bcrypt.hashpw(b"no digest", bcrypt.gensalt()).decode()


async def page(request: web.Request, title: str, body: str, status: int = 200) -> web.Response:
    """A page that also shows the waiting messages."""
    session = stateroom.get_session(request)
    top = ""
    if session.is_writable:
        for kind, message in (await stateroom.take_flashes(session)).items():
            top += f'<p class="{kind}">{escape(message)}</p>'
    elif session.is_signed_in:
        top = "<p>You're still signed in. Some details are temporarily unavailable.</p>"
    else:
        top = "<p>Some details are temporarily unavailable.</p>"
    html = f"<!doctype html><title>{escape(title)}</title><h1>{escape(title)}</h1>{top}{body}"
    return web.Response(text=html, content_type="text/html", status=status)


def form_page(title: str, *fields: str, error: str = "", note: str = "") -> str:
    """A form that the browser sends to the address of its page, including the query (`?next=…`)."""
    types = {"email": "email", "item": "text"}
    inputs = "".join(f'<p><label>{each} <input name="{each}" type="{types.get(each, "password")}"></label>' for each in fields)
    return f'<p class="error">{escape(error)}</p><form method="post">{inputs}<p><button>{escape(title)}</button></form>{note}'


def see_other(path: str) -> web.Response:
    """Have the browser get another page."""
    return web.Response(status=303, headers={"Location": path})


def notify(request: web.Request, message: str) -> None:
    """Leave a message for the next page. While Redis is unavailable, no message can be stored."""
    session = stateroom.get_session(request)
    if session.is_writable:
        stateroom.flash(session, "success", message)


async def sent(request: web.Request, *names: str) -> list[str]:
    """The values of these form fields. The value of a missing field is empty."""
    form = await request.post()
    return [value if isinstance(value := form.get(name), str) else "" for name in names]


@web.middleware
async def show_errors_as_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Redirect a visitor to the sign-in page. Show a page while Redis or the user database is unavailable."""
    session = stateroom.get_session(request)
    try:
        response = await handler(request)
        if session.is_writable:
            await session.save()  # here, so that a failure to save becomes a page too
    except stateroom.NotSignedIn as error:
        session.discard_changes()
        query = {"next": request.path_qs if request.method == "GET" else "/"}  # a browser cannot send a form again
        if isinstance(error, stateroom.SessionEnded):
            query["ended"] = error.reason
        return see_other(f"/sign-in?{urlencode(query)}")
    except stateroom.Unavailable as error:
        session.discard_changes()
        html = "<!doctype html><title>Try again soon</title><h1>Try again soon</h1><p>This page is temporarily unavailable.</p>"
        headers = {"Retry-After": str(error.retry_after), "Cache-Control": "no-store"}
        return web.Response(text=html, content_type="text/html", status=503, headers=headers)
    return response


@routes.get("/sign-up")
async def show_sign_up(request: web.Request) -> web.Response:
    return await page(request, "Create an account", form_page("Create an account", "email", "password"))


@routes.post("/sign-up")
async def sign_up(request: web.Request) -> web.Response:
    email, password = await sent(request, "email", "password")
    error = "Enter an email address and a password of at least 8 characters"
    if "@" in email and len(password) >= 8:
        insert = "INSERT INTO members (email, password) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING id"
        added = await find(request, insert, email.strip().lower(), await hash_of(password))
        if added is not None:
            await stateroom.sign_in(request, added[0])
            notify(request, "Welcome.")
            return see_other("/")
        error = "There is an account with this email address already"
    form = form_page("Create an account", "email", "password", error=error)
    return await page(request, "Create an account", form, status=422)


def own_path(path: str) -> str:
    """The path if it leads to this site, else "/". Browsers follow "//host", "/\\host" and "/<tab>/host" to another host."""
    return path if re.fullmatch(r"/(?!/)[!-\[\]-~]*", path) else "/"


SIGN_UP = '<p><a href="/sign-up">Create an account</a>'


@routes.get("/sign-in")
async def show_sign_in(request: web.Request) -> web.Response:
    ended = "Your session has ended. Sign in again." if "ended" in request.query else ""
    return await page(request, "Sign in", form_page("Sign in", "email", "password", error=ended, note=SIGN_UP))


@routes.post("/sign-in")
async def sign_in(request: web.Request) -> web.Response:
    email, password = await sent(request, "email", "password")
    found = await find(request, "SELECT id FROM members WHERE email = ?", email.strip().lower())
    user_id, generation, stored = 0, 0, NO_HASH  # so that an unknown address takes as long as a wrong password
    if found is not None:
        user_id = found[0]
        generation = await request.app[stateroom.SESSIONS].generation(user_id)  # before the hash is read
        [stored] = await find(request, "SELECT password FROM members WHERE id = ?", user_id)
    if not await matches(password, stored):
        error = "The email address or the password is not right"
        return await page(request, "Sign in", form_page("Sign in", "email", "password", error=error, note=SIGN_UP), status=401)
    await stateroom.sign_in(request, user_id, generation=generation)
    notify(request, "You are signed in.")
    return see_other(own_path(request.query.get("next", "/")))


@routes.post("/sign-out")
async def sign_out(request: web.Request) -> web.Response:
    await stateroom.sign_out(request)
    notify(request, "You are signed out.")
    return see_other("/")


@routes.get("/")
async def home(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    links = '<p><a href="/sign-in">Sign in</a>'
    if session.is_signed_in:
        links = '<p><a href="/account/">Your account</a><form method="post" action="/sign-out"><button>Sign out</button></form>'
    items = "<li>The list is temporarily unavailable."
    if session.is_writable:
        items = "".join(f"<li>{escape(item)}" for item in session.get("items", []))
    return await page(request, "Shopping list", f"<ul>{items}</ul>{form_page('Add', 'item')}{links}")


@routes.post("/")
async def add(request: web.Request) -> web.Response:
    [item] = await sent(request, "item")
    await stateroom.get_session(request).change("items", lambda items: [*(items or []), item[:100]])
    notify(request, "Added.")
    return see_other("/")


@account.get("/")
@stateroom.require_auth
async def show_account(request: web.Request) -> web.Response:
    session = stateroom.get_session(request)
    manager = request.config_dict[stateroom.SESSIONS]
    assert session.user_id is not None
    try:
        devices = "".join(
            f"<li>{escape(each.device_type)} {each.last_access:%Y-%m-%d %H:%M} UTC{' (this one)' if each.id == session.id else ''}"
            for each in await manager.list(session.user_id)
        )
    except stateroom.StoreUnavailable:
        devices = "<li>This list is temporarily unavailable."
    return await page(request, "Your account", f'<ul>{devices}</ul><p><a href="/account/password">Change the password</a>')


PASSWORDS = ("current password", "new password")


@account.get("/password")
@stateroom.require_auth
async def show_password(request: web.Request) -> web.Response:
    return await page(request, "Change the password", form_page("Change the password", *PASSWORDS))


@account.post("/password")
@stateroom.require_auth
async def change_password(request: web.Request) -> web.Response:
    user_id = stateroom.get_session(request).user_id
    current, new = await sent(request, *PASSWORDS)
    [stored] = await find(request, "SELECT password FROM members WHERE id = ?", user_id)
    if not await matches(current, stored) or len(new) < 8:
        error = "Enter your current password, and a new one of at least 8 characters"
        form = form_page("Change the password", *PASSWORDS, error=error)
        return await page(request, "Change the password", form, status=422)
    values = {"id": user_id, "new": await hash_of(new)}

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(text("UPDATE members SET password = :new WHERE id = :id"), values)

    await stateroom.revoke_others(request, reason="password", in_transaction=write)
    notify(request, "Your password is changed. You are signed out everywhere else.")
    return see_other("/account/")


def make_app(database: str = "members.db", **settings: Any) -> web.Application:
    app = web.Application()
    app[DATABASE] = database
    stateroom.setup(app, stateroom.Settings(database_url=f"sqlite:///{database}", **settings))
    app.middlewares.append(show_errors_as_pages)  # after setup, so that the session is loaded before
    app.cleanup_ctx.append(open_members)
    app.add_routes(routes)
    inner = web.Application()
    inner.add_routes(account)
    app.add_subapp("/account/", inner)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8082)
