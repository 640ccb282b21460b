"""Renders letters with the templates `KIND.txt` and `KIND.html`. The first line of the text is the subject.

| kind | goes to | shows | may show |
| --- | --- | --- | --- |
| `verify` | the address that somebody entered for an account | `site`, `link`, `hours` | |
| `taken` | the address of an account with which somebody wanted to register again | `site`, `login_link`, `forgot_link` | |
| `invitation` | the address that an administrator invited | `site`, `link`, `days` | |
| `change` | the new address of an account | `site`, `link`, `hours` | |
| `change_asked` | the old address, when a change was asked for | `site`, `login_link` | `name`, `email` (the new one) |
| `changed` | the old address, after the change | `site` | `name`, `email` (the new one) |
| `reset` | the address of an account | `site`, `link`, `hours` | `name` |
| `password_set` | the address of an account, after its password was changed | `site`, `forgot_link` | `name` |

`name` and `email` are words of whoever uses the account. Pass them only if the address that the letter goes to is verified. A
stranger can register with somebody else's address, and `Win money at …` as a name: the first four kinds never show a name, and
the others must not to an address that nobody has proven.

`site` is the host of `PUBLIC_URL`. `hours` and `days` say how long the link works.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import jinja2

if TYPE_CHECKING:
    from .letter import Letter

OPTIONAL = {"name": "", "email": ""}


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a letter says."""

    subject: str
    text: str
    html: str


def render(letter: Letter) -> Rendered:
    """Render a letter. Raises `jinja2.UndefinedError` if it lacks a value that its kind shows."""
    values = {**OPTIONAL, **letter.values}
    environment = _environment()
    text = environment.get_template(f"{letter.kind}.txt").render(values)
    subject, _, rest = text.partition("\n")
    html = environment.get_template(f"{letter.kind}.html").render(values, subject=subject)
    return Rendered(subject, rest.strip() + "\n", html)


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("stateroom.accounts.mail"),
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
