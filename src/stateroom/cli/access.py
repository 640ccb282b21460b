"""`stateroom access check`: who may enter which application, and which rule says so."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ..accounts.access import Access, Asked
from ..accounts.access.explanation import Explanation, explain
from ..addresses import parse_client
from ..errors import SettingsError
from ..plurals import counted
from ..settings import Settings
from .admin import user_document
from .answer import Answer
from .named_stores import NamedStores, check_exist
from .service import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..accounts import User
    from ..accounts.access import Need, Person
    from .service import Service

_URL = re.compile(r"(https?://[^/?#\\@\s]+)([/?][^#]*)?(?:#.*)?", re.IGNORECASE)
_METHOD = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether somebody is admitted, and why, in words."""

    is_admitted: bool
    reason: str


def check(url: str, *, user: str | None, method: str, address: str | None, as_json: bool) -> bool:
    """Print which rule decides about a request and whether this user, or an anonymous visitor, is admitted. Returns the latter.

    Raises `SettingsError` for an invalid argument or file, or if the settings name stores that do not exist. Raises `NotFound` for
    an unknown user, and `DatabaseUnavailable`.
    """
    asked = _asked(url, method, address)
    settings = Settings.load()
    access = Access(settings)  # first: a copy of the file may be checked where no service runs
    check_exist(settings)
    found = explain(access, asked)
    verdict = Verdict(is_admitted=False, reason="")

    async def ask(service: Service, email: str) -> Answer:
        nonlocal verdict
        account = await service.user(email)
        groups = await service.accounts.groups.of(account.id)
        person = service.accounts.person(account, groups)
        verdict = _verdict(found, account, person, is_restricted=service.accounts.is_restricted(account))
        return _answer(url, asked, found, verdict, account=account, person=person)

    if user is not None:
        run(lambda service: ask(service, user), as_json=as_json)
        return verdict.is_admitted
    verdict = _verdict_for_anonymous(found)
    _answer(url, asked, found, verdict).show(NamedStores.of(settings), as_json=as_json)
    return verdict.is_admitted


def _asked(url: str, method: str, address: str | None) -> Asked:
    parts = _URL.fullmatch(url)
    if parts is None:
        raise SettingsError(f"--url is {url!r}, which is no address of a page; give for example https://wiki.example.com/start")
    if not _METHOD.fullmatch(method):
        raise SettingsError(f"--method is {method!r}, which is no method; give for example GET")
    if address is not None and parse_client(address) is None:
        raise SettingsError(f"--address is {address!r}, which is no IP address; give for example 192.0.2.1")
    origin, path = parts.groups(default="/")
    return Asked(method, origin, path if path.startswith("/") else f"/{path}", address)


def _verdict(found: Explanation, account: User, person: Person, *, is_restricted: bool) -> Verdict:
    """Whether a user is admitted who is signed in as freshly as the rule asks for."""
    if found.ruling is None or found.ruling.is_open:
        return _verdict_for_anonymous(found)
    if account.is_disabled:
        return Verdict(is_admitted=False, reason="the account is disabled")
    if is_restricted:
        return Verdict(is_admitted=False, reason="the account can do nothing before its address is verified")
    if found.ruling.allow.is_nobody:
        return Verdict(is_admitted=False, reason="the rule admits nobody")
    if not found.ruling.admits(person):
        return Verdict(is_admitted=False, reason="the rule admits neither this address nor one of these groups")
    if found.ruling.need.second_factor or found.ruling.need.device_bound:
        return Verdict(is_admitted=False, reason="the rule needs what no account has yet: a second factor, or a bound device")
    return Verdict(is_admitted=True, reason="the rule admits this user")


def _verdict_for_anonymous(found: Explanation) -> Verdict:
    if found.ruling is None:
        return Verdict(is_admitted=False, reason=found.refusal)
    if found.ruling.is_open:
        return Verdict(is_admitted=True, reason="the rule admits everybody")
    return Verdict(is_admitted=False, reason="nobody is signed in")


def _answer(
    url: str, asked: Asked, found: Explanation, verdict: Verdict, *, account: User | None = None, person: Person | None = None
) -> Answer:
    who = "an anonymous visitor" if account is None else account.address
    lines = [f"{asked.method.upper()} {url}" + ("" if asked.address is None else f" from {asked.address}")]
    lines += _steps(found)
    if found.ruling is not None:
        lines += [f"needs: {each}" for each in _needs(found.ruling.need)]
        lines.append(f"audience of assertions: {found.ruling.audience}")
    if account is not None and person is not None:
        groups = ", ".join(sorted(person.groups)) or "none"
        lines.append(f"{who}: verified address {person.email or 'none'}; groups {groups}")
    lines.append(f"{who} is {'admitted' if verdict.is_admitted else 'not admitted'}: {verdict.reason}")
    document = {
        "url": url,
        "method": asked.method.upper(),
        "address": asked.address,
        "admitted": verdict.is_admitted,
        "reason": verdict.reason,
        "user": None if account is None else user_document(account),
        "verified_email": None if person is None else person.email or None,
        "groups": None if person is None else sorted(person.groups),
        **_document(found),
    }
    return Answer(lines, document)


def _steps(found: Explanation) -> Iterator[str]:
    elsewhere = sum(not each.is_of_host for each in found.passed_over)
    if elsewhere:
        yield f"not for this host: {counted(elsewhere, 'rule')}"
    for each in found.passed_over:
        if each.is_of_host:
            yield f"passed over: {each.rule.name} (line {each.rule.line}): {each.reason}"
    for reading, rule in found.readings:
        leads_to = "no rule" if rule is None else f"{rule.name} (line {rule.line})"
        yield f"{', '.join(reading.steps) or 'as sent'}: {reading.path!r} is for {leads_to}"
    if found.rule is not None:
        yield f"decides: {found.rule.name} (line {found.rule.line})"
    elif found.ruling is not None:
        yield "decides: ACCESS_DEFAULT, because no rule names the host"


def _needs(need: Need) -> Sequence[str]:
    needs = []
    if need.fresh_seconds is not None:
        needs.append(f"a sign-in or a confirmed password of the last {need.fresh_seconds:g} seconds")
    if need.second_factor:
        needs.append("a second factor")
    if need.device_bound:
        needs.append("a session that is bound to its device")
    return needs


def _document(found: Explanation) -> Mapping[str, object]:
    named = None if found.rule is None else {"name": found.rule.name, "line": found.rule.line}
    return {
        "rule": named,
        "default_decides": found.ruling is not None and found.rule is None,
        "open": found.ruling is not None and found.ruling.is_open,
        "need": None if found.ruling is None else asdict(found.ruling.need),
        "audience": None if found.ruling is None else found.ruling.audience,
        "passed_over": [{"name": each.rule.name, "line": each.rule.line, "reason": each.reason} for each in found.passed_over],
        "readings": [
            {"path": reading.path, "steps": list(reading.steps), "rule": None if rule is None else rule.name}
            for reading, rule in found.readings
        ],
    }
