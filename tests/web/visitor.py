"""A browser without scripts. It opens pages and sends their forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Self

import aiohttp

from ..conftest import ServiceClient

VOID = {"meta", "link", "input", "img", "br"}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 "
    "Mobile/15E148 Safari/604.1"
)


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    text: str = ""

    def get(self, name: str) -> str:
        return self.attributes.get(name) or ""


@dataclass
class Form:
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[str] = field(default_factory=list)


class Page(HTMLParser):
    """An answer as a user sees it."""

    def __init__(self, status: int, path: str, headers: Mapping[str, str], html: str) -> None:
        super().__init__()
        self.status, self.path, self.headers, self.html = status, path, headers, html
        self.elements: list[Element] = []
        self.forms: list[Form] = []
        self._open: list[Element] = []
        self._words: list[str] = []
        self.feed(html)
        assert not self._open, f"not closed: {self._open}"

    @property
    def text(self) -> str:
        """The visible text."""
        return " ".join(" ".join(self._words).split())

    @property
    def title(self) -> str:
        return self.only("title").text

    @property
    def errors(self) -> str:
        """The text of the summary of errors."""
        return next((each.text for each in self.elements if each.get("class") == "summary"), "")

    def only(self, tag: str, **attributes: str) -> Element:
        [found] = self.all(tag, **attributes)
        return found

    def all(self, tag: str, **attributes: str) -> list[Element]:
        return [e for e in self.elements if e.tag == tag and all(e.get(name) == value for name, value in attributes.items())]

    def by_id(self, name: str) -> Element:
        [found] = [each for each in self.elements if each.get("id") == name]
        return found

    def form_of(self, button: str) -> Form:
        """The form with this button, found by the button's text or its beginning."""
        exactly = [form for form in self.forms if button in form.buttons]
        [found] = exactly or [form for form in self.forms if any(each.startswith(button) for each in form.buttons)]
        return found

    # HTMLParser

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)
        if tag == "form":
            assert element.get("method") == "post"
            self.forms.append(Form(element.get("action")))
        if tag == "input" and element.get("name") and (element.get("type") != "checkbox" or "checked" in element.attributes):
            self.forms[-1].fields[element.get("name")] = element.get("value")

    def handle_endtag(self, tag: str) -> None:
        closed = self._open.pop()
        assert closed.tag == tag, f"<{closed.tag}> is closed by </{tag}>"
        if tag == "button" and self.forms and any(each.tag == "form" for each in self._open):
            self.forms[-1].buttons.append(closed.get("aria-label") or closed.text)

    def handle_data(self, data: str) -> None:
        if data.strip():
            for each in self._open:
                each.text = f"{each.text} {data.strip()}".strip()
            if not any("hidden" in each.attributes for each in self._open):
                self._words.append(data)


class Visitor:
    """One browser of one user, with its own cookies."""

    def __init__(self, client: ServiceClient, user_agent: str = FIREFOX) -> None:
        self._client = client
        self._agent = user_agent
        self._session: aiohttp.ClientSession | None = None
        self.page: Page

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), headers={"User-Agent": self._agent})
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    @property
    def origin(self) -> str:
        return str(self._client.make_url("/")).rstrip("/")

    @property
    def cookie(self) -> str:
        """The value of the session's cookie."""
        assert self._session is not None
        return next((each.value for each in self._session.cookie_jar if each.key == "session_id"), "")

    @property
    def cookie_max_age(self) -> str:
        assert self._session is not None
        return next(str(each["max-age"]) for each in self._session.cookie_jar if each.key == "session_id")

    async def open(self, path: str, **headers: str) -> Page:
        return await self.request("GET", path, headers={"Sec-Fetch-Site": "none", **headers})

    async def send(self, button: str, **typed: str) -> Page:
        """Fill in the form with this button, and press the button."""
        form = self.page.form_of(button)
        for name in typed:
            assert name in form.fields or self.page.all("input", name=name), f"the form has no {name}"
        return await self.post(form.action, form.fields | typed)

    async def post(self, path: str, fields: Any, **headers: str) -> Page:
        """Send a form. The headers say from which origin; by default it is sent from our own page."""
        sent = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin"} | headers
        return await self.request("POST", path, data=fields, headers={name: value for name, value in sent.items() if value})

    async def request(self, method: str, path: str, *, headers: Mapping[str, str], **options: Any) -> Page:
        assert self._session is not None
        accepts = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", **headers}
        url = self._client.make_url(path)
        async with self._session.request(method, url, headers=accepts, **options) as response:
            assert response.content_type == "text/html", await response.text()
            self.page = Page(response.status, response.url.path_qs, dict(response.headers), await response.text())
        return self.page

    async def register(self, *, email: str = "ada@example.com", name: str = "Ada", password: str = "correct horse") -> Page:
        await self.open("/register")
        return await self.send("Create account", email=email, name=name, password=password)

    async def sign_in(self, *, email: str = "ada@example.com", password: str = "correct horse", **more: str) -> Page:
        await self.open("/login")
        return await self.send("Sign in", email=email, password=password, **more)
