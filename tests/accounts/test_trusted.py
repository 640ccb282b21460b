"""Which users' addresses access rules and applications may trust."""

from __future__ import annotations

from typing import Any

import pytest

from stateroom.accounts import User
from stateroom.accounts.access import Person
from stateroom.accounts.demo import DEMO_EMAIL, DEMO_ID
from stateroom.accounts.trusted import person_of
from stateroom.settings import Settings

from .conftest import MakeDomain
from .domain import ADDRESS, EMAIL, PASSWORD, Domain

MAIL: dict[str, Any] = {"mail_url": "file:/nowhere", "mail_from": "post@example.com", "public_url": "https://example.com"}


@pytest.mark.parametrize(
    ("account", "settings", "is_trusted"),
    [
        ({}, {}, False),
        ({}, {"email_verification": "off", "registration": "open"}, False),
        ({}, {"email_verification": "off", "registration": "invited"}, True),
        ({}, {"email_verification": "off", "registration": "closed"}, True),
        ({}, {**MAIL, "email_verification": "optional"}, True),
        ({}, {**MAIL, "email_verification": "required"}, True),
        ({"must_verify": 1}, {**MAIL, "email_verification": "optional"}, False),
        ({"must_verify": 1}, {**MAIL, "email_verification": "off", "registration": "closed"}, False),
        ({"verified_at": 1}, {}, True),
        ({"verified_at": 1}, {**MAIL, "email_verification": "required", "registration": "closed"}, True),
    ],
)
def test_an_address_is_trusted_that_no_stranger_can_have_typed(
    account: dict[str, int], settings: dict[str, str], is_trusted: bool
) -> None:
    user = User(7, EMAIL, "Ada", "hash", 0, None, **account)  # type: ignore[arg-type]
    person = person_of(user, ["staff"], Settings(_env_file=None, **settings))
    assert person == Person(7, EMAIL if is_trusted else "", frozenset({"staff"}))


async def test_whoever_registers_unasked_has_no_address_until_it_is_proved(make_domain: MakeDomain) -> None:
    domain = make_domain(email_verification="off")
    user = (await domain.registration.register(EMAIL, PASSWORD, "Ada", ADDRESS)).user
    assert user is not None
    assert (await domain.accounts.facts(user.id)).person.email == ""
    await domain.proofs.ask_to_verify(user.id, ADDRESS)
    token = await domain.post.token("verify")
    await domain.proofs.confirm(token, user_id=user.id, password=None, address=ADDRESS)
    assert (await domain.accounts.facts(user.id)).person.email == EMAIL


@pytest.mark.parametrize("is_from_earlier_release", [False, True])
async def test_the_demo_user_has_a_proved_address(make_domain: MakeDomain, is_from_earlier_release: bool) -> None:
    accounts = make_domain(email_verification="off").accounts
    if is_from_earlier_release:
        await accounts.users.create(DEMO_EMAIL, "Demo", "hash", user_id=DEMO_ID)
    await accounts.demo.ensure()
    assert (await accounts.facts(DEMO_ID)).person.email == DEMO_EMAIL


async def test_another_account_with_the_demo_users_address_is_not_proved_by_a_start(domain: Domain) -> None:
    user = await domain.ada(DEMO_EMAIL, is_proved=False)
    await domain.accounts.demo.ensure()
    assert (await domain.read(user)).verified_at is None
