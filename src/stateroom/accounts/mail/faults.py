"""What can go wrong when a mail is delivered. No error repeats the server's text, which often contains the address."""

from __future__ import annotations


class Undelivered(Exception):
    """A mail was not delivered. `code`: the server's reply code; None if there was no reply."""

    def __init__(self, code: int | None = None) -> None:
        super().__init__("undelivered" if code is None else f"undelivered: {code}")
        self.code = code


class Refused(Undelivered):
    """The server will never accept this mail: it does not exist, or the content is not wanted. It is dropped."""


class Deferred(Undelivered):
    """The server does not accept this mail at present. Other mails may pass."""


class ServerUnavailable(Undelivered):
    """The server or the folder takes no mail at present. `reason`: a word for the log."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(code)
        self.reason = reason


class WrongSetting(ServerUnavailable):
    """The server or the folder will take no mail until an operator acts. `fix`: names the setting and what to do."""

    def __init__(self, reason: str, fix: str, code: int | None = None) -> None:
        super().__init__(reason, code)
        self.fix = fix
