"""Links that are asked for, opened and made invalid in any order: each has at most one effect, and none after its time."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from stateroom.accounts import User
from stateroom.backend.clients import make_client
from stateroom.database import Database
from stateroom.errors import TokenInvalid
from stateroom.telemetry.metrics import Metrics

from ..servers import Servers
from .domain import ADDRESS, MAIL, PASSWORD, Domain, new_key, token_of

_numbers = itertools.count()

STEPS = st.sampled_from(["verification", "change", "forgot", "password", "end all", "expire"])
OPENED = st.tuples(st.sampled_from(["right", "right", "wrong"]), st.integers(0, 3))
"""A link is opened where it belongs, or its token is sent to the other call. The newest one is number 0."""


@dataclass
class Model:
    """One account, and every token that was mailed for it.

    `valid`: the purposes of the tokens that must work. At most one of them is for a verification, at most one for a change.
    """

    domain: Domain
    user: User
    password: str = PASSWORD
    email: str = ""
    is_verified: bool = False
    mailed: list[str] = field(default_factory=list)
    valid: dict[str, str] = field(default_factory=dict)
    purposes: dict[str, str] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)

    async def collect(self, purpose: str, target: str) -> None:
        """Take the new token, if there is one: an owner gets only so many links within an hour."""
        if purpose == "change":
            self.valid = {token: kind for token, kind in self.valid.items() if kind != purpose}
        for letter in await self.domain.post.letters():
            if letter.kind == purpose:
                token = token_of(letter)
                self.mailed.append(token)
                self.valid[token] = self.purposes[token] = purpose
                self.targets[token] = target

    async def step(self, name: str) -> None:
        proofs, user_id = self.domain.proofs, self.user.id
        match name:
            case "verification":
                await proofs.ask_to_verify(user_id, ADDRESS)
                if not self.is_verified:
                    await self.collect("verify", self.email)
            case "change":
                new = f"new{next(_numbers)}@example.com"
                await proofs.ask_to_change(user_id, new, self.password, ADDRESS)
                await self.collect("change", new)
            case "forgot":
                await proofs.forget(self.email, ADDRESS)
                await self.collect("reset", self.email)
            case "password":
                new = f"password {next(_numbers)}"
                _, store = await self.domain.accounts.change_password(user_id, self.password, new, ADDRESS)
                await self.domain.end_all(self.user, along=store)
                self.password, self.valid = new, {}
            case "end all":
                await self.domain.end_all(self.user)
                self.valid = {}
            case "expire":
                await self.domain.let_expire()
                self.valid = {}

    async def open(self, where: str, number: int) -> None:
        if not self.mailed:
            return
        token = self.mailed[-1 - number % len(self.mailed)]
        purpose, new = self.purposes[token], f"password {next(_numbers)}"
        resets = (purpose == "reset") is (where == "right")
        works = token in self.valid and where == "right"
        try:
            if resets:
                await self.domain.reset(token, new)
            else:
                await self.domain.proofs.confirm(token, user_id=self.user.id, password=None, address=ADDRESS)
        except TokenInvalid:
            assert not works, purpose
            return
        assert works, purpose
        self.valid, self.is_verified, self.email = {}, True, self.targets[token]
        if resets:
            self.password = new

    async def check(self) -> None:
        user = await self.domain.read(self.user)
        assert (user.email, user.is_verified) == (self.email, self.is_verified)
        assert await self.domain.accounts.passwords.verify(self.password, user.password_hash)


def test_each_link_has_at_most_one_effect_in_any_order(servers: Servers, tmp_path: Path) -> None:
    quick = {"bcrypt_rounds": 4, "password_blocklist": "off", "mail_requests": 10_000, "mail_requests_per_address": 100_000}
    settled = servers.settings("fakeredis", **(MAIL | quick), database_url=None, state_dir=tmp_path)
    effects = 0

    async def run(domain: Domain, steps: list[str | tuple[str, int]]) -> None:
        nonlocal effects
        user = await domain.ada(f"ada{next(_numbers)}@example.com", must_verify=True)
        model = Model(domain, user, email=user.email)
        for each in steps:
            before = model.is_verified, model.email, model.password
            await (model.step(each) if isinstance(each, str) else model.open(*each))
            await model.check()
            effects += not isinstance(each, str) and before != (model.is_verified, model.email, model.password)

    with asyncio.Runner() as runner:
        database = Database(settled)
        runner.run(database.upgrade())
        client = make_client(settled, Servers.fake_redis, metrics=Metrics())
        runner.run(client.start())
        domain = Domain(settled, database, client, new_key())

        @settings(max_examples=100, deadline=None, database=None)
        @given(st.lists(STEPS | OPENED | OPENED, min_size=6, max_size=16))
        def check(steps: list[str | tuple[str, int]]) -> None:
            runner.run(run(domain, steps))

        try:
            check()
        finally:
            runner.run(domain.accounts.aclose())
            runner.run(client.aclose())
            runner.run(database.aclose())
    assert effects > 20, "most links were never opened"
