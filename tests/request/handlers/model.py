"""What a handler's steps must do, as plain objects: the text "What holds in every handler", without Redis and HTTP.

The model is told what each step did. It refuses what may not be, and keeps what must be seen next.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from .application import Outcome, Step, appended
from .stored import DELETED, MESSAGES, Deleted, Stored, check, overlaid


@dataclass(frozen=True)
class Answer:
    """`status`: of the response. `cookie`: None if it says nothing of ours, "" if it clears it, or the handle that it opens."""

    status: int
    cookie: str | None


class Visit:
    """One request, as its handler must see it.

    `brought`: the session whose cookie the request has. `session`: the handler's now; None: a visitor who has none.
    `base`: its data as far as the request knows, `changes`: what it has written and not saved, `flashes`: the same of messages.
    `streamed`: the session that it had when its headers left.
    `unsure`: messages that may wait to be saved or not: a `take` of them failed.
    """

    def __init__(self, sessions: list[Stored], brought: Stored | None) -> None:
        self.sessions = sessions
        self.brought = brought
        self.session: Stored | None = None
        self.gone: Stored | None = None
        self.base: dict[str, Any] = {}
        self.changes: dict[str, Any] = {}
        self.flashes: list[str] = []
        self.unsure: list[str] = []
        self.headers_sent = False
        self.streamed: Stored | None = None
        self.signed_out = False

    @property
    def view(self) -> dict[str, Any]:
        return overlaid(self.base, self.changes)

    @property
    def has_changes(self) -> bool:
        return bool(self.changes or self.flashes)

    @property
    def user(self) -> int | None:
        return self.session.user if self.session else None

    def opened(self, outcome: Outcome) -> None:
        """The handler begins. `outcome.value` is `session.ended`."""
        brought = self.brought
        if brought is None:
            check(outcome.handle == "" and outcome.value is None, "a request without a cookie has a session")
        elif brought.lives:
            check(outcome.handle == brought.handle, f"the session of the cookie that was sent is not there: {outcome.value}")
            self.session, self.base = brought, copy.deepcopy(brought.data)
        else:
            check(outcome.handle == "", "an ended session is there")
            known = brought.reasons if brought.user else {None, *brought.reasons}
            check(outcome.value in known, f"it ended because of {known}, not of {outcome.value}")
            self.gone = brought
        check(outcome.user == self.user, f"the request is of {self.user}, not of {outcome.user}")

    def did(self, step: Step, outcome: Outcome) -> None:
        """Check a step's outcome and take it over."""
        getattr(self, f"_{step.name}")(step, outcome)
        if outcome.error == "SessionEnded" and self.session is not None and not outcome.handle:
            self._is_over(outcome)
        check(outcome.user == self.user, f"after {step.name} the session is of {self.user}, not of {outcome.user}")
        self.bind(outcome.handle)

    def _is_over(self, outcome: Outcome) -> None:
        """The handler was told that its session has ended. From then on it may have none."""
        self.gone, self.session = self.session, None
        self.base, self.changes = {}, dict(outcome.view)
        self.unsure, self.flashes = self.unsure + self.flashes, []

    def bind(self, handle: str) -> None:
        """The session that the handler has now has this handle."""
        if self.session is None:
            check(handle == "", "a session is there that nobody has stored")
            return
        if not self.session.handle:
            check(all(handle != other.handle for other in self.sessions), "the session has its old id")
            self.session.handle = handle
        check(handle == self.session.handle, "the handler has another session than it should")

    # Steps on the request's own copy

    def _look(self, step: Step, outcome: Outcome) -> None:
        check(outcome.value == self.view, f"the handler reads {outcome.value} in place of {self.view}")

    def _write(self, step: Step, outcome: Outcome) -> None:
        if not self._refused_at_once(outcome):
            self.changes[step.key] = step.value

    def _mutate(self, step: Step, outcome: Outcome) -> None:
        value = self.view.get(step.key)
        if not self._refused_at_once(outcome) and isinstance(value, list):
            self.changes[step.key] = [*value, step.value]

    def _delete(self, step: Step, outcome: Outcome) -> None:
        if not self._refused_at_once(outcome):
            self._drop(step.key)

    def _flash(self, step: Step, outcome: Outcome) -> None:
        if not self._refused_at_once(outcome):
            self.flashes = [*self.flashes, step.value][-MESSAGES:]

    def _refused_at_once(self, outcome: Outcome) -> bool:
        """An ended session may refuse what is written to it when it is written, or when it is saved."""
        if self.gone is not None and outcome.error == "SessionEnded":
            self._must_raise(outcome, "SessionEnded")
            return True
        self._must_work(outcome)
        return False

    def _drop(self, key: str) -> None:
        self.changes.pop(key, None)
        if key in self.base:
            self.changes[key] = DELETED

    # Steps that write

    def _save(self, step: Step, outcome: Outcome) -> None:
        if not self.has_changes:
            if not (self.unsure and outcome.error):
                self._must_work(outcome)
        elif self._can_store(outcome):
            self._store()

    def _change(self, step: Step, outcome: Outcome) -> None:
        value = appended(self.changes.get(step.key, self._stored(step.key)), step.value)
        if isinstance(self.changes.get(step.key), Deleted):
            value = [step.value]
        self._set(step.key, value, outcome)

    def _unset(self, step: Step, outcome: Outcome) -> None:
        if self.session is None and not self.has_changes:
            check(outcome.error in {"", "SessionEnded", "HeadersSent"}, outcome.error)
            return
        self._set(step.key, None, outcome)

    def _stored(self, key: str) -> Any:
        return self.session.data.get(key) if self.session else None

    def _set(self, key: str, value: Any, outcome: Outcome) -> None:
        """`change` stores this value (None: deletes the key) at once."""
        before = self.view
        if self.session is None:
            only = set(self.changes) <= {key} and not self.flashes
            if value is None and only and not outcome.error:
                self.changes.clear()
                return
        if not self._can_store(outcome):
            if outcome.error == "SessionEnded" and not outcome.handle:
                return  # see _is_over
            after = overlaid(before, {key: DELETED if value is None else value})
            check(outcome.view in (before, after), f"after {outcome.error} the handler reads {outcome.view}")
            if outcome.view != before:
                self._put(key, value)
            return
        check(outcome.value == value, f"change made {outcome.value} in place of {value}")
        if self.session is None:
            self._put(key, value)
            self._store()
        else:
            self.changes.pop(key, None)
            self.base.pop(key, None)
            self.session.data.pop(key, None)
            if value is not None:
                self.base[key] = copy.deepcopy(value)
                self.session.data[key] = copy.deepcopy(value)

    def _put(self, key: str, value: Any) -> None:
        if value is None:
            self._drop(key)
        else:
            self.changes[key] = value

    def _take(self, step: Step, outcome: Outcome) -> None:
        if self.session is None:
            if not self._refused_at_once(outcome):
                check(outcome.value == self.flashes or bool(self.unsure), f"messages {outcome.value} in place of {self.flashes}")
                self.flashes = []
        elif self.session.lives:
            self._must_work(outcome)
            own = self.session.flashes + self.flashes
            check(outcome.value in (own, own[-MESSAGES:]), f"messages {outcome.value} in place of {own}")
            self.session.flashes, self.flashes = [], []
        else:
            self._must_raise(outcome, "SessionEnded")
            self.unsure, self.flashes = self.flashes, []

    def _can_store(self, outcome: Outcome) -> bool:
        """Whether what the request has may be stored. Refuses another outcome."""
        allowed: list[str] = []
        if self.session is not None:
            allowed = [] if self.session.lives else ["SessionEnded"]
        else:
            allowed += ["SessionEnded"] if self.gone is not None else []
            allowed += ["HeadersSent"] if self.headers_sent else []
        if not allowed:
            self._must_work(outcome)
            return True
        self._must_raise(outcome, *allowed)
        return False

    def _store(self) -> None:
        if self.session is None:
            self._becomes(Stored(None, self.view, self.flashes))
        else:
            self.session.apply(self.changes, self.flashes)
        self.base = self.view
        self.changes, self.flashes = {}, []

    def _becomes(self, new: Stored) -> None:
        self.sessions.append(new)
        self.session, self.gone = new, None

    # Signing in and out

    def _sign_in(self, step: Step, outcome: Outcome) -> None:
        if self.headers_sent:
            self._must_raise(outcome, "HeadersSent")
            return
        self._must_work(outcome)
        old, flashes = self.session, self.flashes
        if old is None:
            data = self.view
        elif old.user not in (None, step.value):
            data = {}
        else:
            data = overlaid(old.data if old.lives else {}, self.changes)
            flashes = ((old.flashes if old.lives else []) + flashes)[-MESSAGES:]
        new = Stored(step.value, data, flashes)
        if self.unsure:
            new.may_have = [(data, flashes), (data, flashes + self.unsure)]
        if (old := old or self.gone) is not None:
            old.end("rotated")
            old.replaced_by.append(new)
        self._becomes(new)
        self.base, self.changes, self.flashes, self.unsure = copy.deepcopy(data), {}, [], []

    def _sign_out(self, step: Step, outcome: Outcome) -> None:
        self._must_work(outcome)
        old = self.session or self.gone
        if old is not None:
            self._log_out(old)
        self.session = self.gone = None
        self.base, self.changes, self.flashes = {}, {}, []
        self.unsure, self.signed_out = [], True

    def _log_out(self, old: Stored) -> None:
        """A sign-out with the id of before ends what became of it by re-authentication."""
        was_there = old.lives
        old.end("logout")
        if was_there:
            return
        for each in old.successors:
            if "rotated" in old.reasons:
                self._log_out(each)
        for each in old.replaced_by:
            each.may_end("logout")

    def _reauthenticate(self, step: Step, outcome: Outcome) -> None:
        self._rotate(outcome)

    def _revoke_others(self, step: Step, outcome: Outcome) -> None:
        old = self.session
        if self._rotate(outcome):
            for other in self.sessions:
                if other.user == self.user and other not in (self.session, old):
                    other.end("revoked")

    def _rotate(self, outcome: Outcome) -> bool:
        old = self.session
        if old is None or old.user is None:
            also = {"SessionEnded"} if self.gone else set()
            self._must_raise(outcome, "SignInRequired", *also, *(["HeadersSent"] if self.headers_sent else []))
            return False
        if self.headers_sent or not old.lives:
            allowed = [*(["HeadersSent"] if self.headers_sent else []), *([] if old.lives else ["SessionEnded"])]
            self._must_raise(outcome, *allowed)
            return False
        self._must_work(outcome)
        old.end("rotated")
        self._becomes(Stored(old.user, copy.deepcopy(old.data), list(old.flashes)))
        assert self.session is not None
        old.successors.append(self.session)
        return True

    @staticmethod
    def _must_work(outcome: Outcome) -> None:
        check(not outcome.error, f"raised {outcome.error} {outcome.reason}")

    def _must_raise(self, outcome: Outcome, *allowed: str) -> None:
        check(outcome.error in allowed, f"raised {outcome.error or 'nothing'} in place of {' or '.join(allowed)}")
        ended = self.session or self.gone
        if outcome.error == "SessionEnded" and ended is not None:
            check(outcome.reason in ended.reasons, f"ended because of {ended.reasons}, not of {outcome.reason}")

    # The answer

    def answered(self, how: str, answer: Answer) -> None:
        """Check the answer's status and cookie. `how`: the step that made it."""
        statuses = self._statuses(how)
        check(answer.status in statuses, f"{how} was answered {answer.status}, not {statuses}")
        own, cookie = self.session, answer.cookie
        if own is not None and not own.handle and cookie:  # it was stored with the answer
            self.bind(cookie)
        if own is not None and own is not self.brought:
            if own.lives:
                check(cookie == own.handle, f"the client needs the new session's cookie, the answer has {told(cookie)}")
            else:
                check(cookie in (None, "", own.handle), "the answer has another session's cookie")
        elif self.signed_out:
            is_done = how not in ("raise", "refuse")
            check(cookie == "" or (cookie is None and not is_done), f"a sign-out clears the cookie, not {told(cookie)}")
        elif own is not None and cookie:
            check(cookie == own.handle, "the answer has another session's cookie")
        else:
            is_over = self.gone is not None and self.gone.reasons != {"rotated"}
            check(cookie is None or (cookie == "" and is_over), f"nothing changed for the client, the answer has {told(cookie)}")
        if cookie and own is not None:
            own.is_sent = True

    def _statuses(self, how: str) -> set[int]:
        if how == "raise":
            return {500}
        if how == "refuse":
            return {409}
        fine = 302 if how == "redirect" else 200
        if not self.has_changes:
            # A stream does not begin if its session's end was heard.
            is_over = how == "prepare" and self.session is not None and not self.session.lives
            return {fine, 401} if self.unsure or is_over else {fine}
        if self.gone is not None or (self.session is not None and not self.session.lives):
            return {401}
        self._store()
        return {fine}

    def ended_late(self, how: str) -> None:
        """The handler ended after its headers had left. What it wrote since then may be saved if it returned."""
        if how == "return" and self.session is not None and self.session.lives and self.has_changes:
            self.session.may_apply(self.changes, self.flashes)


def told(cookie: str | None) -> str:
    return "no cookie" if cookie is None else "a cookie of another session" if cookie else "a cleared cookie"
