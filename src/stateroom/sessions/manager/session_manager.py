"""The session manager, whose calls other files of this package describe, each a kind of them."""

from __future__ import annotations

from .of_deployment import OfDeployment
from .of_users import OfUsers
from .steps import SessionSteps


class SessionManager(SessionSteps, OfUsers, OfDeployment):
    """Sessions of one application.

    A call that asks Redis raises `StoreUnavailable` if Redis does not reply, and a call that asks the journal raises
    `DatabaseUnavailable`. Before the application has started neither replies.
    """
