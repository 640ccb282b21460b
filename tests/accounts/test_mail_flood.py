"""How many mails strangers can have sent to somebody, from however many networks."""

from __future__ import annotations

import pytest

from stateroom.accounts.mail.counts import MOST_AN_HOUR

from .conftest import MakeDomain
from .domain import PASSWORD


@pytest.mark.parametrize("kind", ["verify", "change"])
async def test_an_address_gets_a_few_mails_an_hour_from_however_many_networks(make_domain: MakeDomain, kind: str) -> None:
    domain = make_domain(email_verification="optional")
    victim = "victim@example.com"
    stranger = await domain.ada(victim if kind == "verify" else "eve@example.com", must_verify=kind == "verify")
    received = 0
    for network in range(MOST_AN_HOUR + 3):
        if kind == "verify":
            await domain.proofs.ask_to_verify(stranger.id, f"2001:db8:{network:x}::1")
        else:
            await domain.proofs.ask_to_change(stranger.id, victim, PASSWORD, f"2001:db8:{network:x}::1")
        received += sum(letter.to == victim for letter in await domain.post.letters())
    assert received == MOST_AN_HOUR
