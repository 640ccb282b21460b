"""What letters say: everything that they need, nothing that a stranger chose, nothing from the network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import jinja2
import pytest

from stateroom.accounts.mail import rendering
from stateroom.accounts.mail.letter import Kind, Letter
from stateroom.accounts.mail.message import Sender
from stateroom.accounts.mail.rendering import render

KINDS: tuple[Kind, ...] = get_args(Kind)
TEMPLATES = Path(rendering.__file__).parent / "templates"
ALL = {
    "site": "rooms.example",
    "link": "https://rooms.example/confirm#token=abc&x=1",
    "login_link": "https://rooms.example/login",
    "forgot_link": "https://rooms.example/forgot",
    "hours": "1",
    "days": "7",
    "name": "Ada Lovelace",
    "email": "new@example.com",
}
ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \| ([^|]*)\| ([^|]*)\|$", re.MULTILINE)


def words(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


SHOWS = {kind: words(shows) for kind, shows, _ in ROW.findall(rendering.__doc__ or "")}
MAY_SHOW = {kind: words(may) for kind, _, may in ROW.findall(rendering.__doc__ or "")}


class Page(HTMLParser):
    """The text, the links, and whatever the browser would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.links: set[str] = set()
        self.loads: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "a":
            self.links.add(named["href"] or "")
        if tag in {"img", "script", "link", "iframe", "object"} or "src" in named or "url(" in (named.get("style") or ""):
            self.loads.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_each_kind_has_its_templates_and_a_row_of_the_table() -> None:
    assert {path.stem for path in TEMPLATES.glob("*.txt")} == set(KINDS)
    assert {path.stem for path in TEMPLATES.glob("*.html")} == {*KINDS, "base", "parts"}
    assert SHOWS.keys() == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_letter_shows_exactly_the_values_of_the_table(kind: Kind) -> None:
    rendered = render(Letter(kind, "ada@example.com", ALL))
    html = Page(rendered.html).text
    for name in SHOWS[kind] | MAY_SHOW[kind]:
        assert ALL[name] in rendered.text, name
        assert ALL[name] in html, name
    for name in ("name", "email", "link", "login_link", "forgot_link"):
        if name not in SHOWS[kind] | MAY_SHOW[kind]:
            assert ALL[name] not in rendered.text + html, name


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_that_the_table_names_must_be_there_and_no_other(kind: Kind) -> None:
    needed = {name: ALL[name] for name in SHOWS[kind]}
    render(Letter(kind, "ada@example.com", needed))
    for name in needed:
        with pytest.raises(jinja2.UndefinedError):
            render(Letter(kind, "ada@example.com", {key: value for key, value in needed.items() if key != name}))


@pytest.mark.parametrize("kind", KINDS)
def test_text_and_html_say_the_same_and_what_to_do_if_it_was_somebody_else(kind: Kind) -> None:
    rendered = render(Letter(kind, "ada@example.com", ALL))
    page = Page(rendered.html)
    for paragraph in filter(None, rendered.text.split("\n")):
        assert " ".join(paragraph.split()) in " ".join(page.text.split()), paragraph
    assert re.search(r"wasn't you|don't know this site", rendered.text)


@pytest.mark.parametrize("kind", KINDS)
def test_a_letter_loads_nothing_and_shows_each_link_as_text(kind: Kind) -> None:
    page = Page(render(Letter(kind, "ada@example.com", ALL)).html)
    assert page.loads == []
    for link in page.links:
        assert link in page.text


@pytest.mark.parametrize("kind", KINDS)
def test_the_subject_is_one_line_with_no_word_of_a_stranger(kind: Kind) -> None:
    subject = render(Letter(kind, "ada@example.com", ALL)).subject
    assert 10 < len(subject) < 60
    assert not any(ALL[name] in subject for name in ("name", "email", "link"))


@pytest.mark.parametrize("name", ['<a href="http://evil.example">Win</a>', "{{ link }}", "Ada\r\nBcc: eve@example.com", "Ada & Co"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_name_is_never_markup_a_template_or_a_header(kind: Kind, name: str) -> None:
    letter = Letter(kind, "ada@example.com", {**ALL, "name": name})
    rendered = render(letter)
    page = Page(rendered.html)
    assert not any("evil" in link for link in page.links)
    assert (name in rendered.text) == ("name" in MAY_SHOW[kind])
    message = Sender("Rooms <no-reply@rooms.example>").message(letter, "a" * 32)
    assert message["Bcc"] is None
    assert set(message.keys()) == {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"}


@pytest.mark.parametrize(("hours", "days"), [("1", "1"), ("24", "7")])
def test_times_are_singular_or_plural(hours: str, days: str) -> None:
    values = {**ALL, "hours": hours, "days": days}
    assert ("1 hour." if hours == "1" else "24 hours.") in render(Letter("verify", "ada@example.com", values)).text
    assert ("1 day," if days == "1" else "7 days,") in render(Letter("invitation", "ada@example.com", values)).text


def test_the_kinds_that_go_to_an_address_that_nobody_has_proven_show_no_name() -> None:
    for kind in ("verify", "taken", "invitation", "change"):
        assert MAY_SHOW[kind] == set()
