"""Logs: one JSON line an event off a terminal, colours on one.

`structlog` and the standard library's loggers leave by the same road. Text from clients is encoded as JSON (on a
terminal: by `repr`), so that no client can write a line of its own. Security events are named by `security_event`.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

from .access import JsonLines

if TYPE_CHECKING:
    from structlog.typing import Processor

    from ..settings import Settings

_security = structlog.get_logger("stateroom.security")


def configure_logging(settings: Settings) -> None:
    """Send this process' logs to stderr as the settings say."""
    as_json = settings.log_format == "json" or (settings.log_format is None and not sys.stderr.isatty())
    level = getattr(logging, settings.log_level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]
    rendered: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        # Its default traceback shows local variables: passwords and tokens are among them.
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
    )
    handler = JsonLines(sys.stderr) if as_json else logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("alembic").setLevel(max(level, logging.WARNING))  # a dozen lines at each start, of no use to anyone
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def security_event(name: str, **fields: Any) -> None:
    """One line for what a security officer asks about: sign_in, sign_in_failed, throttled, sign_out, revoke, …

    Fields are public: the session's handle, the user's id, the address; never a password, token, cookie or key.
    """
    _security.info(name, security=True, **fields)
