"""What the state machine has found, each as the shortest story that it printed."""

from __future__ import annotations

import pytest

from stateroom.request.request_session import FRONTEND

from .application import ENDS
from .world import World

ERRORS = ["raise", "refuse"]
NEW_IDS = ["sign_in", "reauthenticate", "revoke_others"]


def value_for(world: World, step: str) -> int | None:
    return world.users[0] if step == "sign_in" else None


def test_a_write_with_the_cookie_of_before_the_sign_in_does_not_replace_it(world: World) -> None:
    browser = world.browser()
    first = browser.open()
    first.step("write", "a", 1)
    first.step("return")
    signing_in, late = browser.open(), browser.open()
    signing_in.step("sign_in", value=world.users[0])
    signing_in.step("return")
    late.step("write", "b", 2)
    late.step("return")
    assert browser.sees() == (world.users[0], {"a": 1})


@pytest.mark.parametrize("how", NEW_IDS)
@pytest.mark.parametrize("step", ["write", "flash", "change"])
def test_a_request_that_comes_with_an_id_of_before_makes_no_session(world: World, how: str, step: str) -> None:
    """The new id's cookie has not arrived yet when it is sent, and is there when it is answered."""
    browser = world.browser()
    first = browser.open()
    first.step("sign_in", value=world.users[0])
    first.step("return")
    renewing = browser.open()
    renewing.step(how, value=value_for(world, how))
    late = browser.open()
    renewing.step("return")
    late.step(step, "a", "late")
    late.step("return")
    assert browser.sees() == (world.users[0], {})


def test_a_visitor_whose_sibling_signed_in_makes_no_session(world: World) -> None:
    browser = world.browser()
    first = browser.open()
    first.step("write", "a", 1)
    first.step("return")
    signing_in = browser.open()
    signing_in.step("sign_in", value=world.users[0])
    late = browser.open()
    signing_in.step("return")
    late.step("flash", value="m1")
    late.step("return")
    assert browser.sees() == (world.users[0], {"a": 1})


@pytest.mark.parametrize("how", ["return", "redirect"])
def test_a_message_after_a_sign_out_is_kept(world: World, how: str) -> None:
    browser = world.browser()
    request = browser.open()
    request.step("sign_out")
    request.step("flash", value="bye")
    request.step(how)
    following = browser.open()
    assert following.step("take").value == ["bye"]
    following.step("return")


@pytest.mark.parametrize("how", ENDS)
def test_a_sign_in_after_a_sign_out_is_kept(world: World, how: str) -> None:
    browser, (ada, bob) = world.browser(), world.users
    request = browser.open()
    request.step("sign_in", value=ada)
    request.step("sign_out")
    request.step("sign_in", value=bob)
    request.step(how)
    assert browser.sees() == (bob, {})


@pytest.mark.parametrize("step", ["save", "change"])
def test_what_is_saved_after_a_sign_out_belongs_to_the_cookie_that_is_sent(world: World, step: str) -> None:
    browser = world.browser()
    request = browser.open()
    request.step("sign_out")
    request.step("write", "b", 1)
    request.step(step, "a", 2)
    request.step("return")
    assert browser.sees() == (None, {"b": 1} if step == "save" else {"b": 1, "a": [2]})


@pytest.mark.parametrize("how", ERRORS)
@pytest.mark.parametrize("step", NEW_IDS)
def test_a_new_id_reaches_the_client_also_with_an_error(world: World, step: str, how: str) -> None:
    browser = world.browser()
    first = browser.open()
    first.step("sign_in", value=world.users[0])
    first.step("return")
    request = browser.open()
    request.step(step, value=value_for(world, step))
    request.step("write", "a", "never saved")
    request.step(how)
    assert browser.sees() == (world.users[0], {})


@pytest.mark.parametrize("how", ERRORS)
def test_a_visitor_s_saved_session_reaches_the_client_also_with_an_error(world: World, how: str) -> None:
    browser = world.browser()
    request = browser.open()
    request.step("write", "a", 1)
    request.step("save")
    request.step(how)
    assert browser.sees() == (None, {"a": 1})


@pytest.mark.parametrize("step", NEW_IDS)
def test_no_new_id_after_the_headers(world: World, step: str) -> None:
    browser = world.browser()
    first = browser.open()
    first.step("sign_in", value=world.users[0])
    first.step("return")
    stream = browser.open()
    stream.step("prepare")
    assert stream.step(step, value=value_for(world, step)).error == "HeadersSent"
    stream.step("return")
    assert browser.sees() == (world.users[0], {})


def test_a_visitor_is_not_signed_in_after_the_headers(world: World) -> None:
    browser = world.browser()
    stream = browser.open()
    stream.step("prepare")
    assert stream.step("sign_in", value=world.users[0]).error == "HeadersSent"
    stream.step("return")
    assert browser.sees() == (None, {})


@pytest.mark.parametrize("step", ["save", "change"])
def test_a_visitor_s_first_save_is_not_after_the_headers(world: World, step: str) -> None:
    browser = world.browser()
    stream = browser.open()
    stream.step("prepare")
    stream.step("write", "a", 1)
    assert stream.step(step, "b", 2).error == "HeadersSent"
    stream.step("return")
    assert browser.sees() == (None, {})


def test_change_sees_what_the_request_has_written_mutated_or_deleted(world: World) -> None:
    browser = world.browser()
    first = browser.open()
    for key in "abc":
        first.step("write", key, [0])
    first.step("return")
    request = browser.open()
    request.step("write", "a", 10)
    assert request.step("change", "a", 1).value == [10, 1]
    request.step("mutate", "b", 20)
    assert request.step("change", "b", 2).value == [0, 20, 2]
    request.step("delete", "c")
    assert request.step("change", "c", 3).value == [3]
    request.step("return")
    assert browser.sees() == (None, {"a": [10, 1], "b": [0, 20, 2], "c": [3]})


@pytest.mark.parametrize("step", ["reauthenticate", "revoke_others", "sign_out"])
def test_a_stream_whose_session_ended_before_it_began_is_answered(world: World, step: str) -> None:
    browser = world.browser()
    first = browser.open()
    first.step("sign_in", value=world.users[0])
    first.step("return")
    stream, ending = browser.open(), browser.open()
    ending.step(step)
    world.hear()
    stream.step("prepare")
    assert stream.is_over or not world.settings.has_database


@pytest.mark.parametrize("step", ["reauthenticate", "revoke_others", "sign_out"])
def test_a_stream_that_cannot_save_is_answered(world: World, step: str) -> None:
    browser = world.browser()
    first = browser.open()
    first.step("sign_in", value=world.users[0])
    first.step("return")
    stream, ending = browser.open(), browser.open()
    ending.step(step)
    stream.step("write", "a", 1)
    stream.step("prepare")
    assert stream.is_over


def test_a_stream_that_is_closed_late_leaves_the_next_request_of_its_connection_alone(world: World) -> None:
    """The task that closes a stream may run when the handler has returned and the client has sent its next request."""
    browser = world.browser()
    first = browser.open()
    first.step("sign_in", value=world.users[0])
    first.step("return")
    stream = browser.open()
    stream.step("prepare")
    (closing,) = world.app[FRONTEND].streams._all()
    stream.step("return")
    following = browser.open()
    world.do(closing.close("logout"))
    following.step("write", "a", 1)
    following.step("return")
    assert browser.sees() == (world.users[0], {"a": 1})
