"""The state machine: handlers of random steps, and requests of two browsers that interleave at random."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, multiple, rule, run_state_machine_as_test

from .world import Request, World

T = TypeVar("T")

# A campaign of thousands is for a night: HANDLERS_EXAMPLES=5000. That many are random, the small number is always the same.
EXAMPLES = int(os.environ.get("HANDLERS_EXAMPLES", "0"))
FEW = 200
STEPS = 30
REQUESTS_AT_ONCE = 3
KEYS = st.sampled_from("ab")
USERS = st.integers(0, 1)
BROWSERS = st.integers(0, 1)


class Handlers(RuleBasedStateMachine):
    """What each step must do and what the next request must see is the model's to say (model.py)."""

    requests = Bundle("requests")
    started: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.world = self.started
        self.world.begin()
        self.browsers = [self.world.browser(), self.world.browser()]
        self.under_way: list[Request] = []
        self.is_broken = False

    def teardown(self) -> None:
        """Every handler returns, and then each browser's next request sees what it must."""
        try:
            if not self.is_broken:
                for browser in self.browsers:
                    for request in list(browser.visits):
                        request.step("return")
                for browser in self.browsers:
                    browser.sees()
        finally:
            self.world.end()

    @initialize(brought=st.sampled_from(["nothing", "a user's session", "a visitor's session"]))
    def first_request(self, brought: str) -> None:
        """The first browser may have a session already."""
        request = self._checked(self.browsers[0].open)
        if brought == "a user's session":
            self.step(request, "sign_in", value=self.world.users[0])
        if brought != "nothing":
            self.step(request, "write", "a", [self.world.new_value()])
        self.step(request, "return")

    @rule(target=requests, browser=BROWSERS)
    def open(self, browser: int) -> Any:
        """Send a request. Its handler waits for steps."""
        if sum(request.browser is self.browsers[browser] for request in self.under_way) >= REQUESTS_AT_ONCE:
            return multiple()
        request = self._checked(self.browsers[browser].open)
        self.under_way.append(request)
        return request

    @rule(target=requests, request=requests)
    def open_sibling(self, request: Request) -> Any:
        """Send another request of this one's browser, which writes at once: one with an id of before is rare otherwise."""
        sibling = self.open(self.browsers.index(request.browser))
        if isinstance(sibling, Request):
            self.step(sibling, "write", "b", self.world.new_value())
        return sibling

    # On the request's own copy

    @rule(request=requests)
    def look(self, request: Request) -> None:
        self.step(request, "look")

    @rule(request=requests, key=KEYS, is_list=st.booleans())
    def write(self, request: Request, key: str, is_list: bool) -> None:
        value = self.world.new_value()
        self.step(request, "write", key, [value] if is_list else value)

    @rule(request=requests, key=KEYS, how=st.sampled_from(["mutate", "delete"]))
    def touch(self, request: Request, key: str, how: str) -> None:
        self.step(request, how, key, self.world.new_value())

    @rule(request=requests)
    def flash(self, request: Request) -> None:
        self.step(request, "flash", value=f"m{self.world.new_value()}")

    # At once

    @rule(request=requests, key=KEYS, how=st.sampled_from(["change", "unset"]))
    def change(self, request: Request, key: str, how: str) -> None:
        self.step(request, how, key, self.world.new_value())

    @rule(request=requests)
    def save(self, request: Request) -> None:
        self.step(request, "save")

    @rule(request=requests)
    def take(self, request: Request) -> None:
        self.step(request, "take")

    @rule(request=requests, user=USERS)
    def sign_in(self, request: Request, user: int) -> None:
        self.step(request, "sign_in", value=self.world.users[user])

    @rule(request=requests)
    def sign_out(self, request: Request) -> None:
        """Not in a stream with a session: its end cancels the handler, how far that has come is a matter of time."""
        if request.streamed is None:
            self.step(request, "sign_out")

    @rule(request=requests)
    def reauthenticate(self, request: Request) -> None:
        self.step(request, "reauthenticate")

    @rule(request=requests)
    def revoke_others(self, request: Request) -> None:
        self.step(request, "revoke_others")

    @rule()
    def hear(self) -> None:
        """The worker hears of the ends that were committed."""
        self._checked(self.world.hear)

    # The answer

    @rule(request=requests)
    def prepare(self, request: Request) -> None:
        """The headers leave. The handler goes on."""
        if not request.headers_sent:
            self.step(request, "prepare")

    @rule(request=consumes(requests), how=st.sampled_from(["return", "redirect"]))
    def end(self, request: Request, how: str) -> None:
        self.under_way.remove(request)
        self.step(request, how)

    @rule(request=consumes(requests), how=st.sampled_from(["raise", "refuse"]))
    def fail(self, request: Request, how: str) -> None:
        self.under_way.remove(request)
        self.step(request, how)

    def step(self, request: Request, name: str, key: str = "", value: Any = None) -> None:
        if not request.is_over:
            self._checked(lambda: request.step(name, key, value))

    def _checked(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except BaseException:
            self.is_broken = True  # the model knows no further
            raise


def run(world: World, machine: type[Handlers] = Handlers) -> None:
    """Run the machine on this world."""
    bound = type(machine.__name__, (machine,), {"started": world})
    run_state_machine_as_test(
        bound,
        settings=settings(
            max_examples=EXAMPLES or FEW,
            derandomize=not EXAMPLES,
            database=None,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),  # Phase.explain takes minutes here
            report_multiple_bugs=False,
            print_blob=False,
        ),
    )
